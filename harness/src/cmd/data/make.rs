//! `crossscale data make`: text whose best masked loss is known.

use std::path::PathBuf;

use toml::Table;

use crate::cmd::print;
use crate::config::data::DataConfig;
use crate::config::overrides;
use crate::error::{HarnessError, Result};
use crate::trees::folder::{self, Made};
use crate::trees::optimum::Optimum;

/// Arguments of `data make`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
trees: sentences of 4 to 30 words from a dependency grammar, in which a word and
its head agree over any distance. One sentence is one sequence. Of every 20
sentences 18 are for training, one for validation, one for the test.

The folder gets what train reads (corpus.toml, words.txt, token files), the
trees (validation.conllu, test.conllu), every number of the grammar
(grammar.json) and optimum.json: masked_loss_nats is the exact loss, on the
targets that train and evaluate score, of the best predictor there is, with the
losses that need no context beside it.

Examples:
  crossscale data make trees --out runs/data/trees --sentences 20000 --seed 1
  crossscale train --model pt --tokens runs/data/trees --out runs/trees
  crossscale evaluate runs/trees --treebank runs/data/trees/validation.conllu")]
pub struct MakeArgs {
    /// What to make
    #[arg(value_enum)]
    name: Name,
    /// The folder to write
    #[arg(long)]
    out: PathBuf,
    /// Sentences of all splits
    #[arg(long)]
    sentences: u64,
    /// Seed of the sentences
    #[arg(long)]
    seed: u64,
    /// For which masks the optimum holds: data.masking.key=value, data.evaluation.seed=N
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Texts that are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// Sentences of a dependency grammar
    Trees,
}

/// Runs the verb.
pub fn run(args: &MakeArgs) -> Result<()> {
    let data = data(&args.sets)?;
    let Name::Trees = args.name;
    let made = folder::make(&args.out, (args.sentences, args.seed), &data)?;
    if args.json {
        let text = serde_json::to_string(&made)
            .map_err(|error| HarnessError::Invariant(error.to_string()))?;
        return print(&text);
    }
    print(&describe(&made))
}

fn data(sets: &[String]) -> Result<DataConfig> {
    let mut table = Table::new();
    for assignment in sets {
        if !["data.masking.", "data.evaluation.seed"].iter().any(|key| assignment.starts_with(key))
        {
            return Err(HarnessError::config(
                format!("--set {assignment}: only masking and the evaluation's seed are free"),
                "see crossscale data make --help",
            ));
        }
        overrides::set(&mut table, assignment)?;
    }
    let data = table.remove("data").unwrap_or_else(|| toml::Value::Table(Table::new()));
    let data: DataConfig = data.try_into().map_err(|error: toml::de::Error| {
        HarnessError::config(error.message().to_owned(), "see crossscale data make --help")
    })?;
    data.validate()?;
    Ok(data)
}

fn describe(made: &Made) -> String {
    let folder = made.folder.display();
    let line = |split: &str, found: &Optimum| {
        format!(
            "  {split}: {} targets in {} sentences\n    lowest loss there is {:.4} nats (another \
             text ± {:.4}); without a model: frequencies {:.4}, own token {:.4}, its neighbours \
             {:.4}",
            found.targets,
            found.sequences,
            found.masked_loss_nats,
            found.standard_error_nats,
            found.unigram_loss_nats,
            found.own_token_loss_nats,
            found.neighbour_loss_nats,
        )
    };
    let lines = [
        format!("{folder}: {} sentences, {} words", made.sentences, made.words),
        line("validation", &made.validation),
        line("test", &made.test),
        format!("next: crossscale train --tokens {folder} …"),
    ];
    lines.join("\n")
}
