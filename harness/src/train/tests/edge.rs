//! Steps without targets, and what a run is called at its end.

use models::batch::Batch;

use super::*;
use crate::collective::threads::group;
use crate::train::source::{BatchSource, EvaluationBatch};

/// A source some of whose parts have no target.
struct Gaps {
    chains: Chains,
    /// Whether part `.1` of step `.0` has none.
    empty: fn(u64, usize) -> bool,
}

impl BatchSource for Gaps {
    fn training_batch(&self, step: u64, micro: usize) -> Batch {
        let mut batch = self.chains.training_batch(step, micro);
        if (self.empty)(step, micro) {
            batch.targets.clear();
        }
        batch
    }

    fn evaluation(&self) -> &[EvaluationBatch] {
        self.chains.evaluation()
    }
}

/// The training batches of `batches` in a circle, and held-out batches of their own.
struct Fixed {
    batches: Vec<Batch>,
    evaluation: Vec<EvaluationBatch>,
}

impl BatchSource for Fixed {
    fn training_batch(&self, step: u64, _: usize) -> Batch {
        self.batches[step as usize % self.batches.len()].clone()
    }

    fn evaluation(&self) -> &[EvaluationBatch] {
        &self.evaluation
    }
}

/// Training text of one kind and held-out text in which what follows is another token each time.
fn contrary() -> Fixed {
    let chains = Chains::new(8, 1);
    let mut evaluation = chains.evaluation().to_vec();
    for entry in &mut evaluation {
        for target in &mut entry.batch.targets {
            target.label = (target.label + 7) % 20;
        }
    }
    Fixed { batches: (0..2).map(|step| chains.training_batch(step, 0)).collect(), evaluation }
}

fn run_on(
    source: &dyn BatchSource,
    config: &TrainConfig,
    (folder, stop_after): (Option<&Path>, u64),
    collective: &dyn Collective,
) -> Result<TrainOutcome> {
    let stop = AtomicBool::new(false);
    let job = TrainJob {
        engine: Box::new(Bigram::new()),
        layout: &Bigram::layout(),
        resolved: &rules(),
        initial_parameters: Bigram::initial(3),
        config,
        source,
        vocab: VOCAB,
        dropout_seed: None,
        threads: 1,
        folder: folder.map(|path| RunFolder { path, config_hash: HASH }),
        stop: Some(&stop),
    };
    let mut disturber = Disturber { stop_after, crash_after: u64::MAX, stop: &stop };
    run_together(job, collective, &mut disturber)
}

fn alone(source: &dyn BatchSource, config: &TrainConfig, folder: &Path) -> TrainOutcome {
    run_on(source, config, (Some(folder), u64::MAX), &Alone).unwrap()
}

const GAPS: fn(u64, usize) -> bool = |step, _| step == 0 || step % 4 == 2;

