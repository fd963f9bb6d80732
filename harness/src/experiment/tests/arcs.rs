//! Heads at equal loss, in worlds where they follow from the loss.

use super::*;
use crate::experiment::design::ladder::arcs::at_level;
use crate::treebank::arcs::Direction;
use crate::treebank::follow::ArcScore;

const STEPS: u64 = 2000;
const ARCS: usize = 1_000_000;

fn final_loss(run: &RunConfig) -> f64 {
    // The model that trains slowest has the highest loss, and by that the worst heads.
    let own = if run.model.family() == "pt" { 2.8 } else { 2.0 };
    own + 0.01 * noise(run.seed, run.model.family())
}

#[expect(clippy::unnecessary_wraps, reason = "a world may have diverged runs")]
fn losses(run: &RunConfig) -> Option<f64> {
    Some(final_loss(run))
}

fn score(step: u64, uas: f64) -> ArcScore {
    let directed = (uas * ARCS as f64).round() as usize;
    ArcScore {
        step,
        iteration: 1,
        channel: 1,
        direction: Direction::ToHead,
        arcs: ARCS,
        directed,
        undirected: directed,
        uas_low: None,
        uas_high: None,
        uuas_low: None,
        uuas_high: None,
    }
}

/// Trains `run` along a straight line from 4 nats, a fifth of an arc learnt with every nat; its
/// heads are `gain` better at every loss.
fn trained(run: &mut RunRecord, gain: f64, every: u64) {
    let last = run.loss_nats.unwrap();
    let luck = 0.001 * noise(run.config.seed, "heads");
    (run.evaluations, run.arcs) = (Vec::new(), Vec::new());
    for step in (1..=STEPS / every).map(|count| count * every) {
        let loss = 4.0 + (last - 4.0) * step as f64 / STEPS as f64;
        run.evaluations.push((step, loss));
        run.arcs.push(score(step, 0.2 + 0.2 * (4.0 - loss) + gain + luck));
    }
}

fn world(gain_of_pt: f64, every: u64) -> Gathered<Outcome> {
    let source = World { loss: losses, finished: always };
    let mut gathered = experiment("trees-tuned").gather(143, &source).unwrap();
    assert!(gathered.wanted.is_empty());
    let Outcome::Ladder(study) = &mut gathered.outcome else { unreachable!() };
    for run in study.cells.iter_mut().flat_map(|cell| &mut cell.runs) {
        assert!(run.config.train.evaluate_arcs);
        let gain = if run.config.model.family() == "pt" { gain_of_pt } else { 0.0 };
        trained(run, gain, every);
    }
    gathered
}

fn verdict(gathered: &Gathered<Outcome>) -> Finding {
    judge("C10", "trees-tuned", gathered)
}

/// PT ends with fewer arcs right in all of these worlds, for it ends at a higher loss.
#[test]
fn invariant_heads_are_compared_at_equal_loss() {
    let finding = verdict(&world(0.05, 200));
    assert_eq!(finding.verdict, ClaimVerdict::Supported, "{}", finding.number);
    let effect = finding.effect.unwrap();
    assert!((effect.value - 0.05).abs() < 1e-3, "{effect:?}");
    assert_eq!(verdict(&world(-0.05, 200)).verdict, ClaimVerdict::Contradicted);
    let same = verdict(&world(0.0, 200));
    assert_eq!(same.verdict, ClaimVerdict::Inconclusive, "{}", same.number);
    assert!(same.number.contains("no change in 3"), "{}", same.number);
}

#[test]
fn invariant_heads_at_no_equal_loss_are_not_compared() {
    // Evaluations further apart than the rule allows, around the level.
    let finding = verdict(&world(0.05, 1000));
    assert_eq!(finding.verdict, ClaimVerdict::UnequalLoss, "{}", finding.number);
    assert!(finding.would_take.unwrap().contains("evaluations"));
    // A baseline that was below the level at its first evaluation.
    let mut early = world(0.05, 200);
    let Outcome::Ladder(study) = &mut early.outcome else { unreachable!() };
    let cell = study.cells.iter_mut().find(|cell| cell.family == "ut").unwrap();
    let run = &mut cell.runs[2];
    run.evaluations.retain(|(step, _)| *step > 1400);
    run.arcs.retain(|score| score.step > 1400);
    let finding = verdict(&early);
    assert_eq!(finding.verdict, ClaimVerdict::UnequalLoss, "one seed is enough");
    assert!(finding.number.contains("no equal loss in 1 of 3 rows"), "{}", finding.number);
}

#[test]
fn invariant_heads_of_models_on_the_plateau_or_without_scores_decide_nothing() {
    let mut stuck = world(0.05, 200);
    let Outcome::Ladder(study) = &mut stuck.outcome else { unreachable!() };
    let cell = study.cells.iter_mut().find(|cell| cell.family == "bert").unwrap();
    cell.runs[3].unigram_loss_nats = cell.runs[3].loss_nats.unwrap() + 0.09;
    assert_eq!(verdict(&stuck).verdict, ClaimVerdict::Plateau);
    let mut unscored = world(0.05, 200);
    let Outcome::Ladder(study) = &mut unscored.outcome else { unreachable!() };
    let cell = study.cells.iter_mut().find(|cell| cell.family == "bert").unwrap();
    cell.runs[3].arcs.clear();
    assert_eq!(verdict(&unscored).verdict, ClaimVerdict::Unfinished);
}

#[test]
fn golden_scores_at_a_level_by_hand() {
    let gathered = world(0.0, 200);
    let Outcome::Ladder(study) = &gathered.outcome else { unreachable!() };
    let mut run = study.cells[0].runs[0].clone();
    run.evaluations = vec![(1, 4.0), (2, 3.0), (3, 3.2), (4, 2.6)];
    run.arcs = [(1, 0.1), (2, 0.3), (3, 0.2), (4, 0.5)].map(|(step, uas)| score(step, uas)).into();
    run.loss_nats = Some(2.6);
    let at = |level: f64| at_level(&run, level);
    // A quarter of the way from 4 to 3; the first passing counts, also of 3.1.
    let found = at(3.75).unwrap();
    assert!((found.uas - 0.15).abs() < 1e-9 && (found.gap_nats - 1.0).abs() < 1e-12, "{found:?}");
    assert!((at(3.1).unwrap().uas - 0.28).abs() < 1e-9);
    assert!((at(2.9).unwrap().uas - 0.35).abs() < 1e-9);
    let end = at(2.6).unwrap();
    assert!((end.uas - 0.5).abs() < 1e-9 && end.gap_nats == 0.0, "{end:?}");
    // Before its first evaluation, and below its end.
    assert_eq!((at(4.1), at(2.5)), (None, None));
}
