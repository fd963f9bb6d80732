//! From outcomes to verdicts, by the rule of each claim.

use super::arcs;
use super::claim::{Claim, ClaimVerdict, Effect, Finding, Test};
use crate::error::{HarnessError, Result};
use crate::experiment::design::ladder::Study;
use crate::experiment::design::ladder::rows::{self, Contrast, comparisons};
use crate::experiment::design::pair::PairOutcome;
use crate::experiment::design::perturb::{self, PerturbOutcome};
use crate::experiment::design::transfer::TransferOutcome;
use crate::experiment::design::{Design, Outcome};
use crate::experiment::words::with_interval;
use crate::statistics::{
    Estimate, Interval, TransferRule, TransferShift, TransferVerdict, Verdict, estimate,
};

/// What undecided rows wait for that no seed can decide.
const OPEN_RANGE: &str = "ladders whose ranges overlap";

/// What a rule makes of the numbers.
pub(super) struct Judged {
    pub(super) verdict: ClaimVerdict,
    pub(super) number: String,
    pub(super) effect: Option<Effect>,
    pub(super) would_take: Option<String>,
}

impl Judged {
    pub(super) fn waiting(number: impl Into<String>) -> Self {
        let (verdict, number) = (ClaimVerdict::Unfinished, number.into());
        Self { verdict, number, effect: None, would_take: None }
    }
}

/// Judges `claim` by what the experiment called `experiment` says so far; `complete` is false
/// while it wants runs.
pub fn judge(
    claim: &Claim,
    experiment: &str,
    outcome: &Outcome,
    complete: bool,
) -> Result<Finding> {
    let runs = outcome.runs().len();
    let judged = match (&claim.test, outcome) {
        _ if runs == 0 => Judged::waiting("no run yet"),
        (Test::Transfer { slope_max }, Outcome::Transfer(outcome)) => transfer(outcome, *slope_max),
        (Test::Perturbation { ceiling_share_min }, Outcome::Perturb(outcome)) => {
            perturbation(outcome, *ceiling_share_min, complete)
        }
        (Test::Ladder { candidate, baselines }, Outcome::Ladder(study)) => {
            let rows = rows::rows(study, candidate, baselines)?;
            every_row(study, &rows, complete)
        }
        (Test::Axes { candidate, baselines, axes }, Outcome::Ladder(study)) => {
            let rows = rows::axis_rows(study, candidate, baselines, axes);
            every_row(study, &rows, complete)
        }
        (Test::Arcs { candidate, baselines, gap_max_nats, margin }, Outcome::Ladder(study)) => {
            let bounds = (*gap_max_nats, *margin);
            arcs::at_equal_loss(study, (candidate, baselines), bounds, complete)
        }
        (Test::PowerLaw { family, distance_max_nats }, Outcome::Ladder(study)) => {
            power_law(study, family, *distance_max_nats)
        }
        (Test::AtLeastAsGood | Test::Worse, Outcome::Pair(outcome)) => {
            paired(&claim.test, outcome, complete)?
        }
        _ => {
            return Err(HarnessError::config(
                format!("claim {} cannot be judged by experiment '{experiment}'", claim.id),
                "the kind of the claim's test must fit the experiment's",
            ));
        }
    };
    Ok(Finding {
        claim: claim.id.clone(),
        experiment: Some(experiment.to_owned()),
        verdict: judged.verdict,
        number: judged.number,
        effect: judged.effect,
        runs,
        would_take: judged.would_take,
    })
}

/// The finding of a claim that no experiment judges yet.
pub fn waiting(claim: &Claim) -> Finding {
    Finding {
        claim: claim.id.clone(),
        experiment: None,
        verdict: ClaimVerdict::Unfinished,
        number: "no run yet".to_owned(),
        effect: None,
        runs: 0,
        would_take: claim.needs.clone(),
    }
}

/// Whether experiments of this design can decide such a test.
pub fn fits(test: &Test, design: &Design) -> bool {
    match test {
        Test::Transfer { .. } => matches!(design, Design::Transfer(_)),
        Test::Perturbation { .. } => matches!(design, Design::Perturb(_)),
        Test::Ladder { .. } | Test::Axes { .. } | Test::PowerLaw { .. } | Test::Arcs { .. } => {
            matches!(design, Design::Ladder(_) | Design::Tuned(_))
        }
        Test::AtLeastAsGood | Test::Worse => matches!(design, Design::Pair(_)),
    }
}

