//! Does the model use its context? The probe once more with the words around it shuffled.
//!
//! Every sequence of the probe keeps its masked positions and what is to be predicted there; its
//! other words change places by one fixed permutation. Read are, over targets and in nats, the loss
//! as it is, shuffled, its rise (a model that uses order and neighbours must lose), and
//! `KL(p || p_shuffled) = Σ_v p(v) ln(p(v) / p_shuffled(v))`, the mean change of the prediction.
//! Beside them stands the loss of the training split's unigram distribution, which a model can
//! reach without any context. Nothing is judged by it: what context is worth after some steps
//! depends on the text.

use candle_core::Tensor;
use models::architecture::Probe;
use reports::{Cell, Column, Table};

use super::plan::Plan;
use super::row::{Kind, Reading, Row, Summary};
use crate::error::Result;
use crate::statistics::mean;

/// Sites of this kind, in the order of the table.
const SITES: [&str; 4] = ["loss", "loss_shuffled", "loss_rise", "kl"];

/// The site of the loss without context.
const UNIGRAM: &str = "loss_unigram";

/// Keeps the logits of a pass and ignores the rest.
#[derive(Default)]
pub struct Logits(pub Vec<f32>);

impl Probe for Logits {
    fn record(&mut self, site: &str, _: usize, value: &Tensor) -> models::Result<()> {
        if site == "logits" {
            self.0 = value.flatten_all()?.to_vec1()?;
        }
        Ok(())
    }
}

/// Logits `(targets, vocabulary)`, row-major, and losses `(targets)` of one pass.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    /// Logits.
    pub logits: &'a [f32],
    /// Cross-entropy of each target, nats.
    pub losses: &'a [f32],
}

/// The readings of a pass over the probe and one over it shuffled; `unigram_loss_nats` is the same
/// number in every run.
pub fn readings(probe: Pass, shuffled: Pass, unigram_loss_nats: f64) -> Vec<Reading> {
    let loss = |pass: Pass| {
        pass.losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / pass.losses.len() as f64
    };
    let (with, without) = (loss(probe), loss(shuffled));
    let divergence = divergence_nats(probe.logits, shuffled.logits, probe.losses.len());
    let values = [with, without, without - with, divergence];
    let sites = SITES.into_iter().zip(values).chain([(UNIGRAM, unigram_loss_nats)]);
    let reading = |(site, value): (&str, f64)| {
        let summary = Summary::scalar(value);
        Reading::new(format!("context/{site}"), 0, Kind::Ablation, summary, |_| value)
    };
    sites.map(reading).collect()
}

/// Mean over `rows` of `KL(softmax(a) || softmax(b))`, nats.
fn divergence_nats(a: &[f32], b: &[f32], rows: usize) -> f64 {
    let vocab = a.len() / rows;
    let pairs = a.chunks(vocab).zip(b.chunks(vocab));
    let of_row = |(a, b): (&[f32], &[f32])| {
        let (norm_a, norm_b) = (log_sum_exp(a), log_sum_exp(b));
        let terms = a.iter().zip(b).map(|(&a, &b)| {
            let (log_p, log_q) = (f64::from(a) - norm_a, f64::from(b) - norm_b);
            // q - p adds up to zero and makes every term positive, so that nothing cancels.
            log_p.exp() * (log_p - log_q) + log_q.exp() - log_p.exp()
        });
        terms.sum::<f64>()
    };
    pairs.map(of_row).sum::<f64>() / rows as f64
}

fn log_sum_exp(row: &[f32]) -> f64 {
    let max = row.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let sum: f64 = row.iter().map(|&value| f64::from(value - max).exp()).sum();
    f64::from(max) + sum.ln()
}

/// Means over seeds at the plan's first learning rate, a row per step and width.
///
/// # Errors
/// A table that does not fit its columns.
pub fn table(rows: &[Row], plan: &Plan) -> Result<Table> {
    let number = |name: &str, title: &str, unit| Column::number(name, title, unit);
    let columns = vec![
        number("step", "step", ""),
        number("width", "width", ""),
        number("loss", "loss", "nats"),
        number("loss_shuffled", "loss, context shuffled", "nats"),
        number("loss_rise", "rise", "nats"),
        number("kl", "KL of the predictions", "nats"),
        number("seeds", "seeds", ""),
    ];
    let of = |site: &str, step: u64, width: usize| -> Vec<f64> {
        let name = format!("context/{site}");
        let wanted = |row: &&Row| {
            let rate = row.learning_rate_factor.total_cmp(&plan.learning_rate_factors[0]);
            (row.step, row.width) == (step, width) && rate.is_eq() && row.reading.site == name
        };
        rows.iter().filter(wanted).map(|row| row.reading.statistic).collect()
    };
    let unigram = of(UNIGRAM, 0, plan.widths[0]).first().copied().unwrap_or(f64::NAN);
    let mut table = Table::new("context", "What the context is worth", columns).with_rule(format!(
        "Mean over seeds. Shuffled: the words that are not to be predicted change places within \
         their sequence. The unigram loss of the probe's targets is {unigram:.3} nats. Nothing is \
         judged by this.",
    ));
    for &step in &plan.steps {
        for &width in &plan.widths {
            let value = |site: &str| mean(&of(site, step, width));
            let mut cells = vec![Cell::count(step), Cell::count(width)];
            cells.extend(
                SITES[..3]
                    .iter()
                    .map(|site| Cell::or_missing(value(site), |nats| Cell::decimals(nats, 4))),
            );
            cells.push(Cell::or_missing(value(SITES[3]), |nats| Cell::significant(nats, 3)));
            cells.push(Cell::count(of(SITES[0], step, width).len()));
            table.push(cells)?;
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_divergence_of_known_distributions() {
        let logits = |p: &[f64]| p.iter().map(|p| (p.ln() + 3.0) as f32).collect::<Vec<_>>();
        let (a, b) = (logits(&[0.5, 0.5, 0.9, 0.1]), logits(&[0.25, 0.75, 0.9, 0.1]));
        // Of two rows; the other differs in nothing.
        let expected = 0.25 * (4.0f64 / 3.0).ln();
        assert!((divergence_nats(&a, &b, 2) - expected).abs() < 1e-7);
        assert!(divergence_nats(&a, &a, 2).abs() < 1e-15);
        // First order in a small difference would be lost in rounding: half its square is left.
        let (a, b) = ([0.0f32, 0.0], [0.0f32, 1e-4]);
        let found = divergence_nats(&a, &b, 1);
        assert!((found / (1e-8 / 8.0) - 1.0).abs() < 1e-3, "{found}");
    }

    #[test]
    fn invariant_rise_is_shuffled_less_plain() {
        let pass = |losses| Pass { logits: &[0.0, 1.0, 2.0, 0.5], losses };
        let found = readings(pass(&[1.0, 2.0]), pass(&[1.5, 3.5]), 2.5);
        let values: Vec<(&str, f64)> =
            found.iter().map(|reading| (reading.site.as_str(), reading.statistic)).collect();
        let expected = [
            ("context/loss", 1.5),
            ("context/loss_shuffled", 2.5),
            ("context/loss_rise", 1.0),
            ("context/kl", 0.0),
            ("context/loss_unigram", 2.5),
        ];
        assert_eq!(values, expected);
    }
}
