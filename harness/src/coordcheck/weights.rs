//! Readings of gradients, updates and the operator norm of what was learned.

use models::parameters::{Layout, Role};
use models::parametrization::Resolved;
use models::random::{Purpose, Stream};

use super::row::{Kind, Reading, Summary};

/// Power iterations of an operator norm: enough for two digits, as a slope needs.
const POWER_ITERATIONS: usize = 12;

/// Ending of tensors that are not read: a softmax ignores what is added to every key, so the
/// gradient of this bias is rounding noise.
const NO_GRADIENT: &str = "attention.key.bias";

/// Readings of every tensor after a step: `grad/NAME` and `update/NAME` by their root mean
/// square, `opnorm_delta/NAME` for hidden and output matrices. All are of the effective weight,
/// forward multiplier times tensor, so that equivalent forms of a table read the same. `buffers`
/// holds initial parameters, those before and after the step, and its gradients.
pub fn weight_readings(layout: &Layout, resolved: &Resolved, buffers: [&[f32]; 4]) -> Vec<Reading> {
    let mut readings = Vec::new();
    let specs = layout.specs().iter().zip(&resolved.rules);
    for (position, (spec, rule)) in specs.enumerate() {
        let [initial, before, after, gradients] =
            buffers.map(|buffer| &buffer[layout.range(position)]);
        let multiplier = rule.forward_multiplier;
        let name = spec.name();
        if name.ends_with(NO_GRADIENT) {
            continue;
        }
        let gradient = gradients.iter().map(|&g| f64::from(g) / multiplier);
        readings.push(rms(format!("grad/{name}"), Kind::Grad, gradient));
        let update = difference(after, before).map(|change| change * multiplier);
        readings.push(rms(format!("update/{name}"), Kind::Update, update));
        if let (Role::Hidden | Role::Output, &[rows, columns]) = (spec.role(), spec.shape()) {
            let change: Vec<f64> = difference(after, initial).map(|c| c * multiplier).collect();
            let norm =
                operator_norm(&change, rows, columns) / (rows as f64 / columns as f64).sqrt();
            let site = format!("opnorm_delta/{name}");
            let summary = Summary::scalar(norm);
            readings.push(Reading::new(site, 0, Kind::OpnormDelta, summary, |s| s.l1));
        }
    }
    readings
}

fn difference<'a>(a: &'a [f32], b: &'a [f32]) -> impl Iterator<Item = f64> + 'a {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) - f64::from(b))
}

fn rms(site: String, kind: Kind, values: impl Iterator<Item = f64>) -> Reading {
    Reading::new(site, 0, kind, Summary::of(values), |summary| summary.rms)
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
