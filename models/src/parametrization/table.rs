//! The TOML table of exponents and the built-in tables.

use serde::{Deserialize, Serialize};

use crate::error::{ModelError, Result};
use crate::parameters::Role;

/// Built-in tables: name and TOML text.
const BUILT_IN: &[(&str, &str)] = &[
    ("standard", include_str!("tables/standard.toml")),
    ("standard-full-align", include_str!("tables/standard-full-align.toml")),
    ("ntk", include_str!("tables/ntk.toml")),
    ("mean-field", include_str!("tables/mean-field.toml")),
    ("mup-table3", include_str!("tables/mup-table3.toml")),
    ("mup-table8", include_str!("tables/mup-table8.toml")),
    ("mup-table9", include_str!("tables/mup-table9.toml")),
    ("pt-2026", include_str!("tables/pt-2026.toml")),
    ("pt-2026-strict", include_str!("tables/pt-2026-strict.toml")),
    ("pt-2023", include_str!("tables/pt-2023.toml")),
    ("pt-2023-fixed-rank", include_str!("tables/pt-2023-fixed-rank.toml")),
    ("completep", include_str!("tables/completep.toml")),
];
/// Second names of built-in tables.
const ALIASES: &[(&str, &str)] = &[("mup", "mup-table8"), ("sp", "standard")];

/// Exponents of one role, each of that tensor's own width ratio m (see
/// [`ParameterSpec::scaling_fan`](crate::parameters::ParameterSpec::scaling_fan)).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleExponents {
    /// Initial standard deviation ~ m^x.
    pub init_std: f64,
    /// Forward multiplier ~ m^x.
    pub forward: f64,
    /// Adam learning rate ~ m^x.
    pub learning_rate: f64,
    /// Weight decay coefficient ~ m^x (decay is coupled: a step shrinks by lr times decay).
    pub weight_decay: f64,
    /// Adam epsilon ~ m^x.
    pub epsilon: f64,
    /// Adam learning rate ~ (depth ratio)^x.
    #[serde(default)]
    pub depth_learning_rate: f64,
    /// Adam epsilon ~ (depth ratio)^x.
    #[serde(default)]
    pub depth_epsilon: f64,
}

/// Exponents of the forward constants that belong to no tensor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteExponents {
    /// Attention (head) logits, in the ratio of head width or rank.
    pub attention_logits: f64,
    /// Factor on normalised label beliefs, in the ratio of widths.
    pub belief: f64,
    /// Factor on normalised topic activations, in the ratio of topic counts.
    pub topic: f64,
    /// Factor on messages to Z, in the ratio of widths.
    pub message: f64,
    /// Factor on residual branches, in the ratio of depths.
    pub residual: f64,
}

/// Exponents of training constants.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingExponents {
    /// Global-norm clip threshold, in the ratio of widths.
    pub gradient_clip: f64,
}

/// A named table of exponents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parametrization {
    /// Name used on the command line and in reports.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// Where the exponents come from.
    pub source: String,
    /// Embeddings.
    pub input: RoleExponents,
    /// Matrices between growing axes.
    pub hidden: RoleExponents,
    /// Decoder.
    pub output: RoleExponents,
    /// Added vectors.
    pub bias: RoleExponents,
    /// Multiplied vectors.
    pub gain: RoleExponents,
    /// Forward constants.
    pub sites: SiteExponents,
    /// Training constants.
    pub training: TrainingExponents,
}

impl Parametrization {
    /// The built-in table called `name` (or its alias).
    pub fn built_in(name: &str) -> Result<Self> {
        let full = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, full)| full);
        let (_, text) = BUILT_IN.iter().find(|(known, _)| *known == full).ok_or_else(|| {
            ModelError::Parametrization {
                name: name.to_owned(),
                problem: "no such table".to_owned(),
                hint: format!("built-in tables are {}", Self::names().join(", ")),
            }
        })?;
        Self::parse(full, text)
    }

    /// Names of the built-in tables.
    pub fn names() -> Vec<&'static str> {
        BUILT_IN.iter().map(|(name, _)| *name).collect()
    }

    /// Reads a table from TOML text; `origin` is named in errors.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| ModelError::Parametrization {
            name: origin.to_owned(),
            problem: error.to_string(),
            hint: "every role needs init_std, forward, learning_rate, weight_decay, epsilon"
                .to_owned(),
        })
    }

    /// Exponents of `role`.
    pub fn role(&self, role: Role) -> &RoleExponents {
        match role {
            Role::Input => &self.input,
            Role::Hidden => &self.hidden,
            Role::Output => &self.output,
            Role::Bias => &self.bias,
            Role::Gain => &self.gain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_every_built_in_table_parses_under_its_own_name() {
        for name in Parametrization::names() {
            assert_eq!(Parametrization::built_in(name).unwrap().name, name);
        }
        assert_eq!(Parametrization::built_in("mup").unwrap().name, "mup-table8");
        assert!(Parametrization::built_in("nope").is_err());
    }
}
