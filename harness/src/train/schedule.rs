//! The factor on every learning rate over time.

use crate::config::train::{Decay, ScheduleConfig};

/// Linear warm-up followed by a decay to a share of the peak.
///
/// With `S` steps of which `W = round(warmup_share S)` warm up, step `s` (from 0) has the factor
/// `(s + 1) / W` while `s < W`, and afterwards, with `p = (s - W) / (S - W)`, cosine
/// `f + (1 - f)(1 + cos πp) / 2`, linear `1 - (1 - f) p` or constant 1. The first step is never
/// wasted on a zero rate, and the floor `f` is what a step after the last one would have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    warmup: u64,
    steps: u64,
    decay: Decay,
    floor: f64,
}

impl Schedule {
    /// The schedule of a run of `steps` steps.
    pub fn new(config: &ScheduleConfig, steps: u64) -> Self {
        let warmup = (config.warmup_share * steps as f64).round() as u64;
        Self { warmup: warmup.min(steps), steps, decay: config.decay, floor: config.floor_share }
    }

    /// Factor of step `step`, counted from 0.
    pub fn factor(&self, step: u64) -> f64 {
        if step < self.warmup {
            return (step + 1) as f64 / self.warmup as f64;
        }
        let remaining = self.steps.saturating_sub(self.warmup).max(1);
        let progress = ((step - self.warmup) as f64 / remaining as f64).min(1.0);
        let share = match self.decay {
            Decay::Constant => return 1.0,
            Decay::Linear => 1.0 - progress,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        };
        self.floor + (1.0 - self.floor) * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(decay: Decay, warmup_share: f64, floor_share: f64, steps: u64) -> Schedule {
        Schedule::new(&ScheduleConfig { warmup_share, decay, floor_share }, steps)
    }

    #[test]
    fn invariant_warmup_rises_linearly_to_one() {
        let schedule = schedule(Decay::Linear, 0.1, 0.0, 100);
        for step in 0..10 {
            assert!((schedule.factor(step) - (step + 1) as f64 / 10.0).abs() < 1e-15);
        }
        assert!((schedule.factor(10) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn invariant_known_values_of_each_decay() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        let linear = schedule(Decay::Linear, 0.0, 0.1, 10);
        close(linear.factor(0), 1.0);
        close(linear.factor(5), 0.55);
        close(linear.factor(9), 0.19);
        let cosine = schedule(Decay::Cosine, 0.2, 0.1, 10);
        close(cosine.factor(1), 1.0);
        close(cosine.factor(2), 1.0);
        close(cosine.factor(6), 0.55);
        close(cosine.factor(4), 0.1 + 0.9 * 0.5 * (1.0 + 0.5f64.sqrt()));
        close(cosine.factor(10), 0.1);
        let constant = schedule(Decay::Constant, 0.5, 0.3, 10);
        close(constant.factor(4), 1.0);
        close(constant.factor(9), 1.0);
    }

    #[test]
    fn invariant_factor_is_positive_and_never_above_one() {
        for decay in [Decay::Cosine, Decay::Linear, Decay::Constant] {
            for warmup in [0.0, 0.05, 0.5, 1.0] {
                for steps in [1, 2, 7, 100] {
                    let schedule = schedule(decay, warmup, 0.0, steps);
                    for step in 0..steps {
                        let factor = schedule.factor(step);
                        assert!(factor > 0.0 && factor <= 1.0, "{schedule:?} {step} {factor}");
                    }
                }
            }
        }
    }
}
