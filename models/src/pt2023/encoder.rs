//! The encoder: unary scores in, label scores out.

use candle_core::Tensor;

use super::config::{LogitFactor, Pt2023Config, UpdateOrder};
use super::dropout::Dropout;
use super::extra_heads::{GlobalNode, RootNode};
use super::heads::Masks;
use super::schedule::{Inference, State};
use super::ternary::{DistanceGroups, Ternary};
use crate::architecture::{Probe, Weights};
use crate::batch::DropoutKey;
use crate::error::Result;
use crate::parametrization::SiteScales;

/// Forward constants under a parametrization; see [`LogitFactor`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Constants {
    /// Factor on message F from words and the root.
    pub(super) word_logits: f64,
    /// Factor on message F from global features.
    pub(super) feature_logits: f64,
    /// Factor on beliefs before they enter a message.
    pub(super) belief: f64,
    /// Factor on the posteriors of global features before they enter message G.
    pub(super) topic: f64,
    /// Factor on message G.
    pub(super) message: f64,
}

/// What the mean-field iterations give.
pub struct MeanField {
    /// Last label scores, or beliefs under `output_probability`: `(B, n, d)`.
    pub labels: Tensor,
    /// Last root scores `(B, 1, d_root)`, if there is a root.
    pub root: Option<Tensor>,
    /// Last head posteriors over the candidates root, words, features, in this order:
    /// `(B, h, n, [1+] n [+ m])`.
    pub head_posterior: Tensor,
    /// `frobenius_coefficient |T|_F`, if it is not switched off.
    pub auxiliary: Option<Tensor>,
}

/// What the iterations start from.
pub struct MeanFieldInput<'a> {
    /// Unary scores `(B, n, d)`.
    pub unary: &'a Tensor,
    /// 1 where a word stands, 0 for padding `(B, n)`, in the type of `unary`; `None` = no padding.
    pub attention: Option<&'a Tensor>,
    /// Dropout masks; `None` switches dropout off.
    pub dropout: Option<DropoutKey>,
}

/// Mean-field inference at one configuration; parameters come with each call.
#[derive(Debug, Clone)]
pub struct Encoder {
    config: Pt2023Config,
    constants: Constants,
}

impl Encoder {
    /// The encoder of `config` with the forward constants of `base` times `sites`.
    ///
    /// # Errors
    /// If no model can have these sizes.
    pub fn new(config: &Pt2023Config, base: &Pt2023Config, sites: &SiteScales) -> Result<Self> {
        config.validate()?;
        let (word_logits, feature_logits) = match config.logit_factor {
            LogitFactor::OwnWidth => (config.width as f64, config.width as f64),
            LogitFactor::BaseWidth => {
                (base.width as f64 * sites.attention_logits, base.width as f64)
            }
        };
        let constants = Constants {
            word_logits,
            feature_logits,
            belief: sites.belief,
            topic: sites.topic,
            message: sites.message,
        };
        Ok(Self { config: config.clone(), constants })
    }

    /// The configuration.
    pub fn config(&self) -> &Pt2023Config {
        &self.config
    }

    pub(super) fn constants(&self) -> Constants {
        self.constants
    }

    /// Runs the iterations. In each the probe sees `belief` (label beliefs), `head_logits`,
    /// `head_posterior`, `message` (G to the words), `z` (label scores) and, if there is a root,
    /// `root_scores`; after the last one `last_head_posterior` and `out`.
    pub fn run(
        &self,
        w: &Weights,
        input: &MeanFieldInput,
        probe: &mut dyn Probe,
    ) -> Result<MeanField> {
        let unary = input.unary;
        let (_, length, _) = unary.dims3()?;
        let config = &self.config;
        let groups =
            DistanceGroups::new(&config.distance_cuts, length, unary.dtype(), unary.device())?;
        let inference = Inference {
            config,
            constants: self.constants,
            unary,
            masks: Masks::new(input.attention, &groups)?,
            groups,
            ternary: Ternary::new(config, w)?,
            globals: GlobalNode::new(config, w)?,
            root: RootNode::new(config, w)?,
            dropout: Dropout::new(config.dropout, input.dropout),
        };
        let mut state = inference.start()?;
        for iteration in 0..config.iterations {
            state = match config.order {
                UpdateOrder::Asynchronous => inference.asynchronous(&state, iteration)?,
                UpdateOrder::Synchronous => inference.synchronous(&state, iteration)?,
            };
            record(&state, iteration, probe)?;
        }
        let labels = if config.output_probability {
            inference.last_beliefs(&state)?
        } else {
            state.labels.words.clone()
        };
        let head_posterior = inference.last_posterior(&state)?.joined()?;
        let last = config.iterations - 1;
        probe.record("last_head_posterior", last, &head_posterior)?;
        probe.record("out", last, &labels)?;
        let auxiliary = if config.frobenius_coefficient > 0.0 {
            Some((inference.ternary.frobenius_norm()? * config.frobenius_coefficient)?)
        } else {
            None
        };
        let root = state.labels.root.as_ref().map(|root| root.unsqueeze(1)).transpose()?;
        Ok(MeanField { labels, root, head_posterior, auxiliary })
    }
}

fn record(state: &State, iteration: usize, probe: &mut dyn Probe) -> Result<()> {
    probe.record("belief", iteration, &state.label_beliefs.words)?;
    probe.record("head_logits", iteration, &state.heads.joined()?)?;
    probe.record("head_posterior", iteration, &state.head_posterior.joined()?)?;
    probe.record("z", iteration, &state.labels.words)?;
    if let Some(message) = &state.message {
        probe.record("message", iteration, message)?;
    }
    if let Some(root) = &state.labels.root {
        probe.record("root_scores", iteration, root)?;
    }
    Ok(())
}
