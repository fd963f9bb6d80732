//! What one step of a run does to its parameters: rate of the step, clip, decay, AdamW.
//!
//! The trainer, the coordinate check and the recorded traces all take their steps here, so that
//! what is checked is what trains.

use models::parameters::{Layout, Role};
use models::parametrization::Resolved;

use super::optimiser::{AdamConstants, AdamW, Group, Real, clip_factor, groups};
use super::schedule::Schedule;
use crate::config::train::{DecayKind, TrainConfig};

/// Optimiser, schedule and clip of a run.
#[derive(Debug)]
pub struct Update<F> {
    /// Moments and updates made.
    pub optimiser: AdamW<F>,
    /// Steps without an update: their batches had no target.
    pub idle: u64,
    schedule: Schedule,
    learning_rate: f64,
    clip_threshold: f64,
    /// Weight decay inside the gradient, if the run couples it.
    coupled_decay: Option<f64>,
}

impl<F: Real> Update<F> {
    /// The update of `layout` by `resolved` under `config`, before its first step.
    pub fn new(layout: &Layout, resolved: &Resolved, config: &TrainConfig) -> Self {
        let coupled = config.decay_kind == DecayKind::Coupled;
        let mut groups = groups(layout, resolved, config.decay_vectors);
        for (group, spec) in groups.iter_mut().zip(layout.specs()) {
            if spec.role() == Role::Input {
                group.learning_rate *= config.input_rate;
            }
        }
        Self {
            optimiser: AdamW::new(groups, AdamConstants::from(config)),
            idle: 0,
            schedule: Schedule::new(&config.schedule, config.steps),
            learning_rate: config.learning_rate,
            clip_threshold: config.gradient_clip * resolved.gradient_clip_multiplier,
            coupled_decay: coupled.then_some(config.weight_decay),
        }
    }

    /// Steps done, those without an update included: the place in the schedule and in the data.
    pub fn done(&self) -> u64 {
        self.optimiser.steps + self.idle
    }

    /// Continues after `steps` steps of which `idle` made no update.
    pub fn resume(&mut self, steps: u64, idle: u64) {
        self.optimiser.steps = steps.saturating_sub(idle);
        self.idle = idle;
    }

    /// A step whose batch has no target. Schedule and data go on; parameters, both moments, decay
    /// and the count in Adam's bias correction stay as they are, so that the optimiser depends on
    /// the batches that taught something and on nothing else.
    pub fn pass(&mut self) {
        self.idle += 1;
    }

    /// Global learning rate of the next step, `annealing` (1 without a plateau) included.
    pub fn learning_rate(&self, annealing: f64) -> f64 {
        self.learning_rate * (self.schedule.factor(self.done()) * annealing)
    }

    /// Takes a step with `gradients` of global norm `norm`. With coupled decay the gradients are
    /// clipped and decayed in place.
    pub fn step(&mut self, parameters: &mut [F], gradients: &mut [F], norm: f64, rate: f64) {
        let mut factor = clip_factor(norm, self.clip_threshold);
        if let Some(decay) = self.coupled_decay {
            couple_decay(self.optimiser.groups(), (parameters, gradients), decay, factor);
            factor = 1.0;
        }
        self.optimiser.step(parameters, gradients, rate, factor);
    }
}

