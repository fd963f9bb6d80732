//! A table and its control under one detector.

use models::parametrization::Parametrization;

use super::measure::Bench;
use super::plan::Plan;
use super::row::Row;
use super::verdict::{Line, Verdict, judge, power};
use crate::error::Result;

/// Name of the table that must fail.
pub const CONTROL: &str = "standard";

/// How a check ended; the process exits with its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// No site fails, and the control fails as it must.
    Pass,
    /// A site fails.
    Fail,
    /// A site is too noisy, or the detector did not see the control fail.
    Inconclusive,
}

/// A finished check.
#[derive(Debug, Clone)]
pub struct Check {
    /// Name of the table.
    pub parametrization: String,
    /// Everything read under it.
    pub rows: Vec<Row>,
    /// Its judged lines, in key order.
    pub lines: Vec<Line>,
    /// The lines of the control; empty if the table is the control itself.
    pub control: Vec<Line>,
}

impl Check {
    /// Judges rows of a table and lines of its control.
    ///
    /// # Errors
    /// A site that no rule is about.
    pub fn new(plan: &Plan, table: &str, rows: Vec<Row>, control: Vec<Line>) -> Result<Self> {
        let lines = judge(&rows, plan)?;
        Ok(Self { parametrization: table.to_owned(), rows, lines, control })
    }

    /// Lines with this verdict.
    pub fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.verdict == verdict)
    }

    /// The line by which the control proves the detector's power.
    pub fn power(&self) -> Option<&Line> {
        power(if self.control.is_empty() { &self.lines } else { &self.control })
    }

    /// The verdict on all sites together.
    pub fn outcome(&self) -> Outcome {
        if self.with(Verdict::Fail).next().is_some() {
            Outcome::Fail
        } else if self.with(Verdict::Inconclusive).next().is_some() || self.power().is_none() {
            Outcome::Inconclusive
        } else {
            Outcome::Pass
        }
    }
}

/// Measures and judges `table` and the control.
///
/// # Errors
/// Whatever the runs refuse.
pub fn check(bench: &Bench, table: &Parametrization) -> Result<Check> {
    let control = if table.name == CONTROL { Vec::new() } else { control(bench)? };
    check_against(bench, table, &control)
}

/// Measures and judges `table`; `control` is what [`control`] gave, which does not depend on the
/// table and may be shared.
///
/// # Errors
/// Whatever the runs refuse.
pub fn check_against(bench: &Bench, table: &Parametrization, control: &[Line]) -> Result<Check> {
    let control = if table.name == CONTROL { Vec::new() } else { control.to_vec() };
    Check::new(bench.plan(), &table.name, bench.measure(table)?, control)
}

/// The judged lines of the control.
///
/// # Errors
/// Whatever the runs refuse.
pub fn control(bench: &Bench) -> Result<Vec<Line>> {
    judge(&bench.measure(&Parametrization::built_in(CONTROL)?)?, bench.plan())
}
