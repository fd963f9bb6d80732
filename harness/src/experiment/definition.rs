//! The definition of a `reproduce` experiment: budgets, families, seeds, searches.

use serde::{Deserialize, Serialize};
use toml::Table;

use crate::config::data::DataConfig;
use crate::config::model::{ComputePath, ModelConfig};
use crate::config::names;
use crate::config::overrides::FAMILIES;
use crate::config::suggest::{did_you_mean, from_message, plain};
use crate::config::train::TrainConfig;
use crate::cost::budget::Axis;
use crate::error::{HarnessError, Result};

/// Seeds that a definition may ask for: more than anybody will run.
pub const SEEDS_MAX: u64 = 1000;

const PRESETS: &[(&str, &str)] = &[
    ("quick", include_str!("../config/presets/quick.toml")),
    ("small", include_str!("../config/presets/small.toml")),
    ("laptop", include_str!("../config/presets/laptop.toml")),
    ("paper", include_str!("../config/presets/paper.toml")),
    ("paper-matched", include_str!("../config/presets/paper-matched.toml")),
];

/// Learning-rate search of one family, at the smallest budget unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchConfig {
    /// First rate tried; the grid is `center * factor^k`.
    pub center: f64,
    /// Whether every size has a search of its own, for recipes that tune each size.
    #[serde(default, skip_serializing_if = "is_default")]
    pub each_size: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Where a published recipe and an experiment part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// What is different.
    pub what: String,
    /// What was published, as far as it is known.
    pub published: String,
    /// What is done here, and what would undo the difference if something can.
    pub here: String,
}

/// Rule of every learning-rate search, fixed before any run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRule {
    /// Ratio of neighbouring rates.
    pub factor: f64,
    /// Points wanted on each side of the best one.
    pub points_each_side: usize,
    /// No search tries more rates than this.
    pub points_max: usize,
    /// Seed of the search runs.
    pub seed: u64,
}

/// One family of the ladder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FamilyEntry {
    /// Parametrization table.
    pub parametrization: String,
    /// Learning-rate search; left out where the rates are given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub search: SearchConfig,
    /// Rates that are given instead of searched for: one for the smallest size, which the
    /// parametrization carries to the others, or one for every size.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learning_rates: Vec<f64>,
    /// Whether the family has one model per entry of `shapes`, each of its own size, instead of
    /// one per budget; others are compared with it by interpolation.
    #[serde(default, skip_serializing_if = "is_default")]
    pub own_sizes: bool,
    /// Keys of the family's model table; a `vocab` in it is the least that its models have.
    #[serde(default)]
    pub model: Table,
    /// Keys that replace those of `[train]` for this family (published recipes).
    #[serde(default)]
    pub train: Table,
    /// Keys of the model table that depend on the budget, one table per budget (depth, for
    /// instance); a table with `width` fixes the shape, otherwise the width is solved for.
    #[serde(default)]
    pub shapes: Vec<Table>,
}

impl std::fmt::Display for Deviation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: published {}; here {}.", self.what, self.published, self.here)
    }
}

impl FamilyEntry {
    /// Whether rates are found or given for every size. Nothing is then carried from size to
    /// size: every model is the base of its own parametrization, which multiplies by one.
    pub fn tuned_at_every_size(&self) -> bool {
        self.search.each_size || self.learning_rates.len() > 1
    }

    fn validate(&self) -> std::result::Result<(), (String, &'static str)> {
        let widths = self.shapes.iter().filter(|shape| shape.contains_key("width")).count();
        if self.own_sizes && (self.shapes.is_empty() || widths < self.shapes.len()) {
            let problem = "own_sizes without a width in every one of its shapes";
            return Err((problem.to_owned(), "give shapes = [{ width = N }, …]"));
        }
        let rates = &self.learning_rates;
        let valid = |rate: &f64| rate.is_finite() && *rate > 0.0;
        if !rates.iter().all(valid) {
            return Err((format!("learning_rates = {rates:?}"), "give rates above 0"));
        }
        if rates.len() > 1 && rates.len() != self.shapes.len() {
            let problem = format!("{} rates for {} shapes", rates.len(), self.shapes.len());
            return Err((problem, "give one rate, or one for every shape"));
        }
        if rates.is_empty() != valid(&self.search.center) {
            let problem = "rates must be either given or searched for".to_owned();
            return Err((problem, "give search.center or learning_rates, one of them"));
        }
        Ok(())
    }
}

