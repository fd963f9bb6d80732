//! Random small models and batches.

use models::batch::{Batch, Target};
use models::random::{Purpose, Stream};
use proptest::prelude::*;

use crate::blocks::{Activation, Positions};
use crate::{BertConfig, PreLnConfig, ResidualScale, UtConfig};

/// A random case; sizes are kept small and odd.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub vocab: usize,
    pub heads: usize,
    pub head_dim: usize,
    pub depth: usize,
    pub inner: usize,
    pub tied: bool,
    pub biases: bool,
    pub swiglu: bool,
    pub qk_norm: bool,
    pub rotary: bool,
    pub injection: bool,
    pub inverse_steps: bool,
    pub sequences: usize,
    pub length: usize,
    pub padding: bool,
    pub target_share: f64,
    pub seed: u64,
}

pub(super) fn cases() -> impl Strategy<Value = Case> {
    let sizes = (2usize..40, 1usize..4, 1usize..5, 1usize..4, 1usize..20);
    let options = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let looped = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let batch = (1usize..7, 1usize..40, 0usize..4, 0u64..1000);
    (sizes, options, looped, batch).prop_map(|(sizes, options, looped, batch)| Case {
        vocab: sizes.0,
        heads: sizes.1,
        head_dim: 2 * sizes.2,
        depth: sizes.3,
        inner: sizes.4,
        tied: options.0,
        biases: options.1,
        swiglu: options.2,
        padding: options.3,
        qk_norm: looped.0,
        rotary: looped.1,
        injection: looped.2,
        inverse_steps: looped.3,
        sequences: batch.0,
        length: batch.1,
        target_share: [0.0, 0.15, 0.5, 1.0][batch.2],
        seed: batch.3,
    })
}

impl Case {
    pub fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    pub fn bert(&self) -> BertConfig {
        BertConfig {
            vocab: self.vocab,
            width: self.width(),
            layers: self.depth,
            heads: Some(self.heads),
            feed_forward_width: Some(self.inner),
            max_length: self.length + 2,
            tied: self.tied,
            norm_eps: 1e-5,
            ..BertConfig::default()
        }
    }

    pub fn preln(&self) -> PreLnConfig {
        PreLnConfig {
            vocab: self.vocab,
            width: self.width(),
            layers: self.depth,
            heads: Some(self.heads),
            feed_forward_width: Some(self.inner),
            activation: if self.swiglu { Activation::Swiglu } else { Activation::Gelu },
            biases: self.biases,
            qk_norm: self.qk_norm,
            tied: self.tied,
            norm_eps: 1e-5,
            ..PreLnConfig::default()
        }
    }

    pub fn universal(&self) -> UtConfig {
        let (positions, residual_scale) = (
            if self.rotary { Positions::Rotary } else { Positions::Learned },
            if self.inverse_steps { ResidualScale::InverseSteps } else { ResidualScale::One },
        );
        UtConfig {
            positions,
            injection: self.injection,
            residual_scale,
            vocab: self.vocab,
            width: self.width(),
            steps: self.depth,
            heads: Some(self.heads),
            feed_forward_width: Some(self.inner),
            max_length: self.length,
            tied: self.tied,
            norm_eps: 1e-5,
            ..UtConfig::default()
        }
    }

    pub fn batch(&self) -> Batch {
        let mut stream = Stream::named(self.seed, Purpose::Test, "batch", 0);
        let tokens = self.sequences * self.length;
        let ids = (0..tokens).map(|_| stream.below(self.vocab as u64) as u32).collect();
        let mut targets = Vec::new();
        for position in 0..tokens as u32 {
            let label = stream.below(self.vocab as u64) as u32;
            if stream.unit() < self.target_share {
                targets.push(Target { position, label });
            }
        }
        // Some sequences are cut short, one is empty.
        let words = |token: usize| {
            let (sequence, position) = (token / self.length, token % self.length);
            sequence % 4 != 3 && position < self.length - sequence % 3 * self.length / 4
        };
        let attention = self.padding.then(|| (0..tokens).map(words).collect());
        Batch {
            ids,
            attention,
            targets,
            sequences: self.sequences,
            length: self.length,
            dropout: None,
        }
    }
}
