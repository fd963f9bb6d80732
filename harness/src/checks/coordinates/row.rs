//! One measured number with everything that identifies it.

use serde::Serialize;

/// What was measured at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Values of an activation on the probe batch.
    Act,
    /// Their change since step 0.
    ActDelta,
    /// Logits of a softmax, centred over the axis it sums over.
    PreSoftmax,
    /// A normalised belief.
    Simplex,
    /// Gradient of the training loss with respect to an effective weight.
    Grad,
    /// An effective weight.
    Param,
    /// Its change since step 0.
    ParamDelta,
    /// Change of an effective weight in one optimiser step.
    Update,
    /// Operator norm of an effective matrix, over the root of outputs per input.
    OpnormParam,
    /// The same of its change since step 0.
    OpnormDelta,
    /// How much larger a product of a matrix with its input is than its parts: logged, not judged.
    Alignment,
    /// What shuffled context does to loss and predictions: logged, not judged.
    Ablation,
}

impl Kind {
    /// Whether readings are only logged: no exponent is expected of them.
    pub const fn is_logged(self) -> bool {
        matches!(self, Self::Alignment | Self::Ablation)
    }

    /// Name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Act => "act",
            Self::ActDelta => "act_delta",
            Self::PreSoftmax => "pre_softmax",
            Self::Simplex => "simplex",
            Self::Grad => "grad",
            Self::Param => "param",
            Self::ParamDelta => "param_delta",
            Self::Update => "update",
            Self::OpnormParam => "opnorm_param",
            Self::OpnormDelta => "opnorm_delta",
            Self::Alignment => "alignment",
            Self::Ablation => "ablation",
        }
    }
}

/// Moments of the finite values of a site.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Values, finite or not.
    pub n: usize,
    /// Mean absolute value.
    pub l1: f64,
    /// Root of the mean square.
    pub rms: f64,
    /// Largest absolute value.
    pub max: f64,
    /// Mean.
    pub mean: f64,
    /// Share of values that are not finite.
    pub frac_nonfinite: f64,
}

impl Summary {
    /// Summarises `values`, added up in order in f64.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let (mut n, mut finite) = (0usize, 0usize);
        let (mut absolute, mut square, mut sum, mut max) = (0.0, 0.0, 0.0, 0.0f64);
        for value in values {
            n += 1;
            if value.is_finite() {
                finite += 1;
                absolute += value.abs();
                square += value * value;
                sum += value;
                max = max.max(value.abs());
            }
        }
        let count = finite as f64;
        Self {
            n,
            l1: absolute / count,
            rms: (square / count).sqrt(),
            max,
            mean: sum / count,
            frac_nonfinite: (n - finite) as f64 / n as f64,
        }
    }

    /// The summary of a single number.
    pub fn scalar(value: f64) -> Self {
        Self::of([value])
    }
}

/// One site at one step of one run, before the run is named.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    /// The quantity, e.g. `message_ternary`, `z_delta`, `update/head.dense.weight`.
    pub site: String,
    /// Layer or mean-field iteration from 0; 0 where there is only one.
    pub iteration: usize,
    /// What was measured.
    pub kind: Kind,
    /// Moments of the values.
    pub summary: Summary,
    /// The size whose slope is judged (`sites.rs` says which moment); NaN if any value is not
    /// finite.
    pub statistic: f64,
}

impl Reading {
    /// A reading judged by `pick` of its moments.
    pub fn new(
        site: impl Into<String>,
        iteration: usize,
        kind: Kind,
        summary: Summary,
        pick: impl Fn(&Summary) -> f64,
    ) -> Self {
        let statistic = if summary.frac_nonfinite > 0.0 { f64::NAN } else { pick(&summary) };
        Self { site: site.into(), iteration, kind, summary, statistic }
    }
}

/// One site at one step of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Family.
    pub arch: &'static str,
    /// Name of the table of exponents.
    pub parametrization: String,
    /// Factor on the tuned learning rate.
    pub learning_rate_factor: f64,
    /// Width.
    pub width: usize,
    /// Layers or iterations.
    pub depth: usize,
    /// Seed of parameters and data.
    pub seed: u64,
    /// Optimiser steps done.
    pub step: u64,
    /// What was read.
    #[serde(flatten)]
    pub reading: Reading,
}
