//! The reference engine: candle operations with candle's autograd, on any device.

use candle_core::{DType, Device, Tensor, Var};

use crate::architecture::{Architecture, NoProbe, TensorBatch, Weights, tensors};
use crate::batch::Batch;
use crate::engine::{BatchLoss, Engine};
use crate::error::Result;
use crate::parametrization::Resolved;

/// Runs an [`Architecture`] through candle.
pub struct ReferenceEngine<A> {
    architecture: A,
    resolved: Resolved,
    dtype: DType,
    device: Device,
}

impl<A: Architecture> ReferenceEngine<A> {
    /// An engine computing in `dtype` on `device`.
    pub fn new(architecture: A, resolved: Resolved, dtype: DType, device: Device) -> Self {
        Self { architecture, resolved, dtype, device }
    }

    /// The model that is run.
    pub fn architecture(&self) -> &A {
        &self.architecture
    }

    fn variables(&self, parameters: &[f32]) -> Result<Vec<Var>> {
        let tensors = tensors(self.architecture.layout(), parameters, &self.device)?;
        let to_variable = |tensor: &Tensor| Ok(Var::from_tensor(&tensor.to_dtype(self.dtype)?)?);
        tensors.iter().map(to_variable).collect()
    }

    fn losses(&self, variables: &[Var], batch: &Batch) -> Result<(Tensor, Option<Tensor>)> {
        batch.validate(self.architecture.vocab())?;
        let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
        let weights = Weights::new(self.architecture.layout(), &tensors, Some(&self.resolved));
        let batch = TensorBatch::new(batch, self.dtype, &self.device)?;
        self.architecture.target_losses(&weights, &batch, &mut NoProbe)
    }
}

fn scalar(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.to_dtype(DType::F64)?.to_scalar::<f64>()?)
}

impl<A: Architecture> Engine for ReferenceEngine<A> {
    fn loss_and_gradients(
        &mut self,
        parameters: &[f32],
        batch: &Batch,
        gradients: &mut [f32],
    ) -> Result<BatchLoss> {
        gradients.fill(0.0);
        if batch.targets.is_empty() {
            return Ok(BatchLoss { loss_nats: 0.0, auxiliary: 0.0 });
        }
        let variables = self.variables(parameters)?;
        let (losses, auxiliary) = self.losses(&variables, batch)?;
        let mean = losses.mean_all()?;
        let objective = match &auxiliary {
            Some(auxiliary) => (&mean + auxiliary)?,
            None => mean.clone(),
        };
        let store = objective.backward()?;
        let layout = self.architecture.layout();
        for (position, variable) in variables.iter().enumerate() {
            if let Some(gradient) = store.get(variable) {
                let values = gradient.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
                gradients[layout.range(position)].copy_from_slice(&values);
            }
        }
        let auxiliary = auxiliary.as_ref().map_or(Ok(0.0), scalar)?;
        Ok(BatchLoss { loss_nats: scalar(&mean)?, auxiliary })
    }

    fn target_losses(&mut self, parameters: &[f32], batch: &Batch) -> Result<Vec<f32>> {
        if batch.targets.is_empty() {
            return Ok(Vec::new());
        }
        let variables = self.variables(parameters)?;
        let (losses, _) = self.losses(&variables, batch)?;
        Ok(losses.detach().to_dtype(DType::F32)?.to_vec1::<f32>()?)
    }
    fn synchronise(&self) -> Result<()> {
        Ok(self.device.synchronize()?)
    }
}
