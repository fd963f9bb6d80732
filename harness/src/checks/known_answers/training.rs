//! A recorded training run, repeated by the trainer's own optimiser (in f64): AdamW with
//! decoupled decay and a global-norm clip.

use candle_core::{DType, Device, Tensor};
use models::ModelError;
use models::architecture::Architecture;

use super::mlm::{MlmCase, MlmRun};
use super::{Computed, KnownAnswer};
use crate::error::Result;
use crate::train::optimiser::{AdamConstants, AdamW, Group, clip_factor, global_norm};

/// Constants of the recorded run.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSettings {
    /// Learning rate of tensors whose rate does not fall with width.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Adam's epsilon.
    pub epsilon: f64,
    /// Decoupled decay: each step multiplies weights by `1 - rate * decay`.
    pub weight_decay: f64,
    /// Global-norm threshold: gradients are multiplied by `clip / (norm + 1e-6)` where that is
    /// below 1 (PyTorch's form).
    pub clip: f64,
}

impl TraceSettings {
    /// Reads `lr`, `beta1`, `beta2`, `adam_eps`, `weight_decay`, `clip` and `schedule`.
    pub fn read(file: &KnownAnswer) -> Result<Self> {
        let schedule = file.text("schedule")?;
        if schedule != "constant" {
            let problem = format!("metadata 'schedule' is '{schedule}'");
            return Err(file.error(&problem, "only 'constant' is known"));
        }
        Ok(Self {
            learning_rate: file.number("lr")?,
            beta1: file.number("beta1")?,
            beta2: file.number("beta2")?,
            epsilon: file.number("adam_eps")?,
            weight_decay: file.number("weight_decay")?,
            clip: file.number("clip")?,
        })
    }

    fn constants(&self) -> AdamConstants {
        let &Self { beta1, beta2, epsilon, weight_decay, .. } = self;
        AdamConstants { beta1, beta2, epsilon, weight_decay }
    }
}

/// Losses, gradient norms and final weights of a repeated run.
pub struct Trace {
    losses: Vec<f64>,
    gradient_norms: Vec<f64>,
    weights: Vec<Vec<f64>>,
}

impl Trace {
    /// Trains `model` from `initial` (layout order) on `cases`, one step each; `rates` are the
    /// factors on the learning rate, one per parameter. Gradients are computed in `dtype`, the
    /// optimiser's state is f64.
    pub fn run<A: Architecture + ?Sized>(
        model: &A,
        cases: &[MlmCase],
        initial: &[Tensor],
        rates: &[f64],
        settings: &TraceSettings,
        dtype: DType,
    ) -> std::result::Result<Self, ModelError> {
        let layout = model.layout();
        let group = |(position, &learning_rate): (usize, &f64)| {
            let range = layout.range(position);
            Group { range, learning_rate, weight_decay: 1.0, epsilon: 1.0 }
        };
        let groups = rates.iter().enumerate().map(group).collect();
        let mut optimiser = AdamW::new(groups, settings.constants());
        let mut weights = concatenated(initial)?;
        let (mut losses, mut gradient_norms) = (Vec::new(), Vec::new());
        for case in cases {
            let tensor = |position: usize| {
                let (shape, range) = (layout.specs()[position].shape(), layout.range(position));
                Tensor::from_slice(&weights[range], shape, &Device::Cpu)?.to_dtype(dtype)
            };
            let parameters =
                (0..rates.len()).map(tensor).collect::<candle_core::Result<Vec<_>>>()?;
            let run = MlmRun::new(model, case, &parameters)?;
            let gradients = concatenated(&run.gradients)?;
            let norm = global_norm(&gradients);
            losses.push(run.loss.to_dtype(DType::F64)?.to_scalar::<f64>()?);
            gradient_norms.push(norm);
            let factor = clip_factor(norm, settings.clip);
            optimiser.step(&mut weights, &gradients, settings.learning_rate, factor);
        }
        let tensor = |position: usize| weights[layout.range(position)].to_vec();
        let weights = (0..rates.len()).map(tensor).collect();
        Ok(Self { losses, gradient_norms, weights })
    }

    /// `losses`, `grad_norms` and `final.<name>`.
    pub fn computed<A: Architecture + ?Sized>(
        &self,
        model: &A,
        file_name: impl Fn(&str) -> String,
    ) -> Vec<Computed> {
        let whole = |name: String, shape: &[usize], values: &[f64]| Computed {
            name,
            shape: shape.to_vec(),
            values: values.to_vec(),
            specified: None,
        };
        let steps = [self.losses.len()];
        let mut computed = vec![
            whole("losses".to_owned(), &steps, &self.losses),
            whole("grad_norms".to_owned(), &steps, &self.gradient_norms),
        ];
        for (spec, values) in model.layout().specs().iter().zip(&self.weights) {
            let name = format!("final.{}", file_name(spec.name()));
            computed.push(whole(name, spec.shape(), values));
        }
        computed
    }
}

/// Values of all tensors, one after the other.
fn concatenated(tensors: &[Tensor]) -> candle_core::Result<Vec<f64>> {
    let mut values = Vec::new();
    for tensor in tensors {
        values.extend(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?);
    }
    Ok(values)
}
