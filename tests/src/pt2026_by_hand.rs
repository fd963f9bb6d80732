//! The equations of the 2026 model written a second time: one loop per sum, no tensors, positions
//! as relative rotations `R_(j-i)` of complex pairs. Slow and independent of the reference path.

use std::collections::BTreeMap;

use models::batch::Batch;
use models::pt2026::{ForwardConstants, Potential, Pt2026Config, Rope};

/// A model: configuration, forward constants and weights by name, row-major.
pub struct ByHand<'a> {
    /// Shape and constants.
    pub config: &'a Pt2026Config,
    /// Width-dependent constants.
    pub constants: ForwardConstants,
    /// Effective weights.
    pub weights: &'a BTreeMap<String, Vec<f64>>,
}

type Rows = Vec<Vec<f64>>;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

fn normalise(scores: &[f64], phi: impl Fn(f64) -> f64, epsilon: f64) -> Vec<f64> {
    let weights: Vec<f64> = scores.iter().map(|&s| phi(s)).collect();
    let sum = weights.iter().sum::<f64>().max(epsilon);
    weights.iter().map(|w| w / sum).collect()
}

impl ByHand<'_> {
    fn row(&self, name: &str, row: usize) -> &[f64] {
        let size = self.config.width;
        &self.weights[name][row * size..][..size]
    }

    fn beliefs(&self, z: &[f64]) -> Vec<f64> {
        let epsilon = self.config.epsilon;
        let q = match self.config.label_potential {
            Potential::Square => normalise(z, |z| z * z, epsilon),
            Potential::Abs => normalise(z, f64::abs, epsilon),
            Potential::Exp => softmax(z),
        };
        q.iter().map(|q| q * self.constants.belief).collect()
    }

    /// `R_steps x`: pair k of an r-vector turned by `steps * theta^(-2k/r)`.
    fn turn(&self, x: &[f64], steps: i64) -> Vec<f64> {
        if self.config.rope == Rope::None {
            return x.to_vec();
        }
        let half = x.len() / 2;
        let mut turned = vec![0.0; x.len()];
        for k in 0..half {
            let speed = self.config.rope_theta.powf(-(k as f64) / half as f64);
            let (sine, cosine) = (steps as f64 * speed).sin_cos();
            turned[k] = x[k] * cosine - x[k + half] * sine;
            turned[k + half] = x[k] * sine + x[k + half] * cosine;
        }
        turned
    }

    /// `s_t W_c x`, an r-vector.
    fn project(&self, name: &str, channel: usize, x: &[f64]) -> Vec<f64> {
        let rank = self.config.rank();
        let row = |l| self.config.ternary_weight * dot(self.row(name, channel * rank + l), x);
        (0..rank).map(row).collect()
    }

    /// `message += s_t W_c^T y`.
    fn write_back(&self, name: &str, channel: usize, y: &[f64], message: &mut [f64]) {
        for (l, y) in y.iter().enumerate() {
            let row = self.row(name, channel * self.config.rank() + l);
            for (message, weight) in message.iter_mut().zip(row) {
                *message += self.config.ternary_weight * weight * y;
            }
        }
    }

    /// Messages of one channel to every word of a sequence.
    fn channel(&self, channel: usize, beliefs: &Rows, words: &[bool], messages: &mut Rows) {
        let length = beliefs.len();
        let u: Rows = beliefs.iter().map(|x| self.project("ternary_u", channel, x)).collect();
        let v: Rows = beliefs.iter().map(|x| self.project("ternary_v", channel, x)).collect();
        for i in (0..length).filter(|&i| words[i]) {
            let heads: Vec<usize> = (0..length).filter(|&j| j != i && words[j]).collect();
            if heads.is_empty() {
                continue;
            }
            let score = |j: usize| {
                let expected = dot(&u[i], &self.turn(&v[j], j as i64 - i as i64));
                expected * self.constants.head_logits / self.config.lambda_h
            };
            let posterior = softmax(&heads.iter().map(|&j| score(j)).collect::<Vec<_>>());
            for (&j, p) in heads.iter().zip(posterior) {
                let scaled = |x: Vec<f64>| x.iter().map(|x| p * x).collect::<Vec<_>>();
                let to_dependent = scaled(self.turn(&v[j], j as i64 - i as i64));
                self.write_back("ternary_u", channel, &to_dependent, &mut messages[i]);
                if self.config.dependent_message {
                    let steps = i as i64 - j as i64;
                    let steps = if self.config.rope == Rope::Published { -steps } else { steps };
                    let to_head = scaled(self.turn(&u[i], steps));
                    self.write_back("ternary_v", channel, &to_head, &mut messages[j]);
                }
            }
        }
    }

    fn topic_message(&self, x: &[f64], message: &mut [f64]) {
        let (config, epsilon) = (self.config, self.config.epsilon);
        let inner = config.binary_weight / config.lambda_g;
        let scores: Vec<f64> =
            (0..config.topics()).map(|m| inner * dot(self.row("binary", m), x)).collect();
        let topics = match config.topic_potential {
            Potential::Square => normalise(&scores, |y| y * y, epsilon),
            Potential::Abs => normalise(&scores, |y| y.max(0.0), epsilon),
            Potential::Exp => softmax(&scores),
        };
        for (m, g) in topics.iter().enumerate() {
            for (message, weight) in message.iter_mut().zip(self.row("binary", m)) {
                *message += config.binary_weight * weight * g * self.constants.topic;
            }
        }
    }

    /// Last label scores of one sequence.
    fn encode(&self, ids: &[u32], words: &[bool]) -> Rows {
        let config = self.config;
        let unary: Rows = ids.iter().map(|&id| self.row("unary", id as usize).to_vec()).collect();
        let mut z = unary.clone();
        for _ in 0..config.iterations {
            let beliefs: Rows = z.iter().map(|z| self.beliefs(z)).collect();
            let mut messages = vec![vec![0.0; config.width]; ids.len()];
            for channel in 0..config.channels {
                self.channel(channel, &beliefs, words, &mut messages);
            }
            for (i, message) in messages.iter_mut().enumerate() {
                self.topic_message(&beliefs[i], message);
                for (a, message) in message.iter().enumerate() {
                    let target = (message * self.constants.message + unary[i][a]) / config.lambda_z;
                    z[i][a] = config.damping * z[i][a] + (1.0 - config.damping) * target;
                }
            }
        }
        z
    }

    fn logits(&self, z: &[f64]) -> Vec<f64> {
        let config = self.config;
        let features = self.beliefs(z);
        let width = config.width as f64;
        let bias = |name: &str, entry: usize| self.weights[name][entry];
        let dense: Vec<f64> = (0..config.width)
            .map(|a| {
                let y = dot(self.row("head.dense.weight", a), &features);
                let y = y + bias("head.dense.bias", a);
                y / (1.0 + (-y).exp())
            })
            .collect();
        let mean = dense.iter().sum::<f64>() / width;
        let variance = dense.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / width;
        let normal: Vec<f64> = dense
            .iter()
            .enumerate()
            .map(|(a, y)| {
                let unit = (y - mean) / (variance + 1e-5).sqrt();
                unit * bias("head.norm.weight", a) + bias("head.norm.bias", a)
            })
            .collect();
        let score = |token: usize| {
            let read = if config.tied {
                dot(self.row("unary", token), &normal) * self.constants.tied_logits
            } else {
                dot(self.row("head.decoder.weight", token), &normal)
            };
            config.logit_multiplier * (read + bias("head.decoder.bias", token))
        };
        (0..config.vocab).map(score).collect()
    }

    /// Cross-entropy of each target of `batch`, nats.
    pub fn target_losses(&self, batch: &Batch) -> Vec<f64> {
        let all = vec![true; batch.ids.len()];
        let words = batch.attention.as_ref().unwrap_or(&all);
        let length = batch.length;
        let z: Rows = (0..batch.sequences)
            .flat_map(|row| {
                let span = row * length..(row + 1) * length;
                self.encode(&batch.ids[span.clone()], &words[span])
            })
            .collect();
        let losses = batch.targets.iter().map(|target| {
            let p = softmax(&self.logits(&z[target.position as usize]));
            -p[target.label as usize].ln()
        });
        losses.collect()
    }
}
