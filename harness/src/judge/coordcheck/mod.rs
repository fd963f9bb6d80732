//! `judge coordcheck`: does the size of activations depend on width?

mod page;
mod read;
mod roles;

pub use page::{document, json};
pub use read::read;

use std::collections::BTreeMap;

use super::names::{Mapping, Selection};
use super::notes::Notes;
use super::runs::Cell;
use crate::checks::coordinates::Verdict;
use crate::statistics::{GroupedSlope, grouped_slope};

/// Half-width of the band around the expected slope, per octave of width.
pub const ACCEPT: f64 = 0.10;
/// An interval that reaches this far from the expected slope does not pass.
pub const HARD_LIMIT: f64 = 0.25;
/// Degrees of freedom below which nothing is decided.
pub const FREEDOM_MIN: usize = 2;

/// What is asked of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Half-width of the acceptance band.
    pub accept: f64,
    /// Column of the statistic; without it the first known one.
    pub statistic: Option<String>,
    /// Names of columns.
    pub mapping: Mapping,
    /// Rows that count.
    pub selection: Selection,
}

/// One site with its values by step and width.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// Exponent that is expected of it.
    pub expected: f64,
    /// Step, width, and the values of its seeds.
    pub cells: Vec<(u64, u64, Cell)>,
}

/// The sites of a table and what was left out of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Activations {
    /// Sites in order of appearance.
    pub sites: Vec<Site>,
    /// Name of the statistic.
    pub statistic: String,
    /// What was left out.
    pub notes: Notes,
    /// Whether rows name their seed.
    pub seeded: bool,
}

/// A site at one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepFinding {
    /// The step.
    pub step: u64,
    /// Width and geometric mean of the statistic.
    pub points: Vec<(u64, f64)>,
    /// Slope of log2 size on log2 width.
    pub slope: Option<GroupedSlope>,
    /// The word for this step alone; `None` if every value is exactly zero.
    pub verdict: Option<Verdict>,
    /// Why there is no verdict on the size, or none that counts.
    pub problem: Option<String>,
}

/// What the table says about one site.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Its name.
    pub site: String,
    /// Expected slope.
    pub expected: f64,
    /// Steps, ascending.
    pub steps: Vec<StepFinding>,
    /// The word.
    pub verdict: Verdict,
    /// Seeds at the width with fewest.
    pub seeds: usize,
}

impl Finding {
    /// The last step that has a size.
    pub fn last(&self) -> Option<&StepFinding> {
        self.steps.iter().rev().find(|step| step.verdict.is_some())
    }
}

/// The rule behind the verdicts, in words.
pub fn rule(accept: f64) -> String {
    format!(
        "s is the least-squares slope of log2 size on log2 width with one level per seed, its 95 % \
         interval from the residuals. At one step: PASS if s is within ±{accept} of the expected \
         slope and its interval within ±{HARD_LIMIT}; FAIL if the whole interval is beyond \
         ±{accept} or a value is not finite; INCONCLUSIVE otherwise, and always below \
         {FREEDOM_MIN} degrees of freedom (points less seeds less one). A site has the word of its \
         last step, but TRANSIENT if it passes there and failed before, or if it is still too \
         small there by at most half of what it lacked at its first step."
    )
}

/// Judges every site of `table`.
pub fn judge(table: &Activations, question: &Question) -> Vec<Finding> {
    table.sites.iter().map(|site| judge_site(site, table.seeded, question.accept)).collect()
}

fn judge_site(site: &Site, seeded: bool, accept: f64) -> Finding {
    let mut by_step: BTreeMap<u64, Vec<(u64, &Cell)>> = BTreeMap::new();
    for (step, width, cell) in &site.cells {
        by_step.entry(*step).or_default().push((*width, cell));
    }
    let seeds = site.cells.iter().map(|cell| cell.2.len()).min().unwrap_or(0);
    let steps: Vec<StepFinding> = by_step
        .into_iter()
        .map(|(step, cells)| judge_step(step, &cells, seeded, site.expected, accept))
        .collect();
    let verdict = verdict(&steps, site.expected);
    Finding { site: site.name.clone(), expected: site.expected, steps, verdict, seeds }
}

