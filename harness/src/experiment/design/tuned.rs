//! A ladder whose families have the constants that a search found for them.

use serde::{Deserialize, Serialize};

use super::ladder::{Ladder, Study};
use super::protocol::Protocol;
use super::search::Search;
use crate::config::data::DataConfig;
use crate::cost::plan::PlannedRuns;
use crate::error::Result;
use crate::experiment::setting::Setting;
use crate::runs::source::{Gathered, RunSource};

/// The `[tuned]` table of an experiment; a file names the experiments that both are of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuned {
    /// Families and budgets.
    pub ladder: Ladder,
    /// The search, with recipe and seeds of its own: it stays what it is when the ladder trains
    /// longer.
    pub by: Tuning,
}

/// A search with its setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// Recipe and seeds; the text is the ladder's.
    pub setting: Setting,
    /// What is searched.
    pub search: Search,
}

impl Tuned {
    fn search_setting(&self, data: &DataConfig) -> Setting {
        Setting { data: data.clone(), ..self.by.setting.clone() }
    }

    /// Replays the ladder; the search that tunes it comes first.
    pub fn gather(
        &self,
        setting: &Setting,
        vocab: usize,
        source: &dyn RunSource,
    ) -> Result<Gathered<Study>> {
        let search = &self.by.search;
        let found = search.gather(&self.search_setting(&setting.data), vocab, source)?;
        match search.tuned(&self.ladder, &found.outcome)? {
            Some(tuned) => tuned.gather(setting, vocab, source),
            None => Ok(Gathered {
                outcome: self.ladder.before_any_run(setting, vocab)?,
                wanted: found.wanted,
            }),
        }
    }
}

impl Protocol for Tuned {
    fn check(&self, setting: &Setting) -> Result<()> {
        self.ladder.check(setting)?;
        self.by.setting.validate()?;
        self.by.search.check(&self.search_setting(&setting.data))
    }

    fn plan(&self, setting: &Setting, vocab: usize) -> Result<Vec<PlannedRuns>> {
        let mut rows = self.by.search.plan(&self.search_setting(&setting.data), vocab)?;
        rows.extend(self.ladder.plan(setting, vocab)?);
        Ok(rows)
    }

    fn fixed(&self) -> Vec<String> {
        self.ladder.fixed()
    }

    fn stopping(&self, setting: &Setting) -> String {
        let search = self.by.search.stopping(&self.search_setting(&setting.data));
        format!("First a search. {search} Then the ladder. {}", self.ladder.stopping(setting))
    }
}
