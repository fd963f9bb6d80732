//! `judge transfer`: does the best learning rate stay where it is along an axis?

mod page;
mod read;

pub use page::{document, json};
pub use read::read;

use super::names::{Mapping, Selection};
use super::notes::Notes;
use super::{BOOTSTRAP_SEED, REPLICATES};
use crate::statistics::{
    LearningRateCurve, TransferRegret, TransferRule, TransferShift, TransferVerdict,
    basin_distance, transfer_regret, transfer_shift,
};

/// What the learning rate is carried over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Axis {
    /// Model width.
    Width,
    /// Number of layers.
    Depth,
    /// Batch size.
    Batch,
    /// Training tokens.
    Tokens,
}

impl Axis {
    /// Its name, also that of its column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Width => "width",
            Self::Depth => "depth",
            Self::Batch => "batch",
            Self::Tokens => "tokens",
        }
    }
}

/// What is asked of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// What the rate is carried over.
    pub axis: Axis,
    /// How slopes become verdicts.
    pub rule: TransferRule,
    /// The control; without it, every other parametrization of the table may serve as one.
    pub control: Option<String>,
    /// Whether the first curve of one parametrization counts for those that lack it, as at a base
    /// where all of them are the same model.
    pub shared_base: bool,
    /// Names of columns.
    pub mapping: Mapping,
    /// Rows that count.
    pub selection: Selection,
}

/// The curves of a table and what was left out of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves {
    /// Parametrizations in order of appearance, each with its curves by the axis.
    pub curves: Vec<(String, Vec<LearningRateCurve>)>,
    /// What was left out.
    pub notes: Notes,
    /// Whether rows name their seed.
    pub seeded: bool,
}

/// What the table says about one parametrization.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Its name.
    pub parametrization: String,
    /// Curves, ascending.
    pub curves: Vec<LearningRateCurve>,
    /// The slope, withheld unless the best tried rate has a worse one on either side everywhere.
    pub shift: TransferShift,
    /// Per curve whether its best tried rate has a worse or diverged one on either side.
    pub bracketed: Vec<bool>,
    /// Per curve the price of the first curve's best rate; `None` for the first curve.
    pub regrets: Vec<Option<TransferRegret>>,
    /// Per curve the distance of its basin to the first one's, nats.
    pub basins: Vec<Option<f64>>,
    /// The word.
    pub verdict: TransferVerdict,
    /// Controls whose rate is shown to move.
    pub failing_controls: Vec<String>,
    /// Everything that could have served as a control.
    pub controls: Vec<String>,
    /// What an undecided verdict waits for.
    pub missing: Vec<String>,
}

impl Curves {
    /// Gives the narrowest curve of the table to every parametrization that lacks it.
    fn share_base(&mut self) {
        let widths = self.curves.iter().flat_map(|(_, curves)| curves.iter().map(|c| c.width));
        let Some(base) = widths.min() else { return };
        let has = |curves: &[LearningRateCurve]| curves.iter().find(|c| c.width == base).cloned();
        let Some(shared) = self.curves.iter().find_map(|(_, curves)| has(curves)) else { return };
        for (name, curves) in &mut self.curves {
            if has(curves).is_none() {
                curves.insert(0, shared.clone());
                let given = format!("{name} has the runs at {base} in common with the others");
                self.notes.remark(given);
            }
        }
    }
}

/// Judges every parametrization of `table`.
pub fn judge(table: &Curves, question: &Question) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        table.curves.iter().map(|(name, curves)| measured(name, curves)).collect();
    let intervals: Vec<_> =
        findings.iter().map(|f| (f.parametrization.clone(), f.shift.interval)).collect();
    for finding in &mut findings {
        let may_serve = |name: &String| {
            *name != finding.parametrization
                && question.control.as_ref().is_none_or(|control| control == name)
        };
        let controls: Vec<_> = intervals.iter().filter(|(name, _)| may_serve(name)).collect();
        let fails = |interval: Option<_>| interval.is_some_and(|i| question.rule.moves(i));
        finding.verdict =
            question.rule.judge(finding.shift.interval, controls.iter().map(|pair| pair.1));
        let failing = controls.iter().filter(|pair| fails(pair.1));
        finding.failing_controls = failing.map(|pair| pair.0.clone()).collect();
        finding.controls = controls.iter().map(|pair| pair.0.clone()).collect();
        finding.missing = missing(finding, question);
    }
    findings
}

