//! Configuration of the 2023 model.

use serde::{Deserialize, Serialize};

use super::normaliser::Normaliser;
use crate::error::{ModelError, Result};
use crate::sizes;

/// Name of the family in errors and on the command line.
pub(super) const FAMILY: &str = "pt2023";

/// How the ternary scores `T[k, a, b, c]` (distance group, dependent's label, head's label,
/// channel) are stored; `K` groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TernaryForm {
    /// `sum_l U[k,a,l,c] V[k,b,l,c]`: U and V `(K, d, r, h)`.
    #[default]
    Uv,
    /// `sum_l U[k,a,l] V[k,b,l] W[k,c,l]`: U and V `(K, d, r)`, W `(K, h, r)`.
    Uvw,
    /// Every score on its own: `(K, d, d, h)`; `rank` is not used.
    Dense,
    /// As `uv`, but the rows of U and V are the same at every distance `(d-1, r, h)` except the
    /// last label's, which is its own at every distance and the same in all channels `(K, r)`.
    DistanceShared,
}

/// When labels and heads are updated (Wu & Tu 2023, appendix B).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateOrder {
    /// Heads first, then labels from the new heads.
    #[default]
    Asynchronous,
    /// Both from the previous iteration's beliefs.
    Synchronous,
}

/// Who competes with whom where words and global features are head candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GlobalDesign {
    /// One distribution over words and features together, in every channel.
    #[default]
    AllAttention,
    /// Two distributions in every channel, one over words and one over features.
    SplitAttention,
    /// Features only in the first `channels` channels, with distributions of their own.
    FirstChannels,
}

/// How the global score matrix `B[k, a, c]` (feature, label, channel) is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GlobalForm {
    /// Every score on its own: `(m, d, channels)`.
    #[default]
    Dense,
    /// `sum_l U[k,l,c] V[a,l,c]`: U `(m, r, channels)`, V `(d, r, channels)`.
    Product,
    /// As `product`, with a softmax over `l` on U: each feature is a mixture of `r` rows of V.
    NormalisedProduct,
}

/// Global features as additional head candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GlobalConfig {
    /// Competition between words and features.
    pub design: GlobalDesign,
    /// Number of features m.
    pub features: usize,
    /// Channels with features under `first-channels`; the other designs have them in all.
    pub channels: usize,
    /// Storage of the scores.
    pub form: GlobalForm,
    /// Rank of the two product forms.
    pub rank: usize,
}

impl Default for GlobalConfig {
    fn default() -> Self {
        Self {
            design: GlobalDesign::default(),
            features: 64,
            channels: 1,
            form: GlobalForm::default(),
            rank: 64,
        }
    }
}

/// Factor that turns message F into head logits before the division by `head_lambda`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogitFactor {
    /// Width of the base model times the parametrization's scale of attention logits.
    #[default]
    BaseWidth,
    /// This model's own width d at every width, whatever the parametrization: the published
    /// rule `lambda_H = 1/d`. The same as `base-width` at the base width.
    OwnWidth,
}

