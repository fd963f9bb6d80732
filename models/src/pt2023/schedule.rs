//! Mean-field updates of labels and heads, in both orders, with damping and step sizes.

use candle_core::Tensor;

use super::config::{GlobalDesign, Pt2023Config, UpdateOrder};
use super::dropout::Dropout;
use super::encoder::Constants;
use super::extra_heads::{GlobalNode, RootNode};
use super::heads::{Candidates, Masks};
use super::ternary::{DistanceGroups, Projections, Ternary};
use crate::error::Result;

/// The parts of the model at one input: potentials, masks and constants.
pub(super) struct Inference<'a> {
    pub(super) config: &'a Pt2023Config,
    pub(super) constants: Constants,
    pub(super) unary: &'a Tensor,
    pub(super) masks: Masks,
    pub(super) groups: DistanceGroups,
    pub(super) ternary: Ternary,
    pub(super) globals: Option<GlobalNode>,
    pub(super) root: Option<RootNode>,
    pub(super) dropout: Dropout,
}

/// Labels of words and root: scores or beliefs.
#[derive(Clone)]
pub(super) struct Labels {
    pub(super) words: Tensor,
    pub(super) root: Option<Tensor>,
}

impl Labels {
    fn map(&self, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self { words: f(&self.words)?, root: self.root.as_ref().map(&f).transpose()? })
    }

    fn zip(&self, other: &Self, f: impl Fn(&Tensor, &Tensor) -> Result<Tensor>) -> Result<Self> {
        let root = match (&self.root, &other.root) {
            (Some(a), Some(b)) => Some(f(a, b)?),
            _ => None,
        };
        Ok(Self { words: f(&self.words, &other.words)?, root })
    }
}

/// Everything one iteration hands to the next.
pub(super) struct State {
    /// Label scores z.
    pub(super) labels: Labels,
    /// Head logits A.
    pub(super) heads: Candidates,
    /// Label beliefs of the previous iteration.
    pub(super) label_beliefs: Labels,
    /// Head posteriors of the previous iteration.
    pub(super) head_posterior: Candidates,
    /// Message G to the words, `(B, n, d)`; none before the first iteration.
    pub(super) message: Option<Tensor>,
}

/// Share of the old value in damped logits and scores: `share old + (1 - share) scale new`.
fn damp(old: &Tensor, new: &Tensor, share: f64, scale: f64) -> Result<Tensor> {
    if share == 0.0 {
        return Ok((new * scale)?);
    }
    Ok(((old * share)? + (new * ((1.0 - share) * scale))?)?)
}

/// Step from the previous belief to the new one: `(1 - step) old + step new`.
fn step(old: &Tensor, new: &Tensor, step: f64) -> Result<Tensor> {
    if (step - 1.0).abs() == 0.0 {
        return Ok(new.clone());
    }
    Ok(((old * (1.0 - step))? + (new * step)?)?)
}

fn times(tensor: &Tensor, factor: f64) -> Result<Tensor> {
    if (factor - 1.0).abs() == 0.0 { Ok(tensor.clone()) } else { Ok((tensor * factor)?) }
}

