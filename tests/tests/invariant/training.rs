//! Whole training runs of real models on a small corpus: the same bytes for any number of
//! threads and after an interruption, on both computation paths.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use baselines::PreLnConfig;
use baselines::fused::FusedEngine;
use candle_core::{DType, Device};
use harness::HarnessError;
use harness::config::data::{DataConfig, TokenizerConfig, TokenizerKind};
use harness::config::train::TrainConfig;
use harness::corpus::{Corpus, CorpusSource, Document, DocumentSplits, Split};
use harness::train::{Observer, RunFolder, StepMetrics, TrainJob, TrainOutcome, run};
use models::engine::Engine;
use models::family::{FamilyConfig, Parametrised, parametrise};
use models::parameters::Layout;
use models::parametrization::{Parametrization, Resolved};
use models::pt2026::{FusedPt2026, Pt2026Config};
use models::random::{Purpose, Stream};
use models::reference::ReferenceEngine;

const STEPS: u64 = 8;

/// Documents of mostly ten words, each of which mostly decides the next.
fn source(train: &TrainConfig) -> (CorpusSource, usize) {
    let document = |d: u64| {
        let mut stream = Stream::new(d, Purpose::Test, 0);
        let mut word = stream.below(200);
        let mut text = Vec::new();
        for _ in 0..400 {
            text.push(format!("w{word}"));
            let surprise = stream.below(4) == 0;
            word = if surprise { stream.below(200) } else { (7 * word + 3) % 10 };
        }
        Document { name: d.to_string(), text: text.join(" ") }
    };
    let splits = DocumentSplits {
        train: (0..20).map(document).collect(),
        validation: (20..24).map(document).collect(),
        test: Vec::new(),
    };
    let kind = TokenizerKind::Words;
    let tokenizer = TokenizerConfig { kind, vocab: 300, ..TokenizerConfig::default() };
    let data = DataConfig { length: 32, tokenizer, ..DataConfig::default() };
    let corpus = Arc::new(Corpus::from_documents(&splits, &data, None).unwrap());
    let vocab = corpus.vocabulary().size;
    (CorpusSource::new(corpus, &data, train, 5, Split::Validation).unwrap(), vocab)
}

/// Stops a run after half of its steps.
struct Halfway<'a>(Option<&'a AtomicBool>);

impl Observer for Halfway<'_> {
    fn step(&mut self, metrics: &StepMetrics, _: f64) -> harness::Result<()> {
        if let Some(stop) = self.0.filter(|_| metrics.step == STEPS / 2) {
            stop.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

struct Model {
    layout: Layout,
    resolved: Resolved,
    initial: Vec<f32>,
    vocab: usize,
    train: TrainConfig,
    source: CorpusSource,
}

impl Model {
    fn new<F: FamilyConfig>(parametrised: &Parametrised<F::Model>, config: &F) -> Self {
        let layout = config.layout().unwrap();
        let resolved = parametrised.resolved.clone();
        let initial = resolved.initialise(&layout, &parametrised.base_layout, 1).unwrap();
        let train = train_config();
        let (source, vocab) = source(&train);
        Self { layout, resolved, initial, vocab, train, source }
    }

    fn run(
        &self,
        engine: Box<dyn Engine>,
        (threads, folder, halve): (usize, &Path, bool),
    ) -> harness::Result<TrainOutcome> {
        let stop = AtomicBool::new(false);
        let job = TrainJob {
            engine,
            layout: &self.layout,
            resolved: &self.resolved,
            initial_parameters: self.initial.clone(),
            config: &self.train,
            source: &self.source,
            vocab: self.vocab,
            dropout_seed: None,
            threads,
            folder: Some(RunFolder { path: folder, config_hash: "0" }),
            stop: Some(&stop),
        };
        run(job, &mut Halfway(halve.then_some(&stop)))
    }

    /// Trains with one thread, with three, and with two and an interruption; returns the loss.
    fn check(&self, engine: impl Fn() -> Box<dyn Engine>) -> f64 {
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let [one, three, halved] = folders.each_ref().map(tempfile::TempDir::path);
        let expected = self.run(engine(), (1, one, false)).unwrap();
        let wide = self.run(engine(), (3, three, false)).unwrap();
        let stopped = self.run(engine(), (2, halved, true));
        assert!(matches!(stopped, Err(HarnessError::Interrupted)));
        let resumed = self.run(engine(), (2, halved, false)).unwrap();
        for (what, outcome, folder) in [("threads", wide, three), ("resume", resumed, halved)] {
            for name in ["metrics.csv", "evaluation.csv", "documents.csv"] {
                let read = |folder: &Path| std::fs::read_to_string(folder.join(name)).unwrap();
                assert_eq!(read(one), read(folder), "{name} differs: {what}");
            }
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert!(bits(&expected.parameters) == bits(&outcome.parameters), "{what}");
        }
        let evaluation = expected.final_evaluation.unwrap().loss_nats;
        assert!(evaluation < expected.first_loss_nats, "nothing was learned");
        evaluation
    }
}

fn train_config() -> TrainConfig {
    TrainConfig {
        steps: STEPS,
        batch: 8,
        micro_batches: 2,
        learning_rate: 0.01,
        weight_decay: 0.01,
        evaluate_every: 3,
        ..TrainConfig::default()
    }
}

fn vocab() -> usize {
    source(&train_config()).1
}

#[test]
fn invariant_pt_training_is_bit_exact_over_threads_and_interruptions() {
    let config = |width| Pt2026Config {
        vocab: vocab(),
        width,
        iterations: 3,
        channels: 2,
        ..Pt2026Config::default()
    };
    let (config, base) = (config(64), config(32));
    let table = Parametrization::built_in("mup").unwrap();
    let build = || parametrise(&config, &base, &table).unwrap();
    let model = Model::new(&build(), &config);
    let reference = model.check(|| {
        let built = build();
        Box::new(ReferenceEngine::new(built.model, built.resolved, DType::F32, Device::Cpu))
    });
    let fused = model.check(|| {
        let built = build();
        Box::new(FusedPt2026::new(&built.model, &built.resolved).unwrap())
    });
    assert!((reference - fused).abs() < 1e-3, "{reference} {fused}");
}

#[test]
fn invariant_transformer_training_is_bit_exact_over_threads_and_interruptions() {
    let config = |width| PreLnConfig { vocab: vocab(), width, layers: 2, ..PreLnConfig::default() };
    let (config, base) = (config(64), config(32));
    let table = Parametrization::built_in("standard").unwrap();
    let build = || parametrise(&config, &base, &table).unwrap();
    let model = Model::new(&build(), &config);
    let reference = model.check(|| {
        let built = build();
        Box::new(ReferenceEngine::new(built.model, built.resolved, DType::F32, Device::Cpu))
    });
    let fused = model.check(|| {
        let built = build();
        Box::new(FusedEngine::preln(&built.model, &built.resolved).unwrap())
    });
    assert!((reference - fused).abs() < 1e-3, "{reference} {fused}");
}
