//! A small model with its rules, in reference form.

use models::architecture::Architecture;
use models::family::FamilyConfig;
use models::parameters::Layout;
use models::parametrization::{Parametrization, Resolved, SiteScales};

use crate::config::model::ModelConfig;
use crate::error::{HarnessError, Result};

/// A model that can be run and trained under the rules of one table.
pub struct Subject {
    /// The reference definition.
    pub architecture: Box<dyn Architecture>,
    /// Parameters at this shape.
    pub layout: Layout,
    /// Parameters at the base shape.
    pub base_layout: Layout,
    /// One rule per parameter.
    pub resolved: Resolved,
}

impl Subject {
    /// `model` under `table` relative to `base`.
    pub fn new(model: &ModelConfig, base: &ModelConfig, table: &Parametrization) -> Result<Self> {
        Self::with_rules(model, base, resolve(model, base, table)?)
    }

    /// `model` under rules that are already resolved.
    pub fn with_rules(model: &ModelConfig, base: &ModelConfig, resolved: Resolved) -> Result<Self> {
        let architecture = architecture(model, base, &resolved.sites)?;
        let (layout, base_layout) = (model.layout()?, base.layout()?);
        Ok(Self { architecture, layout, base_layout, resolved })
    }

    /// Initial parameters of `seed`.
    pub fn initial(&self, seed: u64) -> Result<Vec<f32>> {
        Ok(self.resolved.initialise(&self.layout, &self.base_layout, seed)?)
    }
}

/// The rules of `table` for `model` relative to `base`.
pub fn resolve(
    model: &ModelConfig,
    base: &ModelConfig,
    table: &Parametrization,
) -> Result<Resolved> {
    let (layout, base_layout) = (model.layout()?, base.layout()?);
    Ok(table.resolve((&layout, model.dimensions()), (&base_layout, base.dimensions()))?)
}

/// The reference definition of `model` with the forward constants of `base` times `sites`.
pub fn architecture(
    model: &ModelConfig,
    base: &ModelConfig,
    sites: &SiteScales,
) -> Result<Box<dyn Architecture>> {
    Ok(match (model, base) {
        (ModelConfig::Pt(model), ModelConfig::Pt(base)) => Box::new(model.model(base, sites)?),
        (ModelConfig::Pt2023(model), ModelConfig::Pt2023(base)) => {
            Box::new(model.model(base, sites)?)
        }
        (ModelConfig::Bert(model), ModelConfig::Bert(base)) => Box::new(model.model(base, sites)?),
        (ModelConfig::Preln(model), ModelConfig::Preln(base)) => {
            Box::new(model.model(base, sites)?)
        }
        (ModelConfig::Ut(model), ModelConfig::Ut(base)) => Box::new(model.model(base, sites)?),
        _ => {
            return Err(HarnessError::config(
                format!("base is a {} model, the model is {}", base.family(), model.family()),
                "give both the same family",
            ));
        }
    })
}

/// `model` with another depth (layers, iterations or steps).
#[must_use]
pub fn with_depth(mut model: ModelConfig, depth: usize) -> ModelConfig {
    match &mut model {
        ModelConfig::Pt(config) => config.iterations = depth,
        ModelConfig::Pt2023(config) => config.iterations = depth,
        ModelConfig::Bert(config) => config.layers = depth,
        ModelConfig::Preln(config) => config.layers = depth,
        ModelConfig::Ut(config) => config.steps = depth,
    }
    model
}

/// `model` with the token table as its decoder, where the family has that form.
#[must_use]
pub fn tied(mut model: ModelConfig) -> ModelConfig {
    match &mut model {
        ModelConfig::Pt(config) => config.tied = true,
        ModelConfig::Bert(config) => config.tied = true,
        ModelConfig::Preln(config) => config.tied = true,
        ModelConfig::Ut(config) => config.tied = true,
        ModelConfig::Pt2023(_) => {}
    }
    model
}

/// `model` with a decoder that starts at zero, where the family has that form.
#[must_use]
pub fn zero_readout(mut model: ModelConfig) -> ModelConfig {
    match &mut model {
        ModelConfig::Pt(config) => config.initial.decoder = 0.0,
        ModelConfig::Bert(config) => config.zero_readout = true,
        ModelConfig::Preln(config) => config.zero_readout = true,
        ModelConfig::Ut(config) => config.zero_readout = true,
        ModelConfig::Pt2023(_) => {}
    }
    model
}
