//! The Universal Transformer (Dehghani et al. 2019) as arXiv 2604.25409 uses it: BERT's embedding,
//! one pre-LN block applied at every step, a learned embedding of the step added to the state,
//! final layer norm, BERT's MLM head; halting is optional.
//!
//! The looped control is this model with `positions = "rotary"`, `injection = true` and
//! `residual_scale = "inverse-steps"`: what a loop of one block does without a position table and
//! with a bounded sum. Each option changes one thing. With T steps, embedded input `e`, step
//! embeddings `s_t` and a factor `c` of 1 or 1/T:
//!
//! ```text
//! x_0 = e
//! x <- x_(t-1) + s_t, and for t > 1 with injection + c e       (Yang et al., arXiv 2311.12424)
//! x <- x + c attention(norm(x))                                (c = 1/T: arXiv 2606.18524)
//! x_t = x + c feed_forward(norm(x))
//! ```
//!
//! With injection scaled like a branch the stream keeps about as much of the input as of what the
//! branches found, whatever T is. Halting works with all of them in the reference path (a token
//! that has halted hears no input again), but the control runs without it.

mod halting;

use candle_core::Tensor;
use models::architecture::{Architecture, Encoded, ForwardFlops, Probe, TensorBatch, Weights};
use models::error::{ModelError, Result};
use models::family::FamilyConfig;
use models::layers;
use models::parameters::{Init, Layout, ParameterSpec};
use models::parametrization::{Dimensions, SiteScales};
use models::sizes;
use serde::{Deserialize, Serialize};

use crate::blocks::{
    Activation, BlockShape, MlmHead, Pass, PositionStart, Positions, ROPE_THETA, Scales, Sizes,
};
use crate::blocks::{
    block_accessors, block_config, block_methods, check_rotary, embed, rescaled, rotary,
};
use halting::Halting;

/// Factor on the branches of a block that is applied T times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResidualScale {
    /// 1, as published.
    #[default]
    One,
    /// 1/T: updates by the same weights are correlated, so their sum grows with T, not with its
    /// root (arXiv 2606.18524).
    #[serde(alias = "inverse_steps")]
    InverseSteps,
}

impl ResidualScale {
    /// Whether it is the default, which no configuration names.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The table `[model.ut]`.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UtConfig {
    /// Vocabulary size V.
    pub vocab: usize,
    /// Width D.
    pub width: usize,
    /// Applications T of the shared block; with halting, at most.
    pub steps: usize,
    /// Attention heads, the same at every width; excludes `head_dim`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// Width of one head, the same at every width; 32 if neither it nor `heads` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Hidden units of the feed-forward layer; four times `width` if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed_forward_width: Option<usize>,
    /// Rows of the position table, if there is one.
    pub max_length: usize,
    /// How the model learns where a token stands.
    #[serde(skip_serializing_if = "Positions::is_default")]
    pub positions: Positions,
    /// Initial values of the position table.
    #[serde(skip_serializing_if = "PositionStart::is_default")]
    pub position_start: PositionStart,
    /// Rows of the type table; only the first is ever used.
    pub types: usize,
    /// Whether the decoder is the token table.
    pub tied: bool,
    /// Whether an untied decoder starts at zero; the first loss is then `ln V` at every width.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub zero_readout: bool,
    /// Whether the embedded input joins the stream again before every step but the first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub injection: bool,
    /// Factor on branches, and on the input that joins the stream again.
    #[serde(skip_serializing_if = "ResidualScale::is_default")]
    pub residual_scale: ResidualScale,
    /// Whether tokens halt (adaptive computation time); the published runs do.
    pub halting: bool,
    /// A token halts when its probabilities sum to one minus this.
    pub halting_epsilon: f64,
    /// Initial bias of the halting unit.
    pub halting_bias: f64,
    /// Objective per step: the mean of steps plus remainder over words is added times this.
    pub ponder_cost: f64,
    /// Initial standard deviation of every matrix and table at the base width.
    pub init_std: f64,
    /// Added to the variance in every layer norm.
    pub norm_eps: f64,
}

impl Default for UtConfig {
    fn default() -> Self {
        Self {
            vocab: 32_000,
            width: 256,
            steps: 4,
            heads: None,
            head_dim: None,
            feed_forward_width: None,
            max_length: 1024,
            positions: Positions::Learned,
            position_start: PositionStart::Random,
            types: 2,
            tied: false,
            zero_readout: false,
            injection: false,
            residual_scale: ResidualScale::One,
            halting: false,
            halting_epsilon: 0.01,
            halting_bias: -3.0,
            ponder_cost: 1e-3,
            init_std: 0.02,
            norm_eps: 1e-12,
        }
    }
}