#[test]
fn invariant_a_step_without_targets_moves_data_and_schedule_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let schedule = ScheduleConfig { warmup_share: 0.0, ..ScheduleConfig::default() };
    let config = TrainConfig { evaluate_every: 0, schedule, ..config(8) };
    let outcome = alone(&Gaps { chains: Chains::new(8, 1), empty: GAPS }, &config, folder.path());
    assert_eq!((outcome.steps, outcome.idle_steps), (8, 3));
    assert_eq!(outcome.divergence, None);
    let text = read(folder.path(), METRICS_FILE);
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|row| row.split(',').collect()).collect();
    for (step, row) in rows.iter().enumerate() {
        let idle = GAPS(step as u64, 0);
        assert_eq!(row[2].is_empty(), idle, "{text}");
        assert_eq!(row[4] == "0", idle, "the gradient of no target is zero: {text}");
        // 8 sequences of 12 tokens are read in every step.
        assert_eq!(row[1].parse::<usize>().unwrap(), 96 * (step + 1));
    }
    let first: f64 = rows[1][2].parse().unwrap();
    assert_eq!(outcome.first_loss_nats.to_bits(), first.to_bits());
    // By hand: five updates in a row at the rates of their places, moments and the count in
    // Adam's bias correction knowing nothing of the steps between.
    let (layout, resolved) = (Bigram::layout(), rules());
    let mut update = update::Update::<f32>::new(&layout, &resolved, &config);
    let (mut parameters, mut engine) = (Bigram::initial(3), Bigram::new());
    let mut gradients = vec![0f32; layout.total()];
    let chains = Chains::new(8, 1);
    for (step, row) in rows.iter().enumerate().filter(|(step, _)| !GAPS(*step as u64, 0)) {
        let batch = chains.training_batch(step as u64, 0);
        engine.loss_and_gradients(&parameters, &batch, &mut gradients).unwrap();
        let norm = optimiser::global_norm(&gradients);
        update.step(&mut parameters, &mut gradients, norm, row[5].parse().unwrap());
    }
    assert_eq!(bits(&parameters), bits(&outcome.parameters));
    let rates =
        |rows: &[Vec<&str>]| -> Vec<String> { rows.iter().map(|row| row[5].to_owned()).collect() };
    let whole = tempfile::tempdir().unwrap();
    alone(&Chains::new(8, 1), &config, whole.path());
    let plain = read(whole.path(), METRICS_FILE);
    let plain: Vec<Vec<&str>> = plain.lines().skip(1).map(|row| row.split(',').collect()).collect();
    assert_eq!(rates(&rows), rates(&plain), "the schedule is that of a run without gaps");
}

#[test]
fn invariant_a_run_with_idle_steps_resumes_bit_exactly_from_any_step() {
    let source = Gaps { chains: Chains::new(8, 1), empty: GAPS };
    let config = TrainConfig { decay_kind: DecayKind::Coupled, ..config(9) };
    let straight = tempfile::tempdir().unwrap();
    let expected = alone(&source, &config, straight.path());
    for stop_after in 1..9 {
        let broken = tempfile::tempdir().unwrap();
        let stopped = run_on(&source, &config, (Some(broken.path()), stop_after), &Alone);
        assert!(matches!(stopped, Err(HarnessError::Interrupted)));
        let resumed = alone(&source, &config, broken.path());
        assert_same_results(straight.path(), broken.path());
        assert_eq!(bits(&expected.parameters), bits(&resumed.parameters), "after {stop_after}");
        let count = |outcome: &TrainOutcome| (outcome.steps, outcome.idle_steps, outcome.tokens);
        assert_eq!(count(&expected), count(&resumed));
        assert_eq!(expected.first_loss_nats.to_bits(), resumed.first_loss_nats.to_bits());
    }
}

#[test]
fn invariant_parts_and_ranks_without_targets_count_for_nothing() {
    // Sequences of a step are the same however it is divided, so an empty half of the whole batch
    // is an empty part of two.
    let halved = |_: u64, micro: usize| micro == 1;
    let never = |_: u64, _: usize| false;
    let mut whole = Chains::new(8, 1).training_batch(0, 0);
    whole.targets.retain(|target| (target.position as usize) < 4 * whole.length);
    let one = Fixed { batches: vec![whole], evaluation: Chains::new(8, 1).evaluation().to_vec() };
    let config = config(1);
    let expected = run_on(&one, &config, (None, u64::MAX), &Alone).unwrap();
    let parts = TrainConfig { micro_batches: 2, ..config.clone() };
    let gaps = Gaps { chains: Chains::new(8, 2), empty: halved };
    let found = run_on(&gaps, &parts, (None, u64::MAX), &Alone).unwrap();
    assert_eq!(found.first_loss_nats.to_bits(), expected.first_loss_nats.to_bits());
    assert_eq!(bits(&found.parameters), bits(&expected.parameters));
    let full = Gaps { chains: Chains::new(8, 2), empty: never };
    let full = run_on(&full, &parts, (None, u64::MAX), &Alone).unwrap();
    assert_ne!(bits(&full.parameters), bits(&expected.parameters));
    // On two ranks one has nothing in every step, and in some steps neither has.
    let empty: fn(u64, usize) -> bool = |step, micro| micro == 1 || GAPS(step, micro);
    let config = TrainConfig { steps: 8, ..config };
    let parts = TrainConfig { micro_batches: 2, ..config.clone() };
    let source = || Gaps { chains: Chains::new(8, 2), empty };
    let expected = run_on(&source(), &parts, (None, u64::MAX), &Alone).unwrap();
    assert_eq!(expected.idle_steps, 3);
    let shared = TrainConfig { ranks: 2, ..config };
    std::thread::scope(|scope| {
        for rank in group(2) {
            let (shared, expected) = (&shared, &expected);
            scope.spawn(move || {
                let found = run_on(&source(), shared, (None, u64::MAX), &rank).unwrap();
                assert_eq!(bits(&found.parameters), bits(&expected.parameters));
                assert_eq!((found.steps, found.idle_steps), (8, 3));
            });
        }
    });
}

