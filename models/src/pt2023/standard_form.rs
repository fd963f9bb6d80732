//! The 2023 model without its parametrization, and the published names of its parameters.

use super::{Encoder, GlobalForm, Pt2023Config};
use crate::error::{ModelError, Result};
use crate::family::FamilyConfig;
use crate::parametrization::{Resolved, SiteScales};
use crate::standard_form::{Factors, StandardForm, Standardise, scaled};

/// Ratios further apart than this are different.
const TOLERANCE: f64 = 1e-9;

/// Names here and in the published encoder.
const PUBLISHED: [(&str, &str); 12] = [
    ("ternary_u", "U"),
    ("ternary_v", "V"),
    ("ternary_w", "W"),
    ("ternary", "ternary"),
    ("ternary_u_shared", "U1"),
    ("ternary_v_shared", "V1"),
    ("ternary_u_last", "U2"),
    ("ternary_v_last", "V2"),
    ("global", "global_"),
    ("global_u", "U_global"),
    ("global_v", "V_global"),
    ("root_ternary", "root_ternary"),
];

/// Name of the encoder parameter `name` in the published code; `None` for the unary table and
/// the decoder, which belong to the task there and not to the encoder.
pub fn published_name(name: &str) -> Option<&'static str> {
    PUBLISHED.iter().find(|(ours, _)| *ours == name).map(|(_, theirs)| *theirs)
}

/// Whether `name` is the side of a ternary factor that takes a factor of T.
fn scales_ternary(name: &str) -> bool {
    let sides = ["ternary_u", "ternary", "ternary_u_shared", "ternary_u_last", "root_ternary"];
    sides.contains(&name)
}

impl Standardise for Pt2023Config {
    /// T is read for head logits and written for messages, so with the ratios (actual over
    /// plain) w of word logits, β of beliefs and γ of messages it is multiplied by `γβ` and
    /// `lambda_H' = lambda_H γ / (wβ)`. Global features share `lambda_H`: their scores take `γt`
    /// (t the ratio of topics), which is right only if their logits' ratio is `tw`.
    fn standard_form(&self, base: &Self, resolved: &Resolved) -> Result<StandardForm<Self>> {
        let actual = Encoder::new(self, base, &resolved.sites)?.constants();
        let plain = Encoder::new(self, self, &SiteScales::BASE)?.constants();
        let word_logits = actual.word_logits / plain.word_logits;
        let belief = actual.belief / plain.belief;
        let topic = actual.topic / plain.topic;
        let message = actual.message / plain.message;
        let layout = self.layout()?;
        let mut factors = Factors::new(&layout, resolved);
        factors.multiply(message * belief, scales_ternary);
        if let Some(globals) = &self.globals {
            let feature_logits = actual.feature_logits / plain.feature_logits;
            let wanted = topic * word_logits;
            if (feature_logits - wanted).abs() > TOLERANCE * wanted.abs() {
                return Err(ModelError::Unsupported {
                    what: format!(
                        "writing logits of global features times {feature_logits} beside logits \
                         of words times {word_logits} (features times {topic})"
                    ),
                    by: "the standard form: both are divided by the one head_lambda, and the \
                         features' scores are also their message"
                        .to_owned(),
                    hint: "keep the features' and the rank's ratios to width, or set \
                           model.logit_factor = \"own-width\""
                        .to_owned(),
                });
            }
            let side = match globals.form {
                GlobalForm::Dense => "global",
                GlobalForm::Product | GlobalForm::NormalisedProduct => "global_v",
            };
            factors.multiply(message * topic, |name| name == side);
        }
        let head_lambda = scaled(self.head_lambda, message / (word_logits * belief));
        let config = Self { head_lambda, ..self.clone() };
        Ok(StandardForm { config, factors: factors.finish() })
    }
}
