//! The Probabilistic Transformer of 2026 (arXiv 2604.25409): mean-field inference with squared
//! label potentials, low-rank ternary factors with rotary positions, a topic node per word and a
//! damped update, all iterations sharing one set of factors.

mod config;
mod fused;
mod normalise;
mod reference;
mod standard_form;
mod ternary;

pub use config::{InitialScales, Potential, Pt2026Config, Rope};
pub use fused::FusedPt2026;
pub(crate) use fused::{HeadSelection, Normalisers};
pub use reference::{ForwardConstants, Pt2026};
pub use ternary::{Heads, TernaryFactor};

#[cfg(test)]
mod tests;
