//! The baselines: BERT (post-LN), a pre-LN Transformer with RoPE and the Universal Transformer.
//!
//! All three are assembled from the same attention, feed-forward and head ([`blocks`]) so that
//! they differ only where their definitions do.

pub mod bert;
pub mod blocks;
pub mod fused;
pub mod preln;
mod standard_form;
pub mod ut;

pub use bert::{Bert, BertConfig};
pub use blocks::DEFAULT_HEAD_DIM;
pub use preln::{PreLn, PreLnConfig};
pub use ut::{UniversalTransformer, UtConfig};
