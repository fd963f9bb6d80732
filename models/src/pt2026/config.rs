//! Shape and constants of the model.

use serde::{Deserialize, Serialize};

use super::reference::Pt2026;
use crate::error::{ModelError, Result};
use crate::family::FamilyConfig;
use crate::parameters::{Layout, ParameterSpec};
use crate::parametrization::{Dimensions, SiteScales};
use crate::sizes;

/// How positions enter the ternary factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rope {
    /// Rotary positions; the message to heads is the gradient of the expected score.
    Exact,
    /// Rotary positions; the message to heads turns the opposite way, as the published runs did.
    Published,
    /// No positions.
    None,
}

/// Map from scores to unnormalised weights, which are then divided by their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Potential {
    /// `y^2`.
    Square,
    /// `|y|` for labels, `max(y, 0)` for topics.
    Abs,
    /// `exp(y)`: softmax.
    Exp,
}

/// Factors on the initial standard deviations of the published rules.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InitialScales {
    /// Unary factor S, times 1.
    pub unary: f64,
    /// Ternary factors U and V, times `N^-1/2`.
    pub ternary: f64,
    /// Binary factor B, times `N^-1/2`.
    pub binary: f64,
    /// Dense layer of the head, times `N^-1/2`.
    pub dense: f64,
    /// Decoder, times `N^-1`.
    pub decoder: f64,
}

impl Default for InitialScales {
    fn default() -> Self {
        Self { unary: 1.0, ternary: 1.0, binary: 1.0, dense: 1.0, decoder: 1.0 }
    }
}

/// Configuration; the defaults are the published base point (N = 256).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pt2026Config {
    /// Vocabulary size V.
    pub vocab: usize,
    /// Labels N per word.
    pub width: usize,
    /// Mean-field iterations T.
    pub iterations: usize,
    /// Dependency channels C.
    pub channels: usize,
    /// Rank r of the ternary factor of one channel; `None` = `rank_share` N, or N / 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// Rank as a share of N, rounded to an even number; excludes `rank`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank_share: Option<f64>,
    /// Topics M; `None` = 4 N.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<usize>,
    /// Positions.
    pub rope: Rope,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Normaliser of the label scores z.
    pub label_potential: Potential,
    /// Normaliser of the topic scores.
    pub topic_potential: Potential,
    /// Share of the old scores kept by an update.
    pub damping: f64,
    /// Whether words also hear from those that chose them as head.
    pub dependent_message: bool,
    /// Whether beliefs are multiplied by N, topic activations by M, head logits divided by r.
    pub width_normalisation: bool,
    /// Temperature of the labels.
    pub lambda_z: f64,
    /// Temperature of the heads.
    pub lambda_h: f64,
    /// Head posteriors below this share of their row's largest are 0; `None` = none are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub posterior_floor: Option<f64>,
    /// Temperature of the topics (without effect for the scale-free potentials).
    pub lambda_g: f64,
    /// Weight s_t of the ternary factor.
    pub ternary_weight: f64,
    /// Weight s_b of the binary factor.
    pub binary_weight: f64,
    /// Factor a on the logits.
    pub logit_multiplier: f64,
    /// Lower bound of a normaliser's sum.
    pub epsilon: f64,
    /// Whether the decoder is the unary factor.
    pub tied: bool,
    /// Factors on the initial standard deviations.
    pub initial: InitialScales,
}

impl Default for Pt2026Config {
    fn default() -> Self {
        Self {
            vocab: 32_000,
            width: 256,
            iterations: 6,
            channels: 10,
            rank: None,
            rank_share: None,
            topics: None,
            rope: Rope::Exact,
            rope_theta: 1e4,
            label_potential: Potential::Square,
            topic_potential: Potential::Abs,
            damping: 0.5,
            dependent_message: true,
            width_normalisation: true,
            lambda_z: 0.808_42,
            lambda_h: 0.15,
            posterior_floor: None,
            lambda_g: 2.624_54,
            ternary_weight: 0.844_42,
            binary_weight: 0.183_36,
            logit_multiplier: 0.5,
            epsilon: 1e-6,
            tied: false,
            initial: InitialScales::default(),
        }
    }
}

