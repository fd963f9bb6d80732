//! Paired and Welch t tests, equivalence tests and Holm's correction.

use super::describe::{Estimate, estimate, mean, standard_deviation, student_tail};
use crate::error::{HarnessError, Result};

/// Two samples matched by seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairing {
    /// Seeds present on both sides, ascending.
    pub seeds: Vec<u64>,
    /// Candidate values, in the order of `seeds`.
    pub candidate: Vec<f64>,
    /// Baseline values, in the order of `seeds`.
    pub baseline: Vec<f64>,
    /// Seeds present on one side only, ascending: dropped from the comparison.
    pub unpaired: Vec<u64>,
}

impl Pairing {
    /// `candidate − baseline` per seed.
    pub fn differences(&self) -> Vec<f64> {
        self.candidate
            .iter()
            .zip(&self.baseline)
            .map(|(candidate, base)| candidate - base)
            .collect()
    }

    /// The mean difference with its Student-t interval; `None` if no seed is common.
    pub fn estimate(&self) -> Option<Estimate> {
        estimate(&self.differences())
    }
}

/// Matches `(seed, value)` pairs of two finished experiments.
///
/// # Errors
/// A seed that one side lacks or has twice: a dropped seed must never pass unnoticed.
pub fn pair_by_seed(candidate: &[(u64, f64)], baseline: &[(u64, f64)]) -> Result<Pairing> {
    let pairing = pair_common_seeds(candidate, baseline)?;
    if pairing.unpaired.is_empty() {
        return Ok(pairing);
    }
    let missing: Vec<String> = pairing.unpaired.iter().map(u64::to_string).collect();
    Err(HarnessError::Invariant(format!(
        "seeds {} have a result on one side of the comparison only, so it is not paired",
        missing.join(", ")
    )))
}

/// Matches the seeds that both sides have, for unfinished experiments; the others are listed in
/// [`Pairing::unpaired`] and must be shown.
///
/// # Errors
/// A seed that occurs twice on one side.
pub fn pair_common_seeds(candidate: &[(u64, f64)], baseline: &[(u64, f64)]) -> Result<Pairing> {
    let candidate = by_seed(candidate)?;
    let baseline = by_seed(baseline)?;
    let mut pairing =
        Pairing { seeds: vec![], candidate: vec![], baseline: vec![], unpaired: vec![] };
    for (&seed, &value) in &candidate {
        if let Some(&base) = baseline.get(&seed) {
            pairing.seeds.push(seed);
            pairing.candidate.push(value);
            pairing.baseline.push(base);
        } else {
            pairing.unpaired.push(seed);
        }
    }
    pairing.unpaired.extend(baseline.keys().filter(|seed| !candidate.contains_key(seed)));
    pairing.unpaired.sort_unstable();
    Ok(pairing)
}

fn by_seed(values: &[(u64, f64)]) -> Result<std::collections::BTreeMap<u64, f64>> {
    let map: std::collections::BTreeMap<u64, f64> = values.iter().copied().collect();
    if map.len() == values.len() {
        return Ok(map);
    }
    Err(HarnessError::Invariant("a seed occurs twice on one side of a comparison".to_owned()))
}

/// A t test of "the mean difference is zero".
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct TTest {
    /// Test statistic.
    pub t: f64,
    /// Degrees of freedom.
    pub freedom: f64,
    /// Two-sided p value.
    pub p_value: f64,
}

impl TTest {
    fn new(difference: f64, standard_error: f64, freedom: f64) -> Self {
        // Identical losses (0 / 0) are no evidence of a difference. Differences that are all the
        // same and not 0 give an infinite t: see `Comparison` for what is made of it.
        let t = if difference == 0.0 { 0.0 } else { difference / standard_error };
        Self { t, freedom, p_value: (2.0 * student_tail(t.abs(), freedom)).min(1.0) }
    }
}

/// Paired t test on per-seed differences; `None` below two seeds.
pub fn paired_t_test(differences: &[f64]) -> Option<TTest> {
    let error = standard_deviation(differences)? / (differences.len() as f64).sqrt();
    Some(TTest::new(mean(differences)?, error, (differences.len() - 1) as f64))
}