fn transfer(outcome: &TransferOutcome, slope_max: f64) -> Judged {
    let names = &outcome.plan.parametrizations;
    let found: Vec<TransferShift> = names.iter().map(|name| outcome.shift(name)).collect();
    let number = outcome.describe();
    // While a bowl lacks its seeds the grid alone is no interval.
    let interval = |shift: &TransferShift| shift.seeds.as_ref().and(shift.interval);
    let own = interval(&found[0]);
    let effect = found[0].slope.map(|value| {
        let (unit, seeds) = ("octaves per octave of width", outcome.seeds as usize);
        Effect { value, interval: own, unit, seeds }
    });
    let Some(own) =
        own.filter(|_| found.len() > 1 && found[1..].iter().all(|c| interval(c).is_some()))
    else {
        return Judged { effect, ..Judged::waiting(number) };
    };
    let rule = TransferRule { slope_bound: slope_max };
    let verdict = match rule.judge(Some(own), found[1..].iter().map(interval)) {
        _ if !outcome.reads_context() => ClaimVerdict::Plateau,
        TransferVerdict::Supported => ClaimVerdict::Supported,
        TransferVerdict::Contradicted => ClaimVerdict::Contradicted,
        TransferVerdict::Inconclusive => ClaimVerdict::Inconclusive,
    };
    let would_take = (verdict == ClaimVerdict::Inconclusive).then(|| {
        let ratio = own.half_width() / slope_max;
        match () {
            () if ratio > 1.0 => {
                let seeds = (outcome.seeds as f64 * ratio * ratio).ceil();
                format!("about {seeds} seeds for an interval of ±{slope_max} if the noise stays")
            }
            () if rule.stays(own) => "a control whose best rate is seen to move".to_owned(),
            () => format!("the interval crosses ±{slope_max}: more seeds or a finer grid"),
        }
    });
    Judged { verdict, number, effect, would_take }
}

fn perturbation(outcome: &PerturbOutcome, ceiling_share_min: f64, complete: bool) -> Judged {
    let seeds = outcome.common_seeds();
    let (Some(found), Some(number)) = (perturb::compare(outcome, &seeds), outcome.describe())
    else {
        return Judged::waiting(format!("{} runs, no complete seed yet", outcome.runs().count()));
    };
    let rho = found.correlation;
    let effect = Some(Effect {
        value: rho.correlation,
        interval: rho.interval,
        unit: "rank correlation",
        seeds: seeds.len(),
    });
    if !complete {
        return Judged { effect, ..Judged::waiting(number) };
    }
    let interval = rho.interval.unwrap_or(Interval { low: -1.0, high: 1.0 });
    let ceiling = found.ceiling_of_means(seeds.len());
    let verdict = match ceiling.map(|ceiling| ceiling_share_min * ceiling) {
        _ if !outcome.reads_context() => ClaimVerdict::Plateau,
        Some(least) if rho.correlation >= least && interval.low > 0.0 => ClaimVerdict::Supported,
        Some(least) if interval.high < least => ClaimVerdict::Contradicted,
        _ => ClaimVerdict::Inconclusive,
    };
    let would_take = (verdict == ClaimVerdict::Inconclusive).then(|| match ceiling {
        Some(_) => "more sets, for a narrower interval of the correlation".to_owned(),
        None => "more seeds: two of them do not agree on the order of the sets".to_owned(),
    });
    Judged { verdict, number, effect, would_take }
}

fn every_row(study: &Study, rows: &[Contrast], complete: bool) -> Judged {
    let found = comparisons(rows);
    let count = |verdict: Verdict| found.iter().filter(|row| row.verdict == verdict).count();
    let (better, worse) = (count(Verdict::Better), count(Verdict::Worse));
    let (same, open) = (count(Verdict::NoChange), count(Verdict::Inconclusive));
    let plateau = count(Verdict::Plateau);
    let means: Vec<f64> = found.iter().filter_map(|row| Some(row.difference?.mean)).collect();
    let range =
        match (means.iter().copied().reduce(f64::min), means.iter().copied().reduce(f64::max)) {
            (Some(low), Some(high)) => {
                format!("differences {low:+.3} to {high:+.3} nats").replace('-', "−")
            }
            _ => "no complete row".to_owned(),
        };
    let number = format!(
        "better in {better}, worse in {worse}, no change in {same}, inconclusive in {open}, on the \
         plateau in {plateau} of {} rows; {range}; n = {} seeds",
        rows.len(),
        study.setting.seeds
    );
    let effect = mean_difference(rows);
    if !complete || rows.is_empty() {
        return Judged { effect, ..Judged::waiting(number) };
    }
    let verdict = match () {
        () if plateau > 0 => ClaimVerdict::Plateau,
        () if better == rows.len() => ClaimVerdict::Supported,
        () if better == 0 && 2 * worse >= rows.len() => ClaimVerdict::Contradicted,
        () if better > 0 && worse > 0 && 2 * open <= rows.len() => ClaimVerdict::Mixed,
        () => ClaimVerdict::Inconclusive,
    };
    let would_take = (verdict == ClaimVerdict::Inconclusive)
        .then(|| found.iter().filter_map(|row| row.seeds_to_resolve).max())
        .flatten()
        .map(|seeds| format!("{seeds} seeds for the hardest undecided row if its noise stays"))
        .or_else(|| (verdict == ClaimVerdict::Inconclusive).then(|| OPEN_RANGE.to_owned()));
    Judged { verdict, number, effect, would_take }
}

