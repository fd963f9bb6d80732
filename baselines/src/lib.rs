//! The baselines: BERT (post-LN), a pre-LN Transformer with RoPE and the Universal Transformer.
//!
//! All three are assembled from the same attention, feed-forward and head ([`blocks`]) so that
//! they differ only where their definitions do.
//!
//! ```
//! use baselines::BertConfig;
//! use models::family::FamilyConfig;
//!
//! // Sizes of BERT's published base model but for its vocabulary.
//! let sizes = BertConfig { width: 768, vocab: 30_522, layers: 12, ..BertConfig::default() };
//! let config = BertConfig { head_dim: Some(64), ..sizes };
//! assert!(config.layout()?.total() > 100_000_000);
//! // A width that is no whole number of heads is refused with a remedy.
//! let odd = BertConfig { width: 100, head_dim: Some(64), ..BertConfig::default() };
//! assert!(odd.layout().unwrap_err().to_string().contains("hint: "));
//! # Ok::<(), models::ModelError>(())
//! ```

pub mod bert;
pub mod blocks;
pub mod fused;
pub mod preln;
mod standard_form;
pub mod ut;

pub use bert::{Bert, BertConfig};
pub use blocks::DEFAULT_HEAD_DIM;
pub use preln::{PreLn, PreLnConfig};
pub use ut::{ResidualScale, UniversalTransformer, UtConfig};
