//! AdamW with one group per tensor over flat buffers.

use std::ops::Range;

use models::fused::adamw::{self, Group as StepGroup, State, Step};
use models::parameters::{Layout, Role};
use models::parametrization::Resolved;

use crate::config::train::{DecayKind, TrainConfig};

/// Added to the norm when clipping, as in PyTorch's `clip_grad_norm_`.
const CLIP_EPSILON: f64 = 1e-6;

/// The float types that training state comes in: f32 runs through the fused kernels, f64 is the
/// plain definition and serves known answers.
pub trait Real: Copy + Send + Sync + PartialEq + std::fmt::Debug + Default {
    /// One AdamW step of all `groups`.
    fn update(buffers: Buffers<'_, Self>, groups: impl Iterator<Item = StepGroup>, step: &Step);

    /// Sum of squares in f64.
    fn sum_of_squares(values: &[Self]) -> f64;

    /// `factor gradient + decay parameter`.
    fn coupled(gradient: Self, parameter: Self, factor: f64, decay: f64) -> Self;
}

/// Parameters, both moments and gradients of one step, in layout order.
#[derive(Debug)]
pub struct Buffers<'a, F> {
    /// Parameters.
    pub parameters: &'a mut [F],
    /// Means of gradients.
    pub first: &'a mut [F],
    /// Means of squared gradients.
    pub second: &'a mut [F],
    /// Gradients before clipping.
    pub gradients: &'a [F],
}

impl Real for f32 {
    fn update(buffers: Buffers<'_, Self>, groups: impl Iterator<Item = StepGroup>, step: &Step) {
        let Buffers { parameters, first, second, gradients } = buffers;
        adamw::update(State { parameters, first, second, gradients }, groups, step);
    }

    fn sum_of_squares(values: &[Self]) -> f64 {
        adamw::sum_of_squares(values)
    }

    fn coupled(gradient: Self, parameter: Self, factor: f64, decay: f64) -> Self {
        factor as f32 * gradient + decay as f32 * parameter
    }
}

impl Real for f64 {
    fn update(buffers: Buffers<'_, Self>, groups: impl Iterator<Item = StepGroup>, step: &Step) {
        let Buffers { parameters, first, second, gradients } = buffers;
        let &Step { beta1, beta2, count, gradient_scale } = step;
        let correction1 = 1.0 - beta1.powf(count as f64);
        let correction2 = 1.0 - beta2.powf(count as f64);
        for group in groups {
            let StepGroup { range, learning_rate, weight_decay, epsilon } = group;
            for index in range {
                let gradient = gradients[index] * gradient_scale;
                let (m, v) = (&mut first[index], &mut second[index]);
                *m = beta1 * *m + (1.0 - beta1) * gradient;
                *v = beta2 * *v + (1.0 - beta2) * gradient * gradient;
                let root = (*v / correction2).sqrt() + epsilon;
                parameters[index] -=
                    learning_rate * (weight_decay * parameters[index] + *m / correction1 / root);
            }
        }
    }

    fn sum_of_squares(values: &[Self]) -> f64 {
        values.iter().map(|value| value * value).sum()
    }

    fn coupled(gradient: Self, parameter: Self, factor: f64, decay: f64) -> Self {
        factor * gradient + decay * parameter
    }
}

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
        // Coupled decay reaches the optimiser inside the gradient, see `couple_decay`.
        let decoupled = config.decay_kind == DecayKind::Decoupled;
        let weight_decay = if decoupled { weight_decay } else { 0.0 };
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

    /// One group per tensor.
    pub fn groups(&self) -> &[Group] {
        &self.groups
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
        let AdamConstants { beta1, beta2, epsilon, weight_decay } = self.constants;
        let of_step = |group: &Group| StepGroup {
            range: group.range.clone(),
            learning_rate: learning_rate * group.learning_rate,
            weight_decay: weight_decay * group.weight_decay,
            epsilon: epsilon * group.epsilon,
        };
        let groups = self.groups.iter().map(of_step);
        let step = Step { beta1, beta2, count: self.steps, gradient_scale: gradient_factor };
        let (first, second) = (&mut self.first_moment[..], &mut self.second_moment[..]);
        F::update(Buffers { parameters, first, second, gradients }, groups, &step);
    }
}

