//! One model on two devices: losses, gradients, training, resumption and bf16.
//!
//! What compares is shown to work on the CPU, against float64 and against the fused path. No engine
//! trains on a GPU yet; the first one will be held to the same functions and bounds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device};
use harness::config::compute::DeviceKind;
use harness::config::model::ModelConfig;
use harness::config::run::RunConfig;
use harness::corpus::{Corpus, CorpusSource, Document, DocumentSplits, Split};
use harness::train::{Observer, RunFolder, StepMetrics, TrainJob, TrainOutcome};
use harness::{HarnessError, device};
use models::batch::{Batch, DropoutKey, Target};
use models::engine::Engine;
use models::family::{FamilyConfig, parametrise};
use models::gradient_check::relative_error;
use models::parameters::Layout;
use models::parametrization::Parametrization;
use models::random::{Purpose, Stream};
use models::reference::ReferenceEngine;

const VOCAB: usize = 67;
/// Every family with every part that asks candle for another operation.
const MODELS: [(&str, &str); 5] = [
    ("pt", "width = 32\nchannels = 2\niterations = 3"),
    ("pt2023", "width = 32\nchannels = 2\nrank = 8\niterations = 3\ndropout = 0.1"),
    ("bert", "width = 32\nhead_dim = 16\nlayers = 2\nmax_length = 96"),
    ("preln", "width = 32\nhead_dim = 16\nlayers = 2\nactivation = \"swiglu\"\nbiases = true"),
    ("ut", "width = 32\nhead_dim = 16\nsteps = 3\nmax_length = 96\nhalting = true"),
];
/// Largest relative distance of a loss or a tensor's gradient in f32. Those of the CPU are within
/// 3.9e-6 (PT, whose sharp head posteriors carry rounding furthest; the others 7.2e-7) of float64,
/// so two computations in f32 that round alike are within twice that of each other.
const BOUND: f64 = 1e-5;

fn model(family: &str, shape: &str) -> ModelConfig {
    let text = format!("[{family}]\nvocab = {VOCAB}\n{shape}");
    ModelConfig::from_table(toml::from_str(&text).unwrap()).unwrap()
}

/// The reference path in `dtype` on `device`, and parameters none of which is at a special value.
fn engine(model: &ModelConfig, dtype: DType, device: &Device) -> (Box<dyn Engine>, Vec<f32>) {
    fn of<F: FamilyConfig<Model: 'static>>(
        config: &F,
        (dtype, device): (DType, &Device),
    ) -> (Box<dyn Engine>, Vec<f32>) {
        let table = Parametrization::built_in("standard").unwrap();
        let built = parametrise(config, config, &table).unwrap();
        let layout = config.layout().unwrap();
        let mut parameters = built.resolved.initialise(&layout, &built.base_layout, 7).unwrap();
        let mut stream = Stream::new(7, Purpose::Test, 0);
        for value in &mut parameters {
            *value += 0.02 * stream.normal() as f32;
        }
        let engine = ReferenceEngine::new(built.model, built.resolved, dtype, device.clone());
        (Box::new(engine), parameters)
    }
    let on = (dtype, device);
    match model {
        ModelConfig::Pt(config) => of(config, on),
        ModelConfig::Pt2023(config) => of(config, on),
        ModelConfig::Bert(config) => of(config, on),
        ModelConfig::Preln(config) => of(config, on),
        ModelConfig::Ut(config) => of(config, on),
    }
}

/// Four sequences of 96 tokens, some padding; one id stands at more than half of all places, so
/// that its gradient is a sum of sums on a GPU.
fn batch() -> Batch {
    let (sequences, length) = (4, 96);
    let tokens = sequences * length;
    let mut stream = Stream::new(4, Purpose::Test, 0);
    let mut token = |often: u64| {
        if stream.below(10) < often { 3 } else { stream.below(VOCAB as u64) as u32 }
    };
    let ids = (0..tokens).map(|_| token(6)).collect();
    let attention = Some((0..tokens).map(|place| place < tokens - 9).collect());
    let target = |place: usize| Target { position: place as u32, label: token(0) };
    let targets = (0..tokens - 9).step_by(3).map(target).collect();
    Batch { ids, attention, targets, sequences, length, dropout: None }
}

/// Loss, auxiliary objective and gradients of one batch.
struct Computed {
    objectives: [f64; 2],
    gradients: Vec<f64>,
}

fn compute(model: &ModelConfig, dtype: DType, device: &Device) -> Computed {
    let (mut engine, parameters) = engine(model, dtype, device);
    let mut batch = batch();
    batch.dropout = (model.dropout() > 0.0).then_some(DropoutKey { seed: 5, step: 1 });
    let mut gradients = vec![0f32; parameters.len()];
    let loss = engine.loss_and_gradients(&parameters, &batch, &mut gradients).unwrap();
    engine.synchronise().unwrap();
    let gradients = gradients.into_iter().map(f64::from).collect();
    Computed { objectives: [loss.loss_nats, loss.auxiliary], gradients }
}

