//! From tensors of a probe forward pass to readings.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use models::architecture::Probe;

use super::alignment::Matrices;
use super::row::{Kind, Reading, Summary};

/// Values of every site at step 0, from which changes are measured.
pub type Baseline = BTreeMap<(String, usize), Vec<f32>>;

/// Reads every site of one forward pass.
///
/// Besides what the model records it derives, for beliefs, the sharpness `‖q‖ √N`, the gap
/// `ln N - H(q)` to the largest entropy (nats), how much x differs between the positions of a
/// sequence, and the gain `‖x_t - x_(t-1)‖ / ‖x_(t-1) - x_(t-2)‖` of the fixed-point iteration; for
/// posteriors the gap between their entropy and the largest possible one (nats); for PT's messages
/// their sum centred over labels, and its size relative to the unary scores.
pub struct Recorder<'a> {
    baseline: &'a mut Baseline,
    first: bool,
    readings: Vec<Reading>,
    /// The last two beliefs.
    beliefs: Vec<Vec<f32>>,
    unary_rms: f64,
    ternary: Vec<f32>,
    logits: Vec<f32>,
    matrices: Option<Matrices<'a>>,
}

impl<'a> Recorder<'a> {
    /// Reads a pass; with `first` its values become the baseline.
    pub fn new(baseline: &'a mut Baseline, first: bool) -> Self {
        Self {
            baseline,
            first,
            readings: Vec::new(),
            beliefs: Vec::new(),
            unary_rms: f64::NAN,
            ternary: Vec::new(),
            logits: Vec::new(),
            matrices: None,
        }
    }

    /// Also reads how far `matrices` and what they learned are aligned with what they read.
    #[must_use]
    pub fn with_matrices(mut self, matrices: Matrices<'a>) -> Self {
        self.matrices = Some(matrices);
        self
    }

    /// The logits of the pass, (targets, vocabulary).
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// What was read, in the order of the pass.
    pub fn into_readings(self) -> Vec<Reading> {
        self.readings
    }

    fn push(
        &mut self,
        site: impl Into<String>,
        iteration: usize,
        kind: Kind,
        values: &[f32],
        pick: impl Fn(&Summary) -> f64,
    ) {
        let summary = summarise(values);
        self.readings.push(Reading::new(site, iteration, kind, summary, pick));
    }

    fn push_scalar(&mut self, site: &str, iteration: usize, value: f64) {
        let summary = Summary::scalar(value);
        self.readings.push(Reading::new(site, iteration, Kind::Act, summary, |s| s.l1));
    }

    /// The change since step 0, by its mean absolute value.
    fn push_delta(&mut self, site: &str, iteration: usize, values: Vec<f32>) {
        let key = (site.to_owned(), iteration);
        if self.first {
            self.baseline.insert(key, values);
        } else if let Some(start) = self.baseline.get(&key) {
            let change: Vec<f32> = values.iter().zip(start).map(|(now, then)| now - then).collect();
            self.push(format!("{site}_delta"), iteration, Kind::ActDelta, &change, |s| s.l1);
        }
    }

    /// `values` are (sequences, `length`, `width`).
    fn belief(&mut self, iteration: usize, values: &[f32], length: usize, width: usize) {
        self.push("belief", iteration, Kind::Simplex, values, |s| s.rms);
        self.push("sharpness", iteration, Kind::Simplex, values, |s| s.rms / s.mean);
        self.push_scalar("belief_entropy_gap", iteration, belief_entropy_gap(values, width));
        let between = less_mean_over_positions(values, length, width);
        self.push("belief_between_positions", iteration, Kind::Simplex, &between, |s| s.rms);
        if let [before, last] = self.beliefs.as_slice() {
            let gain = distance(values, last) / distance(last, before);
            self.push_scalar("fixed_point_gain", iteration, gain);
            self.beliefs.remove(0);
        }
        self.beliefs.push(values.to_vec());
    }

    fn messages(&mut self, iteration: usize, topic: &[f32], width: usize) {
        let both: Vec<f32> = self.ternary.iter().zip(topic).map(|(a, b)| a + b).collect();
        let centred = centred(&both, width, false);
        self.push("message_centred", iteration, Kind::Act, &centred, |s| s.rms);
        let ratio = summarise(&both).rms / self.unary_rms;
        self.push_scalar("message_unary_ratio", iteration, ratio);
    }
}

