//! The reference computation: the definition of the model in plain tensor operations.

use candle_core::Tensor;

use super::ternary::TernaryFactor;
use super::{Pt2026Config, normalise};
use crate::architecture::{Architecture, Encoded, ForwardFlops, Probe, TensorBatch, Weights};
use crate::error::Result;
use crate::family::FamilyConfig;
use crate::layers;
use crate::parameters::Layout;
use crate::parametrization::{Dimensions, SiteScales};

/// Epsilon of the head's layer normalisation.
const NORM_EPSILON: f64 = 1e-5;

/// Width-dependent constants of the forward pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ForwardConstants {
    /// Factor on normalised label beliefs (N at the base width).
    pub belief: f64,
    /// Factor on normalised topic activations (M at the base width).
    pub topic: f64,
    /// Factor on head logits (1/r at the base width).
    pub head_logits: f64,
    /// Factor on the messages to the labels (1 at the base width).
    pub message: f64,
    /// Factor on the unary factor as a tied decoder (1/N at the base width).
    pub tied_logits: f64,
}

impl ForwardConstants {
    /// Constants of `base` times `sites`. Without width normalisation the first four are 1 at any
    /// width.
    fn new(base: &Pt2026Config, sites: &SiteScales) -> Self {
        let tied_logits = sites.tied_logits / base.width as f64;
        if !base.width_normalisation {
            return Self { belief: 1.0, topic: 1.0, head_logits: 1.0, message: 1.0, tied_logits };
        }
        Self {
            belief: base.width as f64 * sites.belief,
            topic: base.topics() as f64 * sites.topic,
            head_logits: sites.attention_logits / base.rank() as f64,
            message: sites.message,
            tied_logits,
        }
    }
}

/// The model at one shape.
#[derive(Debug, Clone)]
pub struct Pt2026 {
    config: Pt2026Config,
    layout: Layout,
    constants: ForwardConstants,
}

impl Pt2026 {
    /// The model of `config` with the forward constants of `base` times `sites`.
    pub fn new(config: Pt2026Config, base: &Pt2026Config, sites: &SiteScales) -> Result<Self> {
        base.validate()?;
        let layout = config.layout()?;
        Ok(Self { config, layout, constants: ForwardConstants::new(base, sites) })
    }

    /// Shape and constants.
    pub fn config(&self) -> &Pt2026Config {
        &self.config
    }

    /// Width-dependent constants of the forward pass.
    pub fn constants(&self) -> ForwardConstants {
        self.constants
    }

    /// `x = N norm(z)`, `(.., N)`.
    fn beliefs(&self, z: &Tensor) -> Result<Tensor> {
        let q = normalise::labels(z, self.config.label_potential, self.config.epsilon)?;
        Ok((q * self.constants.belief)?)
    }

    /// `g = M norm(s_b B x / lambda_g)`, `(B, n, M)`.
    fn topic_beliefs(&self, x: &Tensor, binary: &Tensor) -> Result<Tensor> {
        let scores = layers::linear(x, binary, None)?;
        let scores = (scores * (self.config.binary_weight / self.config.lambda_g))?;
        let g = normalise::topics(&scores, self.config.topic_potential, self.config.epsilon)?;
        Ok((g * self.constants.topic)?)
    }
}