/// Euclidean norm of all gradients, summed in f64 over fixed chunks in order: the same bits for
/// any number of threads. Finite exactly if every gradient is.
pub fn global_norm<F: Real>(gradients: &[F]) -> f64 {
    F::sum_of_squares(gradients).sqrt()
}

/// Factor on gradients of global norm `norm` so that it is at most `threshold`; 1 if
/// `threshold` is 0 (no clipping).
pub fn clip_factor(norm: f64, threshold: f64) -> f64 {
    if threshold > 0.0 { (threshold / (norm + CLIP_EPSILON)).min(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::testing::{Bigram, rules};
    use models::random::{Purpose, Stream};

    const CONSTANTS: AdamConstants =
        AdamConstants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };

    fn noise(count: usize, seed: u64) -> Vec<f64> {
        let mut stream = Stream::new(seed, Purpose::Test, 0);
        (0..count).map(|_| stream.normal()).collect()
    }

    /// The textbook, one element at a time.
    fn naive(
        theta: &mut [f64],
        gradients: &[Vec<f64>],
        groups: &[Group],
        rates: &[f64],
        clip: f64,
    ) {
        let norm = |gradient: &Vec<f64>| gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        let norms: Vec<f64> = gradients.iter().map(norm).collect();
        for group in groups {
            for index in group.range.clone() {
                let (mut m, mut v) = (0.0, 0.0);
                for (step, (gradient, rate)) in gradients.iter().zip(rates).enumerate() {
                    let norm = norms[step];
                    let factor = if norm + 1e-6 > clip { clip / (norm + 1e-6) } else { 1.0 };
                    let g = factor * gradient[index];
                    m = 0.9 * m + 0.1 * g;
                    v = 0.999 * v + 0.001 * g * g;
                    let time = step as i32 + 1;
                    let m_hat = m / (1.0 - 0.9f64.powi(time));
                    let v_hat = v / (1.0 - 0.999f64.powi(time));
                    let rate = rate * group.learning_rate;
                    theta[index] -= rate * 0.1 * group.weight_decay * theta[index];
                    theta[index] -= rate * m_hat / (v_hat.sqrt() + 1e-8 * group.epsilon);
                }
            }
        }
    }

    #[test]
    fn invariant_adamw_agrees_with_the_textbook() {
        let groups = groups(&Bigram::layout(), &rules(), false);
        let total = groups.last().unwrap().range.end;
        let gradients: Vec<Vec<f64>> = (0..6).map(|step| noise(total, 10 + step)).collect();
        let rates = [0.01, 0.02, 0.02, 0.015, 0.01, 0.001];
        let start = noise(total, 1);
        let norm = global_norm(&gradients[2]);
        let mut expected = start.clone();
        naive(&mut expected, &gradients, &groups, &rates, norm);
        let mut wide = (AdamW::new(groups.clone(), CONSTANTS), start.clone());
        let narrow: Vec<f32> = start.iter().map(|&value| value as f32).collect();
        let mut narrow = (AdamW::new(groups, CONSTANTS), narrow);
        for (gradient, &rate) in gradients.iter().zip(&rates) {
            let factor = clip_factor(global_norm(gradient), norm);
            wide.0.step(&mut wide.1, gradient, rate, factor);
            let gradient: Vec<f32> = gradient.iter().map(|&value| value as f32).collect();
            narrow.0.step(&mut narrow.1, &gradient, rate, factor);
        }
        for index in 0..total {
            let expected = expected[index];
            assert!((wide.1[index] - expected).abs() < 1e-12, "element {index}");
            assert!((f64::from(narrow.1[index]) - expected).abs() < 2e-6, "element {index}");
        }
    }

    #[test]
    fn invariant_vectors_decay_only_when_asked() {
        for decay_vectors in [false, true] {
            let groups = groups(&Bigram::layout(), &rules(), decay_vectors);
            assert_eq!(groups[1].weight_decay.to_bits(), 2f64.to_bits());
            assert_eq!(groups[2].weight_decay > 0.0, decay_vectors);
            let range = groups[2].range.clone();
            let mut parameters = vec![1f64; range.end];
            let mut optimiser = AdamW::new(groups, CONSTANTS);
            let gradients = vec![0f64; range.end];
            optimiser.step(&mut parameters, &gradients, 0.1, 1.0);
            let expected = if decay_vectors { 1.0 - 0.1 * 2.0 * 0.1 } else { 1.0 };
            assert!((parameters[range.start] - expected).abs() < 1e-15);
        }
    }

    #[test]
    fn invariant_rates_scale_as_a_whole_so_the_floor_is_relative() {
        // A group with k times the rate moves k times as far at every factor of the schedule,
        // the floor included (decay off; Adam's direction does not depend on the rate).
        let mut rules = rules();
        for (rule, rate) in rules.rules.iter_mut().zip([1.0, 0.25, 4.0]) {
            (rule.lr_multiplier, rule.eps_multiplier) = (rate, 1.0);
        }
        let constants = AdamConstants { weight_decay: 0.0, ..CONSTANTS };
        let groups = groups(&Bigram::layout(), &rules, true);
        let config = crate::config::train::ScheduleConfig {
            floor_share: 0.1,
            ..crate::config::train::ScheduleConfig::default()
        };
        let schedule = crate::train::schedule::Schedule::new(&config, 30);
        let starts: Vec<usize> = groups.iter().map(|group| group.range.start).collect();
        let mut optimiser = AdamW::new(groups, constants);
        let mut parameters = vec![0f64; optimiser.first_moment.len()];
        for step in 0..30 {
            let before: Vec<f64> = starts.iter().map(|&start| parameters[start]).collect();
            let gradients = vec![0.7f64; parameters.len()];
            optimiser.step(&mut parameters, &gradients, 0.01 * schedule.factor(step), 1.0);
            let moved = |group: usize| parameters[starts[group]] - before[group];
            assert!((moved(1) / moved(0) - 0.25).abs() < 1e-9, "step {step}");
            assert!((moved(2) / moved(0) - 4.0).abs() < 1e-9, "step {step}");
            assert!(moved(0).abs() >= 0.99 * 0.01 * 0.1 * (1.0f64.min((step + 1) as f64 / 2.0)));
        }
    }

    #[test]
    fn invariant_norm_is_exact_and_independent_of_threads() {
        let values: Vec<f32> = noise(100_003, 5).iter().map(|&value| value as f32).collect();
        let norms = [1, 2, 7].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| global_norm(&values)).to_bits()
        });
        assert!(norms.iter().all(|norm| norm == &norms[0]));
        let expected = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        assert!((f64::from_bits(norms[0]) / expected - 1.0).abs() < 1e-12);
        assert!(!global_norm(&[1.0, f32::INFINITY]).is_finite());
        assert!(global_norm(&[f32::MAX; 100]).is_finite());
    }

    #[test]
    fn invariant_clip_bounds_the_norm_and_leaves_small_gradients_alone() {
        assert_eq!(clip_factor(0.5, 1.0).to_bits(), 1f64.to_bits());
        assert_eq!(clip_factor(1e9, 0.0).to_bits(), 1f64.to_bits());
        let clipped = 8.0 * clip_factor(8.0, 2.0);
        assert!(clipped <= 2.0 && clipped > 2.0 - 1e-6, "{clipped}");
    }
}
