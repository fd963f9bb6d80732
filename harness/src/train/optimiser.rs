//! AdamW with one group per tensor over flat buffers.

use models::parameters::{Layout, Role};
use models::parametrization::Resolved;
use rayon::prelude::*;
use std::ops::Range;

use crate::config::train::TrainConfig;

/// Elements per unit of parallel work; part of the definition of [`global_norm`].
const CHUNK: usize = 1 << 14;
/// Added to the norm when clipping, as in PyTorch's `clip_grad_norm_`.
const CLIP_EPSILON: f64 = 1e-6;

/// The float types that training state comes in.
pub trait Real: Copy + Send + Sync + PartialEq + std::fmt::Debug + Default + Into<f64> {
    /// Nearest value of this type.
    fn nearest(value: f64) -> Self;
    /// One AdamW update of an element: `(theta, m, v, gradient)`.
    fn update(element: (&mut Self, &mut Self, &mut Self, Self), constants: &Constants<Self>);
}

/// Numbers of one group at one step.
#[derive(Debug, Clone, Copy)]
pub struct Constants<F> {
    gradient_factor: F,
    beta1: F,
    one_minus_beta1: F,
    beta2: F,
    one_minus_beta2: F,
    /// 1 - learning rate times decay.
    shrink: F,
    /// learning rate / (1 - beta1^t).
    rate: F,
    /// 1 / sqrt(1 - beta2^t).
    root_correction: F,
    epsilon: F,
}

macro_rules! real {
    ($float:ty) => {
        impl Real for $float {
            fn nearest(value: f64) -> Self {
                value as $float
            }

            #[inline]
            fn update(
                (theta, m, v, gradient): (&mut Self, &mut Self, &mut Self, Self),
                c: &Constants<Self>,
            ) {
                let g = gradient * c.gradient_factor;
                *m = c.beta1 * *m + c.one_minus_beta1 * g;
                *v = c.beta2 * *v + c.one_minus_beta2 * (g * g);
                let root = v.sqrt() * c.root_correction + c.epsilon;
                *theta = *theta * c.shrink - c.rate * (*m / root);
            }
        }
    };
}
real!(f32);
real!(f64);

/// What one tensor multiplies the global constants by.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Place in the flat buffer.
    pub range: Range<usize>,
    /// Factor on the learning rate.
    pub learning_rate: f64,
    /// Factor on the weight decay; 0 for a tensor that does not decay.
    pub weight_decay: f64,
    /// Factor on epsilon.
    pub epsilon: f64,
}

/// One group per tensor of `layout`, in order, by its rule; biases and gains decay only with
/// `decay_vectors`.
pub fn groups(layout: &Layout, resolved: &Resolved, decay_vectors: bool) -> Vec<Group> {
    let count = layout.specs().len();
    assert_eq!(count, resolved.rules.len(), "one rule per parameter");
    (0..count)
        .map(|position| {
            let rule = &resolved.rules[position];
            let vector = matches!(layout.specs()[position].role(), Role::Bias | Role::Gain);
            let decays = decay_vectors || !vector;
            Group {
                range: layout.range(position),
                learning_rate: rule.lr_multiplier,
                weight_decay: if decays { rule.weight_decay_multiplier } else { 0.0 },
                epsilon: rule.eps_multiplier,
            }
        })
        .collect()
}

/// Global constants of AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamConstants {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay, multiplied by the learning rate.
    pub weight_decay: f64,
}

impl From<&TrainConfig> for AdamConstants {
    fn from(config: &TrainConfig) -> Self {
        let &TrainConfig { beta1, beta2, epsilon, weight_decay, .. } = config;
        Self { beta1, beta2, epsilon, weight_decay }
    }
}

/// AdamW (Loshchilov and Hutter 2019; decay multiplied by the learning rate as in PyTorch).
///
/// With gradient g, step t from 1, and per tensor `η = learning rate · lr_multiplier`,
/// `λ = weight_decay · weight_decay_multiplier`, `ε = epsilon · eps_multiplier`:
/// `m ← β₁m + (1-β₁)g`, `v ← β₂v + (1-β₂)g²`,
/// `θ ← (1 - ηλ)θ - η/(1-β₁ᵗ) · m / (√v / √(1-β₂ᵗ) + ε)`.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW<F> {
    groups: Vec<Group>,
    constants: AdamConstants,
    /// Means of gradients, in layout order.
    pub first_moment: Vec<F>,
    /// Means of squared gradients, in layout order.
    pub second_moment: Vec<F>,
    /// Steps taken.
    pub steps: u64,
}

