//! BERT with its MLM head (Devlin et al. 2019), as Hugging Face's `BertForMaskedLM` computes it:
//! post-LN blocks, learned positions, type embeddings, embedding norm, exact GELU.

mod names;

use candle_core::Tensor;
use models::architecture::{Architecture, Encoded, ForwardFlops, Probe, TensorBatch, Weights};
use models::error::Result;
use models::family::FamilyConfig;
use models::parameters::{Layout, ParameterSpec};
use models::parametrization::{Dimensions, SiteScales};
use models::sizes;
use serde::{Deserialize, Serialize};

pub use names::hugging_face_name;

use crate::blocks::{Activation, BlockShape, MlmHead, Pass, PositionStart, Scales, Sizes};
use crate::blocks::{block_accessors, block_config, block_methods, embed, rescaled};

/// The table `[model.bert]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BertConfig {
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
    /// Hidden units of the feed-forward layer; four times `width` if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed_forward_width: Option<usize>,
    /// Rows of the position table.
    pub max_length: usize,
    /// Initial values of the position table.
    #[serde(skip_serializing_if = "PositionStart::is_default")]
    pub position_start: PositionStart,
    /// Rows of the type table; only the first is ever used.
    pub types: usize,
    /// Whether the decoder is the token table.
    pub tied: bool,
    /// Whether an untied decoder starts at zero; the first loss is then `ln V` at every width.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub zero_readout: bool,
    /// Initial standard deviation of every matrix and table at the base width.
    pub init_std: f64,
    /// Added to the variance in every layer norm.
    pub norm_eps: f64,
}

impl Default for BertConfig {
    fn default() -> Self {
        Self {
            vocab: 32_000,
            width: 256,
            layers: 4,
            heads: None,
            head_dim: None,
            feed_forward_width: None,
            max_length: 1024,
            position_start: PositionStart::Random,
            types: 2,
            tied: false,
            zero_readout: false,
            init_std: 0.02,
            norm_eps: 1e-12,
        }
    }
}

/// BERT at one shape, parametrization applied.
#[derive(Debug, Clone)]
pub struct Bert {
    config: BertConfig,
    shape: BlockShape,
    head: MlmHead,
    scales: Scales,
    layout: Layout,
}

impl BertConfig {
    fn sizes(&self) -> Sizes {
        Sizes {
            family: "bert",
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
        let largest = sizes::VOCAB_MAX;
        sizes::check(
            "bert",
            &[("max_length", self.max_length, largest), ("types", self.types, largest)],
        )?;
        self.head().check("bert")?;
        self.sizes().block(Activation::Gelu, true, (self.init_std, self.norm_eps))
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

impl FamilyConfig for BertConfig {
    type Model = Bert;

    fn layout(&self) -> Result<Layout> {
        let block = self.block()?;
        let (width, std) = (self.width, self.init_std);
        let mut specs = vec![
            ParameterSpec::input("embedding.token", self.vocab, width, std),
            self.position_start.table(self.max_length, width, std),
            ParameterSpec::input("embedding.type", self.types, width, std),
        ];
        specs.extend(block.norm("embedding.norm"));
        for layer in 0..self.layers {
            specs.extend(block.parameters(&format!("layers.{layer}")));
        }
        specs.extend(self.head().parameters());
        Ok(Layout::new(specs))
    }

    block_config!(Bert);
}

block_accessors!(Bert, BertConfig);

impl Architecture for Bert {
    block_methods!("bert");

    fn encode(&self, w: &Weights, batch: &TensorBatch, probe: &mut dyn Probe) -> Result<Encoded> {
        let mut x = embed(w, batch, (Some(self.config.max_length), self.config.norm_eps))?;
        probe.record("embedding", 0, &x)?;
        let mut pass = Pass::new(w, (&self.shape, &self.scales), batch, probe)?;
        for layer in 0..self.config.layers {
            x = pass.post_norm_block(&format!("layers.{layer}"), layer, &x)?;
        }
        Ok(Encoded { hidden: x, auxiliary: None })
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

    fn count(width: usize, layers: usize) -> usize {
        let config = BertConfig { vocab: 32_002, width, layers, ..BertConfig::default() };
        config.layout().unwrap().total()
    }

    #[test]
    fn golden_published_parameter_counts() {
        // arXiv 2604.25409, figure data: V = 32,002, 1024 positions, untied decoder.
        assert_eq!(count(256, 4), 19_905_538);
        assert_eq!(count(512, 4), 46_201_602);
        assert_eq!(count(512, 8), 58_811_138);
        assert_eq!(count(768, 12), 135_623_170);
        assert_eq!(count(1024, 24), 369_985_794);
    }

    #[test]
    fn golden_non_embedding_count_leaves_tables_and_decoder_out() {
        let layout = BertConfig::default().layout().unwrap();
        // 4 blocks of 12 d^2 + 13 d, the head's d^2 + 3 d and the embedding norm's 2 d.
        assert_eq!(layout.non_embedding(), 4 * (12 * 65_536 + 13 * 256) + 65_536 + 5 * 256);
    }

    #[test]
    fn golden_forward_flops_by_hand() {
        let config = BertConfig { vocab: 100, width: 64, layers: 3, ..BertConfig::default() };
        let flops = config.model(&config, &SiteScales::BASE).unwrap().forward_flops(50);
        let total: f64 = flops.encoder_per_token.iter().map(|(_, flops)| flops).sum();
        // 2 FLOPs a multiply-add: 12 d^2 of matrices and 2 n d of attention in each layer.
        let by_hand = 3.0 * 2.0 * (12.0 * 64.0 * 64.0 + 2.0 * 50.0 * 64.0);
        assert!((total - by_hand).abs() < 0.5, "{total}");
        assert!((flops.head_per_target - 2.0 * (64.0 * 64.0 + 64.0 * 100.0)).abs() < 0.5);
    }
}
