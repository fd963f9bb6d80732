//! The shape of one Transformer block, its parameters and its cost.

use models::error::{ModelError, Result};
use models::parameters::ParameterSpec;
use models::parametrization::{Dimensions, SiteScales};
use models::sizes;
use serde::{Deserialize, Serialize};

/// Head width where a configuration gives neither `heads` nor `head_dim`.
pub const DEFAULT_HEAD_DIM: usize = 32;

/// Non-linearity of the feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `W_outer gelu(W_inner x)`, exact (erf) GELU.
    #[default]
    Gelu,
    /// `W_outer (silu(W_gate x) * W_inner x)` (Shazeer 2020), three matrices.
    Swiglu,
}

/// One attention layer and one feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockShape {
    /// Width D.
    pub width: usize,
    /// Attention heads H.
    pub heads: usize,
    /// Width of one head; `heads * head_dim = width`.
    pub head_dim: usize,
    /// Hidden units of the feed-forward layer.
    pub feed_forward_width: usize,
    /// Non-linearity of the feed-forward layer.
    pub activation: Activation,
    /// Whether the matrices of the block have added vectors (the layer norms always have).
    pub biases: bool,
    /// Whether queries and keys are normalised head by head before they are rotated.
    pub qk_norm: bool,
    /// Whether the embedded input joins the stream again before every application but the first.
    pub injection: bool,
    /// Branches, and an input that joins the stream again, are multiplied by this.
    pub residual: f64,
    /// Initial standard deviation of every matrix at the base width.
    pub init_std: f64,
    /// Added to the variance in every layer norm.
    pub norm_eps: f64,
}

/// Forward constants of a block after the parametrization has been applied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scales {
    /// Attention logits are query times key times this: `1/sqrt(head_dim)` at the base width.
    pub attention: f64,
    /// Branches are multiplied by this before they join the residual stream.
    pub residual: f64,
    /// Logits of a tied decoder are multiplied by this.
    pub tied_logits: f64,
}

impl Scales {
    /// The constants of `base`, times what the parametrization says about this width. The factor
    /// on branches is the model's `own`.
    ///
    /// # Errors
    /// If the parametrization scales branches with depth and the model does so itself, or adds
    /// its input again, which no parametrization scales.
    pub fn new((own, base): (&BlockShape, &BlockShape), sites: &SiteScales) -> Result<Self> {
        let scaled = |factor: f64| (factor - 1.0).abs() > 0.0;
        if scaled(sites.residual) && (scaled(own.residual) || own.injection) {
            return Err(ModelError::Unsupported {
                what: "residual_scale or injection".to_owned(),
                by: "a parametrization that scales branches with depth itself".to_owned(),
                hint: "use mup-table8, or give base and model the same number of steps".to_owned(),
            });
        }
        Ok(Self {
            attention: sites.attention_logits / (base.head_dim as f64).sqrt(),
            residual: own.residual * sites.residual,
            tied_logits: sites.tied_logits,
        })
    }
}

/// The sizes a configuration states, before they are completed and checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Family name for errors.
    pub family: &'static str,
    pub vocab: usize,
    pub width: usize,
    /// Layers or steps.
    pub depth: usize,
    pub heads: Option<usize>,
    pub head_dim: Option<usize>,
    pub feed_forward_width: Option<usize>,
}

impl Sizes {
    fn error(&self, problem: String, hint: String) -> ModelError {
        ModelError::Shape { model: self.family, problem, hint }
    }

    fn head_dim(&self) -> usize {
        match (self.heads, self.head_dim) {
            (Some(heads), _) => self.width / heads.max(1),
            (None, given) => given.unwrap_or(DEFAULT_HEAD_DIM),
        }
    }

    fn feed_forward_width(&self) -> usize {
        self.feed_forward_width.unwrap_or(self.width.saturating_mul(4))
    }

    /// Dimensions that site exponents refer to.
    pub fn dimensions(&self) -> Dimensions {
        Dimensions {
            width: self.width,
            head_dim: self.head_dim(),
            topics: self.feed_forward_width(),
            depth: self.depth,
        }
    }

    /// Checks the sizes and completes them.
    pub fn block(
        &self,
        activation: Activation,
        biases: bool,
        (init_std, norm_eps): (f64, f64),
    ) -> Result<BlockShape> {
        sizes::check(
            self.family,
            &[
                ("vocab", self.vocab, sizes::VOCAB_MAX),
                ("width", self.width, sizes::WIDTH_MAX),
                ("depth", self.depth, sizes::DEPTH_MAX),
                ("feed_forward_width", self.feed_forward_width(), 4 * sizes::WIDTH_MAX),
            ],
        )?;
        if let (Some(heads), Some(head_dim)) = (self.heads, self.head_dim) {
            return Err(self.error(
                format!("both heads ({heads}) and head_dim ({head_dim}) are given"),
                "keep heads to let head_dim grow with width, head_dim to let heads grow".to_owned(),
            ));
        }
        let head_dim = self.head_dim();
        let heads = self.heads.unwrap_or_else(|| self.width / head_dim.max(1));
        if heads == 0 || heads * head_dim != self.width {
            return Err(self.error(
                format!("width {} is not a whole number of heads", self.width),
                match self.heads {
                    Some(heads) => format!("make width a multiple of {heads}, the heads given"),
                    None => format!("make width a multiple of {head_dim} or set head_dim"),
                },
            ));
        }
        for (name, value) in [("init_std", init_std), ("norm_eps", norm_eps)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(self.error(
                    format!("{name} is {value}"),
                    format!("give {name} a finite number that is not negative"),
                ));
            }
        }
        Ok(BlockShape {
            width: self.width,
            heads,
            head_dim,
            feed_forward_width: self.feed_forward_width(),
            activation,
            biases,
            qk_norm: false,
            injection: false,
            residual: 1.0,
            init_std,
            norm_eps,
        })
    }
}

