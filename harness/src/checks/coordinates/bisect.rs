//! Which rule of a failing table is wrong?
//!
//! Rules are switched one at a time to those of a reference table that is known to be right. The
//! switch after which the fewest sites fail is kept; this repeats until no more sites fail than
//! under the reference or no switch helps. Before that the table is rewritten in the reference's
//! equivalent form (Tensor Programs V, lemma J.1: forward multiplier times m^x, deviation and
//! rate over m^x, epsilon and decay times m^x), so that a sound rule stored in another form is
//! not taken for a wrong one.

use std::collections::BTreeSet;

use models::parameters::Role;
use models::parametrization::Parametrization;

use super::measure::Bench;
use super::plan::Plan;
use super::slope::LineKey;
use super::verdict::{Verdict, judge};
use crate::error::Result;

/// Exponents closer than this are the same rule.
const SAME: f64 = 1e-9;

/// `table` with the forward exponents of `reference` and everything else changed so that it
/// trains the same (lemma J.1).
#[must_use]
pub fn in_form_of(table: &Parametrization, reference: &Parametrization) -> Parametrization {
    let mut table = table.clone();
    for role in Role::ALL {
        let shift = reference.role(role).forward - table.role(role).forward;
        let exponents = table.role_mut(role);
        exponents.forward += shift;
        exponents.init_std -= shift;
        exponents.learning_rate -= shift;
        exponents.weight_decay += shift;
        exponents.epsilon += shift;
    }
    table
}

/// One switch that was tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Round, from 1; each keeps one switch.
    pub round: usize,
    /// The exponent's key in a table's file, e.g. `hidden.learning_rate`.
    pub rule: String,
    /// Its exponent in the table under test, in the reference's form.
    pub was: f64,
    /// Its exponent in the reference.
    pub reference: f64,
    /// Failing lines (that the reference passes) before the switch.
    pub failing_before: usize,
    /// And after it.
    pub failing_after: usize,
    /// Whether the switch was kept.
    pub kept: bool,
}

/// What the search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Bisection {
    /// Name of the reference.
    pub reference: String,
    /// Every switch tried, in order.
    pub trials: Vec<Trial>,
    /// Lines still failing in the end that the reference passes.
    pub failing_left: usize,
    /// Lines that fail under the reference too, which no switch can repair.
    pub failing_reference: usize,
}

impl Bisection {
    /// The switches that were kept, in order.
    pub fn repairs(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter().filter(|trial| trial.kept)
    }

    /// The finding in words.
    pub fn sentence(&self) -> String {
        let change =
            |trial: &Trial| format!("{} from {} to {}", trial.rule, trial.was, trial.reference);
        let changes: Vec<String> = self.repairs().map(change).collect();
        let text = match (changes.is_empty(), self.failing_left) {
            (true, 0) => format!("no site fails that {} passes", self.reference),
            (true, left) => format!("no single switch repairs any of the {left} failing lines"),
            (false, 0) => format!("repaired by changing {}", changes.join(", then ")),
            (false, left) => {
                format!("changing {} helps; {left} lines still fail", changes.join(", then "))
            }
        };
        if self.failing_reference > 0 {
            let (count, reference) = (self.failing_reference, &self.reference);
            return format!("{text}; {count} lines fail under {reference} as well");
        }
        text
    }
}

/// Looks for the rules of `table` that are wrong, against `reference`.
///
/// # Errors
/// Whatever the runs refuse.
pub fn bisect(
    bench: &Bench,
    table: &Parametrization,
    reference: &Parametrization,
) -> Result<Bisection> {
    let failing = |table: &Parametrization| -> Result<BTreeSet<LineKey>> {
        let lines = judge(&bench.measure(table)?, bench.plan())?;
        let fails = |line: &super::Line| line.verdict == Verdict::Fail;
        Ok(lines.into_iter().filter(fails).map(|line| line.key).collect())
    };
    let unavoidable = failing(reference)?;
    let count = |table: &Parametrization| -> Result<usize> {
        Ok(failing(table)?.difference(&unavoidable).count())
    };
    let mut current = in_form_of(table, reference);
    let mut left = count(&current)?;
    let mut trials = Vec::new();
    for round in 1.. {
        let rules = suspects(bench, &current, reference)?;
        let mut best: Option<usize> = None;
        for Suspect { rule, was, reference } in rules.into_iter().take_while(|_| left > 0) {
            let after = count(&current.with_exponent(&rule, reference)?)?;
            let (failing_before, failing_after) = (left, after);
            let trial =
                Trial { round, rule, was, reference, failing_before, failing_after, kept: false };
            let better = best.is_none_or(|best: usize| after < trials_after(&trials, best));
            trials.push(trial);
            if after < left && better {
                best = Some(trials.len() - 1);
            }
        }
        let Some(best) = best else { break };
        trials[best].kept = true;
        left = trials[best].failing_after;
        current = current.with_exponent(&trials[best].rule, trials[best].reference)?;
    }
    Ok(Bisection {
        reference: reference.name.clone(),
        trials,
        failing_left: left,
        failing_reference: unavoidable.len(),
    })
}

fn trials_after(trials: &[Trial], index: usize) -> usize {
    trials[index].failing_after
}

/// An exponent on which a table differs from its reference.
struct Suspect {
    rule: String,
    was: f64,
    reference: f64,
}

/// Rules on which the tables differ and which change anything in this plan.
fn suspects(
    bench: &Bench,
    current: &Parametrization,
    reference: &Parametrization,
) -> Result<Vec<Suspect>> {
    let mut suspects = Vec::new();
    for ((rule, was), (_, reference)) in
        current.exponents()?.into_iter().zip(reference.exponents()?)
    {
        if (was - reference).abs() > SAME
            && matters(bench.plan(), current, &current.with_exponent(&rule, reference)?, &rule)?
        {
            suspects.push(Suspect { rule, was, reference });
        }
    }
    Ok(suspects)
}

/// Whether two tables that differ in the exponent `rule` can train differently under `plan`.
pub fn matters(plan: &Plan, a: &Parametrization, b: &Parametrization, rule: &str) -> Result<bool> {
    let run = &plan.run;
    let decay = rule.ends_with(".weight_decay");
    let of_pt = matches!(rule, "sites.belief" | "sites.topic" | "sites.message");
    let clip = rule == "training.gradient_clip";
    if (decay && run.train.weight_decay == 0.0)
        || (of_pt && run.model.family() != "pt")
        || (clip && run.train.gradient_clip == 0.0)
    {
        return Ok(false);
    }
    let base = run.base_model();
    for &width in &plan.widths {
        let model = run.model.at_width(width);
        let resolve = |table: &Parametrization| {
            let layouts = (&model.layout()?, model.dimensions());
            let base_layout = base.layout()?;
            Ok::<_, crate::HarnessError>(table.resolve(layouts, (&base_layout, base.dimensions()))?)
        };
        let (a, b) = (resolve(a)?, resolve(b)?);
        if a.rules != b.rules
            || a.sites != b.sites
            || a.gradient_clip_multiplier.to_bits() != b.gradient_clip_multiplier.to_bits()
        {
            return Ok(true);
        }
    }
    Ok(false)
}
