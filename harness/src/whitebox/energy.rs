//! The mean-field objective of PT 2026 after every iteration.
//!
//! With beliefs `x_i = N q_i`, heads `p_ic`, topics `g_i = M γ_i` and the unary scores `S`, the
//! updates of the exponential form are the block-wise minimisers of
//!
//! ```text
//! E = - sum_i S_i.x_i - sum_ic [ sum_j p_ic(j) F_ic(j) + (λ_h / κ) H(p_ic) ]
//!     - sum_i [ s_b g_i.(B x_i) + λ_g M H(γ_i) ] - λ_z N sum_i H(q_i)
//! ```
//!
//! where `F_ic(j) = s_t^2 (R_i U_c x_i).(R_j V_c x_j)`, κ is the factor on head logits (`1/r`) and
//! H the Shannon entropy: heads minimise E exactly, topics and each word's labels do if their
//! normaliser is the softmax and the other words stand still. With the tempering τ = N/r of arXiv
//! 2604.25409 this is its energy; E is divided by `λ_h / κ` and by the number of words, so that
//! the entropy of heads counts in nats per word.
//!
//! The published normalisers (`square`, `abs`) are no softmax, all words move at once and the
//! labels only half-way, so nothing says that E must fall: it is measured.

use candle_core::{D, DType, Tensor};
use models::architecture::Weights;
use models::layers;
use models::pt2026::{ForwardConstants, Pt2026Config, Rope};

use super::depth::at_depth;
use super::opened::TrainedModel;
use super::reading::KeepingProbe;
use crate::config::model::ModelConfig;
use crate::config::run::RunConfig;
use crate::error::{HarnessError, Result};

/// What one iteration did to the objective, in nats per word. The three changes add up to the
/// difference of two objectives.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Iteration {
    /// The objective after the iteration.
    pub objective_nats: f64,
    /// Change by the new head posteriors.
    pub change_by_heads: f64,
    /// Change by the new topic activations.
    pub change_by_topics: f64,
    /// Change by the new label beliefs.
    pub change_by_labels: f64,
    /// Distance of the new beliefs from those before the iteration: half the mean of
    /// `sum_a |q_a - q'_a|` over words, from 0 to 1.
    pub moved: f64,
    /// The same from those before the iteration before; as `moved` for the first.
    pub moved_in_two: f64,
}

/// The objective of one sequence.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Descent {
    /// Before the first iteration: beliefs of the unary scores, uniform heads and topics.
    pub initial_nats: f64,
    /// Every iteration.
    pub iterations: Vec<Iteration>,
}

impl Descent {
    /// Whether no iteration raised the objective by more than its rounding.
    pub fn falls(&self) -> bool {
        (0..self.iterations.len()).all(|iteration| self.falls_at(iteration))
    }

    /// Whether iteration `iteration` did not raise it.
    pub fn falls_at(&self, iteration: usize) -> bool {
        let before = match iteration {
            0 => self.initial_nats,
            _ => self.iterations[iteration - 1].objective_nats,
        };
        // Sums of some ten thousand terms in f64.
        self.iterations[iteration].objective_nats <= before + 1e-12 * before.abs().max(1.0)
    }
}

/// A PT of 2026 whose objective can be computed: the trained model with one iteration more, whose
/// scores at the last beliefs complete the last objective.
pub struct Energy {
    model: TrainedModel,
    config: Pt2026Config,
    constants: ForwardConstants,
    iterations: usize,
}

/// The sequences' terms at one iteration.
struct Terms {
    unary: f64,
    pairs: f64,
    head_entropy: f64,
    topics: f64,
    topic_entropy: f64,
    label_entropy: f64,
}

impl Energy {
    /// The objective of `run` over `iterations` iterations, with rotary positions and damping as
    /// given: the trained weights stay, the updates change.
    ///
    /// # Errors
    /// If the run is of another family than `pt`.
    pub fn new(
        run: &RunConfig,
        parameters: &[f32],
        (rope, damping): (Rope, f64),
        iterations: usize,
    ) -> Result<Self> {
        if !matches!(run.model, ModelConfig::Pt(_)) {
            return Err(HarnessError::config(
                format!("the objective is that of pt, the run is a {}", run.model.family()),
                "give a run of --model pt",
            ));
        }
        let (mut run, parameters) = at_depth(run, parameters, iterations + 1)?;
        let ModelConfig::Pt(config) = &mut run.model else {
            unreachable!("another depth is the same family");
        };
        (config.rope, config.damping) = (rope, damping);
        let config = config.clone();
        run.base = Some(run.model.clone());
        let model = TrainedModel::new(&run, &parameters, DType::F64)?;
        // Those of the plain model: messages have the factor 1.
        let sites = models::parametrization::SiteScales::BASE;
        let plain = models::pt2026::Pt2026::new(config.clone(), &config, &sites)?;
        Ok(Self { model, config, constants: plain.constants(), iterations })
    }

