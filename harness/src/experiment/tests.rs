//! Experiments replayed on made-up worlds whose truth is known.

use std::collections::BTreeSet;

use models::random::{Purpose, Stream};

use super::design::ladder::rows::{self, Contrast, SizeAxis};
use super::*;
use crate::claims::claim::{Claim, ClaimVerdict, Finding, Test};
use crate::claims::{claims, experiments, verdicts};
use crate::config::model::ModelConfig;
use crate::config::run::RunConfig;
use crate::runs::record::RunRecord;
use crate::statistics::Verdict;

mod arcs;
mod files;
mod search;
mod text;

const VOCAB: usize = 512;

/// A ledger whose losses are a formula of the run.
struct World<F: Fn(&RunConfig) -> Option<f64>> {
    loss: F,
    /// Runs for which this is false are not finished.
    finished: fn(&RunConfig) -> bool,
}

impl<F: Fn(&RunConfig) -> Option<f64>> RunSource for World<F> {
    fn find(&self, run: &RunConfig) -> Result<Option<RunRecord>> {
        if !(self.finished)(run) {
            return Ok(None);
        }
        let layout = run.model.layout()?;
        let flops = run.model.forward_flops(run.data.length)?;
        let loss_nats = (self.loss)(run);
        Ok(Some(RunRecord {
            id: blake3::hash(format!("{run:?}").as_bytes()).to_hex()[..16].to_owned(),
            config: run.clone(),
            parameters_total: layout.total(),
            parameters_non_embedding: layout.non_embedding(),
            flops_per_token: flops.training_per_token(run.data.masking.share),
            tokens: run.train.steps * (run.train.batch * run.data.length) as u64,
            seconds: 1.0,
            loss_nats,
            divergence: loss_nats.is_none().then(|| "made up".to_owned()),
            remarks: Vec::new(),
            evaluations: vec![(run.train.steps, loss_nats.unwrap_or(9.0))],
            documents: vec![],
            unigram_loss_nats: 20.0,
            lines: None,
            context: None,
            arcs: Vec::new(),
        }))
    }
}

fn always(_: &RunConfig) -> bool {
    true
}

/// Noise of standard deviation 1 that depends on seed and name only.
fn noise(seed: u64, name: &str) -> f64 {
    Stream::named(seed, Purpose::Test, name, 0).normal()
}

fn claim(id: &str) -> Claim {
    claims().unwrap().into_iter().find(|claim| claim.id == id).unwrap()
}

fn experiment(name: &str) -> Experiment {
    Experiment::registered(name).unwrap()
}

fn judge(id: &str, name: &str, gathered: &Gathered<Outcome>) -> Finding {
    verdicts::judge(&claim(id), name, &gathered.outcome, gathered.wanted.is_empty()).unwrap()
}

fn transfer_in(source: &dyn RunSource) -> Gathered<Outcome> {
    experiment("transfer").gather(VOCAB, source).unwrap()
}

/// Bowls over log2 rate whose optimum moves by `drift` octaves per octave of width.
fn bowl(run: &RunConfig, drift: f64, deviation: f64) -> f64 {
    let octaves = (run.model.dimensions().width as f64 / 32.0).log2();
    let distance = run.train.learning_rate.log2() - (0.11f64.log2() + drift * octaves);
    let rate = format!("{} {}", run.train.learning_rate, run.parametrization.name);
    let own = deviation * noise(run.seed, &format!("{rate} {octaves}"));
    5.0 - 0.05 * octaves + 0.03 * distance.powi(2) + 0.1 * noise(run.seed, "seed") + own
}

fn drift_of(run: &RunConfig) -> f64 {
    if run.parametrization.name == "standard" { -0.9 } else { 0.0 }
}

/// Losses by family: `effect` on PT, a common seed effect of 0.1 and noise of 0.002.
fn ladder_in(effect: f64, finished: fn(&RunConfig) -> bool, unpaired: bool) -> Gathered<Outcome> {
    let loss = |run: &RunConfig| {
        let size = run.model.layout().unwrap().total() as f64;
        let family = run.model.family();
        let own = if family == "pt" { effect } else { 0.0 };
        let distance = run.train.learning_rate.log2() - 0.002f64.log2();
        let search = if run.seed == 1 { 1e-6 * distance.powi(2) } else { 0.0 };
        let seed = if unpaired && family == "pt" { run.seed + 100 } else { run.seed };
        let common = 0.1 * noise(seed, "seed");
        let rest = 0.002 * noise(run.seed, &format!("{family} {size}"));
        Some(9.0 * size.powf(-0.05) + own + search + common + rest)
    };
    let source = World { loss, finished };
    experiment("ladder-small").gather(VOCAB, &source).unwrap()
}