fn measured(name: &str, curves: &[LearningRateCurve]) -> Finding {
    let bracketed: Vec<bool> = curves.iter().map(is_bracketed).collect();
    let mut shift = transfer_shift(curves, REPLICATES, BOOTSTRAP_SEED);
    if bracketed.contains(&false) {
        (shift.slope, shift.seeds, shift.grid, shift.interval) = (None, None, None, None);
    }
    let regret =
        |index: usize| (index > 0).then(|| transfer_regret(&curves[0], &curves[index])).flatten();
    let basin = |index: usize| {
        let found = (index > 0).then(|| basin_distance(&curves[0], &curves[index])).flatten();
        found.map(|(distance, _)| distance)
    };
    Finding {
        parametrization: name.to_owned(),
        curves: curves.to_vec(),
        shift,
        regrets: (0..curves.len()).map(regret).collect(),
        basins: (0..curves.len()).map(basin).collect(),
        bracketed,
        verdict: TransferVerdict::Inconclusive,
        failing_controls: Vec::new(),
        controls: Vec::new(),
        missing: Vec::new(),
    }
}

/// Whether the vertex exists and the best tried rate is neither the lowest nor the highest tried.
fn is_bracketed(curve: &LearningRateCurve) -> bool {
    let Some(best) = curve.best_tried() else { return false };
    let rates = || curve.points.iter().map(|point| point.log2_learning_rate);
    let best = best.log2_learning_rate;
    curve.optimum().is_ok() && rates().any(|r| r < best) && rates().any(|r| r > best)
}

/// What would decide an undecided finding, and what a decided one should not hide.
fn missing(finding: &Finding, question: &Question) -> Vec<String> {
    let axis = question.axis.name();
    let mut missing = Vec::new();
    if finding.curves.len() < 2 {
        missing.push(format!("one {axis} only: a slope needs two, a trend three"));
    }
    for (curve, _) in finding.curves.iter().zip(&finding.bracketed).filter(|(_, ok)| !**ok) {
        missing.push(format!("{axis} {}: {}", curve.width, what_lacks(curve)));
    }
    let bound = question.rule.slope_bound;
    if let Some(interval) = finding.shift.interval
        && !question.rule.stays(interval)
        && !question.rule.moves(interval)
    {
        let half = interval.half_width();
        missing.push(if half < bound {
            format!("the interval reaches across the bound ±{bound}: more seeds near the optima")
        } else {
            let ratio = (half / bound).powi(2).ceil();
            format!(
                "the interval is ±{half:.2}: about {ratio} times the seeds, or finer rates near \
                 the optima, for one within ±{bound}"
            )
        });
    }
    let seeds = finding.curves.iter().map(|curve| curve.seeds().len()).min().unwrap_or(0);
    if seeds < 2 && finding.shift.slope.is_some() {
        missing.push("one seed: the interval rests on how smooth the bowls are".to_owned());
    }
    if finding.failing_controls.is_empty() && finding.verdict != TransferVerdict::Contradicted {
        missing.push(match (&question.control, finding.controls.as_slice()) {
            (Some(control), []) => format!("the control {control} is not in the table"),
            (None, []) => "there is no control: sweep a parametrization whose rate must move, \
                           for instance the standard one"
                .to_owned(),
            (_, some) => format!("no control is shown to move: {}", some.join(", ")),
        });
    }
    missing
}

/// Why a curve has no bracketed minimum.
fn what_lacks(curve: &LearningRateCurve) -> String {
    let Some(best) = curve.best_tried() else {
        return "every rate diverged, or none was tried with all seeds".to_owned();
    };
    let rates = || curve.points.iter().map(|point| point.log2_learning_rate);
    let at = best.log2_learning_rate;
    match () {
        () if !rates().any(|rate| rate < at) => {
            format!("the best rate is the lowest tried, 2^{at:.2}: try lower ones")
        }
        () if !rates().any(|rate| rate > at) => {
            format!("the best rate is the highest tried, 2^{at:.2}: try higher ones")
        }
        () => curve.optimum().err().map_or_else(String::new, |problem| problem.to_string()),
    }
}
