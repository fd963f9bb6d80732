//! What a coordinate check runs: a tier's settings for one family.

use std::sync::Arc;

use models::batch::Batch;
use serde::Deserialize;
use toml::Table;

use crate::config::model::ModelConfig;
use crate::config::overrides::merge;
use crate::config::run::RunConfig;
use crate::corpus::{Corpus, EvaluationSet, Split};
use crate::error::{HarnessError, Result};

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Tier {
    /// For every change: under two minutes on two cores.
    Ci,
    /// For a release: widths to 1024, thirty steps, two learning rates.
    Full,
}

impl Tier {
    /// Name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ci => "ci",
            Self::Full => "full",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Ci => include_str!("tiers/ci.toml"),
            Self::Full => include_str!("tiers/full.toml"),
        }
    }
}

/// A tier's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TierFile {
    #[expect(dead_code, reason = "read by people")]
    description: String,
    widths: Vec<usize>,
    base_width: usize,
    seeds: u64,
    steps: Vec<u64>,
    learning_rate_factors: Vec<f64>,
    bootstrap_replicates: usize,
    run: Table,
    family: Table,
}

/// One coordinate check, resolved. Fields may be changed before [`Plan::validate`].
#[derive(Debug, Clone)]
pub struct Plan {
    /// Every constant of the runs; width, seeds and learning rate are set run by run.
    pub run: RunConfig,
    /// Widths, ascending; the base width is `run.parametrization.base_width`.
    pub widths: Vec<usize>,
    /// Seeds 1 to this: seed k draws the initial parameters and orders the text.
    pub seeds: u64,
    /// Optimiser steps after which the probe batch is run, ascending from 0.
    pub steps: Vec<u64>,
    /// Factors on `run.train.learning_rate`, which is the tuned one.
    pub learning_rate_factors: Vec<f64>,
    /// Resamples of the seeds behind every interval.
    pub bootstrap_replicates: usize,
    /// Whether the table promises to divide attention logits by the root of the head width, so
    /// that first logits do not depend on it, and not by the width itself, under which they fall
    /// with its root. Said by whoever asks, never read from the table: a broken one must not be
    /// judged by itself.
    pub root_attention: bool,
}

impl Plan {
    /// The plan of `tier` for `family` (`pt`, `bert`, `preln`, `ut`) with `--set`s laid on top.
    ///
    /// # Errors
    /// An unknown family, key or impossible value.
    pub fn new(family: &str, tier: Tier, sets: &[String]) -> Result<Self> {
        ModelConfig::of_family(family)?;
        let file: TierFile = toml::from_str(tier.text())
            .map_err(|error| HarnessError::Invariant(format!("tier {}: {error}", tier.name())))?;
        let Some(toml::Value::Table(of_family)) = file.family.get(family).cloned() else {
            return Err(HarnessError::config(
                format!("the coordinate check has no settings for '{family}'"),
                "families are pt, bert, preln, ut",
            ));
        };
        let mut layer = file.run;
        let mut base = Table::new();
        base.insert("base_width".to_owned(), toml::Value::Integer(file.base_width as i64));
        let base = Table::from_iter([("parametrization".to_owned(), toml::Value::Table(base))]);
        merge(&mut layer, base);
        merge(&mut layer, of_family);
        Ok(Self {
            run: RunConfig::resolve(family, vec![layer], sets)?,
            widths: file.widths,
            seeds: file.seeds,
            steps: file.steps,
            learning_rate_factors: file.learning_rate_factors,
            bootstrap_replicates: file.bootstrap_replicates,
            root_attention: false,
        })
    }

    /// Checks that slopes and intervals can be computed from this plan.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub fn validate(&self) -> Result<()> {
        let ascending = |values: &[u64]| values.windows(2).all(|pair| pair[0] < pair[1]);
        let fail = |problem: String, hint: &str| Err(HarnessError::config(problem, hint));
        let widths: Vec<u64> = self.widths.iter().map(|&width| width as u64).collect();
        if widths.len() < 2 || !ascending(&widths) {
            return fail(format!("widths {widths:?}"), "give two or more ascending widths");
        }
        if self.steps.first() != Some(&0) || self.steps.len() < 2 || !ascending(&self.steps) {
            return fail(format!("steps {:?}", self.steps), "give 0 and more ascending steps");
        }
        if self.seeds < 2 {
            return fail(format!("{} seeds", self.seeds), "intervals need two or more seeds");
        }
        let factors = &self.learning_rate_factors;
        if factors.is_empty() || factors.iter().any(|f| !(f.is_finite() && *f > 0.0)) {
            return fail(format!("rate factors {factors:?}"), "give factors above 0, e.g. 1 4");
        }
        for &width in &self.widths {
            self.run.model.at_width(width).layout()?;
        }
        if self.run.train.micro_batches > 1 || self.run.model.dropout() > 0.0 {
            return fail(
                "the check takes whole batches without dropout".to_owned(),
                "leave train.micro_batches at 1 and the model's dropout at 0",
            );
        }
        self.run.validate()
    }

    /// The probe: fixed sequences of the validation split with fixed masks, the same for every
    /// width, seed and parametrization; beside it the loss in nats of the training split's unigram
    /// distribution on its targets.
    pub(super) fn probe(&self, corpus: &Arc<Corpus>) -> Result<(Batch, f64)> {
        let set = EvaluationSet::new(corpus.clone(), &self.run.data, Split::Validation)?;
        let batch = set.batch(0, set.sequences()).batch;
        if batch.attention.is_some() {
            return Err(HarnessError::config(
                "the probe batch has padding, which attention entropies do not expect",
                "leave data.packing at documents",
            ));
        }
        Ok((batch, set.unigram_loss_nats()))
    }

    /// Exponent of the head width (or rank) in the width: 1 if heads widen, 0 if they multiply.
    pub fn head_dim_exponent(&self) -> f64 {
        let (first, last) = (self.widths[0], self.widths[self.widths.len() - 1]);
        let head = |width| self.run.model.at_width(width).dimensions().head_dim as f64;
        (head(last) / head(first)).log2() / (last as f64 / first as f64).log2()
    }

    /// Widths, seeds, steps and rates in one line, for captions.
    pub fn describe(&self) -> String {
        let list = |values: Vec<String>| values.join(", ");
        format!(
            "{}, widths {} (base {}), {} seeds, steps {}, learning rate {} times {}, batches of \
             {} x {} tokens, probe of {} sequences{}",
            self.run.model.family(),
            list(self.widths.iter().map(ToString::to_string).collect()),
            self.run.base_model().dimensions().width,
            self.seeds,
            list(self.steps.iter().map(ToString::to_string).collect()),
            self.run.train.learning_rate,
            list(self.learning_rate_factors.iter().map(ToString::to_string).collect()),
            self.run.train.batch,
            self.run.data.length,
            self.run.data.evaluation.sequences,
            if self.root_attention {
                ", attention logits over the root of the head width"
            } else {
                ""
            },
        )
    }
}
