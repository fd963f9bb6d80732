//! Looking inside a trained model: what it fills into a mask, what its heads choose, what its
//! labels hold, what its iterations do to the objective.
//!
//! The fused engines keep no posteriors, so everything here runs the reference path. A model is
//! opened once ([`opened`]) and asked many times.

pub mod fill;
pub mod masked;
pub mod opened;

pub use fill::{Filled, Prediction, fill};
pub use opened::{Opened, TrainedModel};