/// `g <- factor g + decay multiplier θ`, tensor by tensor: L2 regularisation inside the gradient
/// after the clip, as PyTorch's Adam takes its `weight_decay`.
fn couple_decay<F: Real>(
    groups: &[Group],
    (parameters, gradients): (&[F], &mut [F]),
    weight_decay: f64,
    factor: f64,
) {
    for group in groups {
        let decay = weight_decay * group.weight_decay;
        let pairs = gradients[group.range.clone()].iter_mut().zip(&parameters[group.range.clone()]);
        for (gradient, &parameter) in pairs {
            *gradient = F::coupled(*gradient, parameter, factor, decay);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::testing::{Bigram, rules};
    use models::random::{Purpose, Stream};

    fn noise(count: usize, seed: u64) -> Vec<f64> {
        let mut stream = Stream::new(seed, Purpose::Test, 0);
        (0..count).map(|_| stream.normal()).collect()
    }

    fn config() -> TrainConfig {
        let learning_rate = 0.01;
        TrainConfig { learning_rate, weight_decay: 0.1, gradient_clip: 1.0, ..Default::default() }
    }

    /// Parameters after three steps of `config`, and by the textbook, whose decay `l2` stands in
    /// the gradient; all gradients have twice the norm that the clip allows.
    fn three_steps(config: &TrainConfig, l2: f64) -> (Vec<f32>, Vec<f64>) {
        let (layout, resolved) = (Bigram::layout(), rules());
        let mut update = Update::<f32>::new(&layout, &resolved, config);
        let groups = groups(&layout, &resolved, config.decay_vectors);
        let total = groups.last().unwrap().range.end;
        let narrow = |seed| noise(total, seed).iter().map(|&v| v as f32).collect::<Vec<f32>>();
        let (mut theta, mut expected) = (narrow(1), noise(total, 1));
        let (mut m, mut v) = (vec![0.0; total], vec![0.0; total]);
        let norm = 2.0 * config.gradient_clip * resolved.gradient_clip_multiplier;
        for step in 1..4 {
            let mut gradients = narrow(10 + step);
            let before = gradients.clone();
            for group in &groups {
                for index in group.range.clone() {
                    let decay = l2 * group.weight_decay * expected[index];
                    let g = 0.5 * f64::from(before[index]) + decay;
                    m[index] = config.beta1 * m[index] + (1.0 - config.beta1) * g;
                    v[index] = config.beta2 * v[index] + (1.0 - config.beta2) * g * g;
                    let hat = |x: f64, beta: f64| x / (1.0 - beta.powi(step as i32));
                    let root = hat(v[index], config.beta2).sqrt() + config.epsilon * group.epsilon;
                    let rate = config.learning_rate * group.learning_rate;
                    expected[index] -= rate * hat(m[index], config.beta1) / root;
                }
            }
            update.step(&mut theta, &mut gradients, norm, config.learning_rate);
        }
        (theta, expected)
    }

    #[test]
    fn invariant_coupled_decay_is_adam_with_l2_in_the_clipped_gradient() {
        let config = TrainConfig { decay_kind: DecayKind::Coupled, ..config() };
        let (theta, expected) = three_steps(&config, config.weight_decay);
        for (found, expected) in theta.iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < 2e-5, "{found} {expected}");
        }
    }

    #[test]
    fn invariant_the_clip_reaches_the_optimiser() {
        // Adam hides a constant factor on gradients except in epsilon, so epsilon is large.
        let config = TrainConfig { weight_decay: 0.0, epsilon: 1.0, ..config() };
        let (theta, expected) = three_steps(&config, 0.0);
        for (found, expected) in theta.iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < 2e-5, "{found} {expected}");
        }
    }

    #[test]
    fn invariant_the_input_rate_reaches_input_tables_only() {
        let (layout, resolved) = (Bigram::layout(), rules());
        let plain = Update::<f32>::new(&layout, &resolved, &config());
        let split = TrainConfig { input_rate: 4.0, ..config() };
        let split = Update::<f32>::new(&layout, &resolved, &split);
        let pairs = plain.optimiser.groups().iter().zip(split.optimiser.groups());
        let mut inputs = 0;
        for ((plain, split), spec) in pairs.zip(layout.specs()) {
            let input = spec.role() == Role::Input;
            inputs += usize::from(input);
            let factor = if input { 4.0 } else { 1.0 };
            assert_eq!(split.learning_rate.to_bits(), (factor * plain.learning_rate).to_bits());
            assert_eq!(split.weight_decay.to_bits(), plain.weight_decay.to_bits());
        }
        assert!(inputs > 0);
    }

    #[test]
    fn invariant_the_rate_follows_schedule_and_annealing() {
        let (layout, resolved) = (Bigram::layout(), rules());
        let config = config();
        let update = Update::<f32>::new(&layout, &resolved, &config);
        let first = Schedule::new(&config.schedule, config.steps).factor(0);
        assert!((update.learning_rate(1.0) - 0.01 * first).abs() < 1e-15);
        assert!((update.learning_rate(0.25) - 0.0025 * first).abs() < 1e-15);
    }
}
