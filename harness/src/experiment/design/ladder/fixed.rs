//! What a ladder fixes before its first run.

use super::Ladder;
use crate::cost::plan::PlannedRuns;
use crate::error::{HarnessError, Result};
use crate::experiment::design::protocol::Protocol;
use crate::experiment::setting::Setting;
use crate::experiment::words::{count, list, title};

const FAMILIES: [&str; 4] = ["pt", "bert", "preln", "ut"];

impl Protocol for Ladder {
    fn check(&self, setting: &Setting) -> Result<()> {
        let positive = |budget: &f64| budget.is_finite() && *budget > 0.0;
        let increasing = self.budgets.windows(2).all(|pair| pair[0] < pair[1]);
        if self.budgets.is_empty() || !self.budgets.iter().all(positive) || !increasing {
            return Err(HarnessError::config(
                format!("ladder.budgets = {:?}", self.budgets),
                "list positive budgets in increasing order",
            ));
        }
        if self.families.is_empty() {
            return Err(HarnessError::config("ladder.families = []", "name one or more"));
        }
        for (place, family) in self.families.iter().enumerate() {
            if !FAMILIES.contains(&family.as_str()) || self.families[..place].contains(family) {
                return Err(HarnessError::config(
                    format!("ladder.families: '{family}' is no family, or named twice"),
                    format!("families are {}", list(FAMILIES)),
                ));
            }
            self.entry(family)?.validate(family)?;
        }
        if self.has_own_sizes(&self.families[0]) {
            return Err(HarnessError::config(
                format!("[ladder.models.{}]: own_sizes in the first family", self.families[0]),
                "put the family first whose sizes are the budgets",
            ));
        }
        let within = |error| match error {
            HarnessError::Config { problem, hint } => {
                HarnessError::config(format!("ladder.{problem}"), hint)
            }
            other => other,
        };
        self.sweep()?.map_or(Ok(()), |sweep| sweep.check(setting).map_err(within))
    }

    fn plan(&self, setting: &Setting, vocab: usize) -> Result<Vec<PlannedRuns>> {
        let mut rows = Vec::new();
        for shapes in self.shapes(setting, vocab)? {
            let searched = self.searched(&shapes)?;
            for index in searched.clone() {
                let range = setting.search_rule.rates();
                rows.push(setting.planned("search", &self.subject(&shapes, index)?, range)?);
            }
            for index in 0..shapes.models.len() {
                let mut count = setting.seeds as usize;
                let seed = setting.search_rule.seed;
                if searched.contains(&index) && (1..=setting.seeds).contains(&seed) {
                    count -= 1; // the winning search run is this cell's run of the same seed
                }
                let subject = self.subject(&shapes, index)?;
                rows.push(setting.planned("ladder", &subject, (count, count))?);
            }
        }
        if let Some(sweep) = self.sweep()? {
            rows.extend(sweep.plan(setting, vocab)?);
        }
        Ok(rows)
    }

    fn fixed(&self) -> Vec<String> {
        let budgets = format!("{} of {}", list(&self.budgets), self.axis.words());
        let tables = self.families.iter().filter_map(|family| {
            Some(format!("{} under {}", title(family), self.models.get(family)?.parametrization))
        });
        vec![format!("budgets {budgets}"), list(tables)]
    }

    fn stopping(&self, setting: &Setting) -> String {
        let seeds = count(setting.seeds, "seed");
        let rule = setting.search_rule.words();
        let entry = |family: &String| self.models.get(family);
        let apart = |family: &&String| entry(family).is_some_and(|e| e.search.each_size);
        let given = |family: &&String| entry(family).is_some_and(|e| !e.learning_rates.is_empty());
        let names = |chosen: &dyn Fn(&&String) -> bool| {
            list(self.families.iter().filter(chosen).map(|family| title(family)))
        };
        let text = match (names(&given), names(&apart)) {
            (given, apart) if given.is_empty() && apart.is_empty() => {
                format!("At the smallest size {rule}, for each family")
            }
            (given, apart) if apart.is_empty() => {
                format!("Rates of {given} are given; at the smallest size of any other {rule}")
            }
            (given, apart) if given.is_empty() => {
                format!("At the smallest size, for {apart} at every size, {rule}")
            }
            (given, apart) => {
                format!("Rates of {given} are given; for {apart} at every size {rule}")
            }
        };
        format!("{text}; then {seeds} of every family at every size.")
    }
}