/// Learning rate against width, for one family under several parametrizations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferEntry {
    /// Family that is swept.
    pub family: String,
    /// Parametrizations compared; the first is the claim, the others are controls.
    pub parametrizations: Vec<String>,
    /// Widths, the first of which is the base.
    pub widths: Vec<usize>,
    /// First rate tried at each width.
    pub center: f64,
    /// Seeds of every point.
    pub seeds: u64,
    /// Keys that replace those of `[train]`.
    #[serde(default)]
    pub train: Table,
}

/// A complete `reproduce` experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Name, also of the output folder.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// What the results may and may not be used for, printed in the report.
    pub analysis: String,
    /// Seeds 1..=seeds of every ladder cell.
    pub seeds: u64,
    /// What a budget counts.
    pub axis: Axis,
    /// Budgets, in increasing order.
    pub budgets: Vec<f64>,
    /// Families in report order.
    pub families: Vec<String>,
    /// Rule of the learning-rate searches.
    pub search_rule: SearchRule,
    /// Text, tokenizer, masking, evaluation.
    pub data: DataConfig,
    /// Optimiser, schedule, steps.
    pub train: TrainConfig,
    /// Which implementation computes the runs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub path: ComputePath,
    /// Where this experiment parts from the published one that it repeats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deviations: Vec<Deviation>,
    /// Probabilistic Transformer.
    pub pt: Option<FamilyEntry>,
    /// BERT.
    pub bert: Option<FamilyEntry>,
    /// Pre-LN Transformer.
    pub preln: Option<FamilyEntry>,
    /// Universal Transformer.
    pub ut: Option<FamilyEntry>,
    /// Learning-rate transfer.
    pub transfer: Option<TransferEntry>,
}

