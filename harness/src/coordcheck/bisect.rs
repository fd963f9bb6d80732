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
use models::parametrization::{Parametrization, RoleExponents};

use super::measure::Bench;
use super::slope::LineKey;
use super::verdict::{Verdict, judge};
use crate::error::Result;

/// Exponents closer than this are the same rule.
const SAME: f64 = 1e-9;

/// One exponent of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleId {
    /// An exponent of a role.
    Role(Role, Quantity),
    /// An exponent of a forward constant.
    Site(Site),
    /// The exponent of the gradient-clip threshold.
    GradientClip,
}

/// What a role's exponent is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Initial standard deviation.
    InitStd,
    /// Forward multiplier.
    Forward,
    /// Learning rate.
    LearningRate,
    /// Weight decay.
    WeightDecay,
    /// Adam's epsilon.
    Epsilon,
}

/// Forward constants that depend on width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// Attention (head) logits.
    AttentionLogits,
    /// Label beliefs.
    Belief,
    /// Topic activations.
    Topic,
    /// Messages to the labels.
    Message,
}

impl Quantity {
    const ALL: [Self; 5] =
        [Self::InitStd, Self::Forward, Self::LearningRate, Self::WeightDecay, Self::Epsilon];

    const fn key(self) -> &'static str {
        match self {
            Self::InitStd => "init_std",
            Self::Forward => "forward",
            Self::LearningRate => "learning_rate",
            Self::WeightDecay => "weight_decay",
            Self::Epsilon => "epsilon",
        }
    }

    fn of(self, role: &mut RoleExponents) -> &mut f64 {
        match self {
            Self::InitStd => &mut role.init_std,
            Self::Forward => &mut role.forward,
            Self::LearningRate => &mut role.learning_rate,
            Self::WeightDecay => &mut role.weight_decay,
            Self::Epsilon => &mut role.epsilon,
        }
    }
}

impl Site {
    const ALL: [Self; 4] = [Self::AttentionLogits, Self::Belief, Self::Topic, Self::Message];

    const fn key(self) -> &'static str {
        match self {
            Self::AttentionLogits => "attention_logits",
            Self::Belief => "belief",
            Self::Topic => "topic",
            Self::Message => "message",
        }
    }
}

impl RuleId {
    /// Every rule that depends on width, in the order of a table's file.
    pub fn all() -> Vec<Self> {
        let of_role = |role| Quantity::ALL.map(|quantity| Self::Role(role, quantity));
        let mut rules: Vec<Self> = Role::ALL.into_iter().flat_map(of_role).collect();
        rules.extend(Site::ALL.map(Self::Site));
        rules.push(Self::GradientClip);
        rules
    }

    /// The exponent in `table`.
    pub fn get(self, table: &Parametrization) -> f64 {
        *self.place(&mut table.clone())
    }

    /// `table` with this exponent set to `value`.
    #[must_use]
    pub fn with(self, table: &Parametrization, value: f64) -> Parametrization {
        let mut table = table.clone();
        *self.place(&mut table) = value;
        table
    }

    fn place(self, table: &mut Parametrization) -> &mut f64 {
        match self {
            Self::Role(role, quantity) => quantity.of(role_of(table, role)),
            Self::Site(Site::AttentionLogits) => &mut table.sites.attention_logits,
            Self::Site(Site::Belief) => &mut table.sites.belief,
            Self::Site(Site::Topic) => &mut table.sites.topic,
            Self::Site(Site::Message) => &mut table.sites.message,
            Self::GradientClip => &mut table.training.gradient_clip,
        }
    }
}

impl std::fmt::Display for RuleId {
    /// The key in a table's file, e.g. `hidden.learning_rate`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Role(role, quantity) => write!(f, "{role}.{}", quantity.key()),
            Self::Site(site) => write!(f, "sites.{}", site.key()),
            Self::GradientClip => write!(f, "training.gradient_clip"),
        }
    }
}

fn role_of(table: &mut Parametrization, role: Role) -> &mut RoleExponents {
    match role {
        Role::Input => &mut table.input,
        Role::Hidden => &mut table.hidden,
        Role::Output => &mut table.output,
        Role::Bias => &mut table.bias,
        Role::Gain => &mut table.gain,
    }
}

/// `table` with the forward exponents of `reference` and everything else changed so that it
/// trains the same (lemma J.1).
#[must_use]
pub fn in_form_of(table: &Parametrization, reference: &Parametrization) -> Parametrization {
    let mut table = table.clone();
    for role in Role::ALL {
        let shift = reference.role(role).forward - table.role(role).forward;
        let exponents = role_of(&mut table, role);
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
    /// The rule.
    pub rule: RuleId,
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
        for rule in rules.into_iter().take_while(|_| left > 0) {
            let (was, wanted) = (rule.get(&current), rule.get(reference));
            let after = count(&rule.with(&current, wanted))?;
            let (failing_before, failing_after) = (left, after);
            let trial = Trial {
                round,
                rule,
                was,
                reference: wanted,
                failing_before,
                failing_after,
                kept: false,
            };
            let better = best.is_none_or(|best: usize| after < trials_after(&trials, best));
            trials.push(trial);
            if after < left && better {
                best = Some(trials.len() - 1);
            }
        }
        let Some(best) = best else { break };
        trials[best].kept = true;
        left = trials[best].failing_after;
        current = trials[best].rule.with(&current, trials[best].reference);
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

/// Rules on which the tables differ and which change anything in this plan.
fn suspects(
    bench: &Bench,
    current: &Parametrization,
    reference: &Parametrization,
) -> Result<Vec<RuleId>> {
    let mut rules = Vec::new();
    for rule in RuleId::all() {
        let wanted = rule.get(reference);
        if (rule.get(current) - wanted).abs() > SAME
            && matters(bench, current, &rule.with(current, wanted), rule)?
        {
            rules.push(rule);
        }
    }
    Ok(rules)
}

/// Whether two tables that differ in `rule` can train differently under the plan.
fn matters(bench: &Bench, a: &Parametrization, b: &Parametrization, rule: RuleId) -> Result<bool> {
    let run = &bench.plan().run;
    let decay = matches!(rule, RuleId::Role(_, Quantity::WeightDecay));
    let of_pt = matches!(rule, RuleId::Site(Site::Belief | Site::Topic | Site::Message));
    let clip = rule == RuleId::GradientClip;
    if (decay && run.train.weight_decay == 0.0)
        || (of_pt && run.model.family() != "pt")
        || (clip && run.train.gradient_clip == 0.0)
    {
        return Ok(false);
    }
    let base = run.base_model();
    for &width in &bench.plan().widths {
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
