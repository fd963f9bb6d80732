//! The Universal Transformer (Dehghani et al. 2019) as arXiv 2604.25409 uses it: BERT's embedding,
//! one pre-LN block applied at every step, a learned embedding of the step added to the state,
//! final layer norm, BERT's MLM head; halting is optional.

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

use crate::blocks::{Activation, BlockShape, MlmHead, Pass, PositionStart, Scales, Sizes};
use crate::blocks::{block_accessors, block_config, block_methods, embed, rescaled};
use halting::Halting;

/// The table `[model.ut]`.
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
    /// Rows of the position table.
    pub max_length: usize,
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
            position_start: PositionStart::Random,
            types: 2,
            tied: false,
            zero_readout: false,
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
        self.sizes().block(Activation::Gelu, true, (self.init_std, self.norm_eps))
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
        let mut specs = vec![
            table("embedding.token", self.vocab),
            self.position_start.table(self.max_length, width, std),
            table("embedding.type", self.types),
            table("embedding.step", self.steps).counted_as_body(),
        ];
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
    /// `x` plus the embedding of step `step`.
    fn at_step(w: &Weights, x: &Tensor, step: usize) -> Result<Tensor> {
        Ok(x.broadcast_add(&w.get("embedding.step")?.narrow(0, step, 1)?)?)
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
        mut x: Tensor,
        words: Option<&Tensor>,
    ) -> Result<Encoded> {
        let mut halting = Halting::new(self.config.halting_epsilon, &x)?;
        for step in 0..self.config.steps {
            let before = Self::at_step(pass.w, &x, step)?;
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
        let mut x = embed(w, batch, (self.config.max_length, self.config.norm_eps))?;
        probe.record("embedding", 0, &x)?;
        let mut pass = Pass::new(w, (&self.shape, &self.scales), batch, probe)?;
        if self.config.halting {
            return self.encode_halting(&mut pass, x, batch.attention.as_ref());
        }
        for step in 0..self.config.steps {
            x = pass.pre_norm_block("block", step, &Self::at_step(w, &x, step)?)?;
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
