//! Central finite differences in f64: the check of every backward pass in the workspace.

use candle_core::{DType, Device, Tensor, Var};

use crate::error::Result;
use crate::random::{Purpose, Stream};

/// Step of the central difference; its error is O(step^2), rounding O(1e-16 / step).
const STEP: f64 = 1e-5;

/// N(0, 1) values that depend on `name` and `shape` only, f64 on the CPU.
pub fn random_tensor(name: &str, shape: &[usize]) -> Result<Tensor> {
    let mut stream = Stream::named(0, Purpose::Test, name, 0);
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| stream.normal()).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// Gradient of `objective` (a scalar, f64) with respect to each of `inputs` by autograd; an input
/// without a gradient gets zeros.
pub fn autograd_gradients(
    inputs: &[Tensor],
    objective: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Vec<Vec<f64>>> {
    let variables = inputs.iter().map(Var::from_tensor).collect::<candle_core::Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let store = objective(&tensors)?.backward()?;
    let flat = |variable: &Var| match store.get(variable) {
        Some(gradient) => gradient.flatten_all()?.to_vec1::<f64>(),
        None => Ok(vec![0.0; variable.elem_count()]),
    };
    Ok(variables.iter().map(flat).collect::<candle_core::Result<Vec<_>>>()?)
}

/// The same gradients by central differences, two evaluations per entry.
pub fn difference_gradients(
    inputs: &[Tensor],
    objective: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Vec<Vec<f64>>> {
    let mut moved = inputs.to_vec();
    let mut gradients = Vec::with_capacity(inputs.len());
    for (which, input) in inputs.iter().enumerate() {
        let values = input.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let mut gradient = Vec::with_capacity(values.len());
        for entry in 0..values.len() {
            let mut at = |offset: f64| -> Result<f64> {
                let mut values = values.clone();
                values[entry] += offset;
                moved[which] = Tensor::from_vec(values, input.shape(), input.device())?;
                Ok(objective(&moved)?.to_scalar::<f64>()?)
            };
            gradient.push((at(STEP)? - at(-STEP)?) / (2.0 * STEP));
        }
        moved[which] = input.clone();
        gradients.push(gradient);
    }
    Ok(gradients)
}

/// `|a - b| / |b|` in the Euclidean norm; `|a|` where `|b|` is 0.
pub fn relative_error(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "compared vectors have one length");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    let scale = norm(&mut b.iter().copied());
    if scale > 0.0 { difference / scale } else { difference }
}

/// Largest [`relative_error`] over `inputs` between autograd and central differences, for
/// `sum(f(inputs) * cotangent)` with a fixed random cotangent.
pub fn worst_relative_error(
    inputs: &[Tensor],
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<f64> {
    let cotangent = random_tensor("cotangent", f(inputs)?.dims())?;
    let objective = |inputs: &[Tensor]| Ok((f(inputs)? * &cotangent)?.sum_all()?);
    let exact = autograd_gradients(inputs, objective)?;
    let difference = difference_gradients(inputs, objective)?;
    let errors = exact.iter().zip(&difference).map(|(a, b)| relative_error(a, b));
    Ok(errors.fold(0.0, f64::max))
}
