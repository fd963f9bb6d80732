//! The `[train]` table.

use models::precision::Precision;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::compute::DeviceKind;
use crate::error::{HarnessError, Result};

/// Shape of the learning-rate curve after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Half a cosine from 1 to the floor.
    Cosine,
    /// A straight line from 1 to the floor.
    Linear,
    /// 1 throughout.
    Constant,
}

/// The `[train.schedule]` table: one factor per step, the same for every parameter group, so
/// that warm-up and floor are shares of each group's own rate and transfer across widths.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// Share of all steps spent warming up linearly, in [0, 1].
    pub warmup_share: f64,
    /// Curve after warm-up.
    pub decay: Decay,
    /// Factor that the decay ends at, in [0, 1].
    pub floor_share: f64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self { warmup_share: 0.05, decay: Decay::Cosine, floor_share: 0.0 }
    }
}

/// The `[train.annealing]` table: a lower rate whenever the held-out loss stops falling, on top
/// of the schedule (flair's `AnnealOnPlateau`, the optimiser of Wu & Tu 2023).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnnealingConfig {
    /// Factor on every learning rate when annealed, in (0, 1).
    pub factor: f64,
    /// Evaluations in a row that may bring no new best loss; one more anneals.
    pub patience: u64,
    /// The run ends when the global learning rate falls below this.
    pub learning_rate_min: f64,
}

impl Default for AnnealingConfig {
    fn default() -> Self {
        Self { factor: 0.5, patience: 5, learning_rate_min: 1e-7 }
    }
}

/// How the gradients of the parts of a batch become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartGradients {
    /// Their mean, each part weighted by its targets: parts only save memory.
    #[default]
    Mean,
    /// Their sum, each part the gradient of its own mean loss (Wu & Tu 2023): Adam does not see
    /// the scale, the clip does.
    Sum,
}

/// Which weight decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecayKind {
    /// Apart from the gradient: a step shrinks parameters by learning rate times decay (AdamW).
    #[default]
    Decoupled,
    /// Decay times parameter is added to the clipped gradient (Adam with L2, Wu & Tu 2023).
    Coupled,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_one<T: From<bool> + PartialEq>(value: &T) -> bool {
    *value == T::from(true)
}

/// The `[train]` table: everything about one run that is neither data nor model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "keys of a file, each a question of its own")]
pub struct TrainConfig {
    /// Optimiser steps.
    pub steps: u64,
    /// Sequences per optimiser step.
    pub batch: usize,
    /// Equal parts that a batch is computed in, to save memory; their gradients are added up.
    pub micro_batches: usize,
    /// Global learning rate; each tensor's rate is this times its multiplier.
    pub learning_rate: f64,
    /// Factor on the rate of input tables (embeddings, PT's unary factor) beside the others.
    #[serde(skip_serializing_if = "is_one")]
    pub input_rate: f64,
    /// Factor on every learning rate over time.
    pub schedule: ScheduleConfig,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the second moment (global; tensors have multipliers).
    pub epsilon: f64,
    /// A step shrinks parameters by learning rate times this (global; tensors have multipliers).
    pub weight_decay: f64,
    /// Whether biases and gains decay as well.
    pub decay_vectors: bool,
    /// Largest global gradient norm (global; the parametrization has a multiplier); 0 = no clip.
    pub gradient_clip: f64,
    /// Steps between evaluations; 0 = only after the last step.
    pub evaluate_every: u64,
    /// Scores head posteriors or attention against the trees of `validation.conllu` in the token
    /// folder at every evaluation. Changes no number of the training.
    #[serde(skip_serializing_if = "is_default")]
    pub evaluate_arcs: bool,
    /// Sequences per evaluation batch.
    pub evaluation_batch: usize,
    /// Steps between checkpoints; 0 = only when stopped by a signal.
    pub checkpoint_every: u64,
    /// Lower rates when the held-out loss stops falling; needs `evaluate_every`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annealing: Option<AnnealingConfig>,
    /// How the gradients of micro-batches become one.
    #[serde(skip_serializing_if = "is_default")]
    pub part_gradients: PartGradients,
    /// Whether weight decay goes through the gradient.
    #[serde(skip_serializing_if = "is_default")]
    pub decay_kind: DecayKind,
    /// The run's result is the best evaluation's: its loss, and weights as they were then.
    #[serde(skip_serializing_if = "is_default")]
    pub keep_best: bool,
    /// Computes values again in the backward pass instead of keeping them: less memory, more
    /// time, the same numbers. Fused path only.
    #[serde(skip_serializing_if = "is_default")]
    pub recompute: bool,
    /// What operands of matrix products are rounded to: f32 (not at all), split, tf32, fp16,
    /// half, split-bf16-scores. A trial of what tensor cores would do, slower than f32 on a CPU.
    #[serde(skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// Where the model is computed.
    #[serde(skip_serializing_if = "is_default")]
    pub device: DeviceKind,
    /// Processes that share every step, each with `micro_batches` parts of its own; set by
    /// `--parallel`. Part of a run's name, for sums over ranks round differently.
    #[serde(skip_serializing_if = "is_one")]
    pub ranks: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch: 32,
            micro_batches: 1,
            learning_rate: 1e-3,
            input_rate: 1.0,
            schedule: ScheduleConfig::default(),
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            decay_vectors: false,
            gradient_clip: 1.0,
            evaluate_every: 0,
            evaluate_arcs: false,
            evaluation_batch: 32,
            checkpoint_every: 0,
            annealing: None,
            part_gradients: PartGradients::Mean,
            decay_kind: DecayKind::Decoupled,
            keep_best: false,
            recompute: false,
            precision: Precision::F32,
            device: DeviceKind::Cpu,
            ranks: 1,
        }
    }
}

