//! Training step by step with the reference path, in f32 as runs do it or in f64 to compare.

use candle_core::{DType, Device, Tensor, Var, WithDType};
use models::architecture::{NoProbe, Probe, TensorBatch, Weights, tensors};
use models::batch::Batch;

use super::subject::Subject;
use crate::config::train::TrainConfig;
use crate::error::Result;
use crate::train::optimiser::{Real, global_norm};
use crate::train::update::Update;

/// Float types that a trace can be computed in.
pub trait Number: Real + WithDType {}

impl Number for f32 {}
impl Number for f64 {}

/// Loss, objective's gradients and gradient norm of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepResult<F> {
    /// Mean cross-entropy over the targets.
    pub loss_nats: f64,
    /// Gradients of loss plus auxiliary objective, in layout order.
    pub gradients: Vec<F>,
}

fn variables<F: Number>(subject: &Subject, parameters: &[F]) -> Result<Vec<Var>> {
    let layout = &subject.layout;
    let tensors = tensors(layout, parameters, &Device::Cpu)?;
    let variables: candle_core::Result<Vec<Var>> = tensors.iter().map(Var::from_tensor).collect();
    Ok(variables.map_err(models::ModelError::from)?)
}

/// Loss and gradients of `batch` at `parameters`.
pub fn loss_and_gradients<F: Number>(
    subject: &Subject,
    parameters: &[F],
    batch: &Batch,
) -> Result<StepResult<F>> {
    let variables = variables(subject, parameters)?;
    let gradients = || -> models::Result<StepResult<F>> {
        let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
        let weights = Weights::new(&subject.layout, &tensors, Some(&subject.resolved));
        let batch = TensorBatch::new(batch, F::DTYPE, &Device::Cpu)?;
        let (losses, auxiliary) =
            subject.architecture.target_losses(&weights, &batch, &mut NoProbe)?;
        let mean = losses.mean_all()?;
        let objective = match auxiliary {
            Some(auxiliary) => (&mean + auxiliary)?,
            None => mean.clone(),
        };
        let store = objective.backward()?;
        let mut gradients = vec![F::default(); parameters.len()];
        for (position, variable) in variables.iter().enumerate() {
            if let Some(gradient) = store.get(variable) {
                let values = gradient.flatten_all()?.to_vec1::<F>()?;
                gradients[subject.layout.range(position)].copy_from_slice(&values);
            }
        }
        let loss_nats = mean.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        Ok(StepResult { loss_nats, gradients })
    };
    Ok(gradients()?)
}

/// Runs `batch` forward, handing intermediate values to `probe`; the mean loss.
pub fn forward<F: Number>(
    subject: &Subject,
    parameters: &[F],
    batch: &Batch,
    probe: &mut dyn Probe,
) -> Result<f64> {
    let tensors = tensors(&subject.layout, parameters, &Device::Cpu)?;
    let weights = Weights::new(&subject.layout, &tensors, Some(&subject.resolved));
    let mut run = || -> models::Result<f64> {
        let batch = TensorBatch::new(batch, F::DTYPE, &Device::Cpu)?;
        let (losses, _) = subject.architecture.target_losses(&weights, &batch, probe)?;
        Ok(losses.mean_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?)
    };
    Ok(run()?)
}

/// Trains `parameters` in place on `batches`, one step each, with the optimiser, schedule and
/// clip of a run under `train`; the loss of every step. `before` sees the number of steps done
/// and the parameters before each step and after the last.
pub fn train<F: Number>(
    subject: &Subject,
    parameters: &mut [F],
    batches: &[Batch],
    train: &TrainConfig,
    mut before: impl FnMut(u64, &[F]) -> Result<()>,
) -> Result<Vec<f64>> {
    let mut update = Update::<F>::new(&subject.layout, &subject.resolved, train);
    let mut losses = Vec::with_capacity(batches.len());
    for batch in batches {
        before(update.optimiser.steps, parameters)?;
        let mut step = loss_and_gradients(subject, parameters, batch)?;
        let (norm, rate) = (global_norm(&step.gradients), update.learning_rate(1.0));
        update.step(parameters, &mut step.gradients, norm, rate);
        losses.push(step.loss_nats);
    }
    before(update.optimiser.steps, parameters)?;
    Ok(losses)
}
