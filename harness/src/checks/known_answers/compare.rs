//! Comparing computed tensors with the recorded ones.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use models::ModelError;
use serde::Serialize;

use super::{KnownAnswer, Precision, Values};
use crate::error::Result;

/// A recorded norm up to this is the rounding residue of a quantity that is zero in exact
/// arithmetic (the gradient of attention's key bias, for example).
const RESIDUE: f64 = 1e-15;
/// Largest norm that still agrees with an expected zero.
const ZERO_TOLERANCE: f64 = 1e-12;

/// A tensor computed here, under the name it has in the file.
pub struct Computed {
    /// Name in the file.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Entries, row-major.
    pub values: Vec<f64>,
    /// Which entries are specified; `None` = all.
    pub specified: Option<Vec<bool>>,
}

impl Computed {
    /// Copies `value`; every entry is compared.
    pub fn new(name: impl Into<String>, value: &Tensor) -> Result<Self> {
        let values = value
            .to_dtype(DType::F64)
            .and_then(|tensor| tensor.flatten_all()?.to_vec1::<f64>())
            .map_err(ModelError::from)?;
        Ok(Self { name: name.into(), shape: value.dims().to_vec(), values, specified: None })
    }

    /// Copies `value`; only entries whose flag is set are compared. The flags cover the leading
    /// axes, e.g. `(B, n)` for a value `(B, n, D)`.
    pub fn at(name: impl Into<String>, value: &Tensor, flags: &[bool]) -> Result<Self> {
        let mut computed = Self::new(name, value)?;
        assert!(
            !flags.is_empty() && computed.values.len().is_multiple_of(flags.len()),
            "flags cover the leading axes"
        );
        let each = computed.values.len() / flags.len();
        let spread = flags.iter().flat_map(|&flag| std::iter::repeat_n(flag, each));
        computed.specified = Some(spread.collect());
        Ok(computed)
    }
}

/// The entry that differs most.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Worst {
    /// Its index, one number per axis.
    pub index: Vec<usize>,
    /// Value computed here.
    pub computed: f64,
    /// Value in the file.
    pub expected: f64,
}

/// Comparison of one tensor in one precision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorReport {
    /// Name in the file.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Float type of the computation.
    pub precision: Precision,
    /// `|computed - expected| / |expected|`, Euclidean; `|computed|` where the expected norm is
    /// zero (up to rounding).
    pub relative_error: f64,
    /// Largest error that agrees.
    pub tolerance: f64,
    /// Whether the error is within the tolerance; never for a NaN.
    pub agrees: bool,
    /// The entry that differs most; `None` if no entry is specified.
    pub worst: Option<Worst>,
}

/// Compares every recorded output of `file` with `computed`, in name order.
pub fn compare(
    file: &KnownAnswer,
    inputs: &[&str],
    computed: &[Computed],
    precision: Precision,
) -> Result<Vec<TensorReport>> {
    let by_name: BTreeMap<_, _> = computed.iter().map(|c| (c.name.as_str(), c)).collect();
    let mut reports = Vec::new();
    for (name, array) in file.tensors() {
        let Values::Float(expected) = &array.values else { continue };
        if name.starts_with("param.") || inputs.contains(&name.as_str()) {
            continue;
        }
        let Some(found) = by_name.get(name.as_str()) else {
            let known: Vec<_> = by_name.keys().copied().collect();
            let hint = format!("computed are {}", known.join(", "));
            return Err(file.error(&format!("tensor '{name}' is no output of this family"), &hint));
        };
        if found.shape != array.shape {
            let problem = format!("tensor '{name}' has shape {:?}", array.shape);
            return Err(file.error(&problem, &format!("the model gives {:?}", found.shape)));
        }
        reports.push(report(found, expected, precision));
    }
    Ok(reports)
}

fn report(found: &Computed, expected: &[f64], precision: Precision) -> TensorReport {
    let (mut difference, mut scale, mut size) = (0.0, 0.0, 0.0);
    let mut worst: Option<(usize, f64)> = None;
    for (entry, (&a, &b)) in found.values.iter().zip(expected).enumerate() {
        if found.specified.as_ref().is_some_and(|flags| !flags[entry]) {
            continue;
        }
        let gap = (a - b).abs();
        difference += gap * gap;
        scale += b * b;
        size += a * a;
        // The first NaN stays the worst: nothing compares above it.
        let exceeds = |largest: f64| gap > largest || (gap.is_nan() && !largest.is_nan());
        if worst.is_none_or(|(_, largest)| exceeds(largest)) {
            worst = Some((entry, gap));
        }
    }
    let (relative_error, tolerance) = if scale.sqrt() <= RESIDUE {
        // An exact zero allows 1e-12 whatever the type; a residue as much more in f32 as the
        // relative tolerances differ, for its parts cancel only to f32 rounding.
        let coarser = if scale > 0.0 { precision.tolerance() / 1e-9 } else { 1.0 };
        (size.sqrt(), ZERO_TOLERANCE * coarser)
    } else {
        ((difference / scale).sqrt(), precision.tolerance())
    };
    TensorReport {
        name: found.name.clone(),
        shape: found.shape.clone(),
        precision,
        relative_error,
        tolerance,
        agrees: relative_error <= tolerance,
        worst: worst.map(|(entry, _)| Worst {
            index: unravel(entry, &found.shape),
            computed: found.values[entry],
            expected: expected[entry],
        }),
    }
}

/// Row-major position `entry` as one index per axis.
fn unravel(mut entry: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (axis, &size) in shape.iter().enumerate().rev() {
        index[axis] = entry % size;
        entry /= size;
    }
    index
}
