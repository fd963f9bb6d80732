//! Reference layers in plain candle operations that all have a backward pass.
//!
//! candle-nn's `LayerNorm` with bias, `RmsNorm`, `softmax_last_dim` and `rope` drop the gradient
//! without an error, so none of them is used here.

mod activation;
mod cross_entropy;
mod embedding;
mod layer_norm;
mod linear;
mod precision;
mod rms_norm;
mod rope;
mod softmax;

pub use activation::{gelu_erf, silu};
pub use cross_entropy::cross_entropy;
pub use embedding::embedding;
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use precision::{in_full_precision, widened};
pub use rms_norm::rms_norm;
pub use rope::RotaryTable;
pub use softmax::softmax;
