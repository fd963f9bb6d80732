//! Comparisons of which some have common seeds and some have not, as one family.

use super::describe::{
    CONFIDENCE_LEVEL, Estimate, Interval, estimate, mean, standard_deviation, student_quantile,
    student_tail,
};
use super::hypothesis::{TTest, equivalence_test, holm, paired_t_test, welch_t_test};
use super::verdict::{Comparison, Verdict, decide, seeds_to_resolve};

/// Most seeds a side that are thought of.
const SEEDS_MAX: usize = 10_000;

/// The losses behind one comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Sample {
    /// `candidate − baseline` per common seed.
    Paired(Vec<f64>),
    /// Losses of both sides, without common seeds.
    Unpaired {
        /// Of the candidate.
        candidate: Vec<f64>,
        /// Of the baseline.
        baseline: Vec<f64>,
    },
}

impl Sample {
    fn difference(&self) -> Option<Estimate> {
        match self {
            Self::Paired(differences) => estimate(differences),
            Self::Unpaired { candidate, baseline } => {
                let mean = mean(candidate)? - mean(baseline)?;
                let n = candidate.len().min(baseline.len());
                let found = welch_t_test(candidate, baseline);
                let standard_error = found.map(|_| standard_error(candidate, baseline));
                let interval = found.zip(standard_error).map(|(test, error)| {
                    let upper = 0.5 + 0.5 * CONFIDENCE_LEVEL;
                    Interval::around(mean, student_quantile(upper, test.freedom) * error)
                });
                Some(Estimate { mean, standard_error, interval, n })
            }
        }
    }

    fn test(&self) -> Option<TTest> {
        match self {
            Self::Paired(differences) => paired_t_test(differences),
            Self::Unpaired { candidate, baseline } => welch_t_test(candidate, baseline),
        }
    }

    fn equivalence(&self, margin: f64) -> Option<f64> {
        match self {
            Self::Paired(differences) => equivalence_test(differences, margin),
            Self::Unpaired { candidate, baseline } => {
                let test = welch_t_test(candidate, baseline)?;
                let centre = mean(candidate)? - mean(baseline)?;
                let error = standard_error(candidate, baseline);
                let tail = |distance: f64| match distance {
                    distance if error > 0.0 => student_tail(distance / error, test.freedom),
                    distance if distance > 0.0 => 0.0,
                    _ => 1.0,
                };
                Some(tail(margin - centre).max(tail(margin + centre)))
            }
        }
    }

    /// Seeds (a side) at which this comparison alone would be decided if means and deviations
    /// stayed as they are.
    fn seeds_to_resolve(&self, margin: f64) -> Option<usize> {
        let Self::Unpaired { candidate, baseline } = self else {
            let Self::Paired(differences) = self else { unreachable!("there are two kinds") };
            return seeds_to_resolve(differences, margin);
        };
        let (a, b) = (standard_deviation(candidate)?, standard_deviation(baseline)?);
        let distance = (mean(candidate)? - mean(baseline)?).abs();
        (2..=SEEDS_MAX).find(|&n| {
            let error = ((a * a + b * b) / n as f64).sqrt();
            let freedom = 2.0 * (n as f64 - 1.0);
            distance > student_quantile(0.975, freedom) * error
                || distance + student_quantile(0.95, freedom) * error < margin
        })
    }
}

/// Standard error of the difference of two means.
fn standard_error(candidate: &[f64], baseline: &[f64]) -> f64 {
    let side = |values: &[f64]| {
        standard_deviation(values).unwrap_or(f64::NAN).powi(2) / values.len() as f64
    };
    (side(candidate) + side(baseline)).sqrt()
}

/// As [`compare_family`](super::compare_family) for rows that may lack common seeds: these get
/// Welch's test and interval, everything else is the same.
pub fn compare_samples(family: &[Sample], margin: f64) -> Vec<Comparison> {
    let two_sided: Vec<Option<f64>> =
        family.iter().map(|row| row.test().map(|test| test.p_value)).collect();
    let equivalence: Vec<Option<f64>> = family.iter().map(|row| row.equivalence(margin)).collect();
    let corrected = |values: &[Option<f64>]| {
        let known: Vec<f64> = values.iter().copied().flatten().collect();
        let mut corrected = holm(&known).into_iter();
        values.iter().map(|value| value.and_then(|_| corrected.next())).collect::<Vec<_>>()
    };
    let (two_sided_holm, equivalence_holm) = (corrected(&two_sided), corrected(&equivalence));
    let rows = family.iter().enumerate().map(|(place, row)| {
        let difference = row.difference();
        let verdict = decide(difference, two_sided_holm[place], equivalence_holm[place]);
        let open = verdict == Verdict::Inconclusive;
        Comparison {
            difference,
            p_value: two_sided[place],
            p_value_holm: two_sided_holm[place],
            p_value_equivalence_holm: equivalence_holm[place],
            verdict,
            seeds_to_resolve: open.then(|| row.seeds_to_resolve(margin)).flatten(),
        }
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{assert_coverage, normals};
    use super::super::verdict::compare_family;
    use super::*;

    #[test]
    fn invariant_paired_rows_are_compared_as_ever() {
        let rows: Vec<Vec<f64>> =
            (0..4).map(|row| normals(row, "rows", 4, -0.01 * row as f64, 0.01)).collect();
        let samples: Vec<Sample> = rows.iter().cloned().map(Sample::Paired).collect();
        assert_eq!(compare_samples(&samples, 0.005), compare_family(&rows, 0.005));
    }

    #[test]
    fn invariant_unpaired_intervals_cover_the_difference() {
        assert_coverage(2000, |index| {
            let candidate = normals(index, "c", 6, 3.0, 0.02);
            let baseline = normals(index, "b", 9, 3.05, 0.02);
            let found = &compare_samples(&[Sample::Unpaired { candidate, baseline }], 0.005)[0];
            found.difference.unwrap().interval.unwrap().contains(-0.05)
        });
    }

    #[test]
    fn golden_unpaired_words() {
        let sample = |candidate: &[f64], baseline: &[f64]| Sample::Unpaired {
            candidate: candidate.to_vec(),
            baseline: baseline.to_vec(),
        };
        let family = [
            sample(&[3.00, 3.01, 3.02], &[3.20, 3.21, 3.22, 3.23]),
            sample(&[3.20, 3.21, 3.22, 3.23], &[3.00, 3.01, 3.02]),
            sample(&[3.0, 3.0001, 3.0002, 3.0], &[3.0, 3.0002, 3.0001]),
            sample(&[3.0, 3.2, 3.1], &[3.15, 3.05, 3.12]),
            sample(&[3.0], &[3.1, 3.2]),
        ];
        let words: Vec<String> =
            compare_samples(&family, 0.005).iter().map(|row| row.verdict.to_string()).collect();
        assert_eq!(words, ["better", "worse", "no change", "inconclusive", "inconclusive"]);
    }
}
