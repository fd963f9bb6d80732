//! The MLM head of BERT (Devlin et al. 2019): dense, GELU, layer norm, decoder.

use candle_core::Tensor;
use models::architecture::{Probe, Weights};
use models::error::{ModelError, Result};
use models::layers;
use models::parameters::ParameterSpec;

/// Shape of the head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MlmHead {
    /// Vocabulary size V.
    pub vocab: usize,
    /// Width D.
    pub width: usize,
    /// The decoder is the token table.
    pub tied: bool,
    /// The decoder starts at zero, so that the first loss is `ln V` at every width.
    pub zero_readout: bool,
    /// Initial standard deviation of the matrices at the base width.
    pub init_std: f64,
    /// Added to the variance in the layer norm.
    pub norm_eps: f64,
}

impl MlmHead {
    /// Refuses a decoder that is the token table and yet starts at zero: all embeddings would.
    pub fn check(&self, family: &'static str) -> Result<()> {
        if self.tied && self.zero_readout {
            return Err(ModelError::Shape {
                model: family,
                problem: "tied and zero_readout together start every embedding at zero".to_owned(),
                hint: "use tied = false, or zero_readout = false".to_owned(),
            });
        }
        Ok(())
    }

    /// Parameters; a tied head has no `head.decoder.weight`.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        let (width, std) = (self.width, self.init_std);
        let mut specs = vec![
            ParameterSpec::hidden("head.dense.weight", width, width, std),
            ParameterSpec::bias("head.dense.bias", width),
            ParameterSpec::gain("head.norm.weight", width),
            ParameterSpec::bias("head.norm.bias", width),
        ];
        if !self.tied {
            let std = if self.zero_readout { 0.0 } else { std };
            specs.push(ParameterSpec::output("head.decoder.weight", self.vocab, width, std));
        }
        specs.push(ParameterSpec::bias("head.decoder.bias", self.vocab).counted_as_embedding());
        specs
    }

    /// Rows `(R, D)` to logits `(R, V)`: `E norm(gelu(W x + b)) + c`, where `E` is the decoder
    /// or `tied_logits` times the token table.
    pub fn forward(
        &self,
        w: &Weights,
        rows: &Tensor,
        tied_logits: f64,
        probe: &mut dyn Probe,
    ) -> Result<Tensor> {
        probe.record("head_input", 0, rows)?;
        let bias = w.get("head.dense.bias")?;
        probe.product("head.dense.weight", 0, rows)?;
        let dense = layers::linear(rows, &w.get("head.dense.weight")?, Some(&bias))?;
        let (gain, bias) = (w.get("head.norm.weight")?, w.get("head.norm.bias")?);
        let normal = layers::layer_norm(&layers::gelu_erf(&dense)?, &gain, &bias, self.norm_eps)?;
        let bias = w.get("head.decoder.bias")?;
        if self.tied {
            // Scaling the (R, D) side is cheaper than scaling the logits.
            let scaled = super::pass::scaled(&normal, tied_logits)?;
            layers::linear(&scaled, &w.get("embedding.token")?, Some(&bias))
        } else {
            probe.product("head.decoder.weight", 0, &normal)?;
            layers::linear(&normal, &w.get("head.decoder.weight")?, Some(&bias))
        }
    }

    /// Forward FLOPs per predicted position.
    pub fn flops(&self) -> f64 {
        2.0 * self.width as f64 * (self.width as f64 + self.vocab as f64)
    }
}
