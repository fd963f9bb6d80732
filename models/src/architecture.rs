//! What every model family describes: its parameters, its reference computation and its cost.

use candle_core::{DType, Device, Tensor, WithDType};

use crate::batch::Batch;
use crate::error::Result;
use crate::layers;
use crate::parameters::{Layout, ParameterSpec};
use crate::parametrization::{Dimensions, Resolved};

/// Receives intermediate values of a reference forward pass.
pub trait Probe {
    /// `site` names the quantity, `iteration` counts layers or mean-field iterations from 0.
    fn record(&mut self, site: &str, iteration: usize, value: &Tensor) -> Result<()>;

    /// The matrix called `name`, (outputs, inputs), reads `input`, (.., inputs): what is needed to
    /// measure how far the two are aligned. Ignored unless a probe asks for it.
    fn product(&mut self, _name: &str, _iteration: usize, _input: &Tensor) -> Result<()> {
        Ok(())
    }
}

/// A probe that ignores everything.
pub struct NoProbe;

impl Probe for NoProbe {
    fn record(&mut self, _: &str, _: usize, _: &Tensor) -> Result<()> {
        Ok(())
    }
}

/// The parameters of a flat buffer as tensors on `device`, in layout order.
///
/// # Panics
/// If the buffer does not fit the layout.
pub fn tensors<F: WithDType>(
    layout: &Layout,
    parameters: &[F],
    device: &Device,
) -> Result<Vec<Tensor>> {
    assert_eq!(parameters.len(), layout.total(), "parameter buffer does not fit the layout");
    let tensor = |(position, spec): (usize, &ParameterSpec)| {
        Ok(Tensor::from_slice(&parameters[layout.range(position)], spec.shape(), device)?)
    };
    layout.specs().iter().enumerate().map(tensor).collect()
}

/// Parameters as tensors, in layout order, with their forward multipliers.
pub struct Weights<'a> {
    layout: &'a Layout,
    tensors: &'a [Tensor],
    multipliers: Vec<f64>,
}

impl<'a> Weights<'a> {
    /// Wraps `tensors` (layout order); multipliers come from `resolved`, one each if `None`.
    pub fn new(layout: &'a Layout, tensors: &'a [Tensor], resolved: Option<&Resolved>) -> Self {
        assert_eq!(layout.specs().len(), tensors.len(), "one tensor per parameter");
        let multipliers = match resolved {
            Some(resolved) => resolved.rules.iter().map(|rule| rule.forward_multiplier).collect(),
            None => vec![1.0; tensors.len()],
        };
        Self { layout, tensors, multipliers }
    }

    /// The effective weight: forward multiplier times the stored tensor.
    pub fn get(&self, name: &str) -> Result<Tensor> {
        let position = self.layout.position(name)?;
        let (tensor, multiplier) = (&self.tensors[position], self.multipliers[position]);
        // Exactly one at the base width: skip the product so that it stays bit-identical.
        if (multiplier - 1.0).abs() == 0.0 {
            Ok(tensor.clone())
        } else {
            Ok((tensor * multiplier)?)
        }
    }
}

/// A batch as tensors on the computing device.
pub struct TensorBatch {
    /// Input ids `(B, n)`, u32.
    pub ids: Tensor,
    /// 1 where a word stands, 0 for padding, `(B, n)`, in the computing type; `None` = no padding.
    pub attention: Option<Tensor>,
    /// Flattened target positions `(R)`, u32.
    pub positions: Tensor,
    /// Target labels `(R)`, u32.
    pub labels: Tensor,
    /// Sequences B.
    pub sequences: usize,
    /// Length n.
    pub length: usize,
    /// Dropout masks of this step, if any.
    pub dropout: Option<crate::batch::DropoutKey>,
}

impl TensorBatch {
    /// Moves `batch` to `device`; the attention mask takes the type `dtype`.
    pub fn new(batch: &Batch, dtype: DType, device: &Device) -> Result<Self> {
        let shape = (batch.sequences, batch.length);
        let attention = match &batch.attention {
            None => None,
            Some(flags) => {
                let ones: Vec<f32> = flags.iter().map(|&word| f32::from(u8::from(word))).collect();
                Some(Tensor::from_vec(ones, shape, device)?.to_dtype(dtype)?)
            }
        };
        let column = |pick: fn(&crate::batch::Target) -> u32| {
            let values: Vec<u32> = batch.targets.iter().map(pick).collect();
            let count = values.len();
            Tensor::from_vec(values, count, device)
        };
        Ok(Self {
            ids: Tensor::from_slice(&batch.ids, shape, device)?,
            attention,
            positions: column(|target| target.position)?,
            labels: column(|target| target.label)?,
            sequences: batch.sequences,
            length: batch.length,
            dropout: batch.dropout,
        })
    }
}

/// Output of the encoder.
pub struct Encoded {
    /// Hidden states (PT: last label scores z) `(B, n, D)`.
    pub hidden: Tensor,
    /// Added training objective, a scalar, if the family has one.
    pub auxiliary: Option<Tensor>,
}

/// Forward cost in floating-point operations (2 per multiply-add), matrix products only.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ForwardFlops {
    /// Named parts of the encoder, per token.
    pub encoder_per_token: Vec<(&'static str, f64)>,
    /// MLM head and decoder, per predicted position.
    pub head_per_target: f64,
}

impl ForwardFlops {
    /// Training FLOPs per token: three times forward, the head at `target_share` of positions.
    pub fn training_per_token(&self, target_share: f64) -> f64 {
        let encoder: f64 = self.encoder_per_token.iter().map(|(_, flops)| flops).sum();
        3.0 * (encoder + target_share * self.head_per_target)
    }
}

/// A model family at one shape, parametrization applied: the reference definition.
pub trait Architecture: Send + Sync {
    /// Family name on the command line: `pt`, `bert`, `preln`, `ut`, `pt2023`.
    fn family(&self) -> &'static str;

    /// Vocabulary size V.
    fn vocab(&self) -> usize;

    /// The parameters.
    fn layout(&self) -> &Layout;

    /// Dimensions that site exponents refer to.
    fn dimensions(&self) -> Dimensions;

    /// Runs the encoder.
    fn encode(&self, w: &Weights, batch: &TensorBatch, probe: &mut dyn Probe) -> Result<Encoded>;

    /// MLM head: rows `(R, D)` to logits `(R, V)`.
    fn head(&self, w: &Weights, rows: &Tensor, probe: &mut dyn Probe) -> Result<Tensor>;

    /// Forward FLOPs at sequence length `length`.
    fn forward_flops(&self, length: usize) -> ForwardFlops;

    /// Cross-entropy of each target `(R)` and the auxiliary objective.
    fn target_losses(
        &self,
        w: &Weights,
        batch: &TensorBatch,
        probe: &mut dyn Probe,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let encoded = self.encode(w, batch, probe)?;
        let width = encoded.hidden.dim(2)?;
        let hidden = encoded.hidden.reshape((batch.sequences * batch.length, width))?;
        let rows = hidden.index_select(&batch.positions, 0)?;
        let logits = self.head(w, &rows, probe)?;
        probe.record("logits", 0, &logits)?;
        Ok((layers::cross_entropy(&logits, &batch.labels)?, encoded.auxiliary))
    }
}