impl<F: Real> AdamW<F> {
    /// An optimiser before its first step.
    ///
    /// # Panics
    /// If `groups` do not follow each other without gaps from 0.
    pub fn new(groups: Vec<Group>, constants: AdamConstants) -> Self {
        let total = groups.iter().fold(0, |end, group| {
            assert_eq!(group.range.start, end, "groups must cover the buffer in order");
            group.range.end
        });
        Self {
            groups,
            constants,
            first_moment: vec![F::default(); total],
            second_moment: vec![F::default(); total],
            steps: 0,
        }
    }

    /// Updates `parameters` with `gradients` times `gradient_factor` (see [`clip_factor`]) at the
    /// global rate `learning_rate`. Every element is computed alone, so results do not depend on
    /// threads.
    pub fn step(
        &mut self,
        parameters: &mut [F],
        gradients: &[F],
        learning_rate: f64,
        gradient_factor: f64,
    ) {
        let total = self.first_moment.len();
        assert_eq!(parameters.len(), total, "parameters do not fit the groups");
        assert_eq!(gradients.len(), total, "gradients do not fit the groups");
        self.steps += 1;
        let constants: Vec<Constants<F>> = self
            .groups
            .iter()
            .map(|group| self.constants_of(group, learning_rate, gradient_factor))
            .collect();
        let mut work = Vec::with_capacity(total / CHUNK + self.groups.len());
        let mut rest = (
            parameters,
            self.first_moment.as_mut_slice(),
            self.second_moment.as_mut_slice(),
            gradients,
        );
        for (group, constants) in self.groups.iter().zip(&constants) {
            let size = group.range.len();
            let (theta, after_theta) = rest.0.split_at_mut(size);
            let (m, after_m) = rest.1.split_at_mut(size);
            let (v, after_v) = rest.2.split_at_mut(size);
            let (g, after_g) = rest.3.split_at(size);
            rest = (after_theta, after_m, after_v, after_g);
            let parts = theta.chunks_mut(CHUNK).zip(m.chunks_mut(CHUNK));
            let parts = parts.zip(v.chunks_mut(CHUNK)).zip(g.chunks(CHUNK));
            work.extend(parts.map(|(((theta, m), v), g)| (theta, m, v, g, constants)));
        }
        work.into_par_iter().for_each(|(theta, m, v, g, constants)| {
            for (((theta, m), v), &g) in theta.iter_mut().zip(m).zip(v).zip(g) {
                F::update((theta, m, v, g), constants);
            }
        });
    }

    fn constants_of(&self, group: &Group, learning_rate: f64, factor: f64) -> Constants<F> {
        let AdamConstants { beta1, beta2, epsilon, weight_decay } = self.constants;
        let rate = learning_rate * group.learning_rate;
        let steps = self.steps as f64;
        Constants {
            gradient_factor: F::nearest(factor),
            beta1: F::nearest(beta1),
            one_minus_beta1: F::nearest(1.0 - beta1),
            beta2: F::nearest(beta2),
            one_minus_beta2: F::nearest(1.0 - beta2),
            shrink: F::nearest(1.0 - rate * weight_decay * group.weight_decay),
            rate: F::nearest(rate / (1.0 - beta1.powf(steps))),
            root_correction: F::nearest(1.0 / (1.0 - beta2.powf(steps)).sqrt()),
            epsilon: F::nearest(epsilon * group.epsilon),
        }
    }
}

/// Euclidean norm of all gradients, summed in f64 over fixed chunks in order: the same bits for
/// any number of threads. Finite exactly if every gradient is.
pub fn global_norm<F: Real>(gradients: &[F]) -> f64 {
    let sums: Vec<f64> = gradients.par_chunks(CHUNK).map(square_sum).collect();
    sums.iter().sum::<f64>().sqrt()
}

fn square_sum<F: Real>(values: &[F]) -> f64 {
    // Eight separate sums let the loop be vectorised without changing its meaning.
    let mut sums = [0f64; 8];
    let blocks = values.chunks_exact(8);
    let mut rest = 0.0;
    for &value in blocks.remainder() {
        let value: f64 = value.into();
        rest += value * value;
    }
    for block in blocks {
        for (sum, &value) in sums.iter_mut().zip(block) {
            let value: f64 = value.into();
            *sum += value * value;
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// Factor on gradients of global norm `norm` so that it is at most `threshold`; 1 if
/// `threshold` is 0 (no clipping).
pub fn clip_factor(norm: f64, threshold: f64) -> f64 {
    if threshold > 0.0 { (threshold / (norm + CLIP_EPSILON)).min(1.0) } else { 1.0 }
}
