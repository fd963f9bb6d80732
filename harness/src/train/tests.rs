//! Properties of whole runs.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use models::batch::DropoutKey;
use models::engine::Engine;
use models::parametrization::Resolved;

use super::recorder::{DOCUMENTS_FILE, EVALUATION_FILE, METRICS_FILE};
use super::testing::{Bigram, Chains, VOCAB, rules};
use super::*;
use crate::collective::{Alone, Collective};
use crate::config::train::{
    AnnealingConfig, DecayKind, PartGradients, ScheduleConfig, TrainConfig,
};
use crate::error::{HarnessError, Result};

mod edge;
mod together;

/// Ruins a file.
type Damage = fn(&Path);

const HASH: &str = "0123456789abcdef";

fn config(steps: u64) -> TrainConfig {
    TrainConfig {
        steps,
        batch: 8,
        learning_rate: 0.05,
        weight_decay: 0.01,
        gradient_clip: 0.2,
        evaluate_every: 5,
        ..TrainConfig::default()
    }
}

/// Stops a run in order after one step, or breaks it off after another.
struct Disturber<'a> {
    stop_after: u64,
    crash_after: u64,
    stop: &'a AtomicBool,
}

impl Observer for Disturber<'_> {
    fn step(&mut self, metrics: &StepMetrics, _: f64) -> Result<()> {
        self.stop.store(metrics.step == self.stop_after, Ordering::Relaxed);
        if metrics.step == self.crash_after {
            return Err(HarnessError::Invariant("crash".to_owned()));
        }
        Ok(())
    }
}

struct Case<'a> {
    config: &'a TrainConfig,
    folder: Option<&'a Path>,
    threads: usize,
    stop_after: u64,
    crash_after: u64,
    engine: Bigram,
    resolved: Resolved,
    dropout_seed: Option<u64>,
}

impl<'a> Case<'a> {
    fn new(config: &'a TrainConfig, folder: Option<&'a Path>) -> Self {
        Self {
            config,
            folder,
            threads: 1,
            stop_after: u64::MAX,
            crash_after: u64::MAX,
            engine: Bigram::new(),
            resolved: rules(),
            dropout_seed: None,
        }
    }

    fn run(self) -> Result<TrainOutcome> {
        self.run_on(&Alone)
    }

