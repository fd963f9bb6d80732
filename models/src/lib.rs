//! Parameter roles, the parametrization table, shared layers and the Probabilistic Transformers.
//!
//! Shape letters used everywhere: `B` sequences, `n` length, `D` (PT: `N`) width, `H` heads,
//! `C` channels, `r` rank, `M` topics, `L` layers, `T` iterations, `V` vocabulary, `R` targets.

pub mod architecture;
pub mod batch;
pub mod engine;
pub mod error;
pub mod family;
pub mod fused;
pub mod gradient_check;
pub mod layers;
pub mod parameters;
pub mod parametrization;
pub mod pt2023;
pub mod pt2026;
pub mod random;
pub mod reference;
pub mod sizes;
pub mod standard_form;

pub use error::{ModelError, Result};