impl TrainConfig {
    /// Parts of a step, over all ranks.
    pub fn parts(&self) -> usize {
        self.micro_batches * self.ranks
    }

    /// These keys with those of `over` laid on them.
    ///
    /// # Errors
    /// Unknown keys, wrong types and values out of range.
    pub fn with(&self, over: &Table) -> Result<Self> {
        let error = |error: String| HarnessError::config(error, "keys as in the [train] table");
        let mut table = Table::try_from(self).map_err(|e| error(e.to_string()))?;
        super::overrides::merge(&mut table, over.clone());
        let train: Self = table.try_into().map_err(|e: toml::de::Error| error(e.to_string()))?;
        train.validate()?;
        Ok(train)
    }

    /// Checks ranges and that micro-batches divide the batch.
    ///
    /// # Errors
    /// [`HarnessError::Config`] with the first offending key, its value and what to set instead.
    pub fn validate(&self) -> Result<()> {
        let positive = "set it to 1 or more";
        check("train.steps", self.steps, self.steps > 0, positive)?;
        check("train.batch", self.batch, self.batch > 0, positive)?;
        check("train.micro_batches", self.micro_batches, self.micro_batches > 0, positive)?;
        check(
            "train.evaluation_batch",
            self.evaluation_batch,
            self.evaluation_batch > 0,
            positive,
        )?;
        check("train.ranks", self.ranks, self.ranks > 0, positive)?;
        if !self.batch.is_multiple_of(self.micro_batches) {
            let (batch, parts) = (self.batch, self.micro_batches);
            let nearest = (1..=parts).rev().find(|&count| batch.is_multiple_of(count));
            return Err(HarnessError::config(
                format!("train.micro_batches = {parts} does not divide train.batch = {batch}"),
                format!("set train.micro_batches to {}", nearest.unwrap_or(1)),
            ));
        }
        if !self.batch.is_multiple_of(self.parts()) {
            let (batch, ranks, parts) = (self.batch, self.ranks, self.parts());
            return Err(HarnessError::config(
                format!(
                    "train.batch = {batch} cannot be divided into train.micro_batches = {} parts \
                     on each of train.ranks = {ranks}",
                    self.micro_batches
                ),
                format!("set train.batch to {}", batch.next_multiple_of(parts)),
            ));
        }
        let share = "set it between 0 and 1";
        let schedule = &self.schedule;
        let within = |value: f64| (0.0..=1.0).contains(&value);
        let warmup = schedule.warmup_share;
        check("train.schedule.warmup_share", warmup, within(warmup), share)?;
        let floor = schedule.floor_share;
        check("train.schedule.floor_share", floor, within(floor), share)?;
        let rate = self.learning_rate;
        let valid_rate = rate.is_finite() && rate > 0.0;
        check("train.learning_rate", rate, valid_rate, "set it above 0, e.g. 1e-3")?;
        let split = self.input_rate;
        check("train.input_rate", split, split.is_finite() && split > 0.0, "set it above 0")?;
        let moment = |value: f64| (0.0..1.0).contains(&value);
        check("train.beta1", self.beta1, moment(self.beta1), "set it in [0, 1), e.g. 0.9")?;
        check("train.beta2", self.beta2, moment(self.beta2), "set it in [0, 1), e.g. 0.999")?;
        let epsilon = self.epsilon;
        let valid_epsilon = epsilon.is_finite() && epsilon > 0.0;
        check("train.epsilon", epsilon, valid_epsilon, "set it above 0, e.g. 1e-8")?;
        let not_negative = |value: f64| value.is_finite() && value >= 0.0;
        let off = "set it to 0 (off) or more";
        let (decay, clip) = (self.weight_decay, self.gradient_clip);
        check("train.weight_decay", decay, not_negative(decay), off)?;
        check("train.gradient_clip", clip, not_negative(clip), off)?;
        self.validate_annealing()
    }