    fn run_on(self, collective: &dyn Collective) -> Result<TrainOutcome> {
        let source = Chains::new(self.config.batch, self.config.parts());
        let stop = AtomicBool::new(false);
        let job = TrainJob {
            engine: Box::new(self.engine),
            layout: &Bigram::layout(),
            resolved: &self.resolved,
            initial_parameters: Bigram::initial(3),
            config: self.config,
            source: &source,
            vocab: VOCAB,
            dropout_seed: self.dropout_seed,
            threads: self.threads,
            folder: self.folder.map(|path| RunFolder { path, config_hash: HASH }),
            stop: Some(&stop),
        };
        let Self { stop_after, crash_after, .. } = self;
        run_together(job, collective, &mut Disturber { stop_after, crash_after, stop: &stop })
    }
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn assert_same_results(left: &Path, right: &Path) {
    for name in [METRICS_FILE, EVALUATION_FILE, DOCUMENTS_FILE] {
        assert_eq!(read(left, name), read(right, name), "{name} differs");
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn invariant_training_learns_and_records_every_step() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = Case::new(&config(40), Some(folder.path())).run().unwrap();
    let evaluation = outcome.final_evaluation.as_ref().unwrap();
    assert!(evaluation.loss_nats < outcome.first_loss_nats - 1.0, "{evaluation:?}");
    let metrics = read(folder.path(), METRICS_FILE);
    assert_eq!(metrics.lines().count(), 41);
    let first = metrics.lines().nth(1).unwrap();
    assert!(first.starts_with("1,96,"), "{metrics}");
    assert!(first.ends_with(",0.025"), "half the rate in the first of two warm-up steps: {first}");
    assert_eq!(read(folder.path(), EVALUATION_FILE).lines().count(), 1 + 8);
    let sum: f64 = evaluation.documents.iter().map(|entry| entry.loss_nats_sum).sum();
    let count: u64 = evaluation.documents.iter().map(|entry| entry.targets).sum();
    assert_eq!(count, evaluation.targets);
    assert!((sum / count as f64 - evaluation.loss_nats).abs() < 1e-12);
    assert_eq!(evaluation.documents.len(), 3);
}

#[test]
fn invariant_results_do_not_depend_on_threads() {
    let folders = [1, 2, 5].map(|threads| {
        let folder = tempfile::tempdir().unwrap();
        let config = config(8);
        let case = Case { threads, ..Case::new(&config, Some(folder.path())) };
        let parameters = bits(&case.run().unwrap().parameters);
        (folder, parameters)
    });
    for (folder, parameters) in &folders[1..] {
        assert_same_results(folders[0].0.path(), folder.path());
        assert_eq!(&folders[0].1, parameters);
    }
}

#[test]
fn invariant_accumulated_parts_equal_the_whole_batch() {
    // Weights differ from the big batch by rounding only: a wrong weighting of parts shows as
    // a relative difference of order one in gradients and losses.
    let whole = Case::new(&config(10), None).run().unwrap();
    let parts = TrainConfig { micro_batches: 4, ..config(10) };
    let parts = Case::new(&parts, None).run().unwrap();
    assert_eq!(whole.tokens, parts.tokens);
    assert!((whole.first_loss_nats - parts.first_loss_nats).abs() < 1e-12);
    let loss = |outcome: &TrainOutcome| outcome.final_evaluation.as_ref().unwrap().loss_nats;
    assert!((loss(&whole) - loss(&parts)).abs() < 1e-4, "{} {}", loss(&whole), loss(&parts));
    let one = TrainConfig { weight_decay: 0.0, ..config(1) };
    let gradients = |config: &TrainConfig| {
        let folder = tempfile::tempdir().unwrap();
        Case::new(config, Some(folder.path())).run().unwrap();
        let row = read(folder.path(), METRICS_FILE).lines().nth(1).unwrap().to_owned();
        row.split(',').nth(4).unwrap().parse::<f64>().unwrap()
    };
    let (a, b) = (gradients(&one), gradients(&TrainConfig { micro_batches: 4, ..one.clone() }));
    assert!((a - b).abs() < 1e-6 * a, "{a} {b}");
}

#[test]
fn invariant_summed_parts_add_up_the_gradients_of_their_own_means() {
    let run = |part_gradients| {
        let folder = tempfile::tempdir().unwrap();
        let config = TrainConfig { micro_batches: 4, part_gradients, ..config(1) };
        let outcome = Case::new(&config, Some(folder.path())).run().unwrap();
        let row = read(folder.path(), METRICS_FILE).lines().nth(1).unwrap().to_owned();
        (row.split(',').nth(4).unwrap().parse::<f64>().unwrap(), outcome.first_loss_nats)
    };
    let (mut engine, source) = (Bigram::new(), Chains::new(8, 4));
    let parameters = Bigram::initial(3);
    let mut sum = vec![0f64; parameters.len()];
    for part in 0..4 {
        let mut gradients = vec![0f32; parameters.len()];
        let batch = source.training_batch(0, part);
        engine.loss_and_gradients(&parameters, &batch, &mut gradients).unwrap();
        sum.iter_mut().zip(&gradients).for_each(|(sum, &part)| *sum += f64::from(part));
    }
    let expected = sum.iter().map(|g| g * g).sum::<f64>().sqrt();
    let (mean, sum) = (run(PartGradients::Mean), run(PartGradients::Sum));
    assert!((sum.0 - expected).abs() < 1e-5 * expected, "{sum:?} {expected}");
    assert!((mean.0 - expected).abs() > 0.5 * expected, "{mean:?} {expected}");
    assert_eq!(sum.1.to_bits(), mean.1.to_bits(), "the loss reported is the mean");
}

/// A rate so high that held-out losses go up and down.
fn annealed() -> TrainConfig {
    let annealing = AnnealingConfig { factor: 0.3, patience: 0, learning_rate_min: 1e-3 };
    TrainConfig {
        learning_rate: 0.4,
        evaluate_every: 1,
        annealing: Some(annealing),
        keep_best: true,
        decay_kind: DecayKind::Coupled,
        schedule: ScheduleConfig { warmup_share: 0.0, ..ScheduleConfig::default() },
        ..config(60)
    }
}

#[test]
fn invariant_annealing_lowers_the_rate_ends_the_run_and_gives_the_best_state() {
    let folder = tempfile::tempdir().unwrap();
    let config = annealed();
    let outcome = Case::new(&config, Some(folder.path())).run().unwrap();
    assert!(outcome.steps < 60, "the rate never fell below its least");
    let text = read(folder.path(), EVALUATION_FILE);
    let losses: Vec<f64> =
        text.lines().skip(1).map(|row| row.split(',').nth(1).unwrap().parse().unwrap()).collect();
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(best < *losses.last().unwrap(), "the last is the best: nothing is tested");
    assert_eq!(outcome.final_evaluation.unwrap().loss_nats.to_bits(), best.to_bits());
    let place = losses.iter().position(|loss| loss.to_bits() == best.to_bits()).unwrap() as u64 + 1;
    let short = TrainConfig { keep_best: false, ..config.clone() };
    let stopped = Case { stop_after: place, ..Case::new(&short, Some(folder.path())) };
    std::fs::remove_dir_all(folder.path()).unwrap();
    std::fs::create_dir(folder.path()).unwrap();
    assert!(stopped.run().is_err());
    let snapshot = checkpoint::newest(folder.path(), &Bigram::layout(), HASH).unwrap().unwrap();
    assert_eq!(bits(&snapshot.buffers[0]), bits(&outcome.parameters));
}

#[test]
fn invariant_an_annealed_run_resumes_bit_exactly_from_any_step() {
    let straight = tempfile::tempdir().unwrap();
    let config = annealed();
    let expected = Case::new(&config, Some(straight.path())).run().unwrap();
    for stop_after in 1..expected.steps {
        let broken = tempfile::tempdir().unwrap();
        let stopped = Case { stop_after, ..Case::new(&config, Some(broken.path())) }.run();
        assert!(matches!(stopped, Err(HarnessError::Interrupted)));
        let resumed = Case::new(&config, Some(broken.path())).run().unwrap();
        assert_same_results(straight.path(), broken.path());
        assert_eq!(bits(&expected.parameters), bits(&resumed.parameters), "after {stop_after}");
    }
}

#[test]
fn invariant_resume_is_bit_exact() {
    let (straight, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for every in [0, 4] {
        let config = TrainConfig { checkpoint_every: every, ..config(20) };
        let expected = Case::new(&config, Some(straight.path())).run().unwrap();
        let stopped = Case { stop_after: 9, ..Case::new(&config, Some(broken.path())) }.run();
        assert!(matches!(stopped, Err(HarnessError::Interrupted)));
        let resumed = Case::new(&config, Some(broken.path())).run().unwrap();
        assert_same_results(straight.path(), broken.path());
        assert_eq!(bits(&expected.parameters), bits(&resumed.parameters));
        assert_eq!(expected.tokens, resumed.tokens);
        assert_eq!(expected.first_loss_nats.to_bits(), resumed.first_loss_nats.to_bits());
        for folder in [&straight, &broken] {
            std::fs::remove_dir_all(folder.path().join(checkpoint::CHECKPOINTS_FOLDER)).ok();
        }
    }
}

#[test]
fn invariant_a_crash_costs_the_steps_since_the_last_checkpoint_and_nothing_else() {
    let (straight, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = TrainConfig { checkpoint_every: 5, ..config(15) };
    let expected = Case::new(&config, Some(straight.path())).run().unwrap();
    let crashed = Case { crash_after: 12, ..Case::new(&config, Some(broken.path())) }.run();
    assert!(matches!(crashed, Err(HarnessError::Invariant(_))));
    // Rows of steps 11 and 12 and of the evaluation after step 10 are there and must not stay.
    assert_eq!(read(broken.path(), METRICS_FILE).lines().count(), 13);
    assert_eq!(read(broken.path(), EVALUATION_FILE).lines().count(), 3);
    let resumed = Case::new(&config, Some(broken.path())).run().unwrap();
    assert_same_results(straight.path(), broken.path());
    assert_eq!(bits(&expected.parameters), bits(&resumed.parameters));
}

#[test]
fn invariant_a_damaged_checkpoint_falls_back_to_the_one_before() {
    let (straight, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = TrainConfig { checkpoint_every: 3, ..config(14) };
    let expected = Case::new(&config, Some(straight.path())).run().unwrap();
    let truncate: Damage = |path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    let flip: Damage = |path| {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() - 1000;
        bytes[middle] ^= 4;
        std::fs::write(path, bytes).unwrap();
    };
    let header: Damage = |path| {
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()[..600]).into_owned();
        let place = text.find("tokens").unwrap() + 9;
        let mut bytes = std::fs::read(path).unwrap();
        bytes[place] = if bytes[place] == b'1' { b'2' } else { b'1' };
        std::fs::write(path, bytes).unwrap();
    };
    let empty: Damage = |path| std::fs::write(path, b"").unwrap();
    for damage in [truncate, flip, header, empty] {
        let stopped = Case { stop_after: 10, ..Case::new(&config, Some(broken.path())) }.run();
        assert!(matches!(stopped, Err(HarnessError::Interrupted)));
        let saved = checkpoint::list(broken.path()).unwrap();
        assert_eq!(saved.len(), 2, "the last two are kept");
        damage(&saved[0]);
        let layout = Bigram::layout();
        assert!(checkpoint::load(&saved[0], &layout, HASH).is_err());
        assert_eq!(checkpoint::newest(broken.path(), &layout, HASH).unwrap().unwrap().step, 9);
        let resumed = Case::new(&config, Some(broken.path())).run().unwrap();
        assert_same_results(straight.path(), broken.path());
        assert_eq!(bits(&expected.parameters), bits(&resumed.parameters));
        std::fs::remove_dir_all(broken.path().join(checkpoint::CHECKPOINTS_FOLDER)).unwrap();
    }
}

#[test]
fn invariant_a_checkpoint_of_another_configuration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig { checkpoint_every: 2, ..config(4) };
    Case::new(&config, Some(folder.path())).run().unwrap();
    let error = checkpoint::newest(folder.path(), &Bigram::layout(), "ffff").unwrap_err();
    assert!(error.to_string().contains(HASH), "{error}");
    assert_eq!(error.exit_code(), 3);
}

#[test]
fn invariant_checkpoints_are_plain_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig { checkpoint_every: 2, ..config(4) };
    let outcome = Case::new(&config, Some(folder.path())).run().unwrap();
    let bytes = std::fs::read(&checkpoint::list(folder.path()).unwrap()[0]).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let bias = tensors.tensor("decoder.bias").unwrap();
    let range = Bigram::layout().range_of("decoder.bias").unwrap();
    assert_eq!(bias.shape(), [VOCAB]);
    assert_eq!(bias.data(), bytemuck::cast_slice::<f32, u8>(&outcome.parameters[range]));
    assert_eq!(tensors.len(), 9);
}

#[test]
fn invariant_nan_stops_the_run_with_step_and_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(20);
    let engine = Bigram { broken_from: 6, ..Bigram::new() };
    let case = Case { engine, ..Case::new(&config, Some(folder.path())) };
    let outcome = case.run().unwrap();
    assert_eq!((outcome.steps, outcome.final_evaluation.is_none()), (6, true));
    assert!(outcome.parameters.iter().all(|value| value.is_finite()));
    assert_eq!(read(folder.path(), METRICS_FILE).lines().count(), 8);
    let error = outcome.require_converged().unwrap_err();
    let HarnessError::Numerical { tensor, step, .. } = &error else { panic!("{error}") };
    assert_eq!((tensor.as_str(), *step), ("gradient of decoder.weight", 7));
    assert_eq!(error.exit_code(), 5);
}

#[test]
fn invariant_a_rate_that_blows_up_is_recorded_as_diverged() {
    let config = TrainConfig { learning_rate: 1e38, ..config(20) };
    let outcome = Case::new(&config, None).run().unwrap();
    assert!(matches!(outcome.divergence, Some(Divergence::NotFinite { .. })));
    let config = TrainConfig { learning_rate: 50.0, ..config };
    let outcome = Case::new(&config, None).run().unwrap();
    assert!(matches!(outcome.divergence, Some(Divergence::AboveUniform { .. })), "{outcome:?}");
}

#[test]
fn invariant_the_parametrization_scales_the_clip_threshold() {
    let run = |gradient_clip, gradient_clip_multiplier| {
        let config = TrainConfig { gradient_clip, ..config(6) };
        let resolved = Resolved { gradient_clip_multiplier, ..rules() };
        let case = Case { resolved, ..Case::new(&config, None) };
        bits(&case.run().unwrap().parameters)
    };
    assert_eq!(run(0.25, 1.0), run(0.125, 2.0));
    assert_ne!(run(0.25, 1.0), run(0.25, 2.0));
}

#[test]
fn invariant_every_part_of_every_step_has_its_own_dropout_key() {
    let keys = Arc::new(Mutex::new(Vec::new()));
    let config = TrainConfig { micro_batches: 2, ..config(3) };
    let engine = Bigram { keys: Arc::clone(&keys), ..Bigram::new() };
    let case = Case { engine, dropout_seed: Some(9), ..Case::new(&config, None) };
    case.run().unwrap();
    let expected: Vec<_> = (0..6).map(|step| Some(DropoutKey { seed: 9, step })).collect();
    assert_eq!(*keys.lock().unwrap(), expected);
}
