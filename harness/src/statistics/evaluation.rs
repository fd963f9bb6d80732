//! Seed noise and evaluation noise, apart and together.

use models::random::{Purpose, Stream};
use rayon::prelude::*;

use super::bootstrap::draw_with_replacement;
use super::describe::{
    CONFIDENCE_LEVEL, Interval, mean, quantile, standard_deviation, student_quantile,
};
use crate::error::{HarnessError, Result};

/// What one evaluation document contributed under one seed.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct DocumentLoss {
    /// Sum of the losses of the document's masked tokens, nats.
    pub loss_nats_sum: f64,
    /// Masked tokens of the document.
    pub targets: u64,
}

/// A held-out loss (or a difference of two) with both of its noises.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct EvaluationEstimate {
    /// Mean over seeds of the loss per masked token, nats.
    pub mean: f64,
    /// Standard error from the choice of seeds; absent for one seed.
    pub seed_standard_error: Option<f64>,
    /// Standard error from the choice of evaluation documents; absent for one document.
    pub evaluation_standard_error: Option<f64>,
    /// Both at [`CONFIDENCE_LEVEL`]: Student t with Welch–Satterthwaite degrees of freedom.
    pub interval: Option<Interval>,
    /// Percentile interval of the joint resampling, which is too narrow for few seeds.
    pub percentile: Interval,
    /// Number of seeds.
    pub seeds: usize,
    /// Number of evaluation documents.
    pub documents: usize,
}

/// Bootstrap over seeds and evaluation documents of `losses[seed][document]`.
///
/// All seeds are evaluated on the same documents, so the two factors are crossed: a replicate
/// resamples seeds, then resamples the documents once for all its seeds (Owen 2007). Resampling
/// documents anew within each seed would pretend that their noise averages out over seeds.
///
/// # Errors
/// No seeds, no documents, or documents that differ between seeds.
pub fn hierarchical_bootstrap(
    losses: &[Vec<DocumentLoss>],
    replicates: usize,
    seed: u64,
) -> Result<EvaluationEstimate> {
    let targets = common_targets(losses)?;
    let sums = losses.iter().map(|row| row.iter().map(|cell| cell.loss_nats_sum).collect());
    Ok(Crossed { sums: sums.collect(), targets }.estimate(replicates, seed))
}

/// The same for the difference `candidate − baseline`, paired by seed and by document;
/// row `i` of both sides must be the same seed (see [`super::pair_by_seed`]).
///
/// # Errors
/// As [`hierarchical_bootstrap`], or sides that differ in seeds or documents.
pub fn hierarchical_difference(
    candidate: &[Vec<DocumentLoss>],
    baseline: &[Vec<DocumentLoss>],
    replicates: usize,
    seed: u64,
) -> Result<EvaluationEstimate> {
    let targets = common_targets(candidate)?;
    if candidate.len() != baseline.len() || targets != common_targets(baseline)? {
        return Err(HarnessError::Invariant(
            "the two sides of a paired difference have other seeds or evaluation documents"
                .to_owned(),
        ));
    }
    let sums = candidate.iter().zip(baseline).map(|(candidate, baseline)| {
        let pairs = candidate.iter().zip(baseline);
        pairs.map(|(a, b)| a.loss_nats_sum - b.loss_nats_sum).collect()
    });
    Ok(Crossed { sums: sums.collect(), targets }.estimate(replicates, seed))
}

fn common_targets(losses: &[Vec<DocumentLoss>]) -> Result<Vec<f64>> {
    let targets = |row: &Vec<DocumentLoss>| row.iter().map(|cell| cell.targets as f64).collect();
    let problem = |text: &str| Err(HarnessError::Invariant(text.to_owned()));
    let Some(first) = losses.first() else {
        return problem("a loss needs at least one seed");
    };
    let first: Vec<f64> = targets(first);
    if first.iter().sum::<f64>() <= 0.0 {
        return problem("the evaluation documents have no masked token");
    }
    if losses.iter().any(|row| targets(row) != first) {
        return problem("the seeds were evaluated on different documents or masks");
    }
    Ok(first)
}