/// `size` at width `to` if it belonged to width `from`, rounded; at least 1.
pub(crate) fn rescaled(size: usize, from: usize, to: usize) -> usize {
    ((2 * size * to + from) / (2 * from).max(1)).max(1)
}

impl BlockShape {
    fn matrix(&self, name: &str, outputs: usize, inputs: usize) -> Vec<ParameterSpec> {
        let weight =
            ParameterSpec::hidden(&format!("{name}.weight"), outputs, inputs, self.init_std);
        if self.biases {
            vec![weight, ParameterSpec::bias(&format!("{name}.bias"), outputs)]
        } else {
            vec![weight]
        }
    }

    /// Gain and bias of the layer norm called `name`.
    pub fn norm(&self, name: &str) -> Vec<ParameterSpec> {
        vec![
            ParameterSpec::gain(&format!("{name}.weight"), self.width),
            ParameterSpec::bias(&format!("{name}.bias"), self.width),
        ]
    }

    /// Parameters of the block below `prefix`, norms included.
    pub fn parameters(&self, prefix: &str) -> Vec<ParameterSpec> {
        let (width, inner) = (self.width, self.feed_forward_width);
        let mut specs = Vec::new();
        for part in ["query", "key", "value", "output"] {
            specs.extend(self.matrix(&format!("{prefix}.attention.{part}"), width, width));
        }
        if self.qk_norm {
            // One gain for all heads (Qwen3, arXiv 2505.09388). Its own axis is the head's, which
            // grows with width only where heads do not become more.
            for part in ["query_norm", "key_norm"] {
                let name = format!("{prefix}.attention.{part}.weight");
                specs.push(ParameterSpec::gain(&name, self.head_dim));
            }
        }
        specs.extend(self.norm(&format!("{prefix}.attention.norm")));
        if self.activation == Activation::Swiglu {
            specs.extend(self.matrix(&format!("{prefix}.feed_forward.gate"), inner, width));
        }
        specs.extend(self.matrix(&format!("{prefix}.feed_forward.inner"), inner, width));
        specs.extend(self.matrix(&format!("{prefix}.feed_forward.outer"), width, inner));
        specs.extend(self.norm(&format!("{prefix}.feed_forward.norm")));
        specs
    }

    /// Forward FLOPs per token of `depth` applications of the block at `length`.
    pub fn flops(&self, depth: usize, length: usize) -> Vec<(&'static str, f64)> {
        let (depth, width) = (depth as f64, self.width as f64);
        let matrices = match self.activation {
            Activation::Gelu => 2.0,
            Activation::Swiglu => 3.0,
        };
        let inner = self.feed_forward_width as f64;
        vec![
            ("attention projections", depth * 2.0 * 4.0 * width * width),
            ("attention scores and averages", depth * 2.0 * 2.0 * length as f64 * width),
            ("feed-forward", depth * 2.0 * matrices * width * inner),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes() -> Sizes {
        Sizes {
            family: "test",
            vocab: 10,
            width: 64,
            depth: 2,
            heads: None,
            head_dim: None,
            feed_forward_width: None,
        }
    }

    fn block(sizes: &Sizes) -> Result<BlockShape> {
        sizes.block(Activation::Gelu, true, (0.02, 1e-12))
    }

    #[test]
    fn invariant_heads_or_head_dim_completes_the_other() {
        let shape = block(&sizes()).unwrap();
        assert_eq!((shape.heads, shape.head_dim, shape.feed_forward_width), (2, 32, 256));
        let shape = block(&Sizes { heads: Some(4), ..sizes() }).unwrap();
        assert_eq!((shape.heads, shape.head_dim), (4, 16));
        let shape = block(&Sizes { head_dim: Some(8), ..sizes() }).unwrap();
        assert_eq!((shape.heads, shape.head_dim), (8, 8));
    }

    #[test]
    fn invariant_impossible_shapes_are_refused_with_a_hint() {
        let cases = [
            (Sizes { heads: Some(2), head_dim: Some(32), ..sizes() }, "both heads"),
            (Sizes { heads: Some(5), ..sizes() }, "multiple of 5"),
            (Sizes { heads: Some(0), ..sizes() }, "whole number of heads"),
            (Sizes { head_dim: Some(0), ..sizes() }, "whole number of heads"),
            (Sizes { width: 48, ..sizes() }, "multiple of 32"),
            (Sizes { vocab: 0, ..sizes() }, "vocab is 0"),
            (Sizes { feed_forward_width: Some(0), ..sizes() }, "feed_forward_width is 0"),
        ];
        for (sizes, expected) in cases {
            let message = block(&sizes).unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("hint:"), "{message}");
        }
    }

    #[test]
    fn invariant_rescaling_rounds_to_the_nearest() {
        assert_eq!(rescaled(100, 64, 128), 200);
        assert_eq!(rescaled(171, 64, 32), 86);
        assert_eq!(rescaled(1, 64, 8), 1);
    }
}