#[test]
fn invariant_every_registered_file_is_whole() {
    let experiments = experiments().unwrap();
    let names: BTreeSet<&str> = experiments.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names.len(), experiments.len(), "names are unique");
    let claims = claims().unwrap();
    let ids: Vec<&str> = claims.iter().map(|claim| claim.id.as_str()).collect();
    for id in ["C1", "C2", "C3", "C3b", "C4", "C5", "C6", "C7", "C8", "C10", "C11"] {
        assert!(ids.contains(&id), "{id} is not registered");
    }
    for claim in &claims {
        for name in &claim.experiments {
            let design = experiment(name).design;
            assert!(
                verdicts::fits(&claim.test, &design),
                "{} cannot be judged by {name}",
                claim.id
            );
        }
    }
    assert!(Experiment::parse("x", "name = \"x\"").is_err());
    let wrong = Experiment::registered("transfe").unwrap_err().to_string();
    assert!(wrong.contains("did you mean transfer?"), "{wrong}");
}

#[test]
fn invariant_transfer_claim_follows_the_truth() {
    let steady =
        World { loss: |run: &RunConfig| Some(bowl(run, drift_of(run), 0.001)), finished: always };
    let gathered = transfer_in(&steady);
    assert!(gathered.wanted.is_empty());
    let finding = judge("C1", "transfer", &gathered);
    assert_eq!(finding.verdict, ClaimVerdict::Supported, "{}", finding.number);
    // The sign of the drift is kept: the standard optimum falls.
    assert!(finding.number.contains("under standard") && finding.number.contains("−0.9"));
    let Outcome::Transfer(outcome) = &gathered.outcome else { unreachable!() };
    for curve in &outcome.curves {
        let seeded = curve.points.iter().filter(|(_, runs)| runs.len() == 3).count();
        assert!(seeded >= 5 && curve.bracketed, "width {}: {seeded}", curve.width);
    }
    let moving = World { loss: |run: &RunConfig| Some(bowl(run, -0.5, 0.001)), finished: always };
    assert_eq!(judge("C1", "transfer", &transfer_in(&moving)).verdict, ClaimVerdict::Contradicted);
    let noisy =
        World { loss: |run: &RunConfig| Some(bowl(run, drift_of(run), 0.1)), finished: always };
    let finding = judge("C1", "transfer", &transfer_in(&noisy));
    assert_eq!(finding.verdict, ClaimVerdict::Inconclusive, "{}", finding.number);
    assert!(finding.would_take.unwrap().contains("seeds for an interval"));
    // A slope that is certain and small is transfer, though its interval leaves out 0.
    let creeping = World {
        loss: |run: &RunConfig| Some(bowl(run, drift_of(run) - 0.05, 1e-4)),
        finished: always,
    };
    let finding = judge("C1", "transfer", &transfer_in(&creeping));
    assert_eq!(finding.verdict, ClaimVerdict::Supported, "{}", finding.number);
    let effect = finding.effect.unwrap();
    assert!(effect.interval.unwrap().high < 0.0 && (effect.value + 0.05).abs() < 0.01);
    // Without a control that is seen to move, no sweep is supported.
    let still = World { loss: |run: &RunConfig| Some(bowl(run, 0.0, 1e-4)), finished: always };
    let finding = judge("C1", "transfer", &transfer_in(&still));
    assert_eq!(finding.verdict, ClaimVerdict::Inconclusive, "{}", finding.number);
    assert!(finding.would_take.unwrap().contains("a control"));
    // On the plateau nothing is judged.
    let stuck = World {
        loss: |run: &RunConfig| Some(15.0 + bowl(run, drift_of(run), 0.001)),
        finished: always,
    };
    let finding = judge("C1", "transfer", &transfer_in(&stuck));
    assert_eq!(finding.verdict, ClaimVerdict::Plateau, "{}", finding.number);
}

fn first_seed(run: &RunConfig) -> bool {
    run.seed == 1
}

#[test]
fn invariant_unfinished_bowls_give_no_verdict_and_no_interval() {
    let loss = |run: &RunConfig| Some(bowl(run, drift_of(run), 0.001));
    let gathered = transfer_in(&World { loss, finished: first_seed });
    assert!(gathered.wanted.iter().all(|run| run.seed > 1));
    // Three rates, two more seeds, seven different curves.
    assert_eq!(gathered.wanted.len(), 3 * 2 * 7);
    let finding = judge("C1", "transfer", &gathered);
    assert_eq!(finding.verdict, ClaimVerdict::Unfinished);
    assert!(finding.number.contains("no interval"), "{}", finding.number);
    let gathered = transfer_in(&World { loss, finished: |_| false });
    assert_eq!(judge("C1", "transfer", &gathered).verdict, ClaimVerdict::Unfinished);
}

