//! `crossscale evaluate`: held-out loss of weights on a text, the same over numbers of
//! iterations, the objective, arcs against a treebank.

mod inside;
mod seen;
mod subject;
mod treebank;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use models::engine::Engine;
use serde_json::json;

use super::print;
use crate::collective::Alone;
use crate::config::locate::with_places;
use crate::config::model::ComputePath;
use crate::corpus::{EvaluationSet, Lines, Split};
use crate::error::{HarnessError, Result};
use crate::statistics::{perplexity, perplexity_words};
use crate::train::{ContextLosses, EvaluationBatch, ReadsContext, evaluate};
use crate::weights::{KnownWeights, finite, meeting};

/// Arguments of `evaluate`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "\
Example: crossscale evaluate runs/notes --split test",
    after_long_help = "\
Weights bring their tokenizer, and no other is used: run folders, files of export, and of import
where it was given one. Text and masks are those of the run (run folders), else of --config, --text
and --set; --text is divided as in training. Evaluation masks depend on the data table only, so two
models see the same targets.
--iterations is for pt, pt2023 and ut, whose iterations share their weights, --energy for pt.
--json: trained_on_share is the share of the evaluated documents (or lines) that were trained on,
null where that is not known; perplexity is exp(loss), or the words above 1e308.
--treebank scores head posteriors or attention; what is chosen (channel, direction, offset) is
chosen on --select, or on every second sentence. Words are sums over their tokens.

Examples:
  crossscale evaluate runs/notes --split test
  crossscale evaluate runs/notes --context
  crossscale evaluate runs/notes --iterations 1..16
  crossscale evaluate runs/notes --energy --json
  crossscale evaluate runs/notes --treebank test.conllu --select dev.conllu --beside runs/preln
  crossscale evaluate notes.safetensors --text notes.txt --set data.length=64 --json"
)]
pub struct Args {
    /// Run folder, or a file of crossscale export or import
    weights: PathBuf,
    /// Held-out part of the text
    #[arg(long, value_enum, default_value_t = Part::Validation)]
    split: Part,
    /// Text file or folder
    #[arg(long)]
    text: Vec<PathBuf>,
    /// TOML file with a [data] table
    #[arg(long)]
    config: Option<PathBuf>,
    /// Any key of the data table: data.key=value
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Also with other words around the targets, and what can be predicted without a model
    #[arg(long)]
    context: bool,
    #[command(flatten)]
    inside: inside::InsideOptions,
    #[command(flatten)]
    treebank: treebank::TreebankOptions,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Parts that nothing was fitted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Choices were made on it
    Validation,
    /// Looked at last
    Test,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    if let Some(done) = args.treebank.run(&args.weights, args.json) {
        return done;
    }
    let located = |error| with_places(error, args.config.as_deref(), &args.sets);
    let subject = subject::open(args).map_err(located)?;
    let KnownWeights { mut run, parameters, tokenizer, text, trained_on, .. } = subject;
    let corpus = meeting::corpus_for(&run.data, tokenizer.as_ref(), &args.weights)?;
    let (known, vocab) = (run.model.vocab(), corpus.vocabulary().size);
    if known < vocab {
        return Err(HarnessError::config(
            format!("the model has {known} vocabulary entries, the text's tokenizer {vocab}"),
            "use the tokenizer that the model was trained with: --config or --set data.tokenizer…",
        ));
    }
    let of_training = text.map(|text| text == corpus.fingerprint.to_hex().as_str());
    let split = match args.split {
        Part::Validation => Split::Validation,
        Part::Test => Split::Test,
    };
    let trained_share = match of_training {
        Some(true) => Some(0.0),
        None => None,
        Some(false) if args.is_plain() => seen::changed(),
        Some(false) => seen::told(trained_on.as_ref(), &run.data, split),
    };
    if matches!(run.model, crate::config::model::ModelConfig::Pt2023(_)) {
        run.path = ComputePath::Reference;
    }
    let set = EvaluationSet::new(Arc::new(corpus), &run.data, split)?;
    if let Some(done) = args.inside.run((&run, &parameters), &set, args.json) {
        return done;
    }
    let batches: Vec<_> = set.batches(run.train.evaluation_batch).collect();
    let mut built = run.build()?;
    let result = evaluate(built.engine.as_mut(), &parameters, &batches)?;
    let (loss, unigram) = (result.loss_nats, set.unigram_loss_nats());
    require_finite(loss, &args.weights)?;
    let context = if args.context {
        let engine = built.engine.as_mut();
        Some((Lines::of(&set, &run.data.masking), context_losses(engine, &parameters, &batches)?))
    } else {
        None
    };
    let (targets, sequences) = (result.targets, set.sequences());
    if args.json {
        let mut result = json!({
            "loss_nats": loss, "unigram_loss_nats": unigram,
            "targets": targets, "sequences": sequences, "family": run.model.family(),
            "parameters": parameters.len(), "text_of_training": of_training,
            "trained_on_share": trained_share,
        });
        result["perplexity"] = match perplexity(loss) {
            Some(perplexity) => json!(perplexity),
            None => json!(perplexity_words(loss)),
        };
        if let Some((lines, losses)) = context {
            add_context(&mut result, loss, &lines, &losses);
        }
        return print(&result.to_string());
    }
    print(&format!(
        "held-out loss {loss:.4} nats (perplexity {}; unigram {unigram:.4}), {targets} targets \
         in {sequences} sequences",
        perplexity_words(loss)
    ))?;
    context.map_or(Ok(()), |(lines, losses)| print(&context_text(loss, &lines, &losses)))
}

fn context_losses(
    engine: &mut dyn Engine,
    parameters: &[f32],
    batches: &[EvaluationBatch],
) -> Result<ContextLosses> {
    ContextLosses::measure(engine, parameters, batches, &Alone)?.ok_or_else(|| {
        HarnessError::config(
            "the loss with other words around the targets is not finite",
            "are the weights those of a diverged run? crossscale status FOLDER says",
        )
    })
}

fn add_context(result: &mut serde_json::Value, loss: f64, lines: &Lines, losses: &ContextLosses) {
    result["own_token_loss_nats"] = json!(lines.own_token_nats);
    result["neighbour_loss_nats"] = json!(lines.neighbour_nats);
    result["shuffled_loss_nats"] = json!(losses.shuffled_loss_nats);
    result["foreign_loss_nats"] = json!(losses.foreign_loss_nats);
    result["reads_context"] = json!(reads(loss, lines, losses));
}

fn reads(loss: f64, lines: &Lines, losses: &ContextLosses) -> bool {
    ReadsContext::judge(loss, lines.own_token_nats, Some(losses)) == ReadsContext::Yes
}

fn context_text(loss: f64, lines: &Lines, losses: &ContextLosses) -> String {
    let foreign = losses.foreign_loss_nats.map_or_else(String::new, |foreign| {
        format!(", those of another sequence in their place {foreign:.4}")
    });
    format!(
        "other words around the targets shuffled {:.4}{foreign}\nwithout a model: from the \
         target's own token {:.4}, also from its two neighbours {:.4} (an estimate)\n{}",
        losses.shuffled_loss_nats,
        lines.own_token_nats,
        lines.neighbour_nats,
        if reads(loss, lines, losses) {
            "reads its context"
        } else {
            "plateau: does not read its context"
        },
    )
}

/// A held-out loss that is no number is no answer, though every weight is one.
fn require_finite(loss_nats: f64, weights: &Path) -> Result<()> {
    if loss_nats.is_finite() {
        return Ok(());
    }
    Err(finite::computed(format!("{}: the held-out loss is {loss_nats}", weights.display())))
}
