//! Registered experiments: what is asked, how it is answered, by which rule a claim is judged —
//! written down in a TOML file before the first run. Adding a claim is adding a file.

pub mod claim;
pub mod ladder;
pub mod paired;
pub mod perturb;
pub mod quality;
mod registry;
pub mod transfer;
pub mod verdicts;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use toml::Table;

pub use registry::{claims, experiment, experiments};

use super::definition::{SEEDS_MAX, SearchRule};
use super::setting::Setting;
use super::study;
use crate::config::data::DataConfig;
use crate::config::model::{ComputePath, ModelConfig};
use crate::config::names;
use crate::config::suggest::{from_message, plain};
use crate::config::train::TrainConfig;
use crate::error::{HarnessError, Result};
use crate::runs::fetched_text::FetchedText;
use crate::runs::record::RunRecord;
use crate::runs::source::{Gathered, RunSource};

/// An experiment with everything that decides its runs and its analysis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Name on the command line.
    pub name: String,
    /// What is asked, one sentence.
    pub question: String,
    /// What is varied because it is asked about.
    pub scientific: Vec<String>,
    /// What is varied because it would otherwise decide the answer.
    pub nuisance: Vec<String>,
    /// What stays the same.
    pub fixed: Vec<String>,
    /// When a search stops and how many seeds run.
    pub stopping: String,
    /// How the runs become numbers.
    pub analysis: String,
    /// Seeds 1..=seeds; a ladder takes its preset's.
    #[serde(default)]
    pub seeds: u64,
    /// Rule of the learning-rate searches; a ladder takes its preset's.
    #[serde(default)]
    pub search_rule: SearchRule,
    /// Text, tokenizer, masking, evaluation.
    #[serde(default)]
    pub data: DataConfig,
    /// Optimiser, schedule, steps.
    #[serde(default)]
    pub train: TrainConfig,
    /// The text, where it has to be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<FetchedText>,
    /// Learning rate against width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<transfer::TransferPlan>,
    /// Perturbed hyper-parameter sets at two widths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perturb: Option<perturb::PerturbPlan>,
    /// Two arms: the candidate, then the baseline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paired: Vec<paired::Arm>,
    /// Families at matched budgets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ladder: Option<ladder::LadderPlan>,
    /// Equal search for every family at one budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<quality::QualityPlan>,
}

/// What kind of runs an experiment makes; also the verb that runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Learning rate against width.
    Transfer,
    /// Perturbed hyper-parameter sets.
    Perturb,
    /// Two arms, paired by seed.
    Compare,
    /// Families at matched budgets.
    Ladder,
    /// Equal search for every family.
    Search,
}

impl Kind {
    /// The verb that runs experiments of this kind.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Perturb => "perturb",
            Self::Compare => "compare",
            Self::Ladder => "ladder",
            Self::Search => "search",
        }
    }
}

/// What the finished runs of an experiment say.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Curves by parametrization and width.
    Transfer(transfer::TransferOutcome),
    /// Losses of every set at both widths.
    Perturb(perturb::PerturbOutcome),
    /// Losses of both arms.
    Compare(Box<paired::PairedOutcome>),
    /// Ladder cells and searches.
    Ladder(Box<study::Study>),
    /// Trials of every family.
    Search(Box<quality::QualityOutcome>),
}