fn without_fourth(run: &RunConfig) -> bool {
    run.seed != 4 || run.model.family() != "bert"
}

#[test]
fn invariant_broken_ladder_analyses_change_the_verdict() {
    let verdict = |id: &str, gathered: &Gathered<Outcome>| judge(id, "ladder-small", gathered);
    let right = ladder_in(-0.02, always, false);
    assert!(right.wanted.is_empty());
    assert_eq!(verdict("C3", &right).verdict, ClaimVerdict::Supported);
    assert_eq!(verdict("C4", &right).verdict, ClaimVerdict::Contradicted);
    // A swapped sign turns both.
    let swapped = ladder_in(0.02, always, false);
    assert_eq!(verdict("C3", &swapped).verdict, ClaimVerdict::Contradicted);
    assert_eq!(verdict("C4", &swapped).verdict, ClaimVerdict::Supported);
    // Without common seeds the same difference decides nothing.
    let unpaired = ladder_in(-0.02, always, true);
    let finding = verdict("C3", &unpaired);
    assert_eq!(finding.verdict, ClaimVerdict::Inconclusive);
    assert!(finding.would_take.unwrap().contains("seeds"));
    // Models above the line without context are not compared, whatever they differ by.
    let mut stuck = ladder_in(-0.02, always, false);
    let Outcome::Ladder(study) = &mut stuck.outcome else { unreachable!() };
    let of_bert = study.cells.iter_mut().find(|cell| cell.family == "bert").unwrap();
    of_bert.runs[3].unigram_loss_nats = of_bert.runs[3].loss_nats.unwrap() + 0.09;
    assert_eq!(verdict("C3", &stuck).verdict, ClaimVerdict::Plateau, "one seed is enough");
    assert_eq!(verdict("C3b", &stuck).verdict, ClaimVerdict::Supported, "another baseline");
    // A dropped seed is missing, not a smaller n.
    let dropped = ladder_in(-0.02, without_fourth, false);
    assert_eq!(dropped.wanted.len(), 4, "one seed of four budgets");
    let finding = verdict("C3", &dropped);
    assert_eq!(finding.verdict, ClaimVerdict::Unfinished);
    assert!(finding.number.contains("of 0 rows"), "{}", finding.number);
    let other = verdict("C3b", &dropped);
    assert_eq!(other.verdict, ClaimVerdict::Unfinished);
    assert!(other.number.contains("of 4 rows"), "{}", other.number);
}

#[test]
fn invariant_disturbed_runs_move_nothing_on_the_axis_of_wall_time() {
    let gathered = ladder_in(0.0, always, false);
    let Outcome::Ladder(study) = &gathered.outcome else { unreachable!() };
    let rows_at = |load: f64| {
        let mut study = study.clone();
        for run in study.cells.iter_mut().flat_map(|cell| cell.runs.iter_mut().enumerate()) {
            // One seed of five had the machine for itself.
            let load = if run.0 == 2 { 1.0 } else { load };
            run.1.seconds = run.1.flops_per_token * load;
        }
        rows::axis_rows(&study, "pt", &["bert".to_owned()], &[SizeAxis::WallTime])
    };
    let (quiet, loaded) = (rows_at(1.0), rows_at(50.0));
    assert!(!quiet.is_empty());
    for (a, b) in quiet.iter().zip(&loaded) {
        assert_eq!((a.size, a.bound, &a.differences), (b.size, b.bound, &b.differences));
    }
}

