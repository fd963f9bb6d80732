//! What all runs of an experiment share, from which a model makes a run.

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::rate_search::SearchRule;
use crate::config::data::DataConfig;
use crate::config::model::{ComputePath, ModelConfig};
use crate::config::run::{ParametrizationConfig, RunConfig};
use crate::config::train::TrainConfig;
use crate::cost::plan::PlannedRuns;
use crate::error::{HarnessError, Result};
use crate::runs::fetched_text::FetchedText;
use crate::runs::record::RunRecord;
use crate::runs::source::RunSource;

/// Seeds that an experiment may ask for: more than anybody will run.
pub const SEEDS_MAX: u64 = 1000;

/// Text, recipe, seeds and rule of the learning-rate searches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Seeds 1..=seeds.
    pub seeds: u64,
    /// Rule of the learning-rate searches.
    pub search_rule: SearchRule,
    /// Text, tokenizer, masking, evaluation.
    #[serde(default)]
    pub data: DataConfig,
    /// Optimiser, schedule, steps.
    #[serde(default)]
    pub train: TrainConfig,
    /// Which implementation computes the runs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub path: ComputePath,
    /// The text, where it has to be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<FetchedText>,
}

/// For fields that are left out where they say what is understood.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A model of an experiment with what it is trained by.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The model.
    pub model: &'a ModelConfig,
    /// Base model of its parametrization.
    pub base: &'a ModelConfig,
    /// Parametrization table.
    pub parametrization: &'a str,
    /// Keys laid on `[train]`.
    pub train: &'a Table,
    /// Which implementation computes, if not that of the setting.
    pub path: Option<ComputePath>,
}

impl Setting {
    /// The seeds in their order.
    pub fn seeds(&self) -> Vec<u64> {
        (1..=self.seeds).collect()
    }

    /// # Errors
    /// Seeds, search rule, text or recipe that no run can have.
    pub fn validate(&self) -> Result<()> {
        self.data.validate()?;
        self.train.validate()?;
        if !(1..=SEEDS_MAX).contains(&self.seeds) {
            let hint = format!("1 to {SEEDS_MAX} seeds; three for an interval");
            return Err(HarnessError::config(format!("seeds = {}", self.seeds), hint));
        }
        let factor = self.search_rule.factor;
        if !(factor > 1.0 && factor.is_finite()) {
            let problem = format!("search_rule.factor = {factor}");
            return Err(HarnessError::config(problem, "a factor above 1, for instance 2"));
        }
        Ok(())
    }

    /// The run of `subject` at one rate and seed; the seed is also the data seed, so that equal
    /// seeds of different models see the same tokens and masks.
    pub fn run(&self, subject: &Subject, rate: f64, seed: u64) -> Result<RunConfig> {
        let mut train = self.train.with(subject.train)?;
        train.learning_rate = rate;
        let run = RunConfig {
            model: subject.model.clone(),
            base: Some(subject.base.clone()),
            parametrization: ParametrizationConfig {
                name: subject.parametrization.to_owned(),
                base_width: subject.base.dimensions().width,
            },
            data: self.data.clone(),
            train,
            seed,
            data_seed: seed,
            path: subject.path.unwrap_or(self.path),
            init: None,
        };
        run.validate()?;
        Ok(run)
    }

    /// The finished runs of `subject` at one rate, in the order of `seeds`; the others are wanted.
    pub fn find(
        &self,
        (subject, rate): (&Subject, f64),
        seeds: impl IntoIterator<Item = u64>,
        source: &dyn RunSource,
        wanted: &mut Vec<RunConfig>,
    ) -> Result<Vec<RunRecord>> {
        let mut found = Vec::new();
        for seed in seeds {
            let run = self.run(subject, rate, seed)?;
            match source.find(&run)? {
                Some(record) => found.push(record),
                None => wanted.push(run),
            }
        }
        Ok(found)
    }

    /// `runs` (fewest, most) of `subject` in a stage of an experiment, with their cost.
    pub fn planned(
        &self,
        stage: &'static str,
        subject: &Subject,
        runs: (usize, usize),
    ) -> Result<PlannedRuns> {
        let train = self.train.with(subject.train)?;
        let context = (&self.data, &train, subject.path.unwrap_or(self.path));
        PlannedRuns::of(stage, subject.parametrization, subject.model, runs, context)
    }

    /// Text and length of training in a few words.
    pub fn words(&self) -> String {
        format!(
            "{} steps of {} sequences of {} tokens, {} % masked",
            self.train.steps,
            self.train.batch,
            self.data.length,
            100.0 * self.data.masking.share
        )
    }
}

/// The model of `family` with `keys` over `vocab` ids; a `vocab` among the keys is the least.
pub fn model(family: &str, keys: &Table, vocab: usize) -> Result<ModelConfig> {
    let least = keys.get("vocab").and_then(Value::as_integer).unwrap_or_default();
    let table = Table::from_iter([(family.to_owned(), Value::Table(keys.clone()))]);
    let vocab = vocab.max(usize::try_from(least).unwrap_or_default());
    Ok(ModelConfig::from_table(table)?.with_vocab(vocab))
}
