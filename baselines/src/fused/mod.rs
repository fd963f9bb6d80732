//! Fused CPU engine of the baselines: forward and backward pass written by hand over reused
//! memory, f32.
//!
//! A batch is cut into chunks of whole sequences. One task takes a chunk through embedding,
//! blocks, head and all the way back, so that its values stay in cache and tasks meet only once
//! per wave of chunks: for the weight gradients, whose rows are then divided among tasks. All
//! families share this engine; they differ in what the plan says.

mod backward;
mod divide;
mod engine;
mod footprint;
mod forward;
mod head;
mod head_norm;
mod injection;
mod last;
mod memory;
mod order;
mod parts;
mod pass;
mod plan;
mod wave;
mod weights;

#[cfg(test)]
mod tests;

pub use engine::FusedEngine;

use models::error::{ModelError, Result};
use models::parametrization::Resolved;

use crate::blocks::{Positions, ROPE_THETA};
use crate::{Bert, PreLn, UniversalTransformer};
use plan::{Family, Plan};

impl FusedEngine {
    /// The engine of a BERT whose rules are `resolved`.
    pub fn bert(model: &Bert, resolved: &Resolved) -> Result<Self> {
        let config = model.config();
        let family = Family {
            depth: config.layers,
            shared: false,
            pre_norm: false,
            rope_theta: None,
            positions: Some(config.max_length),
        };
        let parts = (model.block(), model.mlm_head(), model.scales());
        Ok(Self::from_plan(Plan::new(model, resolved, family, parts)?))
    }

    /// The engine of a pre-LN Transformer whose rules are `resolved`.
    pub fn preln(model: &PreLn, resolved: &Resolved) -> Result<Self> {
        let config = model.config();
        let family = Family {
            depth: config.layers,
            shared: false,
            pre_norm: true,
            rope_theta: Some(config.rope_theta),
            positions: None,
        };
        let parts = (model.block(), model.mlm_head(), model.scales());
        Ok(Self::from_plan(Plan::new(model, resolved, family, parts)?))
    }

    /// The engine of a Universal Transformer whose rules are `resolved`.
    ///
    /// # Errors
    /// If the model halts: the number of steps then differs from token to token.
    pub fn universal(model: &UniversalTransformer, resolved: &Resolved) -> Result<Self> {
        let config = model.config();
        if config.halting {
            return Err(ModelError::Unsupported {
                what: "halting (adaptive computation time)".to_owned(),
                by: "the fused engine".to_owned(),
                hint: "use the reference engine, or set halting = false".to_owned(),
            });
        }
        let family = Family {
            depth: config.steps,
            shared: true,
            pre_norm: true,
            rope_theta: (config.positions == Positions::Rotary).then_some(ROPE_THETA),
            positions: model.position_rows(),
        };
        let parts = (model.block(), model.mlm_head(), model.scales());
        Ok(Self::from_plan(Plan::new(model, resolved, family, parts)?))
    }
}
