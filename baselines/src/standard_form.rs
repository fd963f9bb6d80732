//! The Transformers without their parametrization.
//!
//! The factor on attention logits goes into the queries (rotary positions are linear, so it
//! passes through them) or the gain of their norm, the factor on residual branches into each
//! branch's last matrix and vector, and the factor on a tied decoder's logits into the norm before
//! it: the token table itself is also the input and cannot take it.

use models::error::Result;
use models::family::FamilyConfig;
use models::parametrization::Resolved;
use models::standard_form::{Factors, StandardForm, Standardise};

use crate::blocks::{BlockShape, Scales};
use crate::{BertConfig, PreLnConfig, UtConfig};

fn factors(
    config: &impl FamilyConfig,
    (shape, scales): (BlockShape, Scales),
    (resolved, tied): (&Resolved, bool),
) -> Result<Vec<f64>> {
    let layout = config.layout()?;
    let mut factors = Factors::new(&layout, resolved);
    let within = |name: &str, part: &str| name.contains(&format!(".{part}."));
    let attention = scales.attention * (shape.head_dim as f64).sqrt();
    // Where queries are normalised their matrix has no size to give: the gain behind it has.
    let queries = if shape.qk_norm { "attention.query_norm" } else { "attention.query" };
    factors.multiply(attention, |name| within(name, queries));
    // The model's own factor on branches stays with it.
    factors.multiply(scales.residual / shape.residual, |name| {
        within(name, "attention.output") || within(name, "feed_forward.outer")
    });
    if tied {
        factors.multiply(scales.tied_logits, |name| name.starts_with("head.norm."));
    }
    Ok(factors.finish())
}

macro_rules! standardise {
    ($config:ty) => {
        impl Standardise for $config {
            fn standard_form(
                &self,
                base: &Self,
                resolved: &Resolved,
            ) -> Result<StandardForm<Self>> {
                let shape = self.block()?;
                let scales = Scales::new((&shape, &base.block()?), &resolved.sites)?;
                let factors = factors(self, (shape, scales), (resolved, self.tied))?;
                Ok(StandardForm { config: self.clone(), factors })
            }
        }
    };
}

standardise!(BertConfig);
standardise!(PreLnConfig);
standardise!(UtConfig);
