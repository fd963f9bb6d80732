//! Readings of weights, their changes, gradients and updates, and of operator norms.

use models::parameters::{Layout, Role};
use models::parametrization::Resolved;
use models::random::{Purpose, Stream};

use super::row::{Kind, Reading, Summary};

/// Power iterations of an operator norm: enough for two digits, as a slope needs.
const POWER_ITERATIONS: usize = 12;

/// Ending of tensors that are not read: a softmax ignores what is added to every key, so the
/// gradient of this bias is rounding noise.
const NO_GRADIENT: &str = "attention.key.bias";

/// Buffers of one training at one step.
#[derive(Debug, Clone, Copy)]
pub struct Buffers<'a> {
    /// Parameters at step 0.
    pub initial: &'a [f32],
    /// Parameters now.
    pub now: &'a [f32],
    /// The last step; `None` at step 0.
    pub last: Option<LastStep<'a>>,
}

/// What the last optimiser step started from.
#[derive(Debug, Clone, Copy)]
pub struct LastStep<'a> {
    /// Parameters before it.
    pub before: &'a [f32],
    /// Gradients it used.
    pub gradients: &'a [f32],
}

/// Readings of every tensor: `param/NAME` and, after a step, `param_delta/NAME`, `grad/NAME` and
/// `update/NAME` by their root mean square; `opnorm_param/NAME` and, after a step,
/// `opnorm_delta/NAME` of hidden and output matrices, over the root of outputs per input. All are
/// of the effective weight, forward multiplier times tensor, so that equivalent forms of a table
/// read the same. A tensor that starts at zero is its own change and read as that only.
pub fn weight_readings(layout: &Layout, resolved: &Resolved, buffers: Buffers) -> Vec<Reading> {
    let mut readings = Vec::new();
    let specs = layout.specs().iter().zip(&resolved.rules);
    for (position, (spec, rule)) in specs.enumerate() {
        let range = layout.range(position);
        let (initial, now) = (&buffers.initial[range.clone()], &buffers.now[range.clone()]);
        let (name, multiplier) = (spec.name(), rule.forward_multiplier);
        let change = scaled_difference(now, initial, multiplier);
        let mut matrices = Vec::new();
        if initial.iter().any(|&value| value != 0.0) {
            let weight: Vec<f64> = now.iter().map(|&value| f64::from(value) * multiplier).collect();
            readings.push(rms(format!("param/{name}"), Kind::Param, &weight));
            matrices.push((format!("opnorm_param/{name}"), Kind::OpnormParam, weight));
        }
        // Rounding noise has no exponent.
        if let Some(last) = buffers.last
            && !name.ends_with(NO_GRADIENT)
        {
            let gradients = &last.gradients[range.clone()];
            let gradient: Vec<f64> = gradients.iter().map(|&g| f64::from(g) / multiplier).collect();
            let update = scaled_difference(now, &last.before[range], multiplier);
            readings.push(rms(format!("grad/{name}"), Kind::Grad, &gradient));
            readings.push(rms(format!("param_delta/{name}"), Kind::ParamDelta, &change));
            readings.push(rms(format!("update/{name}"), Kind::Update, &update));
            matrices.push((format!("opnorm_delta/{name}"), Kind::OpnormDelta, change));
        }
        if let (Role::Hidden | Role::Output, &[rows, columns]) = (spec.role(), spec.shape()) {
            for (site, kind, matrix) in matrices {
                let norm =
                    operator_norm(&matrix, rows, columns) / (rows as f64 / columns as f64).sqrt();
                readings.push(Reading::new(site, 0, kind, Summary::scalar(norm), |s| s.l1));
            }
        }
    }
    readings
}

fn scaled_difference(a: &[f32], b: &[f32], factor: f64) -> Vec<f64> {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)) * factor).collect()
}

fn rms(site: String, kind: Kind, values: &[f64]) -> Reading {
    Reading::new(site, 0, kind, Summary::of(values.iter().copied()), |summary| summary.rms)
}

/// Largest singular value of a row-major matrix by power iteration from a fixed start.
fn operator_norm(matrix: &[f64], rows: usize, columns: usize) -> f64 {
    let mut stream = Stream::named(0, Purpose::Test, "operator norm", 0);
    let mut direction: Vec<f64> = (0..columns).map(|_| stream.normal()).collect();
    let mut norm = 0.0;
    for _ in 0..POWER_ITERATIONS {
        let length = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
        let mut next = vec![0.0; columns];
        let mut image = 0.0;
        for row in matrix.chunks(columns) {
            let value: f64 = row.iter().zip(&direction).map(|(a, x)| a * x).sum::<f64>() / length;
            image += value * value;
            for (next, a) in next.iter_mut().zip(row) {
                *next += a * value;
            }
        }
        assert_eq!(matrix.len(), rows * columns, "the matrix fits its shape");
        norm = image.sqrt();
        direction = next;
        if norm == 0.0 {
            break;
        }
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_operator_norm_of_known_matrices() {
        let diagonal = [3.0, 0.0, 0.0, 0.0, -5.0, 0.0];
        assert!((operator_norm(&diagonal, 2, 3) - 5.0).abs() < 1e-4);
        let outer: Vec<f64> =
            (0..12).map(|i| f64::from(i / 4 + 1) * f64::from(i % 4 - 1)).collect();
        let expected = (14.0f64 * 6.0).sqrt();
        assert!((operator_norm(&outer, 3, 4) - expected).abs() < 1e-9);
        assert!(operator_norm(&[0.0; 6], 2, 3).abs() < 1e-300);
    }
}
