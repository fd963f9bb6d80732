//! The baselines: BERT (post-LN), a pre-LN Transformer with RoPE and the Universal Transformer.

pub mod fused;
