//! A trained model written without its parametrization.
//!
//! A parametrization multiplies weights and forward constants by powers of width ratios, so the
//! weights of a run mean something only beside its table and base model. The standard form is
//! the same function with every multiplier one and every constant that of the model's own shape:
//! what other programs, and this one under `standard` with the model as its own base, compute.

use crate::error::Result;
use crate::family::FamilyConfig;
use crate::parameters::Layout;
use crate::parametrization::Resolved;

/// Ratios closer to one than this are rounding of powers of whole ratios, and count as one.
const ROUNDING: f64 = 1e-12;

/// A configuration and the factors that carry weights over to it.
#[derive(Debug, Clone, PartialEq)]
pub struct StandardForm<C> {
    /// The configuration whose plain model computes the same logits. Equal to the original but
    /// for constants that absorb what no weight can (PT: `lambda_h`, `lambda_g`).
    pub config: C,
    /// Standard weight = factor times trained weight, one per parameter in layout order.
    pub factors: Vec<f64>,
}

/// Families whose models have a standard form.
pub trait Standardise: FamilyConfig {
    /// The standard form of this configuration under `resolved`, relative to `base`. Weights times
    /// [`StandardForm::factors`] give the same logits in
    /// `form.config.model(&form.config, &SiteScales::BASE)`, up to rounding; where all factors
    /// are one, the same bits.
    ///
    /// # Errors
    /// If the parametrization scales two uses of one weight differently; the error says which.
    fn standard_form(&self, base: &Self, resolved: &Resolved) -> Result<StandardForm<Self>>;
}

/// Collects the factors of one model.
#[derive(Debug, Clone)]
pub struct Factors<'a> {
    layout: &'a Layout,
    factors: Vec<f64>,
}

impl<'a> Factors<'a> {
    /// Starts from the forward multipliers of `resolved`.
    pub fn new(layout: &'a Layout, resolved: &Resolved) -> Self {
        assert_eq!(layout.specs().len(), resolved.rules.len(), "one rule per parameter");
        let factors = resolved.rules.iter().map(|rule| rule.forward_multiplier).collect();
        Self { layout, factors }
    }

    /// Multiplies every parameter whose name satisfies `chosen`.
    pub fn multiply(&mut self, factor: f64, chosen: impl Fn(&str) -> bool) {
        for (spec, value) in self.layout.specs().iter().zip(&mut self.factors) {
            if chosen(spec.name()) {
                *value *= factor;
            }
        }
    }

    /// The factors in layout order.
    pub fn finish(self) -> Vec<f64> {
        self.factors.into_iter().map(|factor| scaled(1.0, factor)).collect()
    }
}

/// `value * ratio`; the very value where the ratio is one but for rounding.
pub fn scaled(value: f64, ratio: f64) -> f64 {
    if (ratio - 1.0).abs() < ROUNDING { value } else { value * ratio }
}
