//! The Transformers without their parametrization.
//!
//! The factor on attention logits goes into the queries (rotary positions are linear, so it
//! passes through them), the factor on residual branches into each branch's last matrix and
//! vector, and the factor on a tied decoder's logits into the norm before it: the token table
//! itself is also the input and cannot take it.

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
    factors.multiply(attention, |name| within(name, "attention.query"));
    factors.multiply(scales.residual, |name| {
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
                let scales = Scales::new(&base.block()?, &resolved.sites);
                let factors = factors(self, (self.block()?, scales), (resolved, self.tied))?;
                Ok(StandardForm { config: self.clone(), factors })
            }
        }
    };
}

standardise!(BertConfig);
standardise!(PreLnConfig);
standardise!(UtConfig);
