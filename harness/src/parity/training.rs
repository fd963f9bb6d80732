//! A recorded training run: AdamW with decoupled decay and a global-norm clip, in the file's
//! float type. Written out here so that the trace checks the optimiser's definition as well.

use candle_core::{DType, Device, Tensor};
use models::ModelError;
use models::architecture::Architecture;

use super::mlm::{MlmCase, MlmRun};
use super::{Computed, KnownAnswer};
use crate::error::Result;

/// Added to the norm before the threshold is divided by it.
const CLIP_GUARD: f64 = 1e-6;

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
        let mut weights = initial.iter().map(flat).collect::<candle_core::Result<Vec<_>>>()?;
        let zeros: Vec<Vec<f64>> = weights.iter().map(|values| vec![0.0; values.len()]).collect();
        let (mut first, mut second) = (zeros.clone(), zeros);
        let (mut losses, mut gradient_norms) = (Vec::new(), Vec::new());
        for (step, case) in cases.iter().enumerate() {
            let specs = model.layout().specs();
            let parameters = specs.iter().zip(&weights).map(|(spec, values)| {
                Tensor::from_slice(values, spec.shape(), &Device::Cpu)?.to_dtype(dtype)
            });
            let parameters = parameters.collect::<candle_core::Result<Vec<_>>>()?;
            let run = MlmRun::new(model, case, &parameters)?;
            let gradients =
                run.gradients.iter().map(flat).collect::<candle_core::Result<Vec<_>>>()?;
            let norm = gradients.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
            losses.push(run.loss.to_dtype(DType::F64)?.to_scalar::<f64>()?);
            gradient_norms.push(norm);
            let shrink = (settings.clip / (norm + CLIP_GUARD)).min(1.0);
            for (which, gradient) in gradients.iter().enumerate() {
                let rate = settings.learning_rate * rates[which];
                let moments = (&mut first[which][..], &mut second[which][..]);
                adamw(&mut weights[which], moments, gradient, shrink, rate, step, settings);
            }
        }
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

fn flat(tensor: &Tensor) -> candle_core::Result<Vec<f64>> {
    tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()
}

/// One AdamW step of one tensor (Loshchilov & Hutter 2019): decay by `rate * weight_decay`, then
/// `rate * m^ / (sqrt(v^) + epsilon)` with bias-corrected moments.
fn adamw(
    weights: &mut [f64],
    (first, second): (&mut [f64], &mut [f64]),
    gradient: &[f64],
    shrink: f64,
    rate: f64,
    step: usize,
    settings: &TraceSettings,
) {
    let count = step as i32 + 1;
    let correction1 = 1.0 - settings.beta1.powi(count);
    let correction2 = 1.0 - settings.beta2.powi(count);
    for (entry, weight) in weights.iter_mut().enumerate() {
        let g = gradient[entry] * shrink;
        first[entry] = settings.beta1 * first[entry] + (1.0 - settings.beta1) * g;
        second[entry] = settings.beta2 * second[entry] + (1.0 - settings.beta2) * g * g;
        *weight *= 1.0 - rate * settings.weight_decay;
        let spread = (second[entry] / correction2).sqrt() + settings.epsilon;
        *weight -= rate * (first[entry] / correction1) / spread;
    }
}
