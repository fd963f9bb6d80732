//! From a family's configuration and a parametrization table to a runnable model.

use crate::architecture::Architecture;
use crate::error::Result;
use crate::parameters::Layout;
use crate::parametrization::{Dimensions, Parametrization, Resolved, SiteScales};

/// The configuration of a model family: a shape plus its constants.
pub trait FamilyConfig: Clone {
    /// The model it builds.
    type Model: Architecture;

    /// Parameters at this shape; nothing is allocated. Initial distributions are those used when
    /// this shape is the base width.
    ///
    /// # Errors
    /// If no model can have this shape.
    fn layout(&self) -> Result<Layout>;

    /// Dimensions that site exponents refer to.
    fn dimensions(&self) -> Dimensions;

    /// The same configuration at another width; sizes given as ratios of width follow.
    #[must_use]
    fn at_width(&self, width: usize) -> Self;

    /// Builds the model; forward constants are those of `base` times `sites`.
    fn model(&self, base: &Self, sites: &SiteScales) -> Result<Self::Model>;
}

/// A model with its parametrization resolved.
pub struct Parametrised<M> {
    /// The model.
    pub model: M,
    /// One rule per parameter.
    pub resolved: Resolved,
    /// Parameters at the base width.
    pub base_layout: Layout,
}

/// Applies `table` to `config` relative to `base`.
pub fn parametrise<F: FamilyConfig>(
    config: &F,
    base: &F,
    table: &Parametrization,
) -> Result<Parametrised<F::Model>> {
    let (layout, base_layout) = (config.layout()?, base.layout()?);
    let resolved =
        table.resolve((&layout, config.dimensions()), (&base_layout, base.dimensions()))?;
    let model = config.model(base, &resolved.sites)?;
    Ok(Parametrised { model, resolved, base_layout })
}