/// Mean difference over the rows, seed by seed; without an interval where rows have not the same
/// seeds.
fn mean_difference(rows: &[Contrast]) -> Option<Effect> {
    let seeds = rows.iter().map(|row| row.differences.len()).min()?;
    let alike = rows.iter().all(|row| row.differences.len() == seeds);
    let over_rows =
        |seed: usize| rows.iter().map(|row| row.differences[seed]).sum::<f64>() / rows.len() as f64;
    let found = if alike {
        estimate(&(0..seeds).map(over_rows).collect::<Vec<_>>())?
    } else {
        let means = rows.iter().filter_map(|row| Some(estimate(&row.differences)?.mean));
        Estimate { interval: None, n: seeds, ..estimate(&means.collect::<Vec<_>>())? }
    };
    Some(Effect { value: found.mean, interval: found.interval, unit: "nats", seeds: found.n })
}

fn power_law(study: &Study, family: &str, distance_max_nats: f64) -> Judged {
    let Some(found) = rows::predict(study, family) else {
        return Judged::waiting("not every budget has all seeds");
    };
    let predicted = found.fit.fit.predict(found.size);
    let interval = found.fit.prediction_nats.as_ref().map(|bootstrap| bootstrap.interval);
    let exponent = found.fit.exponent.as_ref().map(|bootstrap| bootstrap.interval);
    let distance = found.actual.mean - predicted;
    let number = format!(
        "predicted {}, actual {}, next smaller budget {:.3} nats; {} parameters; exponent {}; \
         n = {} seeds",
        with_interval(predicted, interval, 3),
        with_interval(found.actual.mean, found.actual.interval, 3),
        found.next_smaller_nats,
        found.size,
        with_interval(found.fit.fit.exponent, exponent, 3),
        found.actual.n
    );
    let effect = Some(Effect {
        value: found.fit.fit.exponent,
        interval: exponent,
        unit: "exponent",
        seeds: found.actual.n,
    });
    let (Some(expected), Some(actual)) = (interval, found.actual.interval) else {
        return Judged { effect, ..Judged::waiting(number) };
    };
    let overlap = expected.low <= actual.high && actual.low <= expected.high;
    // A law that is flat, or no better than the last known loss, predicts nothing.
    let slopes = exponent.is_some_and(|interval| !interval.contains(0.0));
    let tells = distance.abs() < (found.actual.mean - found.next_smaller_nats).abs();
    let near = distance.abs() <= distance_max_nats;
    let verdict = match () {
        () if !found.reads_context => ClaimVerdict::Plateau,
        () if near && overlap && slopes && tells => ClaimVerdict::Supported,
        () if distance.abs() > distance_max_nats && !overlap => ClaimVerdict::Contradicted,
        () => ClaimVerdict::Inconclusive,
    };
    let would_take = (verdict == ClaimVerdict::Inconclusive).then(|| {
        let ratio = expected.half_width().max(actual.half_width()) / distance_max_nats;
        let seeds = (found.actual.n as f64 * ratio * ratio).ceil();
        format!("about {seeds} seeds for intervals of ±{distance_max_nats} nats")
    });
    Judged { verdict, number, effect, would_take }
}

fn paired(test: &Test, outcome: &PairOutcome, complete: bool) -> Result<Judged> {
    let found = outcome.comparison()?;
    let Some(number) = outcome.describe()? else {
        return Ok(Judged::waiting("no common seed yet"));
    };
    let effect = found.difference.map(|found| Effect {
        value: found.mean,
        interval: found.interval,
        unit: "nats",
        seeds: found.n,
    });
    if !complete {
        return Ok(Judged { effect, ..Judged::waiting(number) });
    }
    let verdict = match (test, found.verdict) {
        (_, Verdict::Plateau) => ClaimVerdict::Plateau,
        (Test::AtLeastAsGood, Verdict::Better | Verdict::NoChange)
        | (Test::Worse, Verdict::Worse) => ClaimVerdict::Supported,
        (_, Verdict::Inconclusive) => ClaimVerdict::Inconclusive,
        _ => ClaimVerdict::Contradicted,
    };
    let would_take =
        found.seeds_to_resolve.map(|seeds| format!("{seeds} seeds if the noise stays"));
    Ok(Judged { verdict, number, effect, would_take })
}
