//! Parameter roles, the parametrization table, shared layers and the Probabilistic Transformers.
//!
//! Shape letters used everywhere: `B` sequences, `n` length, `D` (PT: `N`) width, `H` heads,
//! `C` channels, `r` rank, `M` topics, `L` layers, `T` iterations, `V` vocabulary, `R` targets.
//!
//! ```
//! use models::family::FamilyConfig;
//! use models::parameters::Role;
//! use models::parametrization::Parametrization;
//! use models::pt2026::Pt2026Config;
//!
//! // The published model: 17,072,128 parameters, most of them embeddings.
//! let config = Pt2026Config { width: 256, vocab: 32_000, ..Pt2026Config::default() };
//! let layout = config.layout()?;
//! assert_eq!(layout.total(), 17_072_128);
//! assert_eq!(layout.by_role()[&Role::Input], 32_000 * 256);
//!
//! // Under muP the rate of hidden matrices falls as one over the width.
//! let table = Parametrization::built_in("mup-table8")?;
//! assert!((table.role(Role::Hidden).learning_rate + 1.0).abs() < 1e-12);
//! # Ok::<(), models::ModelError>(())
//! ```

pub mod architecture;
pub mod batch;
pub mod engine;
pub mod error;
pub mod family;
pub mod fused;
pub mod gradient_check;
pub mod kernels;
pub mod layers;
pub mod parameters;
pub mod parametrization;
pub mod precision;
pub mod pt2023;
pub mod pt2026;
pub mod random;
pub mod reference;
pub mod sizes;
pub mod standard_form;

pub use error::{ModelError, Result};