fn invalid(problem: String, hint: String) -> ModelError {
    ModelError::Shape { model: "pt", problem, hint }
}

/// The multiples of `step` around `value`, as a hint.
fn nearest_multiples(name: &str, value: usize, step: usize) -> String {
    let below = value / step * step;
    match below {
        0 => format!("use {name} = {step}"),
        _ => format!("use {name} = {below} or {}", below + step),
    }
}

impl Pt2026Config {
    /// `2^-64`: the floor of head posteriors that changes a sum by less than its rounding.
    ///
    /// Sharp posteriors (the published `lambda_h` makes them) hold many shares so small that
    /// products with them are subnormal floats, which Intel's processors compute a hundred times
    /// slower. A row's largest share is at least `1 / n`, so what is left out is below `n 2^-64` of
    /// it, and a float has 24 bits.
    pub const POSTERIOR_FLOOR: f64 = 1.0 / (1u128 << 64) as f64;

    /// Rank r of one channel.
    pub fn rank(&self) -> usize {
        match (self.rank, self.rank_share) {
            (Some(rank), _) => rank,
            (None, Some(share)) => (2 * (0.5 * share * self.width as f64).round() as usize).max(2),
            (None, None) => self.width / 4,
        }
    }

    /// Number of topics M.
    pub fn topics(&self) -> usize {
        self.topics.unwrap_or(self.width.saturating_mul(4))
    }

    /// Checks that a model can have this shape and these constants.
    pub fn validate(&self) -> Result<()> {
        sizes::check(
            "pt",
            &[
                ("vocab", self.vocab, sizes::VOCAB_MAX),
                ("width", self.width, sizes::WIDTH_MAX),
                ("iterations", self.iterations, sizes::DEPTH_MAX),
                ("channels", self.channels, sizes::CHANNELS_MAX),
                ("topics", self.topics(), 4 * sizes::WIDTH_MAX),
            ],
        )?;
        if self.tied && self.initial.decoder == 0.0 {
            return Err(invalid(
                "tied, yet initial.decoder is 0: the unary factor cannot start at zero".to_owned(),
                "use tied = false, or leave initial.decoder at 1".to_owned(),
            ));
        }
        self.validate_rank()?;
        self.validate_constants()
    }

    fn validate_rank(&self) -> Result<()> {
        let rotary = self.rope != Rope::None;
        if let Some(share) = self.rank_share {
            if self.rank.is_some() || !(share > 0.0 && share <= 4.0) {
                return Err(invalid(
                    format!("rank_share is {share}, rank is {:?}", self.rank),
                    "use a rank_share above 0 and at most 4, without rank".to_owned(),
                ));
            }
            return Ok(());
        }
        if let Some(rank) = self.rank {
            if rank == 0 {
                return Err(invalid("rank is 0".to_owned(), "use rank = 2 or more".to_owned()));
            }
            sizes::check("pt", &[("rank", rank, sizes::WIDTH_MAX)])?;
            if rotary && !rank.is_multiple_of(2) {
                let hint = nearest_multiples("rank", rank, 2) + ", or rope = \"none\"";
                return Err(invalid(
                    format!("rotary positions need an even rank, not {rank}"),
                    hint,
                ));
            }
            return Ok(());
        }
        let step = if rotary { 8 } else { 4 };
        if !self.width.is_multiple_of(step) {
            let problem = format!(
                "width {} is no multiple of {step}, so rank = width / 4 would not be {}",
                self.width,
                if rotary { "even, as rotary positions need it" } else { "whole" }
            );
            let hint = nearest_multiples("width", self.width, step) + ", or name a rank";
            return Err(invalid(problem, hint));
        }
        Ok(())
    }

