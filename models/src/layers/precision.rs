//! Parts of a half-precision computation that are done in f32: sums over thousands of entries
//! need the digits.

use candle_core::{DType, Tensor};

use crate::error::Result;

/// `x`, in f32 if it has half precision.
pub fn widened(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::BF16 | DType::F16 => Ok(x.to_dtype(DType::F32)?),
        _ => Ok(x.clone()),
    }
}

/// Runs `f` in f32 where `x` has half precision; the result has the type of `x`.
pub fn in_full_precision(x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    match x.dtype() {
        half @ (DType::BF16 | DType::F16) => Ok(f(&x.to_dtype(DType::F32)?)?.to_dtype(half)?),
        _ => f(x),
    }
}
