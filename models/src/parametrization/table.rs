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

/// Key of a table's file that names the built-in table it starts from.
const BASED_ON: &str = "based_on";

/// What `table` lacks, section by section; `None` if it lacks nothing.
fn missing(table: &toml::Table) -> Option<String> {
    const SECTIONS: [&str; 7] = ["input", "hidden", "output", "bias", "gain", "sites", "training"];
    let whole = Parametrization::built_in("standard").and_then(|table| table.values()).ok()?;
    let mut lacking = Vec::new();
    for section in SECTIONS {
        let (Some(keys), given) = (whole[section].as_table(), table.get(section)) else { continue };
        let Some(given) = given else {
            lacking.push(format!("no [{section}]"));
            continue;
        };
        let absent = keys.keys().filter(|key| !key.starts_with("depth_"));
        let mut absent: Vec<&str> =
            absent.filter(|key| given.get(key).is_none()).map(String::as_str).collect();
        // Whether a table keeps the order of its file depends on what else is built beside it.
        absent.sort_unstable();
        if !absent.is_empty() {
            lacking.push(format!("[{section}] lacks {}", absent.join(", ")));
        }
    }
    (!lacking.is_empty()).then(|| lacking.join("; "))
}

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

    /// Reads a table from TOML text; `origin` is named in errors. With `based_on = "mup-table8"`
    /// every key that it does not give is that of the built-in table named.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        let problem = |problem: String| ModelError::Parametrization {
            name: origin.to_owned(),
            problem,
            hint: format!(
                "{}; or based_on = \"mup-table8\" takes what is not given from there",
                "every role needs init_std, forward, learning_rate, weight_decay, epsilon"
            ),
        };
        let mut table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| problem(error.to_string().trim_end().to_owned()))?;
        let Some(base) = table.remove(BASED_ON) else {
            return toml::from_str(text).map_err(|error| match missing(&table) {
                Some(missing) => problem(missing),
                None => problem(error.to_string().trim_end().to_owned()),
            });
        };
        let Some(base) = base.as_str() else {
            return Err(problem(format!("{BASED_ON} is no name of a table")));
        };
        let mut merged = Self::built_in(base)?.values()?;
        merged.insert("description".to_owned(), format!("{base} with changes").into());
        for (section, value) in table {
            match (merged.get_mut(&section), value) {
                (Some(toml::Value::Table(below)), toml::Value::Table(above)) => below.extend(above),
                (_, value) => {
                    merged.insert(section, value);
                }
            }
        }
        merged.try_into().map_err(|error: toml::de::Error| problem(error.message().to_owned()))
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

    /// Exponents of `role`, to be changed.
    pub fn role_mut(&mut self, role: Role) -> &mut RoleExponents {
        match role {
            Role::Input => &mut self.input,
            Role::Hidden => &mut self.hidden,
            Role::Output => &mut self.output,
            Role::Bias => &mut self.bias,
            Role::Gain => &mut self.gain,
        }
    }

    /// Every exponent under its key in the table's file, e.g. `hidden.learning_rate`, in the
    /// file's order. An exponent that is added to the table is in here without further ado.
    ///
    /// # Errors
    /// A table that cannot be written as TOML: a bug.
    pub fn exponents(&self) -> Result<Vec<(String, f64)>> {
        let mut exponents = Vec::new();
        for (section, entries) in &self.values()? {
            let entries = entries.as_table().into_iter().flatten();
            let number = |(key, value): (&String, &toml::Value)| {
                Some((format!("{section}.{key}"), value.as_float()?))
            };
            exponents.extend(entries.filter_map(number));
        }
        Ok(exponents)
    }

    /// The table with the exponent called `key` (see [`Self::exponents`]) set to `value`.
    ///
    /// # Errors
    /// No such exponent.
    pub fn with_exponent(&self, key: &str, value: f64) -> Result<Self> {
        let mut values = self.values()?;
        let place = key.split_once('.').and_then(|(section, name)| {
            values.get_mut(section)?.get_mut(name).filter(|entry| entry.is_float())
        });
        let Some(place) = place else {
            return Err(self.problem(
                format!("it has no exponent '{key}'"),
                "exponents are named as in the table's file, e.g. hidden.learning_rate",
            ));
        };
        *place = toml::Value::Float(value);
        values.try_into().map_err(|error: toml::de::Error| {
            self.problem(error.to_string(), "this is a bug; please report the table")
        })
    }

    fn values(&self) -> Result<toml::Table> {
        toml::Table::try_from(self).map_err(|error| {
            self.problem(error.to_string(), "this is a bug; please report the table")
        })
    }

    fn problem(&self, problem: String, hint: &str) -> ModelError {
        ModelError::Parametrization { name: self.name.clone(), problem, hint: hint.to_owned() }
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

    #[test]
    fn invariant_every_exponent_has_a_name_and_changes_alone() {
        let table = Parametrization::built_in("pt-2026").unwrap();
        let exponents = table.exponents().unwrap();
        assert_eq!(exponents.len(), 5 * 7 + 5 + 1);
        for (place, (key, value)) in exponents.iter().enumerate() {
            let changed = table.with_exponent(key, value + 0.25).unwrap();
            for (other, (before, after)) in
                exponents.iter().zip(&changed.exponents().unwrap()).enumerate()
            {
                assert_eq!(before.0, after.0);
                let moved = after.1 - before.1;
                assert!((moved - if other == place { 0.25 } else { 0.0 }).abs() < 1e-12, "{key}");
            }
        }
        for key in ["hidden.rate", "hidden", "name", "description.x"] {
            let message = table.with_exponent(key, 0.0).unwrap_err().to_string();
            assert!(message.contains(key) && message.contains("hint:"), "{message}");
        }
    }

    #[test]
    fn invariant_a_table_takes_what_it_does_not_give_from_another() {
        let parse = |text: &str| Parametrization::parse("own.toml", text);
        let base = Parametrization::built_in("mup-table8").unwrap();
        let text = "name = \"own\"\nbased_on = \"mup-table8\"\n[hidden]\nlearning_rate = -0.5";
        let own = parse(text).unwrap();
        assert_eq!(own.name, "own");
        let expected = base.with_exponent("hidden.learning_rate", -0.5).unwrap();
        assert_eq!(own.exponents().unwrap(), expected.exponents().unwrap());
        for (text, part) in [
            ("name = \"own\"\nbased_on = \"nope\"", "built-in tables are"),
            ("based_on = 3", "based_on is no name"),
            ("based_on = \"mup\"\n[hidden]\nrate = 1.0", "unknown field `rate`"),
            ("based_on = \"mup\"\n[hiden]\ninit_std = 1.0", "unknown field `hiden`"),
            ("name = \"own\"\n[hidden]\nforward = 0.0", "[hidden] lacks epsilon, init_std"),
            ("name = \"own\"\n[hidden]\nforward = 0.0", "no [input]"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(part) && message.contains("hint:"), "{part}: {message}");
        }
    }
}
