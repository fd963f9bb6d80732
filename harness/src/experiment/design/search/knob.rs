//! One searched hyper-parameter.

use serde::{Deserialize, Serialize};
use toml::Value;

use crate::error::{HarnessError, Result};

/// A range on a logarithmic scale, or an ordered list of choices; with the value to start at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Knob {
    /// Any number from `low` to `high`, evenly in its logarithm.
    Range {
        /// Value of trial 0.
        start: f64,
        /// Least value.
        low: f64,
        /// Largest value.
        high: f64,
    },
    /// One of `choices`, which stand in an order in which neighbours are alike.
    Choice {
        /// Value of trial 0, one of the choices.
        start: Value,
        /// All values.
        choices: Vec<Value>,
    },
}

impl Knob {
    /// Checks that the start lies within.
    pub fn validate(&self, name: &str) -> Result<()> {
        let problem = match self {
            Self::Range { start, low, high } => {
                let ordered = 0.0 < *low && low <= start && start <= high && low < high;
                (!ordered || !high.is_finite()).then(|| format!("start {start} in {low} to {high}"))
            }
            Self::Choice { start, choices } => {
                (!choices.contains(start)).then(|| format!("start {start} is no choice"))
            }
        };
        problem.map_or(Ok(()), |problem| {
            Err(HarnessError::config(
                format!("{name}: {problem}"),
                "0 < low <= start <= high, or a start that is one of the choices",
            ))
        })
    }

    /// Place of the start, 0 to 1.
    pub fn start_place(&self) -> f64 {
        match self {
            Self::Range { start, low, high } => (start / low).ln() / (high / low).ln(),
            Self::Choice { start, choices } => {
                let index = choices.iter().position(|choice| choice == start).unwrap_or(0);
                (index as f64 + 0.5) / choices.len() as f64
            }
        }
    }

    /// Value at `place`. Numbers have three significant digits, so that a definition can be
    /// written by hand from a table; the start is exact.
    pub fn value(&self, place: f64) -> Value {
        match self {
            Self::Range { start, .. } if place.to_bits() == self.start_place().to_bits() => {
                Value::Float(*start)
            }
            Self::Range { low, high, .. } => {
                let value = low * (high / low).powf(place);
                Value::Float(format!("{value:.2e}").parse().unwrap_or(value))
            }
            Self::Choice { choices, .. } => {
                let index = (place * choices.len() as f64) as usize;
                choices[index.min(choices.len() - 1)].clone()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_a_knob_gives_its_start_and_its_ends() {
        let range = Knob::Range { start: 0.808_42, low: 0.2, high: 5.0 };
        let value = |knob: &Knob, place| knob.value(place).as_float().unwrap();
        assert_eq!(value(&range, range.start_place()).to_bits(), 0.808_42f64.to_bits());
        assert!((value(&range, 0.0) - 0.2).abs() < 1e-12);
        assert!((value(&range, 1.0) - 5.0).abs() < 1e-12);
        assert!((value(&range, 0.5) - 1.0).abs() < 1e-12, "halfway in the logarithm");
        let choices: Vec<Value> = [3, 4, 6].map(Value::Integer).to_vec();
        let choice = Knob::Choice { start: Value::Integer(4), choices: choices.clone() };
        assert_eq!(choice.value(choice.start_place()), Value::Integer(4));
        assert_eq!([choice.value(0.0), choice.value(0.5), choice.value(1.0)][..], choices[..]);
        assert!(Knob::Choice { start: Value::Integer(5), choices }.validate("x").is_err());
        assert!(Knob::Range { start: 9.0, low: 0.2, high: 5.0 }.validate("x").is_err());
    }
}