/// Relative distance of every objective and of every tensor's gradient, by name. Gradients far
/// below the whole gradient's norm (those of a key's bias are zero but for rounding) are measured
/// against a thousandth of it.
fn distances(layout: &Layout, found: &Computed, expected: &Computed) -> Vec<(String, f64)> {
    let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let floor = 1e-3 * norm(&expected.gradients);
    let names = ["loss", "auxiliary"].into_iter().zip(found.objectives.iter());
    let objectives = names
        .zip(expected.objectives)
        .map(|((name, found), expected)| (name.to_owned(), relative_error(&[*found], &[expected])));
    let tensors = layout.specs().iter().enumerate().map(|(position, spec)| {
        let range = layout.range(position);
        let (found, expected) = (&found.gradients[range.clone()], &expected.gradients[range]);
        let own = norm(expected);
        let share = if own > 0.0 { own / own.max(floor) } else { 1.0 / floor };
        (spec.name().to_owned(), share * relative_error(found, expected))
    });
    objectives.chain(tensors).collect()
}

/// What is further away than [`BOUND`].
fn differing(model: &ModelConfig, found: &Computed, expected: &Computed) -> Vec<(String, f64)> {
    let all = distances(&model.layout().unwrap(), found, expected);
    let worst = all.iter().map(|(_, distance)| *distance).fold(0.0, f64::max);
    eprintln!("{}: largest relative distance {worst:.1e}", model.family());
    all.into_iter().filter(|(_, distance)| distance.is_nan() || *distance > BOUND).collect()
}

#[test]
fn parity_f32_gives_the_losses_and_gradients_of_f64() {
    for (family, shape) in MODELS {
        let model = model(family, shape);
        let [f32, f64] = [DType::F32, DType::F64].map(|dtype| compute(&model, dtype, &Device::Cpu));
        let differing = differing(&model, &f32, &f64);
        assert!(differing.is_empty(), "{family}: {differing:?}");
    }
}

#[test]
fn invariant_the_comparison_of_devices_names_the_tensor_that_differs() {
    for (family, shape) in MODELS {
        let model = model(family, shape);
        let layout = model.layout().unwrap();
        let expected = compute(&model, DType::F64, &Device::Cpu);
        let changed = |change: &dyn Fn(&mut Computed)| {
            let mut found = Computed { gradients: expected.gradients.clone(), ..expected };
            change(&mut found);
            let names = differing(&model, &found, &expected).into_iter().map(|(name, _)| name);
            names.collect::<Vec<_>>()
        };
        assert_eq!(changed(&|_| ()), [""; 0]);
        assert_eq!(changed(&|found| found.objectives[0] *= 1.0001), ["loss"]);
        assert_eq!(changed(&|found| found.objectives[1] = f64::NAN), ["auxiliary"]);
        for (position, spec) in layout.specs().iter().enumerate() {
            let range = layout.range(position);
            let lost = changed(&|found| found.gradients[range.clone()].fill(0.0));
            if spec.name().ends_with("key.bias") && family != "preln" {
                assert_eq!(lost, [""; 0], "{family}: a softmax ignores what all logits share");
            } else {
                assert_eq!(lost, [spec.name()], "{family}");
            }
        }
    }
}

/// Root mean square of the differences of target losses in bf16 on `device` from f32 on the CPU,
/// in nats.
fn bf16_distance(model: &ModelConfig, device: &Device) -> f64 {
    let losses = |dtype, device: &Device| {
        let (mut engine, parameters) = engine(model, dtype, device);
        engine.target_losses(&parameters, &batch()).unwrap()
    };
    let (half, exact) = (losses(DType::BF16, device), losses(DType::F32, &Device::Cpu));
    let squares = half.iter().zip(&exact).map(|(a, b)| f64::from(a - b).powi(2));
    (squares.sum::<f64>() / exact.len() as f64).sqrt()
}

/// A loss of a few nats in numbers of eight bits after two or three layers.
const BF16_BOUND_NATS: f64 = 0.05;

#[test]
fn parity_bf16_gives_the_losses_of_f32() {
    for (family, shape) in MODELS {
        let distance = bf16_distance(&model(family, shape), &Device::Cpu);
        eprintln!("{family}: {distance:.1e} nats");
        assert!(distance > 1e-5, "{family}: nothing was rounded");
        assert!(distance < BF16_BOUND_NATS, "{family}: {distance} nats");
    }
}

const STEPS: u64 = 6;

