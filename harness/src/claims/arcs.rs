//! The verdict on whose heads are dependencies.

use super::claim::{ClaimVerdict, Effect};
use super::verdicts::Judged;
use crate::experiment::design::ladder::Study;
use crate::experiment::design::ladder::arcs::{ArcContrast, arc_comparisons, arc_rows};
use crate::statistics::{Verdict, estimate};

/// Judges by the scores at equal loss; see [`Test::Arcs`](super::claim::Test::Arcs).
pub(super) fn at_equal_loss(
    study: &Study,
    (candidate, baselines): (&str, &[String]),
    (gap_max_nats, margin): (f64, f64),
    complete: bool,
) -> Judged {
    let rows = arc_rows(study, (candidate, baselines), gap_max_nats);
    let found = arc_comparisons(&rows, margin);
    let count = |verdict: Verdict| found.iter().filter(|row| row.verdict == verdict).count();
    let (better, worse) = (count(Verdict::Better), count(Verdict::Worse));
    let (same, open) = (count(Verdict::NoChange), count(Verdict::Inconclusive));
    let plateau = count(Verdict::Plateau);
    let unequal = rows.iter().filter(|row| row.reads_context && !row.at_equal_loss()).count();
    let gains: Vec<f64> =
        found.iter().filter_map(|row| Some(-100.0 * row.difference?.mean)).collect();
    let ends = gains.iter().copied().reduce(f64::min).zip(gains.iter().copied().reduce(f64::max));
    let range = ends.map_or("no complete row".to_owned(), |(low, high)| {
        format!("{low:+.1} to {high:+.1} points of directed attachment").replace('-', "−")
    });
    let number = format!(
        "better in {better}, worse in {worse}, no change in {same}, inconclusive in {open}, on the \
         plateau in {plateau}, a seed at no equal loss in {unequal} of {} rows; {range}; n = {} \
         seeds",
        rows.len(),
        study.setting.seeds
    );
    // Mean gain over the rows, seed by seed, where all of them have it.
    let over_rows = |seed: usize| -> Option<f64> {
        let gain = |row: &ArcContrast| Some(-row.seeds.get(seed)?.error_difference()?);
        let gains: Vec<f64> = rows.iter().map(gain).collect::<Option<_>>()?;
        Some(gains.iter().sum::<f64>() / gains.len() as f64)
    };
    let gains: Option<Vec<f64>> = (0..study.setting.seeds as usize).map(over_rows).collect();
    let effect = gains.filter(|_| !rows.is_empty()).and_then(|gains| estimate(&gains));
    let effect = effect.map(|found| Effect {
        value: found.mean,
        interval: found.interval,
        unit: "share of arcs",
        seeds: found.n,
    });
    if !complete || rows.len() < baselines.len() {
        return Judged { effect, ..Judged::waiting(number) };
    }
    let verdict = match () {
        () if plateau > 0 => ClaimVerdict::Plateau,
        () if unequal > 0 => ClaimVerdict::UnequalLoss,
        () if better == rows.len() => ClaimVerdict::Supported,
        () if better == 0 && 2 * worse >= rows.len() => ClaimVerdict::Contradicted,
        () if better > 0 && worse > 0 && 2 * open <= rows.len() => ClaimVerdict::Mixed,
        () => ClaimVerdict::Inconclusive,
    };
    let would_take = match verdict {
        ClaimVerdict::Inconclusive => {
            let seeds = found.iter().filter_map(|row| row.seeds_to_resolve).max();
            seeds.map(|seeds| format!("{seeds} seeds for the hardest undecided row"))
        }
        ClaimVerdict::UnequalLoss => {
            Some("evaluations nearer to each other where the losses meet".to_owned())
        }
        _ => None,
    };
    Judged { verdict, number, effect, would_take }
}