/// Welch's t test for samples without common seeds; `None` if a side has fewer than two values.
pub fn welch_t_test(candidate: &[f64], baseline: &[f64]) -> Option<TTest> {
    let side = |values: &[f64]| {
        let variance = standard_deviation(values)?.powi(2) / values.len() as f64;
        Some((mean(values)?, variance, (values.len() - 1) as f64))
    };
    let (mean_a, variance_a, freedom_a) = side(candidate)?;
    let (mean_b, variance_b, freedom_b) = side(baseline)?;
    let variance = variance_a + variance_b;
    let spread = variance_a.powi(2) / freedom_a + variance_b.powi(2) / freedom_b;
    let freedom = if spread > 0.0 { variance.powi(2) / spread } else { freedom_a + freedom_b };
    Some(TTest::new(mean_a - mean_b, variance.sqrt(), freedom))
}

/// Two one-sided t tests (Schuirmann 1987): the p value of "the true difference is at least
/// `margin` away from zero". Below 0.05 the 90 % interval lies within `±margin`, and
/// "no difference" may be claimed. `None` below two seeds.
pub fn equivalence_test(differences: &[f64], margin: f64) -> Option<f64> {
    let error = standard_deviation(differences)? / (differences.len() as f64).sqrt();
    let freedom = (differences.len() - 1) as f64;
    let centre = mean(differences)?;
    let tail = |distance: f64| match distance {
        distance if error > 0.0 => student_tail(distance / error, freedom),
        distance if distance > 0.0 => 0.0,
        _ => 1.0,
    };
    Some(tail(margin - centre).max(tail(margin + centre)))
}