impl Experiment {
    /// Reads an experiment from TOML text; `origin` is named in errors.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        let experiment: Self = toml::from_str(text).map_err(|error| {
            HarnessError::config(
                format!("{origin}: {}", plain(error.to_string().trim_end())),
                format!(
                    "{}crossscale ls --json shows the registered experiments",
                    from_message(error.message())
                ),
            )
        })?;
        experiment.validate(origin)?;
        Ok(experiment)
    }

    fn validate(&self, origin: &str) -> Result<()> {
        self.kind_checked().ok_or_else(|| {
            HarnessError::config(
                format!(
                    "{origin}: exactly one of [transfer], [perturb], [[paired]], [ladder], \
                         [quality]"
                ),
                "one experiment asks one question; [[paired]] needs two arms",
            )
        })?;
        names::check(origin, &self.name)?;
        self.data.validate()?;
        self.train.validate()?;
        let (ladder, quality) = (self.ladder.is_some(), self.quality.is_some());
        let needs_rule = !ladder && !quality;
        let seeds_fit = (1..=SEEDS_MAX).contains(&self.seeds);
        if (!ladder && !seeds_fit) || (needs_rule && self.search_rule.factor <= 1.0) {
            return Err(HarnessError::config(
                format!("{origin}: seeds or [search_rule] is missing, or seeds beyond {SEEDS_MAX}"),
                "give seeds = 3 and search_rule = { factor = 2.0, … }",
            ));
        }
        if let Some(quality) = &self.quality {
            quality.validate(origin)?;
        }
        if let Some(ladder) = &self.ladder {
            ladder.definition()?;
        }
        Ok(())
    }

    fn kind_checked(&self) -> Option<Kind> {
        let present = [
            (self.transfer.is_some(), Kind::Transfer),
            (self.perturb.is_some(), Kind::Perturb),
            (self.paired.len() == 2, Kind::Compare),
            (self.ladder.is_some(), Kind::Ladder),
            (self.quality.is_some(), Kind::Search),
        ];
        let mut kinds = present.into_iter().filter_map(|(present, kind)| present.then_some(kind));
        kinds.next().filter(|_| kinds.next().is_none())
    }

    /// The kind of this experiment.
    pub fn kind(&self) -> Kind {
        self.kind_checked().expect("an experiment is read through `parse`, which checks this")
    }

    /// Text of all runs.
    pub fn data(&self) -> Result<DataConfig> {
        match (&self.ladder, &self.quality) {
            (Some(ladder), _) => Ok(ladder.definition()?.data),
            (None, Some(quality)) => quality::data(quality),
            (None, None) => Ok(self.data.clone()),
        }
    }

    /// Setting of the runs, with `over` laid on `[train]`.
    fn setting(&self, over: &Table) -> Result<Setting<'_>> {
        Ok(Setting { data: &self.data, train: self.train.with(over)?, path: ComputePath::Fused })
    }

    /// What the finished runs say and which are wanted next; models have `vocab` ids.
    pub fn gather(&self, vocab: usize, source: &dyn RunSource) -> Result<Gathered<Outcome>> {
        fn wrap<T>(gathered: Gathered<T>, make: impl Fn(T) -> Outcome) -> Gathered<Outcome> {
            Gathered { outcome: make(gathered.outcome), wanted: gathered.wanted }
        }
        if let Some(ladder) = &self.ladder {
            let gathered = ladder::gather(ladder, vocab, source)?;
            return Ok(wrap(gathered, |study| Outcome::Ladder(Box::new(study))));
        }
        if let Some(plan) = &self.quality {
            let gathered = quality::gather(self, plan, vocab, source)?;
            return Ok(wrap(gathered, |found| Outcome::Search(Box::new(found))));
        }
        match (&self.transfer, &self.perturb) {
            (Some(plan), _) => {
                Ok(wrap(transfer::gather(self, plan, vocab, source)?, Outcome::Transfer))
            }
            (None, Some(plan)) => {
                Ok(wrap(perturb::gather(self, plan, vocab, source)?, Outcome::Perturb))
            }
            (None, None) => Ok(wrap(paired::gather(self, vocab, source)?, |arms| {
                Outcome::Compare(Box::new(arms))
            })),
        }
    }
}

impl Outcome {
    /// Every finished run once, by id.
    pub fn runs(&self) -> Vec<&RunRecord> {
        let mut runs: Vec<&RunRecord> = match self {
            Self::Transfer(outcome) => outcome.runs().collect(),
            Self::Perturb(outcome) => outcome.runs().collect(),
            Self::Compare(outcome) => outcome.runs().collect(),
            Self::Ladder(study) => study.runs().collect(),
            Self::Search(found) => found.runs().collect(),
        };
        runs.sort_by(|a, b| a.id.cmp(&b.id));
        runs.dedup_by(|a, b| a.id == b.id);
        runs
    }
}

/// The model of `family` with `keys` at `width`.
fn model(family: &str, keys: &Table, vocab: usize, width: usize) -> Result<ModelConfig> {
    let table = Table::from_iter([(family.to_owned(), toml::Value::Table(keys.clone()))]);
    Ok(ModelConfig::from_table(table)?.with_vocab(vocab).at_width(width))
}