/// A Universal Transformer at one shape, parametrization applied.
#[derive(Debug, Clone)]
pub struct UniversalTransformer {
    config: UtConfig,
    shape: BlockShape,
    head: MlmHead,
    scales: Scales,
    layout: Layout,
}

impl UtConfig {
    fn sizes(&self) -> Sizes {
        Sizes {
            family: "ut",
            vocab: self.vocab,
            width: self.width,
            depth: self.steps,
            heads: self.heads,
            head_dim: self.head_dim,
            feed_forward_width: self.feed_forward_width,
        }
    }

    /// The block, sizes completed and checked.
    pub fn block(&self) -> Result<BlockShape> {
        let fail = |problem: String, hint: &str| {
            Err(ModelError::Shape { model: "ut", problem, hint: hint.to_owned() })
        };
        let largest = sizes::VOCAB_MAX;
        sizes::check(
            "ut",
            &[("max_length", self.max_length, largest), ("types", self.types, largest)],
        )?;
        if !(0.0..1.0).contains(&self.halting_epsilon) {
            let problem = format!("halting_epsilon is {}", self.halting_epsilon);
            return fail(problem, "choose it from 0 to less than 1, usually 0.01");
        }
        if !(self.halting_bias.is_finite() && self.ponder_cost.is_finite()) {
            return fail("halting_bias or ponder_cost is not finite".to_owned(), "give numbers");
        }
        self.head().check("ut")?;
        let numbers = (self.init_std, self.norm_eps);
        let residual = match self.residual_scale {
            ResidualScale::One => 1.0,
            ResidualScale::InverseSteps => 1.0 / self.steps.max(1) as f64,
        };
        let shape = self.sizes().block(Activation::Gelu, true, numbers)?;
        let shape = BlockShape { injection: self.injection, residual, ..shape };
        if self.positions == Positions::Rotary {
            check_rotary("ut", &shape)?;
            if !self.position_start.is_default() {
                let problem = "rotary positions have no table to start as sinusoids".to_owned();
                return fail(problem, "leave position_start out, or set positions = \"learned\"");
            }
        }
        Ok(shape)
    }

    fn head(&self) -> MlmHead {
        MlmHead {
            vocab: self.vocab,
            width: self.width,
            tied: self.tied,
            zero_readout: self.zero_readout,
            init_std: self.init_std,
            norm_eps: self.norm_eps,
        }
    }
}

impl FamilyConfig for UtConfig {
    type Model = UniversalTransformer;

    fn layout(&self) -> Result<Layout> {
        let block = self.block()?;
        let (width, std) = (self.width, self.init_std);
        let table = |name: &str, rows: usize| ParameterSpec::input(name, rows, width, std);
        let mut specs = vec![table("embedding.token", self.vocab)];
        if self.positions == Positions::Learned {
            specs.push(self.position_start.table(self.max_length, width, std));
        }
        specs.extend([
            table("embedding.type", self.types),
            table("embedding.step", self.steps).counted_as_body(),
        ]);
        specs.extend(block.norm("embedding.norm"));
        specs.extend(block.parameters("block"));
        if self.halting {
            let bias = Init::Constant(self.halting_bias);
            specs.push(ParameterSpec::output("halting.weight", 1, width, std).counted_as_body());
            specs.push(ParameterSpec::bias("halting.bias", 1).with_init(bias));
        }
        specs.extend(block.norm("final_norm"));
        specs.extend(self.head().parameters());
        Ok(Layout::new(specs))
    }

    block_config!(UniversalTransformer);
}

block_accessors!(UniversalTransformer, UtConfig);

impl UniversalTransformer {
    /// Rows of the position table, if there is one.
    pub fn position_rows(&self) -> Option<usize> {
        (self.config.positions == Positions::Learned).then_some(self.config.max_length)
    }

    /// What the block reads at step `step`: `x` plus the embedding of the step, and the embedded
    /// `input` if it is added again.
    fn at_step(&self, w: &Weights, (x, input): (&Tensor, &Tensor), step: usize) -> Result<Tensor> {
        let step_embedding = w.get("embedding.step")?.narrow(0, step, 1)?;
        if self.config.injection && step > 0 {
            let again = (input * self.scales.residual)?;
            return Ok((x + again)?.broadcast_add(&step_embedding)?);
        }
        Ok(x.broadcast_add(&step_embedding)?)
    }

