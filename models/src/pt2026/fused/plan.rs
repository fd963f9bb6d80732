//! Sizes, folded constants and places of parameters: everything known before the first batch.

use std::ops::Range;

use crate::architecture::Architecture;
use crate::error::Result;
use crate::fused::panel::DEPTH;
use crate::parametrization::Resolved;
use crate::precision::Precision;
use crate::pt2026::{Potential, Pt2026, Rope};

/// Sequences of one lane hold at least this many rows, unless there would be too few lanes.
const LANE_ROWS: usize = 256;
/// Fewest lanes worth having when there are sequences for them.
const FEWEST_LANES: usize = 8;
/// Most lanes.
const MOST_LANES: usize = 16;
/// Most entries that the lanes' weight gradients may take together.
const LANE_GRADIENTS: usize = 1 << 26;

/// A parameter that is read with a factor.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Entries of the flat buffer.
    pub range: Range<usize>,
    /// Forward multiplier.
    pub factor: f32,
}

/// The model as the fused engine sees it.
///
/// U, V and B lie next to each other in the flat buffer and form one matrix W `(K, N)` with
/// `K = 2 C r + M`: scores are `x W^T`, messages `h W`, where `h` holds everything that is sent
/// back with all constants of its part multiplied in.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub vocab: usize,
    pub width: usize,
    pub iterations: usize,
    pub channels: usize,
    pub rank: usize,
    /// C r.
    pub pairs: usize,
    /// K.
    pub stacked: usize,
    pub rope: Rope,
    pub rope_theta: f64,
    pub label_potential: Potential,
    pub topic_potential: Potential,
    pub dependent_message: bool,
    pub tied: bool,
    pub epsilon: f32,
    /// Factor on normalised labels.
    pub belief: f32,
    /// Factor on `R_i u_i . R_j v_j`.
    pub logit_factor: f32,
    /// Logarithm of the floor of head posteriors relative to a row's largest.
    pub posterior_floor_ln: f32,
    /// `s_t` and the forward multiplier of U and of V.
    pub project: [f32; 2],
    /// `s_b / lambda_g` and the forward multiplier of B.
    pub topic_score: f32,
    /// Factor on `R^-1 p v` and on `R^-1 p^T u` in h.
    pub send: [f32; 2],
    /// Factor on normalised topics in h.
    pub send_topic: f32,
    pub damping: f32,
    /// `(1 - damping) / lambda_z`, already part of the factors in h.
    pub step: f32,
    pub unary: Place,
    /// W.
    pub factors: Range<usize>,
    pub dense_weight: Place,
    pub dense_bias: Place,
    pub norm_gain: Place,
    pub norm_bias: Place,
    /// The unary factor if tied; the factor on logits is part of its factor.
    pub decoder_weight: Place,
    pub decoder_bias: Place,
    pub total: usize,
    /// Whether the last iteration is computed at target rows only; the bits are the same.
    pub restrict_last: bool,
    /// What operands of products are rounded to.
    pub precision: Precision,
}

impl Plan {
    pub fn new(model: &Pt2026, resolved: &Resolved) -> Result<Self> {
        let (config, constants, layout) = (model.config(), model.constants(), model.layout());
        let place = |name: &str| -> Result<Place> {
            let position = layout.position(name)?;
            let factor = resolved.rules[position].forward_multiplier as f32;
            Ok(Place { range: layout.range(position), factor })
        };
        let (u, v, b) = (place("ternary_u")?, place("ternary_v")?, place("binary")?);
        assert!(
            u.range.end == v.range.start && v.range.end == b.range.start,
            "the layout must keep U, V and B together"
        );
        let unary = place("unary")?;
        let (pairs, topics) = (config.channels * config.rank(), config.topics());
        let (ternary, binary) = (config.ternary_weight as f32, config.binary_weight as f32);
        let step = (1.0 - config.damping) / config.lambda_z;
        let message = (constants.message * step) as f32;
        let logit_multiplier = config.logit_multiplier as f32;
        let mut decoder_weight = if config.tied {
            Place { factor: unary.factor * constants.tied_logits as f32, ..unary.clone() }
        } else {
            place("head.decoder.weight")?
        };
        decoder_weight.factor *= logit_multiplier;
        let mut decoder_bias = place("head.decoder.bias")?;
        decoder_bias.factor *= logit_multiplier;
        Ok(Self {
            vocab: config.vocab,
            width: config.width,
            iterations: config.iterations,
            channels: config.channels,
            rank: config.rank(),
            pairs,
            stacked: 2 * pairs + topics,
            rope: config.rope,
            rope_theta: config.rope_theta,
            label_potential: config.label_potential,
            topic_potential: config.topic_potential,
            dependent_message: config.dependent_message,
            tied: config.tied,
            epsilon: config.epsilon as f32,
            belief: constants.belief as f32,
            logit_factor: (constants.head_logits / config.lambda_h) as f32,
            posterior_floor_ln: config.posterior_floor.map_or(f32::NEG_INFINITY, |p| p.ln() as f32),
            project: [ternary * u.factor, ternary * v.factor],
            topic_score: (config.binary_weight / config.lambda_g) as f32 * b.factor,
            send: [ternary * u.factor * message, ternary * v.factor * message],
            send_topic: binary * b.factor * message * constants.topic as f32,
            damping: config.damping as f32,
            step: step as f32,
            unary,
            factors: u.range.start..b.range.end,
            dense_weight: place("head.dense.weight")?,
            dense_bias: place("head.dense.bias")?,
            norm_gain: place("head.norm.weight")?,
            norm_bias: place("head.norm.bias")?,
            decoder_weight,
            decoder_bias,
            total: layout.total(),
            restrict_last: config.rank() <= DEPTH,
            precision: Precision::F32,
        })
    }

    /// Sequences per lane for a batch: depends on shapes only, never on threads.
    pub fn lane_sequences(&self, sequences: usize, length: usize) -> usize {
        let by_rows = sequences * length / LANE_ROWS;
        let by_memory = LANE_GRADIENTS / (self.stacked * self.width);
        let lanes = by_rows.clamp(FEWEST_LANES, MOST_LANES).min(by_memory.max(2)).min(sequences);
        sequences.div_ceil(lanes.max(1))
    }
}
