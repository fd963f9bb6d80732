//! The rule from slopes to verdicts.
//!
//! Let `s` be a slope with its 95 % interval and `e` the expected one. The acceptance band is
//! `e ± accept`; numbers come from `thresholds.toml`.
//!
//! 1. No slope (a value is not finite, or only some are zero): FAIL. All exactly zero: PASS for
//!    logits at step 0 (a zero readout), otherwise FAIL: nothing moves.
//! 2. `s` inside the band: PASS.
//! 3. `s` outside the band and the whole interval outside as well: the deviation is real. It is
//!    TRANSIENT while the rule says that its direction has not settled yet and the slope does not
//!    move away: its distance from the late `e` is at the last step (there: since the step before)
//!    not larger by more than half the last interval. Where a direction never settles (too small a
//!    gradient or operator norm) it is TRANSIENT throughout: reported, no failure. Otherwise FAIL.
//! 4. `s` outside the band but its interval reaches into it: PASS if `s` is within the hard
//!    limits, since it cannot be told from an accepted slope; INCONCLUSIVE beyond them, since the
//!    seeds decide nothing (TRANSIENT on the terms of 3).
//!
//! The check fails if any line does. Otherwise it is inconclusive if any line is, or if the
//! control, the same runs and detector under `standard`, does not fail by a slope of at least
//! `power_slope` too much on some activation by step `power_step`.

use serde::Serialize;

use super::plan::Plan;
use super::row::Row;
use super::sites::{Class, weight_exponent};
use super::slope::{Fit, LineKey, NoSlope, Slope, fit};
use crate::checks::thresholds::{self, CoordinateCheck, Rule};
use crate::error::Result;

/// A rule that settles at this step never fails in that direction.
const NEVER: u64 = 1_000_000;

/// The word for a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// As expected.
    Pass,
    /// Not yet as expected, on its way.
    Transient,
    /// Too noisy to say.
    Inconclusive,
    /// Not as expected.
    Fail,
}

impl Verdict {
    /// The word in tables.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Transient => "TRANSIENT",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Fail => "FAIL",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// A judged line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What it is about.
    pub key: LineKey,
    /// Which rules judged it.
    pub class: Class,
    /// Width and geometric mean over seeds of the statistic.
    pub points: Vec<(usize, f64)>,
    /// Slope per octave, or why there is none.
    pub slope: std::result::Result<Slope, NoSlope>,
    /// Expected slope.
    pub expected: f64,
    /// Half-width of the acceptance band.
    pub accept: f64,
    /// The word.
    pub verdict: Verdict,
}

impl Line {
    /// Slope less expected slope, if there is a slope.
    pub fn deviation(&self) -> Option<f64> {
        self.slope.ok().map(|slope| slope.slope - self.expected)
    }
}

/// Fits and judges all `rows` of one table, in key order.
///
/// # Errors
/// A site that no rule is about.
pub fn judge(rows: &[Row], plan: &Plan) -> Result<Vec<Line>> {
    let thresholds = &thresholds::committed().coordinate_check;
    let fits: Vec<Fit> =
        fit(rows, plan).into_iter().filter(|fit| !fit.key.kind.is_logged()).collect();
    let same = |a: &LineKey, b: &LineKey| {
        (a.rate, a.kind, &a.site, a.iteration) == (b.rate, b.kind, &b.site, b.iteration)
    };
    let mut lines = Vec::with_capacity(fits.len());
    for group in fits.chunk_by(|a, b| same(&a.key, &b.key)) {
        lines.extend(judge_site(group, plan, thresholds)?);
    }
    Ok(lines)
}

/// Slopes of `rows` that nothing is expected of: the alignment of matrices with what they read,
/// and what context is worth.
pub fn logged(rows: &[Row], plan: &Plan) -> Vec<Fit> {
    fit(rows, plan).into_iter().filter(|fit| fit.key.kind.is_logged()).collect()
}

/// Judges the steps of one site.
fn judge_site(group: &[Fit], plan: &Plan, thresholds: &CoordinateCheck) -> Result<Vec<Line>> {
    let key = &group[0].key;
    let class = Class::of(&key.site, key.kind);
    let offset = weight_exponent(plan, &key.site, key.kind)?;
    // Logits over the root of the head width start with a size that does not depend on it.
    let heads = if plan.root_attention { 0.0 } else { plan.head_dim_exponent() };
    let expected = |rule: &Rule| offset + rule.expected + rule.per_head_dim * heads;
    let late = expected(thresholds.rule(class, u64::MAX)?);
    let mut lines = Vec::new();
    for (index, fit) in group.iter().enumerate() {
        let rule = thresholds.rule(class, fit.key.step)?;
        let expected = expected(rule);
        let approaching = approaches(group, index, late);
        let verdict = match fit.slope {
            Ok(slope) => judge_slope(&slope, expected, rule, fit.key.step, approaching),
            Err(NoSlope::Zero) if class == Class::Logits && fit.key.step == 0 => Verdict::Pass,
            Err(_) => Verdict::Fail,
        };
        lines.push(Line {
            key: fit.key.clone(),
            class,
            points: fit.points.clone(),
            slope: fit.slope,
            expected,
            accept: rule.accept,
            verdict,
        });
    }
    Ok(lines)
}

/// Whether a slope does not move away from the late exponent: from this step to the last one or,
/// at the last step, from the one before.
fn approaches(group: &[Fit], index: usize, late: f64) -> bool {
    let last = group.len() - 1;
    let from = if index < last { index } else { last.saturating_sub(1) };
    let (Ok(then), Ok(now)) = (group[from].slope, group[last].slope) else { return false };
    let noise = now.interval.half_width();
    from != last && (now.slope - late).abs() <= (then.slope - late).abs() + noise
}

/// The word for a slope.
fn judge_slope(slope: &Slope, expected: f64, rule: &Rule, step: u64, approaching: bool) -> Verdict {
    let deviation = slope.slope - expected;
    if deviation.abs() <= rule.accept {
        return Verdict::Pass;
    }
    let settles = if deviation > 0.0 { rule.settles_above } else { rule.settles_below };
    let (settled, approaching) = (step >= settles, approaching || settles >= NEVER);
    let real = slope.interval.low - expected > rule.accept
        || slope.interval.high - expected < -rule.accept;
    let within_limits = (-rule.hard_below..=rule.hard_above).contains(&deviation);
    match () {
        () if !real && within_limits => Verdict::Pass,
        () if !settled && approaching => Verdict::Transient,
        () if real => Verdict::Fail,
        () => Verdict::Inconclusive,
    }
}

/// The line by which a control proves that the detector sees a wrong table: the largest excess
/// over the expected slope among failing activations by step `power_step`.
pub fn power(control: &[Line]) -> Option<&Line> {
    let thresholds = &thresholds::committed().coordinate_check;
    let proves = |line: &&Line| {
        line.class.proves_power()
            && (1..=thresholds.power_step.value).contains(&line.key.step)
            && line.verdict == Verdict::Fail
            && line.deviation().is_some_and(|excess| excess >= thresholds.power_slope.value)
    };
    let excess = |line: &Line| line.deviation().unwrap_or(f64::NEG_INFINITY);
    control.iter().filter(proves).max_by(|a, b| excess(a).total_cmp(&excess(b)))
}