impl Inference<'_> {
    fn normalise_labels(&self, scores: &Labels) -> Result<Labels> {
        scores.map(|scores| self.config.normaliser.apply(scores))
    }

    fn normalise_heads(&self, logits: &Candidates) -> Result<Candidates> {
        let design = self.config.globals.map_or(GlobalDesign::default(), |g| g.design);
        logits.normalise(self.config.normaliser, design)
    }

    /// Scores and posteriors before the first iteration: unary scores, a root without
    /// preference, and every allowed head equally likely.
    pub(super) fn start(&self) -> Result<State> {
        let (sequences, length, _) = self.unary.dims3()?;
        let (dtype, device) = (self.unary.dtype(), self.unary.device());
        let ones = |channels, candidates| {
            Tensor::ones((sequences, channels, length, candidates), dtype, device)
        };
        let channels = self.config.channels;
        let root = match &self.root {
            Some(root) => Some(Tensor::zeros((sequences, root.labels()?), dtype, device)?),
            None => None,
        };
        let heads = Candidates {
            root: root.as_ref().map(|_| ones(channels, 1)).transpose()?,
            words: ones(channels, length)?,
            features: match &self.config.globals {
                Some(globals) => Some(ones(self.config.global_channels(), globals.features)?),
                None => None,
            },
        };
        let labels = Labels { words: self.masks.silence_padding(self.unary)?, root };
        let heads = self.masks.forbid(&heads)?;
        let label_beliefs = self.normalise_labels(&labels)?;
        let head_posterior = self.normalise_heads(&heads)?;
        Ok(State { labels, heads, label_beliefs, head_posterior, message: None })
    }

    /// Beliefs as they enter messages: padding is silent.
    fn speaking(&self, beliefs: &Labels) -> Result<Labels> {
        let words = self.masks.silence_padding(&beliefs.words)?;
        let root = beliefs.root.clone();
        Labels { words, root }.map(|beliefs| times(beliefs, self.constants.belief))
    }

    /// Message F times its constants: the undamped head logits.
    fn head_update(&self, beliefs: &Labels, projections: &Projections) -> Result<Candidates> {
        let words = self.ternary.head_message(projections, &self.groups)?;
        let root = match (&self.root, &beliefs.root) {
            (Some(node), Some(root)) => Some(node.head_message(&beliefs.words, root)?),
            _ => None,
        };
        let features = match &self.globals {
            Some(node) => Some(node.head_message(&beliefs.words)?),
            None => None,
        };
        let (words_factor, features_factor) =
            (self.constants.word_logits, self.constants.feature_logits);
        Ok(Candidates {
            root: root.map(|message| message * words_factor).transpose()?,
            words: (words * words_factor)?,
            features: features.map(|message| message * features_factor).transpose()?,
        })
    }

    /// Unary scores plus message G, the undamped label scores times `lambda_Z`; and message G.
    fn label_update(
        &self,
        beliefs: &Labels,
        projections: &Projections,
        posterior: &Candidates,
    ) -> Result<(Labels, Tensor)> {
        let one_way = self.config.head_message_only;
        let mut message =
            self.ternary.label_message(projections, &posterior.words, &self.groups, one_way)?;
        if let (Some(node), Some(posterior)) = (&self.globals, &posterior.features) {
            let posterior = times(posterior, self.constants.topic)?;
            message = (message + node.label_message(&posterior)?)?;
        }
        let mut root_message = None;
        if let (Some(node), Some(root), Some(posterior)) =
            (&self.root, &beliefs.root, &posterior.root)
        {
            message = (message + node.label_message(root, posterior)?)?;
            // The root has no head of its own: this is its only message, kept when words hear
            // from heads only.
            let message = node.root_message(&beliefs.words, posterior)?;
            root_message = Some(times(&message, self.constants.message)?);
        }
        let message = times(&message, self.constants.message)?;
        Ok((Labels { words: (self.unary + &message)?, root: root_message }, message))
    }

    fn damp_heads(&self, old: &Candidates, new: &Candidates) -> Result<Candidates> {
        let (share, scale) = (self.config.head_damping, 1.0 / self.config.head_lambda);
        old.zip(new, |old, new| damp(old, new, share, scale))
    }

    fn damp_labels(&self, old: &Labels, new: &Labels) -> Result<Labels> {
        let (share, scale) = (self.config.label_damping, 1.0 / self.config.label_lambda);
        old.zip(new, |old, new| damp(old, new, share, scale))
    }

    fn drop_heads(&self, posterior: &Candidates, iteration: usize) -> Result<Candidates> {
        let drop = |block: Option<&Tensor>, site| {
            block.map(|block| self.dropout.apply(block, site, iteration)).transpose()
        };
        Ok(Candidates {
            root: drop(posterior.root.as_ref(), "head_posterior.root")?,
            words: self.dropout.apply(&posterior.words, "head_posterior", iteration)?,
            features: drop(posterior.features.as_ref(), "head_posterior.features")?,
        })
    }

    fn drop_labels(&self, scores: &Labels, iteration: usize) -> Result<Labels> {
        let root = scores.root.as_ref();
        let root = root.map(|root| self.dropout.apply(root, "label_scores.root", iteration));
        let words = self.dropout.apply(&scores.words, "label_scores", iteration)?;
        Ok(Labels { words, root: root.transpose()? })
    }

    /// Heads from the current labels, then labels from the new heads. The first iteration has no
    /// previous belief to step from.
    pub(super) fn asynchronous(&self, state: &State, iteration: usize) -> Result<State> {
        let mut label_beliefs = self.normalise_labels(&state.labels)?;
        if iteration > 0 {
            label_beliefs = self.step_labels(&state.label_beliefs, &label_beliefs)?;
        }
        let speaking = self.speaking(&label_beliefs)?;
        let projections = self.ternary.project(&speaking.words)?;
        let update = self.head_update(&speaking, &projections)?;
        let heads = self.masks.forbid(&self.damp_heads(&state.heads, &update)?)?;
        let mut posterior = self.normalise_heads(&heads)?;
        if iteration > 0 {
            posterior = self.step_heads(&state.head_posterior, &posterior)?;
        }
        let head_posterior = self.drop_heads(&posterior, iteration)?;
        let (update, message) = self.label_update(&speaking, &projections, &head_posterior)?;
        let labels = self.drop_labels(&self.damp_labels(&state.labels, &update)?, iteration)?;
        Ok(State { labels, heads, label_beliefs, head_posterior, message: Some(message) })
    }

    /// Labels and heads from the beliefs of the previous iteration. The logits it returns are not
    /// masked yet: the next iteration or [`Inference::last_posterior`] does that.
    pub(super) fn synchronous(&self, state: &State, iteration: usize) -> Result<State> {
        let heads = self.masks.forbid(&state.heads)?;
        let label_beliefs = self.normalise_labels(&state.labels)?;
        let label_beliefs = self.step_labels(&state.label_beliefs, &label_beliefs)?;
        let posterior = self.normalise_heads(&heads)?;
        let posterior = self.step_heads(&state.head_posterior, &posterior)?;
        let head_posterior = self.drop_heads(&posterior, iteration)?;
        let speaking = self.speaking(&label_beliefs)?;
        let projections = self.ternary.project(&speaking.words)?;
        let logits = self.damp_heads(&heads, &self.head_update(&speaking, &projections)?)?;
        let (update, message) = self.label_update(&speaking, &projections, &head_posterior)?;
        let labels = self.drop_labels(&self.damp_labels(&state.labels, &update)?, iteration)?;
        Ok(State { labels, heads: logits, label_beliefs, head_posterior, message: Some(message) })
    }

    /// Head posteriors after the last iteration.
    pub(super) fn last_posterior(&self, state: &State) -> Result<Candidates> {
        match self.config.order {
            UpdateOrder::Asynchronous => Ok(state.head_posterior.clone()),
            UpdateOrder::Synchronous => {
                let posterior = self.normalise_heads(&self.masks.forbid(&state.heads)?)?;
                self.step_heads(&state.head_posterior, &posterior)
            }
        }
    }

    /// Label beliefs after the last iteration, zero where no word stands: `(B, n, d)`.
    pub(super) fn last_beliefs(&self, state: &State) -> Result<Tensor> {
        let beliefs = self.normalise_labels(&state.labels)?;
        let beliefs = self.step_labels(&state.label_beliefs, &beliefs)?;
        self.masks.silence_padding(&beliefs.words)
    }

    fn step_labels(&self, old: &Labels, new: &Labels) -> Result<Labels> {
        old.zip(new, |old, new| step(old, new, self.config.label_step))
    }

    fn step_heads(&self, old: &Candidates, new: &Candidates) -> Result<Candidates> {
        old.zip(new, |old, new| step(old, new, self.config.head_step))
    }
}
