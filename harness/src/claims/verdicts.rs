//! From outcomes to verdicts, by the rule of each claim.

use super::claim::{Claim, ClaimVerdict, Finding, Test};
use crate::error::{HarnessError, Result};
use crate::experiment::design::ladder::Study;
use crate::experiment::design::ladder::rows::{self, Contrast, comparisons};
use crate::experiment::design::pair::PairOutcome;
use crate::experiment::design::perturb::{self, PerturbOutcome};
use crate::experiment::design::transfer::TransferOutcome;
use crate::experiment::design::{Design, Outcome};
use crate::experiment::words::with_interval;
use crate::statistics::{Interval, ShiftSlope, Verdict};

/// What undecided rows wait for that no seed can decide.
const OPEN_RANGE: &str = "ladders whose ranges overlap";

/// What a rule makes of the numbers.
struct Judged {
    verdict: ClaimVerdict,
    number: String,
    would_take: Option<String>,
}

impl Judged {
    fn waiting(number: impl Into<String>) -> Self {
        Self { verdict: ClaimVerdict::Unfinished, number: number.into(), would_take: None }
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
        _ if runs == 0 => Judged {
            verdict: ClaimVerdict::NotRun,
            number: "no run yet".to_owned(),
            would_take: None,
        },
        (Test::Transfer { .. }, Outcome::Transfer(outcome)) => transfer(&claim.test, outcome),
        (Test::Perturbation { correlation_min, distance_max_nats }, Outcome::Perturb(outcome)) => {
            perturbation(outcome, *correlation_min, *distance_max_nats, complete)
        }
        (Test::Ladder { candidate, baselines }, Outcome::Ladder(study)) => {
            let rows = rows::rows(study, candidate, baselines)?;
            every_row(study, &rows, complete)
        }
        (Test::Axes { candidate, baselines, axes }, Outcome::Ladder(study)) => {
            let rows = rows::axis_rows(study, candidate, baselines, axes);
            every_row(study, &rows, complete)
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
        runs,
        would_take: judged.would_take,
    })
}

/// The finding of a claim that no experiment judges yet.
pub fn waiting(claim: &Claim) -> Finding {
    Finding {
        claim: claim.id.clone(),
        experiment: None,
        verdict: ClaimVerdict::NotRun,
        number: "no run yet".to_owned(),
        runs: 0,
        would_take: claim.needs.clone(),
    }
}

/// Whether experiments of this design can decide such a test.
pub fn fits(test: &Test, design: &Design) -> bool {
    match test {
        Test::Transfer { .. } => matches!(design, Design::Transfer(_)),
        Test::Perturbation { .. } => matches!(design, Design::Perturb(_)),
        Test::Ladder { .. } | Test::Axes { .. } | Test::PowerLaw { .. } => {
            matches!(design, Design::Ladder(_) | Design::Tuned(_))
        }
        Test::AtLeastAsGood | Test::Worse => matches!(design, Design::Pair(_)),
    }
}

