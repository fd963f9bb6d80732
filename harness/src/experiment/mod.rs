//! From a question to runs to an answer: what is asked, how it is asked, what its runs say.

pub mod design;
pub mod rate_search;
pub mod read;
pub mod registry;
pub mod setting;
pub mod words;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::cost::plan::PlannedRuns;
use crate::error::{HarnessError, Result};
use crate::runs::source::{Gathered, RunSource};
use design::{Design, Outcome};
use setting::Setting;

/// An experiment with everything that decides its runs and its analysis.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// Name on the command line, and of its folder.
    pub name: String,
    /// What is asked, one sentence.
    pub question: String,
    /// What is varied because it is asked about.
    pub scientific: Vec<String>,
    /// What is varied because it would otherwise decide the answer.
    pub nuisance: Vec<String>,
    /// What stays the same beside what the settings say, see [`Experiment::fixed`].
    pub notes: Vec<String>,
    /// How the runs become numbers, and what they may and may not be used for.
    pub analysis: String,
    /// Where it parts from the published experiment that it repeats.
    pub deviations: Vec<Deviation>,
    /// What all its runs share.
    pub setting: Setting,
    /// What is asked, in numbers.
    pub design: Design,
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

impl std::fmt::Display for Deviation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: published {}; here {}.", self.what, self.published, self.here)
    }
}

impl Experiment {
    /// What the finished runs say and which are wanted next; models have `vocab` ids.
    pub fn gather(&self, vocab: usize, source: &dyn RunSource) -> Result<Gathered<Outcome>> {
        self.design.gather(&self.setting, vocab, source)
    }

    /// # Errors
    /// A setting or a design that no run can have.
    pub fn check(&self) -> Result<()> {
        self.setting.validate()?;
        self.design.protocol().check(&self.setting)
    }

    /// Every run by stage and shape, with fewest and most runs of each.
    pub fn plan(&self, vocab: usize) -> Result<Vec<PlannedRuns>> {
        self.design.protocol().plan(&self.setting, vocab)
    }

    /// What stays the same, as the settings say it, then the notes.
    pub fn fixed(&self) -> Vec<String> {
        let mut fixed = self.design.protocol().fixed();
        fixed.push(self.setting.words());
        fixed.extend(self.notes.iter().cloned());
        fixed
    }

    /// When its searches stop and how many seeds run, as the settings say it.
    pub fn stopping(&self) -> String {
        let text = self.design.protocol().stopping(&self.setting);
        let mut letters = text.chars();
        let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
        first + letters.as_str()
    }

    /// Whether both ask the same by the same runs, whatever they are called. Where a text that
    /// has to be fetched lies is no part of it: its fingerprint is.
    pub fn is_same_protocol(&self, other: &Self) -> bool {
        let setting = |experiment: &Self| {
            let mut setting = experiment.setting.clone();
            if setting.text.is_some() {
                setting.data.tokens = None;
            }
            setting
        };
        self.design == other.design && setting(self) == setting(other)
    }

    /// The ladder of an experiment that is nothing else.
    ///
    /// # Errors
    /// Another design.
    pub fn ladder(&self) -> Result<&design::ladder::Ladder> {
        match &self.design {
            Design::Ladder(ladder) => Ok(ladder),
            other => Err(HarnessError::config(
                format!("'{}' is no ladder but [{}]", self.name, other.name()),
                format!("run it with: crossscale run {}", self.name),
            )),
        }
    }
}