impl Definition {
    /// Names of the built-in presets.
    pub fn names() -> Vec<&'static str> {
        PRESETS.iter().map(|(name, _)| *name).collect()
    }

    /// The built-in preset called `name`.
    pub fn preset(name: &str) -> Result<Self> {
        Self::parse(name, Self::preset_text(name)?)
    }

    /// Its TOML text.
    pub fn preset_text(name: &str) -> Result<&'static str> {
        PRESETS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text).ok_or_else(|| {
            let guess = did_you_mean(name, Self::names());
            HarnessError::config(
                format!("no preset '{name}'"),
                format!("{guess}presets are {}", Self::names().join(", ")),
            )
        })
    }

    /// Reads a definition from TOML text; `origin` is named in errors.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        let definition: Self = toml::from_str(text).map_err(|error| {
            HarnessError::config(
                format!("{origin}: {}", plain(error.to_string().trim_end())),
                format!(
                    "{}compare with harness/src/config/presets/quick.toml",
                    from_message(error.message())
                ),
            )
        })?;
        definition.validate(origin)?;
        Ok(definition)
    }

    fn validate(&self, origin: &str) -> Result<()> {
        let fail = |problem: String, hint: &str| {
            Err(HarnessError::config(format!("{origin}: {problem}"), hint))
        };
        names::check(origin, &self.name)?;
        self.data.validate()?;
        self.train.validate()?;
        let positive = |budget: &f64| budget.is_finite() && *budget > 0.0;
        if self.budgets.is_empty()
            || !self.budgets.iter().all(positive)
            || self.budgets.windows(2).any(|pair| pair[0] >= pair[1])
        {
            return fail(
                format!("budgets {:?}", self.budgets),
                "list positive budgets in increasing order",
            );
        }
        if !(1..=SEEDS_MAX).contains(&self.seeds) {
            let seeds = self.seeds;
            return fail(
                format!("seeds = {seeds}"),
                &format!("1 to {SEEDS_MAX} seeds; three for an interval"),
            );
        }
        if self.search_rule.factor <= 1.0 {
            return fail(
                format!("search_rule.factor = {}", self.search_rule.factor),
                "a factor above 1, for instance 2",
            );
        }
        if let Some(transfer) = &self.transfer {
            let (widths, names) = (&transfer.widths, &transfer.parametrizations);
            if widths.is_empty() || names.is_empty() || !(1..=SEEDS_MAX).contains(&transfer.seeds) {
                return fail(
                    "[transfer] has no widths, no parametrizations, no seeds or too many"
                        .to_owned(),
                    &format!(
                        "give at least one of each, {SEEDS_MAX} seeds at most, or no such table"
                    ),
                );
            }
            self.entry(&transfer.family)?;
        }
        for family in &self.families {
            if !FAMILIES.contains(&family.as_str()) {
                return fail(format!("family '{family}'"), "families are pt, bert, preln, ut");
            }
            if let Err((problem, hint)) = self.entry(family)?.validate() {
                return fail(format!("[{family}]: {problem}"), hint);
            }
        }
        if self.families.first().is_some_and(|first| self.has_own_sizes(first)) {
            return fail(
                format!("[{}]: own_sizes in the first family", self.families[0]),
                "put the family first whose sizes are the budgets",
            );
        }
        Ok(())
    }

    /// Whether `family` stands at sizes of its own.
    pub fn has_own_sizes(&self, family: &str) -> bool {
        self.entry(family).is_ok_and(|entry| entry.own_sizes)
    }

    /// The entry of `family`.
    pub fn entry(&self, family: &str) -> Result<&FamilyEntry> {
        let entry = match family {
            "pt" => &self.pt,
            "bert" => &self.bert,
            "preln" => &self.preln,
            "ut" => &self.ut,
            _ => &None,
        };
        entry.as_ref().ok_or_else(|| {
            HarnessError::config(
                format!("{}: no [{family}] table", self.name),
                format!("add [{family}] with parametrization and search.center"),
            )
        })
    }

    /// Puts `entry` in place of the entry of `family`.
    pub fn replace(&mut self, family: &str, entry: FamilyEntry) -> Result<()> {
        self.entry(family)?;
        let place = match family {
            "pt" => &mut self.pt,
            "bert" => &mut self.bert,
            "preln" => &mut self.preln,
            _ => &mut self.ut,
        };
        *place = Some(entry);
        Ok(())
    }

    /// The family's model over `vocab` ids before its width is solved for, with `over` laid on
    /// its keys.
    pub fn template(
        &self,
        family: &str,
        over: Option<&Table>,
        vocab: usize,
    ) -> Result<ModelConfig> {
        let mut keys = self.entry(family)?.model.clone();
        let least = keys.get("vocab").and_then(toml::Value::as_integer).unwrap_or_default();
        if let Some(over) = over {
            crate::config::overrides::merge(&mut keys, over.clone());
        }
        let table = Table::from_iter([(family.to_owned(), toml::Value::Table(keys))]);
        let vocab = vocab.max(usize::try_from(least).unwrap_or_default());
        Ok(ModelConfig::from_table(table)?.with_vocab(vocab))
    }

    /// `[train]` with `over` laid on it.
    pub fn train_with(&self, over: &Table) -> Result<TrainConfig> {
        self.train.with(over)
    }
}

#[cfg(test)]
mod tests {
    use models::pt2026::Pt2026Config;

    use super::*;

    /// A definition cannot name the constant, so it repeats its digits.
    #[test]
    fn invariant_floors_of_head_posteriors_in_presets_are_two_to_the_minus_64() {
        for name in Definition::names() {
            let template = Definition::preset(name).unwrap().template("pt", None, 512).unwrap();
            let ModelConfig::Pt(config) = template else { panic!("{name}: not a pt") };
            let floor = (name == "laptop").then_some(Pt2026Config::POSTERIOR_FLOOR);
            assert_eq!(config.posterior_floor, floor, "{name}");
        }
    }
}