#[test]
fn golden_power_law_and_other_axes_of_a_known_ladder() {
    let gathered = ladder_in(0.0, always, false);
    let finding = judge("C7", "ladder-small", &gathered);
    assert_ne!(finding.verdict, ClaimVerdict::Contradicted, "{}", finding.number);
    let Outcome::Ladder(study) = &gathered.outcome else { unreachable!() };
    let law = rows::predict(study, "pt").unwrap();
    assert!((law.fit.fit.exponent - 0.05).abs() < 0.01, "{law:?}");
    let Test::Axes { candidate, baselines, axes } = claim("C6").test else { unreachable!() };
    let axes: Vec<_> = axes.into_iter().filter(|axis| *axis != SizeAxis::WallTime).collect();
    let found = rows::axis_rows(study, &candidate, &baselines, &axes);
    assert_eq!(found.len(), 2 * 2 * 4, "every budget has a row on every axis");
    for row in &found {
        let mean = row.differences.iter().sum::<f64>() / row.differences.len() as f64;
        match (row.axis, row.bound) {
            // At equal compute PT is the smaller model, so it loses by the law's own slope; even
            // against the largest baseline, where it spends more than all of them.
            (Some(SizeAxis::TrainingFlops), Some(rows::Bound::Larger)) => assert!(mean > -0.01),
            (Some(SizeAxis::TrainingFlops), None) => assert!(mean > 0.005, "{row:?}"),
            // Per parameter outside the embeddings PT is the larger model: it has fewer of them.
            (Some(SizeAxis::NonEmbeddingParameters), Some(bound)) => {
                assert_eq!(bound, rows::Bound::Smaller, "{row:?}");
            }
            (Some(SizeAxis::NonEmbeddingParameters), None) => assert!(mean < 0.005, "{row:?}"),
            other => panic!("unexpected row {other:?}"),
        }
    }
    // What lies beyond the baseline's range decides in one direction only.
    let bound = |bound, differences: &[f64]| {
        let row =
            Contrast { bound: Some(bound), differences: differences.to_vec(), ..found[0].clone() };
        rows::comparisons(&[row])[0].verdict
    };
    let (better, worse) = ([-0.1, -0.11, -0.09], [0.1, 0.11, 0.09]);
    assert_eq!(bound(rows::Bound::Larger, &better), Verdict::Inconclusive);
    assert_eq!(bound(rows::Bound::Larger, &worse), Verdict::Worse);
    assert_eq!(bound(rows::Bound::Smaller, &better), Verdict::Better);
    assert_eq!(bound(rows::Bound::Smaller, &worse), Verdict::Inconclusive);
}

#[test]
fn invariant_perturbed_sets_are_the_same_at_both_widths() {
    let quality = |run: &RunConfig| {
        let ModelConfig::Pt(config) = &run.model else { unreachable!() };
        let width = run.model.dimensions().width as f64;
        let rate = (run.train.learning_rate / 0.1).log2();
        let distance = rate.powi(2) + (config.lambda_h / 0.15 - 1.0) + config.ternary_weight;
        Some(5.0 - 0.001 * width + 0.05 * distance + 1e-4 * noise(run.seed, &format!("{distance}")))
    };
    let source = World { loss: quality, finished: always };
    let gathered = experiment("perturbation").gather(VOCAB, &source).unwrap();
    assert!(gathered.wanted.is_empty());
    let Outcome::Perturb(outcome) = &gathered.outcome else { unreachable!() };
    for set in &outcome.sets {
        let knobs = |width: usize| {
            let run = &set.runs[width][0].config;
            let ModelConfig::Pt(own) = run.model.clone() else { unreachable!() };
            let Some(ModelConfig::Pt(base)) = run.base.clone() else { unreachable!() };
            assert_eq!(own.lambda_h.to_bits(), base.lambda_h.to_bits(), "base and model agree");
            (run.train.learning_rate, own.lambda_h, own.ternary_weight, own.logit_multiplier)
        };
        assert_eq!(knobs(0), knobs(1));
        assert!((knobs(0).1 - 0.15 * set.factors[4]).abs() < 1e-12);
        assert!(set.factors.iter().all(|factor| (factor - 1.0).abs() <= 0.2));
    }
    let finding = judge("C2", "perturbation", &gathered);
    assert!(finding.number.contains("rank correlation 1.00"), "{}", finding.number);
}

#[test]
fn invariant_comparison_is_signed_and_paired() {
    let experiment = experiment("rope");
    let verdict = |effect: f64, shift: u64| {
        let loss = |run: &RunConfig| {
            let ModelConfig::Pt(config) = &run.model else { unreachable!() };
            let exact = config.rope == models::pt2026::Rope::Exact;
            let seed = if exact { run.seed } else { run.seed + shift };
            let own = if exact { effect } else { 0.0 };
            let bowl = 0.05 * (run.train.learning_rate / 0.1).log2().powi(2);
            Some(5.0 + own + bowl + 0.1 * noise(seed, "seed") + 1e-3 * noise(run.seed, "own") * own)
        };
        let source = World { loss, finished: always };
        judge("C5", "rope", &experiment.gather(VOCAB, &source).unwrap()).verdict
    };
    assert_eq!(verdict(-0.02, 0), ClaimVerdict::Supported);
    assert_eq!(verdict(0.02, 0), ClaimVerdict::Contradicted);
    assert_eq!(verdict(0.001, 0), ClaimVerdict::Supported, "no change is good enough");
    assert_eq!(verdict(-0.02, 50), ClaimVerdict::Inconclusive, "pairing is what decides");
}
