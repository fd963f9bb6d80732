//! Looking inside a trained model: what it fills into a mask, what its heads choose, what its
//! labels hold, what its iterations do to the objective.
//!
//! The fused engines keep no posteriors, so everything here runs the reference path. A model is
//! opened once ([`opened`]) and asked many times.

pub mod depth;
pub mod descents;
pub mod energy;
pub mod fill;
pub mod inspect;
pub mod inspect_page;
pub mod masked;
pub mod opened;
pub mod reading;
pub mod words;

pub use depth::at_depth;
pub use energy::{Descent, Energy};
pub use fill::{Filled, Prediction, fill};
pub use inspect::Inspection;
pub use opened::{Opened, TOKENS_MAX, TrainedModel};