    fn validate_constants(&self) -> Result<()> {
        let positive = [
            ("rope_theta", self.rope_theta),
            ("lambda_z", self.lambda_z),
            ("lambda_h", self.lambda_h),
            ("lambda_g", self.lambda_g),
            ("epsilon", self.epsilon),
        ];
        for (name, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                let hint = format!("use a finite {name} above 0");
                return Err(invalid(format!("{name} is {value}"), hint));
            }
        }
        if let Some(floor) = self.posterior_floor.filter(|floor| !(*floor > 0.0 && *floor < 1.0)) {
            return Err(invalid(
                format!("posterior_floor is {floor}"),
                format!(
                    "use {:e} (2^-64), below the rounding of f32, or leave it out",
                    Self::POSTERIOR_FLOOR
                ),
            ));
        }
        if !(0.0..1.0).contains(&self.damping) {
            let hint = "use a damping from 0 (none) to below 1".to_owned();
            return Err(invalid(format!("damping is {}", self.damping), hint));
        }
        let finite = [
            ("ternary_weight", self.ternary_weight),
            ("binary_weight", self.binary_weight),
            ("logit_multiplier", self.logit_multiplier),
            ("initial.unary", self.initial.unary),
            ("initial.ternary", self.initial.ternary),
            ("initial.binary", self.initial.binary),
            ("initial.dense", self.initial.dense),
            ("initial.decoder", self.initial.decoder),
        ];
        for (name, value) in finite {
            if !value.is_finite() || (name.starts_with("initial") && value < 0.0) {
                let hint = format!("use a finite {name}, not negative for initial scales");
                return Err(invalid(format!("{name} is {value}"), hint));
            }
        }
        Ok(())
    }
}

impl FamilyConfig for Pt2026Config {
    type Model = Pt2026;

    /// Published rules at N = this width: S ~ N(0, 1) with rate 1; U, V, B, W_d ~ N(0, 1/N) and
    /// W_out ~ N(0, 1/N^2) with rate 1/N; gains 1 and biases 0 with rate 1 (arXiv 2604.25409,
    /// table 2, output rate as in its runs).
    fn layout(&self) -> Result<Layout> {
        self.validate()?;
        let (width, vocab, topics) = (self.width, self.vocab, self.topics());
        let pairs = self.channels * self.rank();
        let rate = 1.0 / width as f64;
        let root = rate.sqrt();
        let hidden = |name, fan_out, scale: f64| {
            ParameterSpec::hidden(name, fan_out, width, root * scale).with_learning_rate_scale(rate)
        };
        let mut specs = vec![
            ParameterSpec::input("unary", vocab, width, self.initial.unary),
            hidden("ternary_u", pairs, self.initial.ternary),
            hidden("ternary_v", pairs, self.initial.ternary),
            hidden("binary", topics, self.initial.binary),
            hidden("head.dense.weight", width, self.initial.dense),
            ParameterSpec::bias("head.dense.bias", width),
            ParameterSpec::gain("head.norm.weight", width),
            ParameterSpec::bias("head.norm.bias", width),
        ];
        if !self.tied {
            let std = rate * self.initial.decoder;
            let decoder = ParameterSpec::output("head.decoder.weight", vocab, width, std);
            specs.push(decoder.with_learning_rate_scale(rate));
        }
        specs.push(ParameterSpec::bias("head.decoder.bias", vocab).counted_as_embedding());
        Ok(Layout::new(specs))
    }

    fn dimensions(&self) -> Dimensions {
        Dimensions {
            width: self.width,
            head_dim: self.rank(),
            topics: self.topics(),
            depth: self.iterations,
        }
    }

    fn at_width(&self, width: usize) -> Self {
        Self { width, ..self.clone() }
    }

    fn model(&self, base: &Self, sites: &SiteScales) -> Result<Pt2026> {
        Pt2026::new(self.clone(), base, sites)
    }
}

#[cfg(test)]
mod tests;
