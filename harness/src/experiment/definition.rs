//! The definition of a `reproduce` experiment: budgets, families, seeds, searches.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::budget::Axis;
use crate::config::data::DataConfig;
use crate::config::model::ModelConfig;
use crate::config::overrides::FAMILIES;
use crate::config::suggest::{did_you_mean, from_message};
use crate::config::train::TrainConfig;
use crate::error::{HarnessError, Result};

const PRESETS: &[(&str, &str)] = &[
    ("quick", include_str!("../config/presets/quick.toml")),
    ("small", include_str!("../config/presets/small.toml")),
    ("laptop", include_str!("../config/presets/laptop.toml")),
    ("paper", include_str!("../config/presets/paper.toml")),
];

/// Learning-rate search of one family at the smallest budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchConfig {
    /// First rate tried; the grid is `center * factor^k`.
    pub center: f64,
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
    /// Learning-rate search at the smallest budget.
    pub search: SearchConfig,
    /// Keys of the family's model table.
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
        let (_, text) = PRESETS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
            let guess = did_you_mean(name, Self::names());
            HarnessError::config(
                format!("no preset '{name}'"),
                format!("{guess}presets are {}", Self::names().join(", ")),
            )
        })?;
        Self::parse(name, text)
    }

    /// Reads a definition from TOML text; `origin` is named in errors.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        let definition: Self = toml::from_str(text).map_err(|error| {
            HarnessError::config(
                format!("{origin}: {}", error.to_string().trim_end()),
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
        if self.seeds == 0 {
            return fail("seeds = 0".to_owned(), "at least one seed; three for an interval");
        }
        if self.search_rule.factor <= 1.0 {
            return fail(
                format!("search_rule.factor = {}", self.search_rule.factor),
                "a factor above 1, for instance 2",
            );
        }
        if let Some(transfer) = &self.transfer {
            let (widths, names) = (&transfer.widths, &transfer.parametrizations);
            if widths.is_empty() || names.is_empty() || transfer.seeds == 0 {
                return fail(
                    "[transfer] has no widths, no parametrizations or no seeds".to_owned(),
                    "give at least one of each, or remove the table",
                );
            }
            self.entry(&transfer.family)?;
        }
        for family in &self.families {
            if !FAMILIES.contains(&family.as_str()) {
                return fail(format!("family '{family}'"), "families are pt, bert, preln, ut");
            }
            self.entry(family)?;
        }
        Ok(())
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

    /// The family's model before its width is solved for, with `over` laid on its keys.
    pub fn template(&self, family: &str, over: Option<&Table>) -> Result<ModelConfig> {
        let mut keys = self.entry(family)?.model.clone();
        if let Some(over) = over {
            crate::config::overrides::merge(&mut keys, over.clone());
        }
        let table = Table::from_iter([(family.to_owned(), toml::Value::Table(keys))]);
        ModelConfig::from_table(table)
    }

    /// `[train]` with `over` laid on it.
    pub fn train_with(&self, over: &Table) -> Result<TrainConfig> {
        self.train.with(over)
    }
}