fn transfer(test: &Test, outcome: &TransferOutcome) -> Judged {
    let Test::Transfer {
        slope_max,
        slope_interval_max,
        ratio_max_octaves,
        regret_max_nats,
        control_slope_min,
    } = *test
    else {
        unreachable!("called for transfer tests only")
    };
    let names = &outcome.plan.parametrizations;
    let found: Vec<ShiftSlope> = names.iter().map(|name| outcome.slope(name)).collect();
    let regrets = outcome.regrets(&names[0]);
    let number = outcome.describe();
    let interval = |shift: &ShiftSlope| shift.bootstrap.as_ref().map(|found| found.interval);
    let values = |shift: &ShiftSlope| Some((shift.slope?, interval(shift)?));
    let (Some((k, own)), Some((control, other))) =
        (values(&found[0]), found.get(1).and_then(values))
    else {
        return Judged::waiting(number);
    };
    let within = |interval: Interval, bound: f64| interval.low > -bound && interval.high < bound;
    let beyond = |interval: Interval, bound: f64| interval.low > bound || interval.high < -bound;
    let best: Option<Vec<f64>> = found[0]
        .optima
        .iter()
        .map(|(_, vertex)| vertex.as_ref().ok().map(|vertex| vertex.log2_learning_rate))
        .collect();
    let steady = best
        .is_some_and(|best| best.iter().all(|rate| (rate - best[0]).abs() <= ratio_max_octaves));
    let cheap = regrets.len() + 1 == found[0].optima.len()
        && regrets.iter().all(|regret| {
            regret.regret.is_some_and(|regret| {
                regret.mean <= regret_max_nats.max(2.0 * regret.standard_error.unwrap_or(0.0))
            })
        });
    let supported = k.abs() <= slope_max
        && own.contains(0.0)
        && within(own, slope_interval_max)
        && steady
        && cheap
        && control.abs() >= control_slope_min
        && !other.contains(0.0);
    let verdict = if supported {
        ClaimVerdict::Supported
    } else if beyond(own, slope_max) || within(other, control_slope_min) {
        ClaimVerdict::Contradicted
    } else {
        ClaimVerdict::Inconclusive
    };
    let would_take = (verdict == ClaimVerdict::Inconclusive)
        .then(|| slope_would_take(own, slope_max, outcome.seeds));
    Judged { verdict, number, would_take }
}

/// What an undecided slope lacks: seeds only while its interval is wider than `slope_max`.
fn slope_would_take(interval: Interval, slope_max: f64, seeds: u64) -> String {
    let ratio = interval.half_width() / slope_max;
    if ratio > 1.0 {
        let seeds = (seeds as f64 * ratio * ratio).ceil();
        format!("about {seeds} seeds for an interval of ±{slope_max} if the noise stays")
    } else if interval.contains(0.0) {
        "the interval is narrow enough; another condition of the rule is not met".to_owned()
    } else {
        let least = interval.low.abs().min(interval.high.abs());
        format!("no number of seeds: the interval is narrow enough but leaves out 0 by {least:.4}")
    }
}

fn perturbation(
    outcome: &PerturbOutcome,
    correlation_min: f64,
    distance_max_nats: f64,
    complete: bool,
) -> Judged {
    let seeds = outcome.common_seeds();
    let (Some(found), Some(number)) = (perturb::compare(outcome, &seeds), outcome.describe())
    else {
        return Judged::waiting(format!("{} runs, no complete seed yet", outcome.runs().count()));
    };
    let rho = found.correlation;
    if !complete {
        return Judged::waiting(number);
    }
    let interval = rho.interval.unwrap_or(Interval { low: -1.0, high: 1.0 });
    let error = found.distance.standard_error.unwrap_or(f64::INFINITY);
    let near = found.distance.mean <= distance_max_nats;
    let far = found.distance.mean > distance_max_nats + 2.0 * error;
    let verdict = if rho.correlation >= correlation_min && interval.low > 0.0 && near {
        ClaimVerdict::Supported
    } else if interval.high < correlation_min || far {
        ClaimVerdict::Contradicted
    } else {
        ClaimVerdict::Inconclusive
    };
    let would_take = (verdict == ClaimVerdict::Inconclusive).then(|| {
        let gap = (rho.correlation.atanh() - correlation_min.atanh()).abs().max(0.05);
        let sets = 3.0 + (1.0 + 0.5 * rho.correlation.powi(2)) * (1.96 / gap).powi(2);
        format!("about {:.0} sets to tell the correlation from {correlation_min}", sets.ceil())
    });
    Judged { verdict, number, would_take }
}