/// Loss sums `[seed][document]` and the documents' masked tokens.
struct Crossed {
    sums: Vec<Vec<f64>>,
    targets: Vec<f64>,
}

impl Crossed {
    /// Loss per masked token of the given seeds on the given documents.
    fn loss(&self, seeds: &[usize], documents: &[usize]) -> f64 {
        let targets: f64 = documents.iter().map(|&document| self.targets[document]).sum();
        let total: f64 = seeds
            .iter()
            .map(|&row| documents.iter().map(|&document| self.sums[row][document]).sum::<f64>())
            .sum();
        total / (targets * seeds.len() as f64)
    }

    fn estimate(&self, replicates: usize, seed: u64) -> EvaluationEstimate {
        let (n, m) = (self.sums.len(), self.targets.len());
        let (seeds, documents): (Vec<usize>, Vec<usize>) = ((0..n).collect(), (0..m).collect());
        let per_seed: Vec<f64> = seeds.iter().map(|&row| self.loss(&[row], &documents)).collect();
        let drawn: Vec<(f64, f64)> = (0..replicates)
            .into_par_iter()
            .map(|index| {
                let mut stream = Stream::named(seed, Purpose::Bootstrap, "crossed", index as u64);
                let some_seeds = draw_with_replacement(&mut stream, n);
                let some_documents = loop {
                    let draw = draw_with_replacement(&mut stream, m);
                    // A draw of documents without any masked token has no loss.
                    if draw.iter().any(|&document| self.targets[document] > 0.0) {
                        break draw;
                    }
                };
                (self.loss(&some_seeds, &some_documents), self.loss(&seeds, &some_documents))
            })
            .collect();
        let mut joint: Vec<f64> = drawn.iter().map(|pair| pair.0).collect();
        joint.sort_by(f64::total_cmp);
        let by_document: Vec<f64> = drawn.iter().map(|pair| pair.1).collect();
        let mean = mean(&per_seed).expect("there is at least one seed");
        let seed_error = standard_deviation(&per_seed).map(|sd| sd / (n as f64).sqrt());
        let document_error = standard_deviation(&by_document)
            .filter(|_| m > 1)
            .map(|sd| sd * (m as f64 / (m - 1) as f64).sqrt());
        let upper = 0.5 + 0.5 * CONFIDENCE_LEVEL;
        let end = |probability| quantile(&joint, probability).unwrap_or(mean);
        EvaluationEstimate {
            mean,
            seed_standard_error: seed_error,
            evaluation_standard_error: document_error,
            interval: combine(mean, (seed_error, n), (document_error, m)),
            percentile: Interval { low: end(1.0 - upper), high: end(upper) },
            seeds: n,
            documents: m,
        }
    }
}