impl Probe for Recorder<'_> {
    fn record(&mut self, site: &str, iteration: usize, value: &Tensor) -> models::Result<()> {
        let mut values = value.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let length = value.dims().last().copied().unwrap_or(1);
        match site {
            "head_logits" => {
                values = centred(&values, length, true);
                self.push(site, iteration, Kind::PreSoftmax, &values, |s| s.rms);
            }
            "attention_logits" => {
                values = centred(&values, length, false);
                self.push(site, iteration, Kind::PreSoftmax, &values, |s| s.rms);
            }
            "head_posterior" => {
                let gap = entropy_gap(&values, length, true);
                self.push_scalar("head_entropy_gap", iteration, gap);
                return Ok(());
            }
            "attention_probabilities" => {
                let gap = entropy_gap(&values, length, false);
                self.push_scalar("attention_entropy_gap", iteration, gap);
                return Ok(());
            }
            "belief" => {
                let positions = value.dims().iter().rev().nth(1).copied().unwrap_or(1);
                self.belief(iteration, &values, positions, length);
            }
            "topic_belief" => self.push(site, iteration, Kind::Simplex, &values, |s| s.rms),
            _ => {
                self.push(site, iteration, Kind::Act, &values, |s| s.l1);
                match site {
                    "unary" => self.unary_rms = summarise(&values).rms,
                    "message_ternary" => self.ternary.clone_from(&values),
                    "logits" => self.logits.clone_from(&values),
                    "message_topic" => self.messages(iteration, &values, length),
                    _ => {}
                }
            }
        }
        self.push_delta(site, iteration, values);
        Ok(())
    }

    fn product(&mut self, name: &str, iteration: usize, input: &Tensor) -> models::Result<()> {
        if let Some(matrices) = &self.matrices {
            self.readings.extend(matrices.readings(name, iteration, input, self.first)?);
        }
        Ok(())
    }
}

fn summarise(values: &[f32]) -> Summary {
    Summary::of(values.iter().map(|&value| f64::from(value)))
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let squares = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
    squares.sum::<f64>().sqrt()
}

/// Rows of `n` values for `n` words each less their mean; `diagonal` leaves word i out of row i,
/// which a word cannot choose as its own head.
fn centred(values: &[f32], n: usize, diagonal: bool) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for (index, row) in values.chunks(n).enumerate() {
        let own = index % n;
        let kept = || row.iter().enumerate().filter(|&(j, _)| !diagonal || j != own);
        let count = kept().count() as f64;
        let mean = kept().map(|(_, &value)| f64::from(value)).sum::<f64>() / count;
        out.extend(kept().map(|(_, &value)| (f64::from(value) - mean) as f32));
    }
    out
}

/// Mean over words of `ln N - H(q)`, nats, with q the belief over `width` labels that `values` are
/// a multiple of.
fn belief_entropy_gap(values: &[f32], width: usize) -> f64 {
    let gaps = values.chunks(width).map(|row| {
        let sum: f64 = row.iter().map(|&x| f64::from(x)).sum();
        let share = row.iter().map(|&x| f64::from(x) / sum).filter(|&q| q > 0.0);
        share.map(|q| q * (q * width as f64).ln()).sum::<f64>()
    });
    gaps.sum::<f64>() / (values.len() / width) as f64
}

/// Each of `values`, (sequences, `length`, `width`), less its mean over the positions of its
/// sequence.
fn less_mean_over_positions(values: &[f32], length: usize, width: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for sequence in values.chunks(length * width) {
        let sum = |label: usize| sequence[label..].iter().step_by(width).map(|&x| f64::from(x));
        let means: Vec<f64> = (0..width).map(|l| sum(l).sum::<f64>() / length as f64).collect();
        let less = |(place, &x): (usize, &f32)| (f64::from(x) - means[place % width]) as f32;
        out.extend(sequence.iter().enumerate().map(less));
    }
    out
}

/// Mean over rows of `ln k - H(p)`, nats, with k the number of words that may be chosen.
fn entropy_gap(values: &[f32], n: usize, diagonal: bool) -> f64 {
    let choices = if diagonal { n - 1 } else { n } as f64;
    let gaps = values.chunks(n).map(|row| {
        let kept = row.iter().filter(|&&p| p != 0.0).map(|&p| f64::from(p));
        // The last terms cancel unless rounding made the sum of p miss one.
        kept.map(|p| p * (p * choices).ln() - p).sum::<f64>() + 1.0
    });
    gaps.sum::<f64>() / (values.len() / n) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_entropy_gap_of_known_beliefs() {
        assert!(belief_entropy_gap(&[1.0; 12], 4).abs() < 1e-12, "uniform");
        let peaked = [4.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0];
        assert!((belief_entropy_gap(&peaked, 4) - 4f64.ln() / 2.0).abs() < 1e-12, "and one-hot");
        // A common factor is no information.
        let belief = [0.5, 1.5, 0.25, 1.75];
        let scaled = belief.map(|x| 7.0 * x);
        let gaps = [belief, scaled].map(|x| belief_entropy_gap(&x, 4));
        assert!((gaps[0] - gaps[1]).abs() < 1e-12 && gaps[0] > 0.1);
    }

    #[test]
    fn invariant_what_all_positions_share_is_taken_out() {
        // Two sequences of three positions and two labels.
        let values = [1.0, 5.0, 2.0, 5.0, 3.0, 5.0, 0.0, 1.0, 0.0, -1.0, 0.0, 3.0];
        let expected = [-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -2.0, 0.0, 2.0];
        assert_eq!(less_mean_over_positions(&values, 3, 2), expected);
    }
}
