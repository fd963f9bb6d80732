//! Reference layers in plain candle operations that all have a backward pass.
//!
//! candle-nn's `LayerNorm` with bias, `RmsNorm`, `softmax_last_dim` and `rope` drop the gradient
//! without an error, so none of them is used here.

mod cross_entropy;

pub use cross_entropy::cross_entropy;
