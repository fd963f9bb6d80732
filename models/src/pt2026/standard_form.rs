//! The 2026 model without its parametrization.

use super::Pt2026Config;
use crate::error::Result;
use crate::family::FamilyConfig;
use crate::parametrization::{Resolved, SiteScales};
use crate::standard_form::{Factors, StandardForm, Standardise, scaled};

impl Standardise for Pt2026Config {
    /// Every factor tensor is used twice, to read beliefs and to write messages, so constants of
    /// reads and writes cannot both go into it; `lambda_h` and `lambda_g` take the difference.
    ///
    /// With the ratios (actual over plain) β of beliefs, h of head logits, t of topics and γ of
    /// messages: writes want `U'ᵀ p V' = γβ Uᵀ p V` and `B'ᵀ = γt Bᵀ`, so U and V are multiplied
    /// by `√(γβ)` and B by `γt`; reads then want `lambda_h' = lambda_h γ / (hβ)` and
    /// `lambda_g' = lambda_g γt / β`. The head's dense layer takes β. A tied decoder's factor goes
    /// into the norm before it, for the unary factor is also the first label score.
    fn standard_form(&self, base: &Self, resolved: &Resolved) -> Result<StandardForm<Self>> {
        let actual = self.model(base, &resolved.sites)?.constants();
        let plain = self.model(self, &SiteScales::BASE)?.constants();
        let belief = actual.belief / plain.belief;
        let head_logits = actual.head_logits / plain.head_logits;
        let topic = actual.topic / plain.topic;
        let message = actual.message / plain.message;
        let layout = self.layout()?;
        let mut factors = Factors::new(&layout, resolved);
        factors.multiply((message * belief).sqrt(), |name| name.starts_with("ternary_"));
        factors.multiply(message * topic, |name| name == "binary");
        factors.multiply(belief, |name| name == "head.dense.weight");
        if self.tied {
            let tied = actual.tied_logits / plain.tied_logits;
            factors.multiply(tied, |name| name.starts_with("head.norm."));
        }
        let config = Self {
            lambda_h: scaled(self.lambda_h, message / (head_logits * belief)),
            lambda_g: scaled(self.lambda_g, message * topic / belief),
            ..self.clone()
        };
        Ok(StandardForm { config, factors: factors.finish() })
    }
}
