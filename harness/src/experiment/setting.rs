//! Text and training recipe, from which a model makes a run.

use crate::config::data::DataConfig;
use crate::config::model::{ComputePath, ModelConfig};
use crate::config::run::{ParametrizationConfig, RunConfig};
use crate::config::train::TrainConfig;
use crate::error::Result;

/// What all runs of one arm share.
pub struct Setting<'a> {
    /// Text, tokenizer, masking, evaluation.
    pub data: &'a DataConfig,
    /// Optimiser, schedule, steps.
    pub train: TrainConfig,
    /// Which implementation computes.
    pub path: ComputePath,
}

impl Setting<'_> {
    /// The run of `model` at one rate and seed; the seed is also the data seed, so that equal
    /// seeds of different models see the same tokens and masks.
    pub fn run(
        &self,
        model: &ModelConfig,
        base: &ModelConfig,
        parametrization: &str,
        rate: f64,
        seed: u64,
    ) -> Result<RunConfig> {
        let mut train = self.train.clone();
        train.learning_rate = rate;
        let run = RunConfig {
            model: model.clone(),
            base: Some(base.clone()),
            parametrization: ParametrizationConfig {
                name: parametrization.to_owned(),
                base_width: base.dimensions().width,
            },
            data: self.data.clone(),
            train,
            seed,
            data_seed: seed,
            path: self.path,
            init: None,
        };
        run.validate()?;
        Ok(run)
    }
}