    /// The objective after every iteration on the sequence `ids`.
    pub fn of(&self, ids: &[u32]) -> Result<Descent> {
        let sites = ["unary", "belief", "head_logits", "head_posterior", "topic_belief"];
        let mut probe = KeepingProbe::new(&sites);
        self.model.read(ids, &mut probe)?;
        Ok(self.descent(&probe, ids.len())?)
    }

    fn descent(&self, probe: &KeepingProbe, words: usize) -> models::Result<Descent> {
        let missing = || models::ModelError::Batch("a site of pt was not recorded".to_owned());
        let get = |site: &str, at: usize| probe.get(site, at).cloned().ok_or_else(missing);
        let weights = self.model.weights();
        let others = words.saturating_sub(1).max(1) as f64;
        let first = get("head_posterior", 0)?;
        // Uniform over the heads that a word may have, and over topics.
        let mut heads = ((first.ones_like()? - eye_like(&first)?)? / others)?;
        let uniform = self.constants.topic / self.config.topics() as f64;
        let mut topics = (get("topic_belief", 0)?.ones_like()? * uniform)?;
        let unary = get("unary", 0)?;
        let mut beliefs = get("belief", 0)?;
        let mut logits = get("head_logits", 0)?;
        let terms = |x: &Tensor, logits: &Tensor, p: &Tensor, g: &Tensor| {
            self.terms(&weights, (&unary, x), (logits, p), g)
        };
        let initial = self.total(&terms(&beliefs, &logits, &heads, &topics)?, words);
        let mut before = beliefs.clone();
        let (mut value, mut iterations) = (initial, Vec::new());
        for iteration in 0..self.iterations {
            heads = get("head_posterior", iteration)?;
            let by_heads = self.total(&terms(&beliefs, &logits, &heads, &topics)?, words);
            topics = get("topic_belief", iteration)?;
            let by_topics = self.total(&terms(&beliefs, &logits, &heads, &topics)?, words);
            let next = get("belief", iteration + 1)?;
            logits = get("head_logits", iteration + 1)?;
            let by_labels = self.total(&terms(&next, &logits, &heads, &topics)?, words);
            iterations.push(Iteration {
                objective_nats: by_labels,
                change_by_heads: by_heads - value,
                change_by_topics: by_topics - by_heads,
                change_by_labels: by_labels - by_topics,
                moved: self.distance(&next, &beliefs, words)?,
                moved_in_two: self.distance(&next, &before, words)?,
            });
            before = std::mem::replace(&mut beliefs, next);
            value = by_labels;
        }
        Ok(Descent { initial_nats: initial, iterations })
    }

    /// Half the mean of `sum_a |q_a - q'_a|`.
    fn distance(&self, a: &Tensor, b: &Tensor, words: usize) -> models::Result<f64> {
        let sum = (a - b)?.abs()?.sum_all()?.to_scalar::<f64>()?;
        Ok(0.5 * sum / (self.constants.belief * words as f64))
    }

    fn terms(
        &self,
        weights: &Weights,
        (unary, x): (&Tensor, &Tensor),
        (logits, p): (&Tensor, &Tensor),
        g: &Tensor,
    ) -> models::Result<Terms> {
        let sum =
            |tensor: Tensor| -> models::Result<f64> { Ok(tensor.sum_all()?.to_scalar::<f64>()?) };
        let scores = layers::linear(x, &weights.get("binary")?, None)?;
        Ok(Terms {
            unary: sum((unary * x)?)?,
            // Logits are scores times κ / λ_h; posteriors are zero where no head may be.
            pairs: sum((p * logits)?)?,
            head_entropy: entropy(p, 1.0)?,
            topics: sum((g * scores)?)? * self.config.binary_weight,
            topic_entropy: entropy(g, self.constants.topic)?,
            label_entropy: entropy(x, self.constants.belief)?,
        })
    }

    /// E in nats per word.
    fn total(&self, terms: &Terms, words: usize) -> f64 {
        let (config, constants) = (&self.config, &self.constants);
        let unit = config.lambda_h / constants.head_logits;
        let topics = terms.topics + config.lambda_g * constants.topic * terms.topic_entropy;
        let labels = terms.unary + config.lambda_z * constants.belief * terms.label_entropy;
        let heads = terms.pairs + terms.head_entropy;
        -(heads + (labels / unit + topics / unit)) / words as f64
    }
}

/// Sum over rows of the Shannon entropy of `weights / total`, in nats.
fn entropy(weights: &Tensor, total: f64) -> models::Result<f64> {
    let shares = (weights / total)?;
    // 0 ln 0 = 0: the logarithm is of a share that is never below the smallest float.
    let logarithms = shares.maximum(f64::MIN_POSITIVE)?.log()?;
    Ok(-(shares * logarithms)?.sum(D::Minus1)?.sum_all()?.to_scalar::<f64>()?)
}

/// The unit matrix in the shape of `(1, C, n, n)`.
fn eye_like(like: &Tensor) -> models::Result<Tensor> {
    let length = like.dim(D::Minus1)?;
    let eye = Tensor::eye(length, like.dtype(), like.device())?;
    Ok(eye.broadcast_as(like.shape())?.contiguous()?)
}

#[cfg(test)]
mod tests;