/// Student-t interval of a sum of two independent noises, each `(standard error, units)`.
fn combine(
    mean: f64,
    (seed_error, seeds): (Option<f64>, usize),
    (document_error, documents): (Option<f64>, usize),
) -> Option<Interval> {
    let (seed_variance, document_variance) = (seed_error?.powi(2), document_error?.powi(2));
    let variance = seed_variance + document_variance;
    let spread = seed_variance.powi(2) / (seeds - 1) as f64
        + document_variance.powi(2) / (documents - 1) as f64;
    let freedom = if spread > 0.0 { variance.powi(2) / spread } else { (seeds - 1) as f64 };
    let half_width = student_quantile(0.5 + 0.5 * CONFIDENCE_LEVEL, freedom) * variance.sqrt();
    Some(Interval::around(mean, half_width))
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{assert_coverage, coverage, normals};
    use super::*;

    /// Losses around 3 nats: seeds move all documents by `seed_sd`, documents move all seeds by
    /// `document_sd`, and every cell has a little noise of its own.
    fn simulate(
        index: u64,
        seeds: usize,
        documents: usize,
        sd: (f64, f64),
    ) -> Vec<Vec<DocumentLoss>> {
        let seed_effects = normals(index, "seed", seeds, 0.0, sd.0);
        let document_effects = normals(index, "document", documents, 0.0, sd.1);
        let cells = normals(index, "cell", seeds * documents, 3.0, 0.001);
        let row = |seed: usize| {
            let cell = |document: usize| {
                let targets = 20 + (document as u64 % 7);
                let loss = cells[seed * documents + document]
                    + seed_effects[seed]
                    + document_effects[document];
                DocumentLoss { loss_nats_sum: loss * targets as f64, targets }
            };
            (0..documents).map(cell).collect()
        };
        (0..seeds).map(row).collect()
    }

    #[test]
    fn invariant_the_two_noises_are_told_apart() {
        let seeds_only = simulate(0, 6, 40, (0.05, 0.0));
        let found = hierarchical_bootstrap(&seeds_only, 400, 1).unwrap();
        let ratio = found.seed_standard_error.unwrap() / found.evaluation_standard_error.unwrap();
        assert!(ratio > 50.0, "{found:?}");
        let documents_only = simulate(1, 6, 40, (0.0, 0.05));
        let found = hierarchical_bootstrap(&documents_only, 400, 1).unwrap();
        let ratio = found.seed_standard_error.unwrap() / found.evaluation_standard_error.unwrap();
        assert!(ratio < 0.05, "{found:?}");
        // 0.05 / √40, up to the noise of a standard deviation of 40 documents.
        let error = found.evaluation_standard_error.unwrap();
        assert!((0.005..0.012).contains(&error), "{error}");
    }

    #[test]
    fn invariant_crossed_intervals_cover_and_a_single_noise_does_not() {
        let data = |index| simulate(index, 4, 40, (0.02, 0.12));
        let run = |index| hierarchical_bootstrap(&data(index), 200, index).unwrap();
        assert_coverage(1200, |index| run(index).interval.unwrap().contains(3.0));
        let evaluation_only = coverage(600, |index| {
            let found = run(index);
            let half_width = 2.02 * found.evaluation_standard_error.unwrap();
            Interval::around(found.mean, half_width).contains(3.0)
        });
        assert!(evaluation_only < 0.92, "{evaluation_only}");
    }

    #[test]
    fn invariant_a_paired_difference_cancels_what_both_sides_share() {
        let baseline = simulate(3, 4, 40, (0.02, 0.5));
        let mut candidate = baseline.clone();
        for cell in candidate.iter_mut().flatten() {
            cell.loss_nats_sum -= 0.01 * cell.targets as f64;
        }
        let found = hierarchical_difference(&candidate, &baseline, 400, 1).unwrap();
        assert!((found.mean + 0.01).abs() < 1e-12, "the candidate is better: {found:?}");
        assert!(found.interval.unwrap().half_width() < 1e-10, "{found:?}");
        let swapped = hierarchical_difference(&baseline, &candidate, 400, 1).unwrap();
        assert!((swapped.mean - 0.01).abs() < 1e-12);
        assert!(hierarchical_difference(&candidate[1..], &baseline, 400, 1).is_err());
    }

    #[test]
    fn invariant_bad_evaluation_tables_are_refused() {
        assert!(hierarchical_bootstrap(&[], 10, 1).is_err());
        assert!(hierarchical_bootstrap(&[vec![]], 10, 1).is_err());
        let mut rows = simulate(0, 2, 5, (0.1, 0.1));
        rows[1][2].targets += 1;
        assert!(hierarchical_bootstrap(&rows, 10, 1).is_err());
        let one_seed = hierarchical_bootstrap(&rows[..1], 100, 1).unwrap();
        assert_eq!((one_seed.seed_standard_error, one_seed.interval), (None, None));
        assert!(one_seed.evaluation_standard_error.is_some());
    }
}