#[test]
fn invariant_evaluation_without_targets_is_told_before_the_first_step() {
    let mut source = contrary();
    source.evaluation.iter_mut().for_each(|entry| {
        entry.batch.targets.clear();
        entry.documents.clear();
    });
    let folder = tempfile::tempdir().unwrap();
    let error = run_on(&source, &config(5), (Some(folder.path()), u64::MAX), &Alone).unwrap_err();
    assert!(error.to_string().contains("hold no target\nhint: "), "{error}");
    assert_eq!(error.exit_code(), 2);
    assert!(!folder.path().join(METRICS_FILE).exists(), "a step was taken");
}

#[test]
fn invariant_a_text_learnt_by_heart_is_overfitted_and_not_diverged() {
    let config = TrainConfig { learning_rate: 0.02, weight_decay: 0.0, ..config(150) };
    let folder = tempfile::tempdir().unwrap();
    let outcome = alone(&contrary(), &config, folder.path());
    let held_out = outcome.final_evaluation.as_ref().unwrap().loss_nats;
    let uniform = (VOCAB as f64).ln();
    assert!(held_out > uniform.max(outcome.first_loss_nats) + 0.1, "{held_out}: no test of it");
    assert!(outcome.last_loss_nats < 1.0, "{}", outcome.last_loss_nats);
    assert_eq!(outcome.divergence, None);
    let overfitted = outcome.overfitted.unwrap();
    let rows = read(folder.path(), EVALUATION_FILE);
    let rows = rows.lines().skip(1).map(|row| {
        let fields: Vec<&str> = row.split(',').collect();
        (fields[1].parse::<f64>().unwrap(), fields[0].parse::<u64>().unwrap())
    });
    let best = rows.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    assert_eq!((overfitted.best_loss_nats, overfitted.best_step), best);
    assert!(overfitted.training_loss_nats < 1.0, "{overfitted:?}");
    // Without evaluations on the way the same is found at the end.
    let once = TrainConfig { evaluate_every: 0, ..config.clone() };
    let outcome = run_on(&contrary(), &once, (None, u64::MAX), &Alone).unwrap();
    assert_eq!((outcome.divergence, outcome.overfitted.unwrap().best_step), (None, 150));
    // The best parameters, if they are the result, are not overfitted.
    let kept = TrainConfig { keep_best: true, ..config };
    let outcome = run_on(&contrary(), &kept, (None, u64::MAX), &Alone).unwrap();
    assert_eq!((outcome.divergence, outcome.overfitted), (None, None));
}

#[test]
fn invariant_what_blows_up_on_its_training_text_diverged_whatever_is_held_out() {
    let config = TrainConfig { learning_rate: 50.0, ..config(20) };
    for source in [&contrary() as &dyn BatchSource, &Chains::new(8, 1)] {
        let outcome = run_on(source, &config, (None, u64::MAX), &Alone).unwrap();
        assert!(matches!(outcome.divergence, Some(Divergence::AboveUniform { .. })));
        assert_eq!(outcome.overfitted, None);
    }
    // One step is enough, though its own loss was taken before it.
    let short = TrainConfig { steps: 1, ..config };
    let outcome = run_on(&Chains::new(8, 1), &short, (None, u64::MAX), &Alone).unwrap();
    assert!(matches!(outcome.divergence, Some(Divergence::AboveUniform { .. })), "{outcome:?}");
}