/// Holm's step-down correction (Holm 1979) of a family of p values, in the order given;
/// controls the chance of any false claim in the family. A p value that is no number is no claim:
/// it stays NaN, and counts in the family, for it was asked.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    // NaN of either sign last: it takes no place of a p value.
    let key = |index: usize| if p_values[index].is_nan() { f64::INFINITY } else { p_values[index] };
    order.sort_by(|&a, &b| key(a).total_cmp(&key(b)));
    let mut corrected = vec![0.0; p_values.len()];
    let mut largest = 0.0f64;
    for (rank, &index) in order.iter().enumerate() {
        let factor = (p_values.len() - rank) as f64;
        let p_value = p_values[index];
        if p_value.is_nan() {
            corrected[index] = f64::NAN;
            continue;
        }
        largest = largest.max((factor * p_value).min(1.0));
        corrected[index] = largest;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{assert_coverage, coverage, normals};
    use super::*;

    #[test]
    fn golden_paired_t_test_on_the_classical_sleep_data() {
        // Student 1908 (the `sleep` data of R): t = −4.0621, 9 degrees, p = 0.002833.
        let first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
        let test = paired_t_test(&differences).unwrap();
        assert!((test.t + 4.062_128).abs() < 1e-6, "{test:?}");
        assert!((test.p_value - 0.002_833).abs() < 1e-6, "{test:?}");
        // Welch on the same data: t = −1.8608, 17.776 degrees, p = 0.07939. The unpaired test
        // misses what pairing shows.
        let test = welch_t_test(&first, &second).unwrap();
        assert!((test.t + 1.860_813).abs() < 1e-6, "{test:?}");
        assert!((test.freedom - 17.776_5).abs() < 1e-3, "{test:?}");
        assert!((test.p_value - 0.079_394).abs() < 1e-6, "{test:?}");
    }

    #[test]
    fn golden_holm_of_a_worked_example() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") = 0.03 0.06 0.06 0.02
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in found.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - expected).abs() < 1e-15, "{found} {expected}");
        }
        assert_eq!(holm(&[]), Vec::<f64>::new());
        assert_eq!(holm(&[0.9, 0.8]), vec![1.0, 1.0]);
        // Wherever NaN sorts, negative ones first, the others are those of a family of its size.
        for nan in [f64::NAN, -f64::NAN] {
            let found = holm(&[0.01, nan, 0.02]);
            assert!(found[1].is_nan(), "{found:?}");
            assert!((found[0] - 0.03).abs() < 1e-15 && (found[2] - 0.04).abs() < 1e-15);
        }
    }

    #[test]
    fn invariant_pairing_refuses_a_dropped_or_repeated_seed() {
        let candidate = [(0, 3.0), (1, 3.1), (2, 3.2)];
        let baseline = [(2, 3.0), (1, 3.05)];
        let message = pair_by_seed(&candidate, &baseline).unwrap_err().to_string();
        assert!(message.contains("seeds 0"), "{message}");
        let pairing = pair_common_seeds(&candidate, &baseline).unwrap();
        assert_eq!((pairing.seeds.clone(), pairing.unpaired.clone()), (vec![1, 2], vec![0]));
        let differences = pairing.differences();
        assert!((differences[0] - 0.05).abs() < 1e-12 && (differences[1] - 0.2).abs() < 1e-12);
        assert!(pair_common_seeds(&[(1, 3.0), (1, 3.1)], &baseline).is_err());
    }

    #[test]
    fn invariant_swapping_the_sides_flips_the_sign_and_nothing_else() {
        let a: Vec<(u64, f64)> =
            normals(0, "a", 5, 3.0, 0.05).into_iter().zip(0..).map(swap).collect();
        let b: Vec<(u64, f64)> =
            normals(0, "b", 5, 3.2, 0.05).into_iter().zip(0..).map(swap).collect();
        let forward = pair_by_seed(&a, &b).unwrap();
        let backward = pair_by_seed(&b, &a).unwrap();
        let (f, g) = (forward.estimate().unwrap(), backward.estimate().unwrap());
        assert!(f.mean < 0.0, "the lower loss is the candidate's: {f:?}");
        assert_eq!((f.mean, f.standard_error), (-g.mean, g.standard_error));
        let tests = [forward, backward].map(|p| paired_t_test(&p.differences()).unwrap());
        assert_eq!((tests[0].t, tests[0].p_value), (-tests[1].t, tests[1].p_value));
    }

    fn swap((value, seed): (f64, u64)) -> (u64, f64) {
        (seed, value)
    }

    #[test]
    fn invariant_equivalence_agrees_with_the_ninety_percent_interval() {
        use super::super::describe::student_quantile;
        for index in 0..200 {
            let differences = normals(index, "tost", 4, 0.002, 0.003);
            let p = equivalence_test(&differences, 0.005).unwrap();
            let found = estimate(&differences).unwrap();
            let half = student_quantile(0.95, 3.0) * found.standard_error.unwrap();
            let inside = found.mean.abs() + half < 0.005;
            assert_eq!(p < 0.05, inside, "{p} {found:?}");
        }
        assert_eq!(equivalence_test(&[0.001, 0.001], 0.005), Some(0.0));
        assert_eq!(equivalence_test(&[0.1, 0.1], 0.005), Some(1.0));
        assert_eq!(equivalence_test(&[0.0], 0.005), None);
    }

    #[test]
    fn invariant_tests_reject_a_true_null_in_five_of_a_hundred_data_sets() {
        assert_coverage(3000, |index| {
            paired_t_test(&normals(index, "null", 3, 0.0, 1.0)).unwrap().p_value > 0.05
        });
        assert_coverage(3000, |index| {
            let a = normals(index, "wa", 8, 1.0, 1.0);
            welch_t_test(&a, &normals(index, "wb", 8, 1.0, 1.0)).unwrap().p_value > 0.05
        });
        // At the edge of the margin equivalence is claimed wrongly in at most 5 %.
        let wrong = coverage(3000, |index| {
            equivalence_test(&normals(index, "edge", 5, 0.005, 0.001), 0.005).unwrap() < 0.05
        });
        assert!((wrong - 0.05).abs() < 4.0 * (0.05f64 * 0.95 / 3000.0).sqrt(), "{wrong}");
    }
}