/// A short training on words that mostly decide the next.
fn run_config(family: &str, shape: &str, settings: &[&str]) -> (RunConfig, Arc<Corpus>) {
    let document = |seed: u64| {
        let mut stream = Stream::new(seed, Purpose::Test, 0);
        let word = |at: u64, stream: &mut Stream| match stream.below(4) {
            0 => format!("w{}", stream.below(50)),
            _ => format!("w{}", 7 * at % 10),
        };
        let text = (0..200).map(|at| word(at, &mut stream)).collect::<Vec<_>>().join(" ");
        Document { name: seed.to_string(), text }
    };
    let splits = DocumentSplits {
        train: (0..10).map(document).collect(),
        validation: (10..12).map(document).collect(),
        test: Vec::new(),
    };
    let text = format!(
        "data_seed = 5\n[model.{family}]\n{shape}\n[parametrization]\nbase_width = 32\n\
         [data]\nlength = 32\ntokenizer = {{ kind = \"words\", vocab = 60 }}\n\
         [train]\nsteps = {STEPS}\nbatch = 8\nlearning_rate = 0.01\nevaluate_every = 3"
    );
    let settings = settings.iter().map(|&setting| setting.to_owned()).collect::<Vec<_>>();
    let layers = vec![toml::from_str(&text).unwrap()];
    let mut run = RunConfig::resolve(family, layers, &settings).unwrap();
    let corpus = Arc::new(Corpus::from_documents(&splits, &run.data, None).unwrap());
    run.model = run.model.with_vocab(corpus.vocabulary().size);
    (run, corpus)
}

/// Training losses, and when to stop.
struct Losses<'a> {
    nats: Vec<f64>,
    halfway: Option<&'a AtomicBool>,
}

impl Observer for Losses<'_> {
    fn step(&mut self, metrics: &StepMetrics, _: f64) -> harness::Result<()> {
        self.nats.extend(metrics.loss_nats);
        if let Some(stop) = self.halfway.filter(|_| metrics.step == STEPS / 2) {
            stop.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn train(
    (run, corpus): &(RunConfig, Arc<Corpus>),
    folder: &Path,
    halve: bool,
) -> (harness::Result<TrainOutcome>, Vec<f64>) {
    let split = Split::Validation;
    let source =
        CorpusSource::new(corpus.clone(), &run.data, &run.train, run.data_seed, split).unwrap();
    let built = run.build().unwrap();
    let initial = built.resolved.initialise(&built.layout, &built.base_layout, run.seed).unwrap();
    let stop = AtomicBool::new(false);
    let job = TrainJob {
        engine: built.engine,
        layout: &built.layout,
        resolved: &built.resolved,
        initial_parameters: initial,
        config: &run.train,
        source: &source,
        vocab: run.model.vocab(),
        dropout_seed: (run.model.dropout() > 0.0).then_some(run.seed),
        threads: 2,
        folder: Some(RunFolder { path: folder, config_hash: "0" }),
        stop: Some(&stop),
    };
    let mut losses = Losses { nats: Vec::new(), halfway: halve.then_some(&stop) };
    let outcome = harness::train::run(job, &mut losses);
    (outcome, losses.nats)
}

/// Six steps under `settings` have the losses of six steps on the reference path of the CPU, and
/// stopped after three and resumed they end with the same bits.
fn check_training(family: &str, shape: &str, settings: &[&str]) {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [cpu, whole, halved] = folders.each_ref().map(tempfile::TempDir::path);
    let (_, expected) = train(&run_config(family, shape, &["path=reference"]), cpu, false);
    let run = run_config(family, shape, settings);
    let (outcome, losses) = train(&run, whole, false);
    assert_eq!(losses.len(), STEPS as usize);
    for (step, (found, expected)) in losses.iter().zip(&expected).enumerate() {
        // Adam divides a small gradient by its own size, and so carries its rounding on.
        let bound = if step == 0 { BOUND } else { 100.0 * BOUND };
        let distance = relative_error(&[*found], &[*expected]);
        assert!(distance <= bound, "{family}, step {step}: {found} is not {expected}");
    }
    assert!(losses[5] < losses[0], "{family}: nothing was learned");
    assert!(matches!(train(&run, halved, true).0, Err(HarnessError::Interrupted)));
    let resumed = train(&run, halved, false).0.unwrap();
    let bits = |outcome: TrainOutcome| {
        outcome.parameters.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    assert!(bits(outcome.unwrap()) == bits(resumed), "{family}: resumed, the weights differ");
}

#[test]
fn parity_training_on_the_fused_path_and_resumed_is_training_on_the_reference_path() {
    for (family, shape) in MODELS {
        // The fused path has neither the 2023 model nor adaptive halting.
        let fused = family != "pt2023" && !shape.contains("halting");
        check_training(family, shape, &[if fused { "path=fused" } else { "path=reference" }]);
    }
}

#[test]
fn invariant_a_missing_gpu_is_an_error_with_a_remedy_and_code_6() {
    assert!(device::open(DeviceKind::Cpu).unwrap().is_cpu());
    let error = device::open(DeviceKind::Cuda).unwrap_err();
    assert_eq!(error.exit_code(), 6);
    assert!(error.to_string().contains("hint: "), "{error}");
}
