//! The numbers of `thresholds.toml`: how far from what was expected or recorded is too far.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::checks::coordinates::Class;
use crate::error::{HarnessError, Result};

const TEXT: &str = include_str!("thresholds.toml");

/// Every threshold of the program's checks.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// Of `crossscale regress`.
    pub short_trainings: ShortTrainings,
    /// Of `crossscale bless`.
    pub recorded: Recorded,
    /// Of the invariants of parametrization tables.
    pub invariants: Invariants,
    /// Of `ci/instruction_gate`.
    pub instruction_counts: InstructionCounts,
    /// Of `crossscale coordcheck`.
    pub coordinate_check: CoordinateCheck,
}

/// A threshold and why it has this value.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold<T> {
    /// The number or numbers.
    pub value: T,
    /// Why.
    pub reason: String,
}

/// Bands around recorded losses.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShortTrainings {
    /// Half-width of a band in standard deviations of a single run.
    pub sigmas: Threshold<f64>,
    /// Half-width around the recorded loss of the judged seed, in roundings.
    pub roundings: Threshold<f64>,
    /// The same on a machine with other arithmetic.
    pub roundings_elsewhere: Threshold<f64>,
    /// Least size of a rounding of a held-out loss, nats.
    pub rounding_min_nats: Threshold<f64>,
    /// Least size of a rounding of one of the first training losses, nats.
    pub first_rounding_min_nats: Threshold<f64>,
}

/// Distance from recorded activations and rules.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Relative bands after each recorded step, on a machine with other arithmetic.
    pub bands: Threshold<[f64; 4]>,
    /// Least and largest ratio of a band to the rounding it is about.
    pub band_over_rounding: Threshold<[f64; 2]>,
    /// Smaller statistics are compared as if they were this large.
    pub floor: Threshold<f64>,
    /// Relative distance of a rule from the recorded one.
    pub rule: Threshold<f64>,
}

/// Distances that rounding explains.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invariants {
    /// Of the losses of equivalent tables, relative.
    pub equivalent_losses: Threshold<f64>,
    /// Of a factor from the product of its parts, relative.
    pub multiplier: Threshold<f64>,
    /// Of the shrinkage per step at two widths, relative.
    pub shrinkage: Threshold<f64>,
    /// Of a rule from the published one.
    pub published_rule: Threshold<f64>,
    /// Of an initial mean or deviation from its rule, in standard errors.
    pub initial_standard_errors: Threshold<f64>,
}

/// Relative distance from recorded instruction counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstructionCounts {
    /// With the compiler that they were recorded with.
    pub band: Threshold<f64>,
    /// With another one.
    pub band_elsewhere: Threshold<f64>,
}

/// Slopes over width.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinateCheck {
    /// The control must exceed an expected slope by this much.
    pub power_slope: Threshold<f64>,
    /// By this step.
    pub power_step: Threshold<u64>,
    /// By class of site and step.
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
}

/// What a class of sites must satisfy from a step on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Sites it is about.
    pub class: Class,
    /// First step it holds at.
    pub from_step: u64,
    /// Expected slope per octave.
    pub expected: f64,
    /// Added times the exponent of the head width in the width, unless the table divides
    /// attention logits by the root of the head width.
    #[serde(default)]
    pub per_head_dim: f64,
    /// Half-width of the acceptance band.
    pub accept: f64,
    /// No slope this far above the expected one passes.
    pub hard_above: f64,
    /// No slope this far below the expected one passes.
    pub hard_below: f64,
    /// First step at which a slope above the band is final.
    #[serde(default)]
    pub settles_above: u64,
    /// First step at which a slope below the band is final.
    #[serde(default)]
    pub settles_below: u64,
    /// Why these numbers.
    pub reason: String,
}

static COMMITTED: LazyLock<Thresholds> =
    LazyLock::new(|| toml::from_str(TEXT).expect("thresholds.toml is part of the program"));

/// The committed thresholds.
pub fn committed() -> &'static Thresholds {
    &COMMITTED
}

impl CoordinateCheck {
    /// The rule of `class` at `step`: the last one that holds by then.
    ///
    /// # Errors
    /// No such rule.
    pub fn rule(&self, class: Class, step: u64) -> Result<&Rule> {
        let fits = |rule: &&Rule| rule.class == class && rule.from_step <= step;
        self.rules.iter().rev().find(fits).ok_or_else(|| {
            HarnessError::Invariant(format!("thresholds.toml has no rule for {class:?} at {step}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_rules_are_ordered_and_consistent() {
        let rules = &committed().coordinate_check.rules;
        for pair in rules.windows(2) {
            assert!(pair[0].class != pair[1].class || pair[0].from_step < pair[1].from_step);
        }
        for rule in rules {
            assert!(rule.accept > 0.0 && !rule.reason.is_empty(), "{rule:?}");
            assert!(rule.hard_above >= rule.accept && rule.hard_below >= rule.accept, "{rule:?}");
        }
    }

    #[test]
    fn invariant_every_threshold_has_a_reason() {
        fn check(path: &str, value: &toml::Value) {
            match value {
                toml::Value::Table(table) if table.contains_key("reason") => {
                    let reason = table["reason"].as_str().unwrap_or_default();
                    assert!(reason.len() > 20, "{path} has no reason");
                }
                toml::Value::Table(table) => {
                    table.iter().for_each(|(key, value)| check(&format!("{path}.{key}"), value));
                }
                toml::Value::Array(items) => items.iter().for_each(|item| check(path, item)),
                _ => panic!("{path} is a number without a reason"),
            }
        }
        check("thresholds", &toml::Value::Table(TEXT.parse().unwrap()));
    }
}