fn judge_step(
    step: u64,
    cells: &[(u64, &Cell)],
    seeded: bool,
    expected: f64,
    accept: f64,
) -> StepFinding {
    let values = || {
        cells.iter().flat_map(|(width, cell)| {
            cell.iter().map(move |(seed, value)| (*width, if seeded { *seed } else { 0 }, *value))
        })
    };
    let logs: Vec<(u64, f64, f64)> = values()
        .filter_map(|(width, seed, value)| {
            Some((seed, (width as f64).log2(), value.filter(|v| *v > 0.0)?.log2()))
        })
        .collect();
    let mean = |cell: &Cell| {
        let logs: Option<Vec<f64>> =
            cell.iter().map(|run| run.1.filter(|v| *v > 0.0).map(f64::log2)).collect();
        crate::statistics::mean(&logs?).map(f64::exp2)
    };
    let points = cells.iter().map(|(width, cell)| (*width, mean(cell).unwrap_or(f64::NAN)));
    let points: Vec<(u64, f64)> = points.collect();
    let zeros = values().filter(|value| value.2 == Some(0.0)).count();
    let finding = |slope, verdict, problem: Option<String>| StepFinding {
        step,
        points: points.clone(),
        slope,
        verdict,
        problem,
    };
    if values().any(|value| value.2.is_none()) {
        return finding(None, Some(Verdict::Fail), Some("a value is not finite".to_owned()));
    }
    if logs.is_empty() {
        return finding(None, None, Some("exactly zero".to_owned()));
    }
    if zeros > 0 {
        let problem = "exactly zero in some runs and not in others".to_owned();
        return finding(None, Some(Verdict::Inconclusive), Some(problem));
    }
    let Some(slope) = grouped_slope(&logs) else {
        let problem = "one width only: a slope needs two".to_owned();
        return finding(None, Some(Verdict::Inconclusive), Some(problem));
    };
    let Some(interval) = slope.interval.filter(|_| slope.freedom >= FREEDOM_MIN) else {
        let groups = logs.iter().map(|p| p.0).collect::<std::collections::BTreeSet<_>>().len();
        let problem = format!(
            "{} widths and {groups} seed{} decide nothing: add widths or seeds",
            cells.len(),
            if groups == 1 { "" } else { "s" }
        );
        return finding(Some(slope), Some(Verdict::Inconclusive), Some(problem));
    };
    let beyond = |bound: f64| interval.low - expected > bound || interval.high - expected < -bound;
    let within = (slope.slope - expected).abs() <= accept
        && interval.low - expected > -HARD_LIMIT
        && interval.high - expected < HARD_LIMIT;
    let (verdict, problem) = match () {
        () if beyond(accept) => (Verdict::Fail, None),
        () if within => (Verdict::Pass, None),
        () => {
            let half = interval.half_width();
            let problem =
                format!("the interval of ±{half:.2} decides nothing: add seeds or widths");
            (Verdict::Inconclusive, Some(problem))
        }
    };
    finding(Some(slope), Some(verdict), problem)
}

/// The word of a site from those of its steps.
fn verdict(steps: &[StepFinding], expected: f64) -> Verdict {
    let words: Vec<&StepFinding> = steps.iter().filter(|step| step.verdict.is_some()).collect();
    let Some(last) = words.last() else { return Verdict::Inconclusive };
    let not_finite = words.iter().any(|s| s.slope.is_none() && s.verdict == Some(Verdict::Fail));
    let lacked = |step: &StepFinding| step.slope.map(|slope| expected - slope.slope);
    let halved = || {
        let (first, last) = (lacked(words[0])?, lacked(last)?);
        Some(last > 0.0 && 2.0 * last <= first)
    };
    let failed_before = words.iter().any(|step| step.verdict == Some(Verdict::Fail));
    match last.verdict.unwrap_or(Verdict::Inconclusive) {
        _ if not_finite => Verdict::Fail,
        Verdict::Pass if failed_before => Verdict::Transient,
        Verdict::Fail if halved().unwrap_or(false) => Verdict::Transient,
        word => word,
    }
}