    fn validate_annealing(&self) -> Result<()> {
        if self.evaluate_every == 0 && (self.annealing.is_some() || self.keep_best) {
            let key = if self.keep_best { "train.keep_best" } else { "train.annealing" };
            return Err(HarnessError::config(
                format!("{key} follows evaluations and train.evaluate_every is 0"),
                "set train.evaluate_every, e.g. to the steps of an epoch",
            ));
        }
        let Some(annealing) = &self.annealing else { return Ok(()) };
        let factor = annealing.factor;
        let valid = factor > 0.0 && factor < 1.0;
        check("train.annealing.factor", factor, valid, "set it between 0 and 1, e.g. 0.5")?;
        let least = annealing.learning_rate_min;
        let valid = least.is_finite() && least >= 0.0;
        check("train.annealing.learning_rate_min", least, valid, "set it to 0 (never) or more")
    }
}

fn check(key: &str, value: impl std::fmt::Display, valid: bool, remedy: &str) -> Result<()> {
    if valid {
        Ok(())
    } else {
        Err(HarnessError::config(format!("{key} = {value} is out of range"), remedy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(change: impl FnOnce(&mut TrainConfig)) -> String {
        let mut config = TrainConfig::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn invariant_defaults_are_valid_and_an_empty_table_means_defaults() {
        TrainConfig::default().validate().unwrap();
        assert_eq!(toml::from_str::<TrainConfig>("").unwrap(), TrainConfig::default());
        let text = toml::to_string(&TrainConfig::default()).unwrap();
        assert_eq!(toml::from_str::<TrainConfig>(&text).unwrap(), TrainConfig::default());
    }

    #[test]
    fn invariant_bad_values_name_key_value_and_remedy() {
        assert!(problem(|c| c.steps = 0).starts_with("train.steps = 0"));
        assert!(problem(|c| c.beta2 = 1.0).contains("train.beta2 = 1"));
        assert!(problem(|c| c.learning_rate = f64::NAN).contains("train.learning_rate = NaN"));
        assert!(problem(|c| c.schedule.warmup_share = 1.5).contains("warmup_share = 1.5"));
        assert!(problem(|c| c.keep_best = true).contains("evaluate_every is 0"));
        let annealing = AnnealingConfig { factor: 1.0, ..AnnealingConfig::default() };
        let text = problem(|c| (c.evaluate_every, c.annealing) = (1, Some(annealing)));
        assert!(text.contains("train.annealing.factor = 1"), "{text}");
        let text = problem(|c| (c.batch, c.micro_batches, c.ranks) = (10, 2, 3));
        assert!(text.ends_with("hint: set train.batch to 12"), "{text}");
        let text = problem(|c| (c.batch, c.micro_batches) = (12, 5));
        assert!(text.contains("micro_batches = 5 does not divide train.batch = 12"), "{text}");
        assert!(text.contains("hint: set train.micro_batches to 4"), "{text}");
    }

    /// The names of runs hash this text: keys added later stay out of it at their defaults.
    #[test]
    fn invariant_keys_of_later_versions_do_not_rename_runs() {
        let text = toml::to_string(&TrainConfig::default()).unwrap();
        for key in ["annealing", "part_gradients", "decay_kind", "keep_best", "evaluate_arcs"] {
            assert!(!text.contains(key), "{text}");
        }
    }

    #[test]
    fn invariant_keys_of_computation_are_left_out_at_their_defaults() {
        let text = toml::to_string(&TrainConfig::default()).unwrap();
        for key in ["recompute", "device", "ranks"] {
            assert!(!text.contains(key), "{text}");
        }
        let config =
            TrainConfig { recompute: true, device: DeviceKind::Cuda, ..TrainConfig::default() };
        let text = toml::to_string(&config).unwrap();
        assert!(text.contains("recompute = true") && text.contains("device = \"cuda\""));
        assert_eq!(toml::from_str::<TrainConfig>(&text).unwrap(), config);
    }

    #[test]
    fn invariant_unknown_keys_are_errors() {
        assert!(toml::from_str::<TrainConfig>("learning_rat = 1.0").is_err());
        assert!(toml::from_str::<TrainConfig>("[schedule]\nwarmup = 0.1").is_err());
    }
}