/// The Probabilistic Transformer of Wu & Tu (Findings of ACL 2023) with an MLM head.
///
/// The defaults are the best published masked language model (PTB and BLLIP-XS).
#[expect(clippy::struct_excessive_bools, reason = "switches of the model, free to combine")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pt2023Config {
    /// Vocabulary size V.
    pub vocab: usize,
    /// Labels d.
    pub width: usize,
    /// Channels h: head selections per word.
    pub channels: usize,
    /// Rank r of the ternary factor.
    pub rank: usize,
    /// Keep `rank` (and features, their rank and root labels) when the width changes; otherwise
    /// they grow in proportion.
    pub fixed_rank: bool,
    /// Mean-field iterations T.
    pub iterations: usize,
    /// Cut points c1 < c2 < .. between distance groups: `|i-j|` in `[1,c1)`, `[c1,c2)`, ..,
    /// once for heads to the right and once for heads to the left.
    pub distance_cuts: Vec<usize>,
    /// Storage of the ternary scores.
    pub ternary: TernaryForm,
    /// From scores to beliefs.
    pub normaliser: Normaliser,
    /// Order of updates.
    pub order: UpdateOrder,
    /// Damping beta_H of head logits: share of the previous logits.
    pub head_damping: f64,
    /// Damping beta_Z of label scores.
    pub label_damping: f64,
    /// Step size alpha_H of head posteriors: share of the new posterior.
    pub head_step: f64,
    /// Step size alpha_Z of label beliefs.
    pub label_step: f64,
    /// Message weight lambda_H: head logits are divided by it.
    pub head_lambda: f64,
    /// Message weight lambda_Z: label scores are divided by it.
    pub label_lambda: f64,
    /// Factor of head logits.
    pub logit_factor: LogitFactor,
    /// Only heads send messages to their dependents, dependents none to their heads.
    pub head_message_only: bool,
    /// Output normalised beliefs instead of scores.
    pub output_probability: bool,
    /// Global features, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub globals: Option<GlobalConfig>,
    /// Labels of the root node, an additional head candidate of every word; `None` = no root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_labels: Option<usize>,
    /// Probability of dropping an entry of the head posteriors and of the label scores.
    pub dropout: f64,
    /// Coefficient of the auxiliary objective `|T|_F`; 0 switches it off.
    pub frobenius_coefficient: f64,
    /// Whether the last vocabulary entry can be predicted. The published decoder has V-1
    /// outputs, the missing one being the mask token, which must then be the last entry.
    pub predict_last_entry: bool,
}

impl Default for Pt2023Config {
    fn default() -> Self {
        Self {
            vocab: 10_000,
            width: 384,
            channels: 16,
            rank: 64,
            fixed_rank: false,
            iterations: 5,
            distance_cuts: vec![2, 3, 4],
            ternary: TernaryForm::Uv,
            normaliser: Normaliser::Softmax,
            order: UpdateOrder::Asynchronous,
            head_damping: 0.0,
            label_damping: 0.0,
            head_step: 1.0,
            label_step: 1.0,
            head_lambda: 1.0,
            label_lambda: 1.0,
            logit_factor: LogitFactor::BaseWidth,
            head_message_only: false,
            output_probability: false,
            globals: None,
            root_labels: None,
            dropout: 0.15,
            frobenius_coefficient: 5e-4,
            predict_last_entry: true,
        }
    }
}

impl Pt2023Config {
    /// Number of distance groups `K = 2 (cut points + 1)`.
    pub fn distance_groups(&self) -> usize {
        2 * (self.distance_cuts.len() + 1)
    }

    /// Length of the vectors whose product is message F: the rank, or d if T is dense.
    pub fn effective_rank(&self) -> usize {
        match self.ternary {
            TernaryForm::Dense => self.width,
            TernaryForm::Uv | TernaryForm::Uvw | TernaryForm::DistanceShared => self.rank,
        }
    }

    /// Channels that have global features.
    pub fn global_channels(&self) -> usize {
        match &self.globals {
            None => 0,
            Some(globals) if globals.design == GlobalDesign::FirstChannels => globals.channels,
            Some(_) => self.channels,
        }
    }

    /// Outputs of the decoder: V or V-1.
    pub fn decoder_entries(&self) -> usize {
        self.vocab - usize::from(!self.predict_last_entry)
    }