fn every_row(study: &Study, rows: &[Contrast], complete: bool) -> Judged {
    let found = comparisons(rows);
    let count = |verdict: Verdict| found.iter().filter(|row| row.verdict == verdict).count();
    let (better, worse) = (count(Verdict::Better), count(Verdict::Worse));
    let (same, open) = (count(Verdict::NoChange), count(Verdict::Inconclusive));
    let means: Vec<f64> = found.iter().filter_map(|row| Some(row.difference?.mean)).collect();
    let range =
        match (means.iter().copied().reduce(f64::min), means.iter().copied().reduce(f64::max)) {
            (Some(low), Some(high)) => {
                format!("differences {low:+.3} to {high:+.3} nats").replace('-', "−")
            }
            _ => "no complete row".to_owned(),
        };
    let number = format!(
        "better in {better}, worse in {worse}, no change in {same}, inconclusive in {open} of {} \
         rows; {range}; n = {} seeds",
        rows.len(),
        study.setting.seeds
    );
    if !complete || rows.is_empty() {
        return Judged::waiting(number);
    }
    let verdict = match () {
        () if better == rows.len() => ClaimVerdict::Supported,
        () if better == 0 && 2 * worse >= rows.len() => ClaimVerdict::Contradicted,
        () => ClaimVerdict::Inconclusive,
    };
    let would_take = (verdict == ClaimVerdict::Inconclusive)
        .then(|| found.iter().filter_map(|row| row.seeds_to_resolve).max())
        .flatten()
        .map(|seeds| format!("{seeds} seeds for the hardest undecided row if its noise stays"))
        .or_else(|| (verdict == ClaimVerdict::Inconclusive).then(|| OPEN_RANGE.to_owned()));
    Judged { verdict, number, would_take }
}

fn power_law(study: &Study, family: &str, distance_max_nats: f64) -> Judged {
    let Some(found) = rows::predict(study, family) else {
        return Judged::waiting("not every budget has all seeds");
    };
    let predicted = found.fit.fit.predict(found.size);
    let interval = found.fit.prediction_nats.as_ref().map(|bootstrap| bootstrap.interval);
    let distance = found.actual.mean - predicted;
    let number = format!(
        "predicted {}, actual {} nats at {} parameters; exponent {:.3}; n = {} seeds",
        with_interval(predicted, interval, 3),
        with_interval(found.actual.mean, found.actual.interval, 3),
        found.size,
        found.fit.fit.exponent,
        found.actual.n
    );
    let (Some(expected), Some(actual)) = (interval, found.actual.interval) else {
        return Judged::waiting(number);
    };
    let overlap = expected.low <= actual.high && actual.low <= expected.high;
    let verdict = match () {
        () if distance.abs() <= distance_max_nats && overlap => ClaimVerdict::Supported,
        () if distance.abs() > distance_max_nats && !overlap => ClaimVerdict::Contradicted,
        () => ClaimVerdict::Inconclusive,
    };
    let would_take = (verdict == ClaimVerdict::Inconclusive).then(|| {
        let ratio = expected.half_width().max(actual.half_width()) / distance_max_nats;
        let seeds = (found.actual.n as f64 * ratio * ratio).ceil();
        format!("about {seeds} seeds for intervals of ±{distance_max_nats} nats")
    });
    Judged { verdict, number, would_take }
}

fn paired(test: &Test, outcome: &PairOutcome, complete: bool) -> Result<Judged> {
    let found = outcome.comparison()?;
    let Some(number) = outcome.describe()? else {
        return Ok(Judged::waiting("no common seed yet"));
    };
    if !complete {
        return Ok(Judged::waiting(number));
    }
    let verdict = match (test, found.verdict) {
        (Test::AtLeastAsGood, Verdict::Better | Verdict::NoChange)
        | (Test::Worse, Verdict::Worse) => ClaimVerdict::Supported,
        (_, Verdict::Inconclusive) => ClaimVerdict::Inconclusive,
        _ => ClaimVerdict::Contradicted,
    };
    let would_take =
        found.seeds_to_resolve.map(|seeds| format!("{seeds} seeds if the noise stays"));
    Ok(Judged { verdict, number, would_take })
}
