//! Two runs that were evaluated on the same targets, document by document.

use super::DocumentLoss;

/// What each document says of the difference `candidate − baseline` of two losses per target.
///
/// The loss is a ratio, `R = Σ d / Σ t` with the difference `d` of a document's sums and its
/// targets `t`, so a document counts by its residual: `z = R + (d − R t) m / Σ t` over `m`
/// documents. The mean of `z` is `R` and its standard error that of a ratio (Cochran 1977, 6.4), so
/// that tests and intervals of a mean are those of `R`.
///
/// `None` if the sides have other documents or targets, or no targets.
pub fn document_differences(
    candidate: &[DocumentLoss],
    baseline: &[DocumentLoss],
) -> Option<Vec<f64>> {
    let same = candidate.iter().zip(baseline).all(|(a, b)| a.targets == b.targets);
    if candidate.len() != baseline.len() || !same {
        return None;
    }
    let pairs: Vec<(f64, f64)> = candidate
        .iter()
        .zip(baseline)
        .filter(|(document, _)| document.targets > 0)
        .map(|(a, b)| (a.loss_nats_sum - b.loss_nats_sum, a.targets as f64))
        .collect();
    let total: f64 = pairs.iter().map(|(_, targets)| targets).sum();
    if total <= 0.0 {
        return None;
    }
    let ratio = pairs.iter().map(|(difference, _)| difference).sum::<f64>() / total;
    let scale = pairs.len() as f64 / total;
    let part = |(difference, targets): &(f64, f64)| ratio + (difference - ratio * targets) * scale;
    Some(pairs.iter().map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{assert_coverage, normals};
    use super::super::{EQUIVALENCE_MARGIN_NATS, compare_family, estimate};
    use super::*;

    /// Documents of 5 to 44 targets whose differences scatter around `difference` per target.
    fn sides(index: u64, difference: f64) -> [Vec<DocumentLoss>; 2] {
        let noise = normals(index, "document", 40, difference, 0.1);
        let level = normals(index, "level", 40, 3.0, 0.5);
        let cell = |place: usize, shift: f64| {
            let targets = 5 + (place as u64 * 7 + index) % 40;
            DocumentLoss { loss_nats_sum: (level[place] + shift) * targets as f64, targets }
        };
        let candidate = (0..40).map(|place| cell(place, noise[place])).collect();
        [candidate, (0..40).map(|place| cell(place, 0.0)).collect()]
    }

    #[test]
    fn invariant_the_mean_is_the_difference_of_the_losses() {
        let [candidate, baseline] = sides(1, -0.2);
        let loss = |side: &[DocumentLoss]| {
            let sum: f64 = side.iter().map(|document| document.loss_nats_sum).sum();
            sum / side.iter().map(|document| document.targets as f64).sum::<f64>()
        };
        let parts = document_differences(&candidate, &baseline).unwrap();
        let mean = estimate(&parts).unwrap().mean;
        assert!((mean - (loss(&candidate) - loss(&baseline))).abs() < 1e-12);
        // A document without targets is none.
        let empty = DocumentLoss { loss_nats_sum: 0.0, targets: 0 };
        let with = |side: &[DocumentLoss]| [side, &[empty]].concat();
        let again = document_differences(&with(&candidate), &with(&baseline)).unwrap();
        assert_eq!(again, parts);
        assert_eq!(document_differences(&candidate[1..], &baseline[1..]).unwrap().len(), 39);
        assert_eq!(document_differences(&candidate[1..], &baseline[..39]), None);
        assert_eq!(document_differences(&[empty], &[empty]), None);
    }

    #[test]
    fn invariant_intervals_over_documents_cover_the_difference() {
        assert_coverage(2000, |index| {
            let [candidate, baseline] = sides(index, 0.03);
            let parts = document_differences(&candidate, &baseline).unwrap();
            let found = &compare_family(&[parts], EQUIVALENCE_MARGIN_NATS)[0];
            found.difference.unwrap().interval.unwrap().contains(0.03)
        });
    }
}