    /// Halting probabilities `(B, n)` of states `(B, n, D)`.
    fn halting_probability(w: &Weights, x: &Tensor) -> Result<Tensor> {
        let bias = w.get("halting.bias")?;
        let logits = layers::linear(x, &w.get("halting.weight")?, Some(&bias))?.squeeze(2)?;
        // The logistic function by its tangent form, which overflows nowhere.
        Ok((((logits * 0.5)?.tanh()? + 1.0)? * 0.5)?)
    }

    fn encode_halting(
        &self,
        pass: &mut Pass,
        input: &Tensor,
        words: Option<&Tensor>,
    ) -> Result<Encoded> {
        let mut x = input.clone();
        let mut halting = Halting::new(self.config.halting_epsilon, &x)?;
        for step in 0..self.config.steps {
            let before = self.at_step(pass.w, (&x, input), step)?;
            let probability = Self::halting_probability(pass.w, &before)?;
            pass.probe.record("halting_probability", step, &probability)?;
            let after = pass.pre_norm_block("block", step, &before)?;
            x = halting.step(&probability, (&x, &after), step + 1 == self.config.steps)?;
            if halting.finished()? {
                break;
            }
        }
        let (output, cost) = halting.finish(words)?;
        let auxiliary = Some((cost * self.config.ponder_cost)?);
        Ok(Encoded { hidden: pass.norm("final_norm", &output)?, auxiliary })
    }
}

impl Architecture for UniversalTransformer {
    block_methods!("ut");

    fn encode(&self, w: &Weights, batch: &TensorBatch, probe: &mut dyn Probe) -> Result<Encoded> {
        let input = embed(w, batch, (self.position_rows(), self.config.norm_eps))?;
        probe.record("embedding", 0, &input)?;
        let mut pass = Pass::new(w, (&self.shape, &self.scales), batch, probe)?;
        if self.config.positions == Positions::Rotary {
            pass.rotary = Some(rotary(&self.shape, ROPE_THETA, &input)?);
        }
        if self.config.halting {
            return self.encode_halting(&mut pass, &input, batch.attention.as_ref());
        }
        let mut x = input.clone();
        for step in 0..self.config.steps {
            let before = self.at_step(w, (&x, &input), step)?;
            x = pass.pre_norm_block("block", step, &before)?;
        }
        Ok(Encoded { hidden: pass.norm("final_norm", &x)?, auxiliary: None })
    }

    fn forward_flops(&self, length: usize) -> ForwardFlops {
        let steps = self.config.steps;
        let mut encoder_per_token = self.shape.flops(steps, length);
        if self.config.halting {
            encoder_per_token.push(("halting", 2.0 * (steps * self.config.width) as f64));
        }
        ForwardFlops { encoder_per_token, head_per_target: self.head.flops() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(width: usize, steps: usize, halting: bool) -> usize {
        let config = UtConfig { width, steps, halting, ..UtConfig::default() };
        config.layout().unwrap().total()
    }

    #[test]
    fn golden_published_parameter_counts() {
        // arXiv 2604.25409, figure data: V = 32,000, 1024 positions, 2 types, untied, halting.
        let published = [
            ((256, 4), 17_537_025),
            ((512, 8), 36_748_033),
            ((768, 12), 57_665_025),
            ((1024, 24), 80_296_193),
            ((2048, 24), 187_823_361),
            ((3072, 32), 322_638_081),
        ];
        for ((width, steps), expected) in published {
            assert_eq!(count(width, steps, true), expected, "width {width}, {steps} steps");
            assert_eq!(count(width, steps, false), expected - width - 1);
        }
    }

    #[test]
    fn golden_forward_flops_count_every_step() {
        let flops = |steps| {
            let config = UtConfig { steps, ..UtConfig::default() };
            let flops = config.model(&config, &SiteScales::BASE).unwrap().forward_flops(128);
            flops.encoder_per_token.iter().map(|(_, flops)| flops).sum::<f64>()
        };
        assert!((flops(8) - 8.0 * flops(1)).abs() < 0.5);
        let by_hand = 2.0 * (12.0 * 256.0 * 256.0 + 2.0 * 128.0 * 256.0);
        assert!((flops(1) - by_hand).abs() < 0.5, "{}", flops(1));
    }
}
