//! One family of a ladder: its parametrization, rates and shapes.

use serde::{Deserialize, Serialize};
use toml::Table;

use crate::error::{HarnessError, Result};
use crate::experiment::setting::is_default;

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

impl FamilyEntry {
    /// Whether rates are found or given for every size. Nothing is then carried from size to
    /// size: every model is the base of its own parametrization, which multiplies by one.
    pub fn tuned_at_every_size(&self) -> bool {
        self.search.each_size || self.learning_rates.len() > 1
    }

    /// # Errors
    /// Sizes or rates that contradict each other.
    pub fn validate(&self, family: &str) -> Result<()> {
        let fail = |problem: String, hint: &str| {
            Err(HarnessError::config(format!("[ladder.models.{family}]: {problem}"), hint))
        };
        let widths = self.shapes.iter().filter(|shape| shape.contains_key("width")).count();
        if self.own_sizes && (self.shapes.is_empty() || widths < self.shapes.len()) {
            let problem = "own_sizes without a width in every one of its shapes";
            return fail(problem.to_owned(), "give shapes = [{ width = N }, …]");
        }
        let rates = &self.learning_rates;
        let valid = |rate: &f64| rate.is_finite() && *rate > 0.0;
        if !rates.iter().all(valid) {
            return fail(format!("learning_rates = {rates:?}"), "give rates above 0");
        }
        if rates.len() > 1 && rates.len() != self.shapes.len() {
            let problem = format!("{} rates for {} shapes", rates.len(), self.shapes.len());
            return fail(problem, "give one rate, or one for every shape");
        }
        if rates.is_empty() != valid(&self.search.center) {
            let problem = "rates must be either given or searched for".to_owned();
            return fail(problem, "give search.center or learning_rates, one of them");
        }
        Ok(())
    }
}
