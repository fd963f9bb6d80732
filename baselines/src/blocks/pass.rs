//! One forward pass through blocks, in reference operations.

use candle_core::Tensor;
use models::architecture::{Probe, TensorBatch, Weights};
use models::error::{ModelError, Result};
use models::layers::{self, RotaryTable};

use super::{Activation, BlockShape, Scales};

/// What every block of a forward pass needs.
pub(crate) struct Pass<'a> {
    pub w: &'a Weights<'a>,
    pub shape: &'a BlockShape,
    pub scales: &'a Scales,
    /// Keys that may be attended to, `(B, 1, 1, n)`; `None` = all.
    pub mask: Option<Tensor>,
    /// Rotary positions; `None` where positions come from a table.
    pub rotary: Option<RotaryTable>,
    pub probe: &'a mut dyn Probe,
}

/// `factor * x`; the very tensor where the factor is one.
pub(crate) fn scaled(x: &Tensor, factor: f64) -> Result<Tensor> {
    if (factor - 1.0).abs() == 0.0 { Ok(x.clone()) } else { Ok((x * factor)?) }
}

/// The mask of [`Pass`] for `batch`.
fn key_mask(batch: &TensorBatch) -> Result<Option<Tensor>> {
    let Some(attention) = &batch.attention else { return Ok(None) };
    Ok(Some(attention.reshape((batch.sequences, 1, 1, batch.length))?))
}

/// `norm(token + position + type 0)` `(B, n, D)`, BERT's embedding, from a table of `positions`
/// rows; `None` = without positions.
pub(crate) fn embed(
    w: &Weights,
    batch: &TensorBatch,
    (positions, norm_eps): (Option<usize>, f64),
) -> Result<Tensor> {
    // Sentence pairs are never formed, so every token is of type 0.
    let mut offsets = w.get("embedding.type")?.narrow(0, 0, 1)?;
    if let Some(rows) = positions {
        if batch.length > rows {
            return Err(ModelError::Batch(format!(
                "sequences of {} tokens, but the position table has {rows} rows\n\
                 hint: raise max_length or cut the sequences",
                batch.length
            )));
        }
        let table = w.get("embedding.position")?.narrow(0, 0, batch.length)?;
        offsets = table.broadcast_add(&offsets)?;
    }
    let tokens = layers::embedding(&w.get("embedding.token")?, &batch.ids)?;
    let sum = tokens.broadcast_add(&offsets)?;
    let (gain, bias) = (w.get("embedding.norm.weight")?, w.get("embedding.norm.bias")?);
    layers::layer_norm(&sum, &gain, &bias, norm_eps)
}

impl<'a> Pass<'a> {
    /// A pass over `batch`.
    pub fn new(
        w: &'a Weights<'a>,
        (shape, scales): (&'a BlockShape, &'a Scales),
        batch: &TensorBatch,
        probe: &'a mut dyn Probe,
    ) -> Result<Self> {
        Ok(Self { w, shape, scales, mask: key_mask(batch)?, rotary: None, probe })
    }

    /// The layer norm called `name`.
    pub fn norm(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let gain = self.w.get(&format!("{name}.weight"))?;
        let bias = self.w.get(&format!("{name}.bias"))?;
        layers::layer_norm(x, &gain, &bias, self.shape.norm_eps)
    }

    fn linear(&mut self, name: &str, layer: usize, x: &Tensor) -> Result<Tensor> {
        let matrix = format!("{name}.weight");
        self.probe.product(&matrix, layer, x)?;
        let weight = self.w.get(&matrix)?;
        if self.shape.biases {
            layers::linear(x, &weight, Some(&self.w.get(&format!("{name}.bias"))?))
        } else {
            layers::linear(x, &weight, None)
        }
    }

    /// `(B, n, D)` to `(B, H, n, head_dim)`.
    fn split_heads(&self, x: &Tensor) -> Result<Tensor> {
        let (sequences, length, _) = x.dims3()?;
        let shape = (sequences, length, self.shape.heads, self.shape.head_dim);
        Ok(x.reshape(shape)?.transpose(1, 2)?.contiguous()?)
    }