    /// Checks that a model with these sizes exists.
    pub fn validate(&self) -> Result<()> {
        let fail = |problem: String, hint: &str| {
            Err(ModelError::Shape { model: FAMILY, problem, hint: hint.to_owned() })
        };
        sizes::check(
            FAMILY,
            &[
                ("vocab", self.vocab, sizes::VOCAB_MAX),
                ("width", self.width, sizes::WIDTH_MAX),
                ("channels", self.channels, sizes::CHANNELS_MAX),
                ("rank", self.rank, sizes::CHANNELS_MAX),
                ("iterations", self.iterations, sizes::DEPTH_MAX),
                ("root_labels", self.root_labels.unwrap_or(1), sizes::CHANNELS_MAX),
                ("distance groups", self.distance_groups(), sizes::CHANNELS_MAX),
            ],
        )?;
        let two_labels = self.ternary == TernaryForm::DistanceShared;
        for (name, size, two) in [("vocab", self.vocab, true), ("width", self.width, two_labels)] {
            if two && size < 2 {
                return fail(format!("{name} = {size}"), "use at least 2");
            }
        }
        if let Some(&cut) = self.distance_cuts.iter().find(|&&cut| cut < 2) {
            return fail(format!("distance cut point {cut}"), "the smallest cut point is 2");
        }
        let shares = [
            ("head_damping", self.head_damping),
            ("label_damping", self.label_damping),
            ("head_step", self.head_step),
            ("label_step", self.label_step),
        ];
        for (name, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return fail(format!("{name} = {share}"), "a share lies between 0 and 1");
            }
        }
        for (name, lambda) in
            [("head_lambda", self.head_lambda), ("label_lambda", self.label_lambda)]
        {
            if !(lambda.is_finite() && lambda > 0.0) {
                return fail(format!("{name} = {lambda}"), "a message weight is positive");
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return fail(format!("dropout = {}", self.dropout), "use 0 up to, not including, 1");
        }
        if !(self.frobenius_coefficient.is_finite() && self.frobenius_coefficient >= 0.0) {
            let problem = format!("frobenius_coefficient = {}", self.frobenius_coefficient);
            return fail(problem, "use 0 to switch the regulariser off");
        }
        self.validate_globals()
    }

    fn validate_globals(&self) -> Result<()> {
        let Some(globals) = &self.globals else { return Ok(()) };
        let largest = sizes::WIDTH_MAX;
        sizes::check(
            FAMILY,
            &[
                ("globals.features", globals.features, largest),
                ("globals.rank", globals.rank, largest),
            ],
        )?;
        if (1..=self.channels).contains(&self.global_channels()) {
            return Ok(());
        }
        Err(ModelError::Shape {
            model: FAMILY,
            problem: format!(
                "globals.channels = {} of {} channels",
                globals.channels, self.channels
            ),
            hint: "global channels are at least 1 and at most all of them".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_defaults_are_valid_and_survive_toml() {
        let config = Pt2023Config::default();
        config.validate().unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Pt2023Config>(&text).unwrap(), config);
        assert_eq!(toml::from_str::<Pt2023Config>("").unwrap(), config);
        let globals = "[globals]\ndesign = 'first-channels'\nform = 'normalised-product'\nrank = 6";
        let parsed = toml::from_str::<Pt2023Config>(globals).unwrap();
        assert_eq!(parsed.global_channels(), 1);
        assert!(toml::from_str::<Pt2023Config>("widht = 3").is_err());
    }

    #[test]
    fn invariant_impossible_configurations_name_the_field() {
        let first = GlobalConfig {
            design: GlobalDesign::FirstChannels,
            channels: 17,
            ..GlobalConfig::default()
        };
        let none = GlobalConfig { features: 0, ..GlobalConfig::default() };
        let base = Pt2023Config::default;
        let cases = [
            (Pt2023Config { vocab: 1, ..base() }, "vocab"),
            (Pt2023Config { width: 0, ..base() }, "width"),
            (Pt2023Config { width: 1, ternary: TernaryForm::DistanceShared, ..base() }, "width"),
            (Pt2023Config { iterations: 0, ..base() }, "iterations"),
            (Pt2023Config { root_labels: Some(0), ..base() }, "root_labels"),
            (Pt2023Config { distance_cuts: vec![3, 1], ..base() }, "cut point 1"),
            (Pt2023Config { head_damping: 1.5, ..base() }, "head_damping"),
            (Pt2023Config { label_step: f64::NAN, ..base() }, "label_step"),
            (Pt2023Config { label_lambda: 0.0, ..base() }, "label_lambda"),
            (Pt2023Config { dropout: 1.0, ..base() }, "dropout"),
            (Pt2023Config { frobenius_coefficient: -1.0, ..base() }, "frobenius_coefficient"),
            (Pt2023Config { globals: Some(first), ..base() }, "globals.channels"),
            (Pt2023Config { globals: Some(none), ..base() }, "globals.features"),
        ];
        for (config, field) in cases {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(field), "{message}");
        }
    }
}
