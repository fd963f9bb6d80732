//! A modern pre-LN Transformer encoder: rotary positions, no position table, final layer norm,
//! BERT's MLM head. The strong baseline.

use candle_core::Tensor;
use models::architecture::{Architecture, Encoded, ForwardFlops, Probe, TensorBatch, Weights};
use models::error::{ModelError, Result};
use models::family::FamilyConfig;
use models::layers;
use models::parameters::{Layout, ParameterSpec};
use models::parametrization::{Dimensions, SiteScales};
use serde::{Deserialize, Serialize};

use crate::blocks::{Activation, BlockShape, MlmHead, Pass, ROPE_THETA, Scales, Sizes};
use crate::blocks::{block_accessors, block_config, block_methods, check_rotary, rescaled, rotary};

/// The table `[model.preln]`.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreLnConfig {
    /// Vocabulary size V.
    pub vocab: usize,
    /// Width D.
    pub width: usize,
    /// Layers L.
    pub layers: usize,
    /// Attention heads, the same at every width; excludes `head_dim`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// Width of one head, the same at every width; 32 if neither it nor `heads` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Hidden units of the feed-forward layer; four times `width` if not given. With `swiglu`,
    /// 8/3 of `width` has as many parameters as 4 with `gelu`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed_forward_width: Option<usize>,
    /// Non-linearity of the feed-forward layer.
    pub activation: Activation,
    /// Whether the matrices of the blocks have added vectors; norms and head always have.
    pub biases: bool,
    /// Whether queries and keys are divided by their root mean square head by head, with one gain
    /// of `head_dim` entries each for all heads of a layer, before they are rotated: the form of
    /// Qwen3 (arXiv 2505.09388).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub qk_norm: bool,
    /// Base of the rotary angles: position times `rope_theta^(-2k/head_dim)`.
    pub rope_theta: f64,
    /// Whether the decoder is the token table.
    pub tied: bool,
    /// Whether an untied decoder starts at zero; the first loss is then `ln V` at every width.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub zero_readout: bool,
    /// Initial standard deviation of every matrix and table at the base width.
    pub init_std: f64,
    /// Added to the variance in every layer norm, and to the mean square of QK-norm.
    pub norm_eps: f64,
}

impl Default for PreLnConfig {
    fn default() -> Self {
        Self {
            vocab: 32_000,
            width: 256,
            layers: 4,
            heads: None,
            head_dim: None,
            feed_forward_width: None,
            activation: Activation::Gelu,
            biases: false,
            qk_norm: false,
            rope_theta: ROPE_THETA,
            tied: false,
            zero_readout: false,
            init_std: 0.02,
            norm_eps: 1e-12,
        }
    }
}

/// A pre-LN Transformer at one shape, parametrization applied.
#[derive(Debug, Clone)]
pub struct PreLn {
    config: PreLnConfig,
    shape: BlockShape,
    head: MlmHead,
    scales: Scales,
    layout: Layout,
}

impl PreLnConfig {
    fn sizes(&self) -> Sizes {
        Sizes {
            family: "preln",
            vocab: self.vocab,
            width: self.width,
            depth: self.layers,
            heads: self.heads,
            head_dim: self.head_dim,
            feed_forward_width: self.feed_forward_width,
        }
    }

    /// The block, sizes completed and checked.
    pub fn block(&self) -> Result<BlockShape> {
        self.head().check("preln")?;
        let numbers = (self.init_std, self.norm_eps);
        let shape = self.sizes().block(self.activation, self.biases, numbers)?;
        let shape = BlockShape { qk_norm: self.qk_norm, ..shape };
        check_rotary("preln", &shape)?;
        let fail = |problem: String, hint: &str| {
            Err(ModelError::Shape { model: "preln", problem, hint: hint.to_owned() })
        };
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            let problem = format!("rope_theta is {}", self.rope_theta);
            return fail(problem, "give rope_theta a positive number, usually 10000");
        }
        Ok(shape)
    }

    fn head(&self) -> MlmHead {
        MlmHead {
            vocab: self.vocab,
            width: self.width,
            tied: self.tied,
            zero_readout: self.zero_readout,
            init_std: self.init_std,
            norm_eps: self.norm_eps,
        }
    }
}

impl FamilyConfig for PreLnConfig {
    type Model = PreLn;

    fn layout(&self) -> Result<Layout> {
        let block = self.block()?;
        let tokens = ParameterSpec::input("embedding.token", self.vocab, self.width, self.init_std);
        let mut specs = vec![tokens];
        for layer in 0..self.layers {
            specs.extend(block.parameters(&format!("layers.{layer}")));
        }
        specs.extend(block.norm("final_norm"));
        specs.extend(self.head().parameters());
        Ok(Layout::new(specs))
    }

    block_config!(PreLn);
}

block_accessors!(PreLn, PreLnConfig);

impl Architecture for PreLn {
    block_methods!("preln");

    fn encode(&self, w: &Weights, batch: &TensorBatch, probe: &mut dyn Probe) -> Result<Encoded> {
        let mut x = layers::embedding(&w.get("embedding.token")?, &batch.ids)?;
        probe.record("embedding", 0, &x)?;
        let mut pass = Pass::new(w, (&self.shape, &self.scales), batch, probe)?;
        pass.rotary = Some(rotary(&self.shape, self.config.rope_theta, &x)?);
        for layer in 0..self.config.layers {
            x = pass.pre_norm_block(&format!("layers.{layer}"), layer, &x)?;
        }
        Ok(Encoded { hidden: pass.norm("final_norm", &x)?, auxiliary: None })
    }

    fn forward_flops(&self, length: usize) -> ForwardFlops {
        ForwardFlops {
            encoder_per_token: self.shape.flops(self.config.layers, length),
            head_per_target: self.head.flops(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_parameter_counts_by_hand() {
        let config = PreLnConfig { vocab: 100, width: 64, layers: 3, ..PreLnConfig::default() };
        // Tables, three blocks of 12 d^2 and two norms, final norm, dense, head norm, decoder bias.
        let body = 3 * (12 * 64 * 64 + 4 * 64) + 2 * 64 + (64 * 64 + 64) + 2 * 64;
        assert_eq!(config.layout().unwrap().total(), 2 * 100 * 64 + body + 100);
        assert_eq!(config.layout().unwrap().non_embedding(), body);
        let biases = PreLnConfig { biases: true, tied: true, ..config.clone() };
        let added = 3 * 9 * 64;
        assert_eq!(biases.layout().unwrap().total(), 100 * 64 + body + added + 100);
        let gated = PreLnConfig { activation: Activation::Swiglu, ..config };
        assert_eq!(gated.layout().unwrap().non_embedding(), body + 3 * 4 * 64 * 64);
    }

    #[test]
    fn invariant_odd_head_dim_is_refused() {
        let config = PreLnConfig { width: 30, heads: Some(2), ..PreLnConfig::default() };
        let message = config.layout().unwrap_err().to_string();
        assert!(message.contains("head_dim is 15") && message.contains("hint:"), "{message}");
    }
}
