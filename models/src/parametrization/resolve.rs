//! From (exponents, layout, base layout) to one rule per tensor.

use serde::{Deserialize, Serialize};

use super::Parametrization;
use crate::error::{ModelError, Result};
use crate::parameters::{Init, Layout, ParameterSpec};

/// The dimensions of a model that site exponents refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dimensions {
    /// Model width (number of labels for PT).
    pub width: usize,
    /// Head width, or rank of the ternary factor.
    pub head_dim: usize,
    /// Topics, or feed-forward width.
    pub topics: usize,
    /// Layers or iterations.
    pub depth: usize,
}

/// What the parametrization says about one tensor, as factors relative to the base width.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Initial standard deviation (absolute; 0 for constants).
    pub init_std: f64,
    /// Factor on the standard deviation at the base width.
    pub init_std_factor: f64,
    /// The tensor is multiplied by this in the forward pass.
    pub forward_multiplier: f64,
    /// Learning rate = global rate times this (the tensor's own base scale included).
    pub lr_multiplier: f64,
    /// Decay coefficient = global decay times this.
    pub weight_decay_multiplier: f64,
    /// Adam epsilon = global epsilon times this.
    pub eps_multiplier: f64,
}

/// Factors on forward constants relative to their values at the base width.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SiteScales {
    /// Attention logits.
    pub attention_logits: f64,
    /// Label beliefs.
    pub belief: f64,
    /// Topic activations.
    pub topic: f64,
    /// Messages to Z.
    pub message: f64,
    /// Residual branches.
    pub residual: f64,
    /// Logits of a decoder that is the token table, beside the table's own multiplier.
    pub tied_logits: f64,
}

impl SiteScales {
    /// Scales at the base width: all one.
    pub const BASE: Self = Self {
        attention_logits: 1.0,
        belief: 1.0,
        topic: 1.0,
        message: 1.0,
        residual: 1.0,
        tied_logits: 1.0,
    };
}

/// A parametrization applied to one model shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// Name of the table.
    pub parametrization: String,
    /// One rule per parameter, in layout order.
    pub rules: Vec<Rule>,
    /// Factors on forward constants.
    pub sites: SiteScales,
    /// Factor on the gradient-clip threshold.
    pub gradient_clip_multiplier: f64,
}

impl Parametrization {
    /// Resolves the table for a model whose parameters are `layout`, relative to the same model
    /// at the base width (`base`).
    pub fn resolve(
        &self,
        (layout, dimensions): (&Layout, Dimensions),
        (base, base_dimensions): (&Layout, Dimensions),
    ) -> Result<Resolved> {
        let ratio = |now: usize, then: usize| now as f64 / then as f64;
        let depth = ratio(dimensions.depth, base_dimensions.depth);
        let rules = layout
            .specs()
            .iter()
            .map(|spec| self.rule(spec, &base.specs()[base.counterpart(spec.name())?], depth))
            .collect::<Result<Vec<_>>>()?;
        let width = ratio(dimensions.width, base_dimensions.width);
        let sites = SiteScales {
            attention_logits: ratio(dimensions.head_dim, base_dimensions.head_dim)
                .powf(self.sites.attention_logits),
            belief: width.powf(self.sites.belief),
            topic: ratio(dimensions.topics, base_dimensions.topics).powf(self.sites.topic),
            message: width.powf(self.sites.message),
            residual: depth.powf(self.sites.residual),
            tied_logits: width.powf(self.tied_logits()),
        };
        Ok(Resolved {
            parametrization: self.name.clone(),
            rules,
            sites,
            gradient_clip_multiplier: width.powf(self.training.gradient_clip),
        })
    }

    /// Exponent of the logits' factor when the decoder is the token table. Adam moves an entry's
    /// effective value (multiplier times tensor) at multiplier times rate, so this makes the tied
    /// decoder learn as fast as an untied one, in every equivalent form of a table (Tensor
    /// Programs V, lemma J.1): -1 under muP, 0 under `standard`.
    fn tied_logits(&self) -> f64 {
        let speed = |role: &super::RoleExponents| role.forward + role.learning_rate;
        speed(&self.output) - speed(&self.input)
    }

    fn rule(&self, spec: &ParameterSpec, base: &ParameterSpec, depth: f64) -> Result<Rule> {
        if spec.role() != base.role() {
            return Err(ModelError::Parametrization {
                name: self.name.clone(),
                problem: format!(
                    "parameter {} is {} here and {} at the base width",
                    spec.name(),
                    spec.role(),
                    base.role()
                ),
                hint: "build both models from one configuration".to_owned(),
            });
        }
        let exponents = self.role(spec.role());
        let ratio = spec.scaling_fan() as f64 / base.scaling_fan() as f64;
        let init_std_factor = ratio.powf(exponents.init_std);
        Ok(Rule {
            init_std: match base.init() {
                Init::Normal(std) | Init::Sinusoids(std) => std * init_std_factor,
                Init::Constant(_) => 0.0,
            },
            init_std_factor,
            forward_multiplier: ratio.powf(exponents.forward),
            lr_multiplier: base.learning_rate_scale()
                * ratio.powf(exponents.learning_rate)
                * depth.powf(exponents.depth_learning_rate),
            weight_decay_multiplier: ratio.powf(exponents.weight_decay),
            eps_multiplier: ratio.powf(exponents.epsilon) * depth.powf(exponents.depth_epsilon),
        })
    }
}

impl Resolved {
    /// Initial parameters of `layout` under these rules: a function of (seed, name) per tensor.
    pub fn initialise(&self, layout: &Layout, base: &Layout, seed: u64) -> Result<Vec<f32>> {
        let mut buffer = vec![0f32; layout.total()];
        for (position, (spec, rule)) in layout.specs().iter().zip(&self.rules).enumerate() {
            let at_base = &base.specs()[base.counterpart(spec.name())?];
            let described = spec.clone().with_init(at_base.init());
            described.initialise(&mut buffer[layout.range(position)], seed, rule.init_std_factor);
        }
        Ok(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_a_tied_decoder_follows_the_output_rule_of_every_table() {
        let layout = |width| Layout::new(vec![ParameterSpec::input("table", 7, width, 1.0)]);
        let dimensions = |width| Dimensions { width, head_dim: 4, topics: 8, depth: 1 };
        let tied = |name: &str| {
            let table = Parametrization::built_in(name).unwrap();
            let (large, base) = (layout(64), layout(16));
            let resolved = table.resolve((&large, dimensions(64)), (&base, dimensions(16)));
            resolved.unwrap().sites.tied_logits
        };
        for (name, expected) in [("standard", 1.0), ("mup-table8", 0.25), ("pt-2026", 0.25)] {
            assert!((tied(name) - expected).abs() < 1e-15, "{name}: {}", tied(name));
        }
    }
}
