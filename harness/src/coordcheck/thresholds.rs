//! The rules of `thresholds.toml`.

use serde::Deserialize;

use super::sites::Class;
use crate::error::{HarnessError, Result};

const TEXT: &str = include_str!("thresholds.toml");

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
    /// Added times the exponent of the head width in the width.
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

/// All rules.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    #[serde(rename = "rule")]
    rules: Vec<Rule>,
}

impl Thresholds {
    /// The committed rules.
    ///
    /// # Errors
    /// A file that does not parse: a bug.
    pub fn committed() -> Result<Self> {
        toml::from_str(TEXT)
            .map_err(|error| HarnessError::Invariant(format!("thresholds.toml: {error}")))
    }

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

    /// Every rule in the order of the file.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_rules_are_ordered_and_consistent() {
        let thresholds = Thresholds::committed().unwrap();
        for pair in thresholds.rules().windows(2) {
            assert!(pair[0].class != pair[1].class || pair[0].from_step < pair[1].from_step);
        }
        for rule in thresholds.rules() {
            assert!(rule.accept > 0.0 && !rule.reason.is_empty(), "{rule:?}");
            assert!(rule.hard_above >= rule.accept && rule.hard_below >= rule.accept, "{rule:?}");
        }
    }
}