    /// `(B, H, n, head_dim)` normalised over its last axis, one gain for all heads.
    fn head_norm(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        layers::rms_norm(x, &self.w.get(&format!("{name}.weight"))?, self.shape.norm_eps)
    }

    /// Attention branch of layer `layer` for input `(B, n, D)`, scaled for the residual stream.
    fn attention(&mut self, prefix: &str, layer: usize, x: &Tensor) -> Result<Tensor> {
        let mut project = |part: &str| {
            let projected = self.linear(&format!("{prefix}.attention.{part}"), layer, x)?;
            self.split_heads(&projected)
        };
        let (mut query, mut key, value) = (project("query")?, project("key")?, project("value")?);
        if self.shape.qk_norm {
            query = self.head_norm(&format!("{prefix}.attention.query_norm"), &query)?;
            key = self.head_norm(&format!("{prefix}.attention.key_norm"), &key)?;
        }
        if let Some(rotary) = &self.rotary {
            (query, key) = (rotary.rotate(&query)?, rotary.rotate(&key)?);
        }
        let products = query.matmul(&key.t()?.contiguous()?)?;
        let logits = (products * self.scales.attention)?;
        self.probe.record("attention_logits", layer, &logits)?;
        let probabilities = layers::softmax(&logits, self.mask.as_ref())?;
        self.probe.record("attention_probabilities", layer, &probabilities)?;
        let average = probabilities.matmul(&value)?.transpose(1, 2)?.contiguous()?;
        let joined = average.reshape(x.shape())?;
        let branch = self.linear(&format!("{prefix}.attention.output"), layer, &joined)?;
        let branch = scaled(&branch, self.scales.residual)?;
        self.probe.record("attention_branch", layer, &branch)?;
        Ok(branch)
    }

    /// Feed-forward branch of layer `layer` for input `(B, n, D)`, scaled likewise.
    fn feed_forward(&mut self, prefix: &str, layer: usize, x: &Tensor) -> Result<Tensor> {
        let inner = self.linear(&format!("{prefix}.feed_forward.inner"), layer, x)?;
        let active = match self.shape.activation {
            Activation::Gelu => layers::gelu_erf(&inner)?,
            Activation::Swiglu => {
                let gate = self.linear(&format!("{prefix}.feed_forward.gate"), layer, x)?;
                (layers::silu(&gate)? * inner)?
            }
        };
        let branch = self.linear(&format!("{prefix}.feed_forward.outer"), layer, &active)?;
        let branch = scaled(&branch, self.scales.residual)?;
        self.probe.record("feed_forward_branch", layer, &branch)?;
        Ok(branch)
    }

    /// `x <- norm(x + attention(x)); x <- norm(x + feed_forward(x))` (Vaswani et al. 2017).
    pub fn post_norm_block(&mut self, prefix: &str, layer: usize, x: &Tensor) -> Result<Tensor> {
        let branch = self.attention(prefix, layer, x)?;
        let x = self.norm(&format!("{prefix}.attention.norm"), &(x + branch)?)?;
        let branch = self.feed_forward(prefix, layer, &x)?;
        let x = self.norm(&format!("{prefix}.feed_forward.norm"), &(x + branch)?)?;
        self.probe.record("residual_stream", layer, &x)?;
        Ok(x)
    }

    /// `x <- x + attention(norm(x)); x <- x + feed_forward(norm(x))` (Xiong et al. 2020).
    pub fn pre_norm_block(&mut self, prefix: &str, layer: usize, x: &Tensor) -> Result<Tensor> {
        let normal = self.norm(&format!("{prefix}.attention.norm"), x)?;
        let x = (x + self.attention(prefix, layer, &normal)?)?;
        let normal = self.norm(&format!("{prefix}.feed_forward.norm"), &x)?;
        let x = (&x + self.feed_forward(prefix, layer, &normal)?)?;
        self.probe.record("residual_stream", layer, &x)?;
        Ok(x)
    }
}
