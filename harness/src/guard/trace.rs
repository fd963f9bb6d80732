//! Training step by step with the reference path, in f32 as runs do it or in f64 to compare.

use candle_core::{DType, Device, Tensor, Var, WithDType};
use models::architecture::{NoProbe, Probe, TensorBatch, Weights};
use models::batch::Batch;

use super::subject::Subject;
use crate::config::train::TrainConfig;
use crate::error::Result;
use crate::train::optimiser::{AdamConstants, AdamW, Real, clip_factor, global_norm, groups};
use crate::train::schedule::Schedule;

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
    assert_eq!(parameters.len(), layout.total(), "parameters do not fit the layout");
    let variable = |(position, spec): (usize, &models::parameters::ParameterSpec)| {
        let values = &parameters[layout.range(position)];
        Ok(Var::from_tensor(&Tensor::from_slice(values, spec.shape(), &Device::Cpu)?)?)
    };
    let variables: models::Result<Vec<Var>> =
        layout.specs().iter().enumerate().map(variable).collect();
    Ok(variables?)
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
    let variables = variables(subject, parameters)?;
    let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().detach()).collect();
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
    let groups = groups(&subject.layout, &subject.resolved, train.decay_vectors);
    let mut optimiser = AdamW::<F>::new(groups, AdamConstants::from(train));
    let schedule = Schedule::new(&train.schedule, train.steps);
    let threshold = train.gradient_clip * subject.resolved.gradient_clip_multiplier;
    let mut losses = Vec::with_capacity(batches.len());
    for batch in batches {
        let done = optimiser.steps;
        before(done, parameters)?;
        let step = loss_and_gradients(subject, parameters, batch)?;
        let factor = clip_factor(global_norm(&step.gradients), threshold);
        let rate = train.learning_rate * schedule.factor(done);
        optimiser.step(parameters, &step.gradients, rate, factor);
        losses.push(step.loss_nats);
    }
    before(optimiser.steps, parameters)?;
    Ok(losses)
}