impl Architecture for Pt2026 {
    fn family(&self) -> &'static str {
        "pt"
    }

    fn vocab(&self) -> usize {
        self.config.vocab
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn dimensions(&self) -> Dimensions {
        self.config.dimensions()
    }

    /// T damped mean-field updates `z <- d z + (1 - d) (m1 + m2 + S[w]) / lambda_z` from
    /// `z = S[w]` (arXiv 2604.25409; equations in the repository's model notes). Sites per
    /// iteration: `belief` `(B, n, N)`, `head_logits` and `head_posterior` `(B, C, n, n)`,
    /// `topic_belief` `(B, n, M)`, `message_ternary`, `message_topic` and `z` `(B, n, N)`.
    fn encode(&self, w: &Weights, batch: &TensorBatch, probe: &mut dyn Probe) -> Result<Encoded> {
        let config = &self.config;
        let (u, v, binary) = (w.get("ternary_u")?, w.get("ternary_v")?, w.get("binary")?);
        let unary = layers::embedding(&w.get("unary")?, &batch.ids)?;
        probe.record("unary", 0, &unary)?;
        let ternary = TernaryFactor::new(config, self.constants.head_logits, batch, &unary)?;
        let mut z = unary.clone();
        for iteration in 0..config.iterations {
            let x = self.beliefs(&z)?;
            probe.record("belief", iteration, &x)?;
            for matrix in ["ternary_u", "ternary_v", "binary"] {
                probe.product(matrix, iteration, &x)?;
            }
            let heads = ternary.heads(&x, &u, &v)?;
            probe.record("head_logits", iteration, &heads.logits)?;
            probe.record("head_posterior", iteration, &heads.posterior)?;
            let message_ternary = (ternary.messages(&heads, &u, &v)? * self.constants.message)?;
            probe.record("message_ternary", iteration, &message_ternary)?;
            let topics = self.topic_beliefs(&x, &binary)?;
            probe.record("topic_belief", iteration, &topics)?;
            let message_topic = layers::linear(&topics, &binary.t()?, None)?;
            let message_topic = (message_topic * (config.binary_weight * self.constants.message))?;
            probe.record("message_topic", iteration, &message_topic)?;
            let update = ((message_ternary + message_topic)? + &unary)?;
            let step = (1.0 - config.damping) / config.lambda_z;
            z = ((z * config.damping)? + (update * step)?)?;
            probe.record("z", iteration, &z)?;
        }
        Ok(Encoded { hidden: z, auxiliary: None })
    }

    /// `a (W_out LN(SiLU(W_d x + b_d)) + b_out)` on the beliefs `x = N norm(z)`. A tied decoder
    /// reads with `S / N0` at the base width: S has entries of order one, a decoder of order 1/N.
    fn head(&self, w: &Weights, rows: &Tensor, probe: &mut dyn Probe) -> Result<Tensor> {
        let features = self.beliefs(rows)?;
        let (weight, bias) = (w.get("head.dense.weight")?, w.get("head.dense.bias")?);
        probe.product("head.dense.weight", 0, &features)?;
        let dense = layers::silu(&layers::linear(&features, &weight, Some(&bias))?)?;
        let (gain, bias) = (w.get("head.norm.weight")?, w.get("head.norm.bias")?);
        let normal = layers::layer_norm(&dense, &gain, &bias, NORM_EPSILON)?;
        probe.record("head_features", 0, &normal)?;
        let decoder = if self.config.tied {
            (w.get("unary")? * self.constants.tied_logits)?
        } else {
            probe.product("head.decoder.weight", 0, &normal)?;
            w.get("head.decoder.weight")?
        };
        let logits = layers::linear(&normal, &decoder, Some(&w.get("head.decoder.bias")?))?;
        Ok((logits * self.config.logit_multiplier)?)
    }

    /// Every iteration is counted: T times the shared factors' work.
    fn forward_flops(&self, length: usize) -> ForwardFlops {
        let config = &self.config;
        let (width, iterations) = (config.width as f64, config.iterations as f64);
        let pairs = (config.channels * config.rank()) as f64;
        // Messages per pair of words: from the head, and from the dependents if there are any.
        let messages = if config.dependent_message { 2.0 } else { 1.0 };
        let per_iteration = [
            ("ternary projections", 2.0 * pairs * width * (2.0 + messages)),
            ("head posteriors and messages", 2.0 * pairs * length as f64 * (1.0 + messages)),
            ("topics", 2.0 * config.topics() as f64 * width * 2.0),
        ];
        ForwardFlops {
            encoder_per_token: per_iteration.map(|(part, f)| (part, f * iterations)).to_vec(),
            head_per_target: 2.0 * width * (width + config.vocab as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_forward_cost_is_the_published_body_cost() {
        // 6 (18 N^2 + 7.5 n N) multiply-adds a token for C = 10, r = N/4, M = 4N, T = 6.
        let config = Pt2026Config::default();
        let model = config.model(&config, &SiteScales::BASE).unwrap();
        let (width, length) = (256.0f64, 1024.0);
        let flops = model.forward_flops(1024);
        let encoder: f64 = flops.encoder_per_token.iter().map(|(_, f)| f).sum();
        let published = 2.0 * 6.0 * (18.0 * width * width + 7.5 * length * width);
        assert!((encoder - published).abs() < 1e-3, "{encoder} {published}");
    }
}
