//! Known answers: recompute the outputs and gradients that a file records and compare.
//!
//! A known-answer file is a safetensors file. Its metadata map holds the configuration as text,
//! `param.<name>` the weights, `grad.<name>` the gradient of the scalar loss with respect to
//! each, and the remaining tensors are inputs or outputs. Floats are f64, ids and masks i64.
//! Each family says which files are its own and how to run one; the rest is shared.

mod bert;
mod compare;
mod file;
mod mlm;
mod pt2023;
pub mod pt2026;
mod training;
mod transformers;

use std::path::Path;

use candle_core::DType;
use serde::Serialize;

pub use compare::{Computed, TensorReport, Worst};
pub use file::{Array, KnownAnswer, Values};
pub use mlm::{MlmCase, MlmRun};
pub use training::{Trace, TraceSettings};

use crate::error::{HarnessError, Result};

/// Every family that can be checked; the first that recognises a file runs it.
static FAMILIES: &[&dyn KnownFamily] =
    &[&bert::Bert, &pt2023::Pt2023, &pt2026::Pt2026, &transformers::Transformers];

/// A model family that known-answer files can be about.
pub trait KnownFamily: Sync {
    /// Name in reports.
    fn name(&self) -> &'static str;

    /// Whether the file is about this family, judged by metadata and tensor names only.
    fn recognises(&self, file: &KnownAnswer) -> bool;

    /// Float tensors that are inputs beside `param.*` (integers always are).
    fn inputs(&self) -> &'static [&'static str] {
        &[]
    }

    /// Precisions in which this file can be checked.
    fn precisions(&self, _file: &KnownAnswer) -> &'static [Precision] {
        &Precision::ALL
    }

    /// Runs the file's inputs forward and backward in `dtype` and returns every output the file
    /// records, under the file's names.
    fn compute(&self, file: &KnownAnswer, dtype: DType) -> Result<Vec<Computed>>;
}

/// Float type of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 64-bit.
    F64,
    /// 32-bit.
    F32,
}

impl Precision {
    /// Both, the more exact one first.
    pub const ALL: [Self; 2] = [Self::F64, Self::F32];

    /// Largest relative error `|a - b| / |b|` of a tensor that still agrees.
    pub const fn tolerance(self) -> f64 {
        match self {
            Self::F64 => 1e-9,
            Self::F32 => 1e-4,
        }
    }

    /// The tensor type.
    pub const fn dtype(self) -> DType {
        match self {
            Self::F64 => DType::F64,
            Self::F32 => DType::F32,
        }
    }

    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
        }
    }
}

/// Comparison of one file.
#[derive(Debug, Clone, Serialize)]
pub struct FileReport {
    /// The file as it was named.
    pub file: String,
    /// The family that recognised it.
    pub family: &'static str,
    /// One entry per tensor and precision, in name order.
    pub tensors: Vec<TensorReport>,
}

impl FileReport {
    /// Whether every tensor agrees.
    pub fn agrees(&self) -> bool {
        self.tensors.iter().all(|tensor| tensor.agrees)
    }

    /// Largest relative error in `precision`, 0 if nothing was compared in it.
    pub fn worst_error(&self, precision: Precision) -> f64 {
        let errors = self.tensors.iter().filter(|t| t.precision == precision);
        errors.map(|t| t.relative_error).fold(0.0, |worst, error| {
            if error.is_nan() || worst.is_nan() { f64::NAN } else { worst.max(error) }
        })
    }
}

/// Reads the file at `path`, runs it in every precision its family offers and compares.
///
/// # Errors
/// A missing or unreadable file is [`HarnessError::Input`]; a file that is no known answer, lacks
/// a metadata key or holds a tensor that no family knows is [`HarnessError::Config`].
pub fn check(path: &Path) -> Result<FileReport> {
    let file = KnownAnswer::read(path)?;
    let family = family_of(&file)?;
    let mut tensors = Vec::new();
    for &precision in family.precisions(&file) {
        let computed = family.compute(&file, precision.dtype())?;
        tensors.extend(compare::compare(&file, family.inputs(), &computed, precision)?);
    }
    if tensors.iter().all(|tensor| tensor.worst.is_none()) {
        let hint = "a known answer has weights, inputs and outputs or gradients";
        return Err(file.error("records no number to compare with", hint));
    }
    Ok(FileReport { file: path.display().to_string(), family: family.name(), tensors })
}

fn family_of(file: &KnownAnswer) -> Result<&'static dyn KnownFamily> {
    FAMILIES.iter().copied().find(|family| family.recognises(file)).ok_or_else(|| {
        let known: Vec<_> = FAMILIES.iter().map(|family| family.name()).collect();
        HarnessError::config(
            format!("{}: no family recognises its metadata and tensor names", file.origin()),
            format!("known families are {}", known.join(", ")),
        )
    })
}
