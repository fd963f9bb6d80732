//! From per-seed differences to one of four words, by a written rule.

use super::describe::{Estimate, estimate, standard_deviation, student_quantile};
use super::hypothesis::{equivalence_test, holm, paired_t_test};

/// Differences smaller than this are of no practical interest, in nats per predicted token.
pub const EQUIVALENCE_MARGIN_NATS: f64 = 0.005;

/// Chance of a wrong claim per family of comparisons.
const SIGNIFICANCE: f64 = 0.05;

/// The rule behind every [`Verdict`], printed under every table that shows one.
pub const VERDICT_RULE: &str = "Difference = candidate − baseline loss in nats, paired by seed \
    (same data order, masks and evaluation masks), with its 95 % Student-t interval; p values \
    are Holm-corrected over the rows of the table. `no change`: two one-sided paired t tests \
    (Holm-corrected p < 0.05) put the true difference within ±0.005 nats. Otherwise `better` \
    (or `worse`): the corrected two-sided paired p is below 0.05, the 95 % interval excludes 0, \
    and the mean difference is negative (or positive). Everything else, including fewer than two \
    common seeds, is `inconclusive`.";

/// What a comparison shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The candidate's loss is lower.
    Better,
    /// The candidate's loss is higher.
    Worse,
    /// The losses are equal within the margin.
    NoChange,
    /// The data do not decide.
    Inconclusive,
    /// One side does not read its context, so the difference says nothing about the models; set
    /// by whoever knows the runs, not by the statistics.
    Plateau,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoChange => "no change",
            Self::Inconclusive => "inconclusive",
            Self::Plateau => "plateau",
        })
    }
}

/// One row of a family of paired comparisons.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Comparison {
    /// Mean difference `candidate − baseline`, nats; `None` without a common seed.
    pub difference: Option<Estimate>,
    /// Two-sided paired t test, before correction.
    pub p_value: Option<f64>,
    /// The same, Holm-corrected over the family.
    pub p_value_holm: Option<f64>,
    /// Two one-sided tests against ±margin, Holm-corrected over the family.
    pub p_value_equivalence_holm: Option<f64>,
    /// By [`VERDICT_RULE`].
    pub verdict: Verdict,
    /// Seeds at which the verdict would be decided if mean and deviation stayed as they are;
    /// present for `inconclusive` only, see [`seeds_to_resolve`].
    pub seeds_to_resolve: Option<usize>,
}

impl Comparison {
    /// The same where one side does not read its context: no seed decides it.
    #[must_use]
    pub fn on_plateau(self) -> Self {
        Self { verdict: Verdict::Plateau, seeds_to_resolve: None, ..self }
    }
}

/// Compares a family of candidates by [`VERDICT_RULE`]; `family[i]` holds the per-seed
/// differences of row `i`, `margin` is in nats.
pub fn compare_family<D: AsRef<[f64]>>(family: &[D], margin: f64) -> Vec<Comparison> {
    let two_sided = corrected(family, |row| paired_t_test(row).map(|test| test.p_value));
    let equivalence = corrected(family, |row| equivalence_test(row, margin));
    let rows = family.iter().zip(two_sided.into_iter().zip(equivalence));
    rows.map(|(row, ((p_value, p_value_holm), (_, p_value_equivalence_holm)))| {
        let row = row.as_ref();
        let difference = estimate(row);
        let verdict = decide(difference, p_value_holm, p_value_equivalence_holm);
        let seeds_to_resolve =
            (verdict == Verdict::Inconclusive).then(|| seeds_to_resolve(row, margin)).flatten();
        Comparison {
            difference,
            p_value,
            p_value_holm,
            p_value_equivalence_holm,
            verdict,
            seeds_to_resolve,
        }
    })
    .collect()
}

/// Raw and Holm-corrected p value per row; rows without one do not count in the correction.
fn corrected<D: AsRef<[f64]>>(
    family: &[D],
    test: impl Fn(&[f64]) -> Option<f64>,
) -> Vec<(Option<f64>, Option<f64>)> {
    let raw: Vec<Option<f64>> = family.iter().map(|row| test(row.as_ref())).collect();
    let known: Vec<f64> = raw.iter().copied().flatten().collect();
    let mut corrected = holm(&known).into_iter();
    raw.into_iter().map(|p| (p, p.and_then(|_| corrected.next()))).collect()
}

pub(super) fn decide(
    difference: Option<Estimate>,
    two_sided: Option<f64>,
    equivalence: Option<f64>,
) -> Verdict {
    let (Some(difference), Some(two_sided), Some(equivalence)) =
        (difference, two_sided, equivalence)
    else {
        return Verdict::Inconclusive;
    };
    let excludes_zero = difference.interval.is_some_and(|interval| !interval.contains(0.0));
    match () {
        () if equivalence < SIGNIFICANCE => Verdict::NoChange,
        () if two_sided < SIGNIFICANCE && excludes_zero && difference.mean < 0.0 => Verdict::Better,
        () if two_sided < SIGNIFICANCE && excludes_zero && difference.mean > 0.0 => Verdict::Worse,
        () => Verdict::Inconclusive,
    }
}

/// Smallest number of seeds (up to 10 000) at which this comparison alone would be decided if
/// its mean difference and standard deviation stayed as they are: either the 95 % interval
/// excludes zero or the 90 % interval lies within `±margin`. `None` below two seeds or if no
/// such number exists.
pub fn seeds_to_resolve(differences: &[f64], margin: f64) -> Option<usize> {
    let deviation = standard_deviation(differences)?;
    let distance = estimate(differences)?.mean.abs();
    (2..=10_000).find(|&n| {
        let error = deviation / (n as f64).sqrt();
        let freedom = (n - 1) as f64;
        distance > student_quantile(0.975, freedom) * error
            || distance + student_quantile(0.95, freedom) * error < margin
    })
}

#[cfg(test)]
mod tests {
    use super::super::hypothesis::{pair_by_seed, welch_t_test};
    use super::super::simulation::normals;
    use super::*;

    type Losses = Vec<(u64, f64)>;

    /// Losses of two models on five common seeds: the seed moves both by ±0.1, the models differ
    /// by 0.02 ± 0.002.
    fn paired_losses() -> (Losses, Losses) {
        let seed_effects = normals(0, "seed effects", 5, 3.0, 0.1);
        let noise = normals(0, "noise", 5, 0.0, 0.002);
        let rows = || seed_effects.iter().zip(&noise).zip(0u64..);
        let baseline = rows().map(|((effect, _), seed)| (seed, *effect)).collect();
        let candidate = rows().map(|((effect, noise), seed)| (seed, effect - 0.02 + noise));
        (candidate.collect(), baseline)
    }

    fn verdict_of(candidate: &[(u64, f64)], baseline: &[(u64, f64)]) -> Verdict {
        let differences = pair_by_seed(candidate, baseline).unwrap().differences();
        compare_family(&[differences], EQUIVALENCE_MARGIN_NATS)[0].verdict
    }

    #[test]
    fn invariant_a_swapped_sign_or_an_unpaired_test_changes_the_verdict() {
        let (candidate, baseline) = paired_losses();
        assert_eq!(verdict_of(&candidate, &baseline), Verdict::Better);
        assert_eq!(verdict_of(&baseline, &candidate), Verdict::Worse);
        // The same losses without their pairing decide nothing.
        let values = |side: &[(u64, f64)]| side.iter().map(|pair| pair.1).collect::<Vec<_>>();
        let unpaired = welch_t_test(&values(&candidate), &values(&baseline)).unwrap();
        assert!(unpaired.p_value > 0.5, "{unpaired:?}");
        // Pairing the wrong seeds with each other is as bad.
        let mut shuffled = candidate.clone();
        for (index, pair) in shuffled.iter_mut().enumerate() {
            pair.0 = (index as u64 + 1) % 5;
        }
        assert_eq!(verdict_of(&shuffled, &baseline), Verdict::Inconclusive);
        // A dropped seed is an error, not a smaller n.
        assert!(pair_by_seed(&candidate[1..], &baseline).is_err());
    }

    #[test]
    fn golden_each_verdict_word_has_its_case() {
        let family: [&[f64]; 6] = [
            &[-0.10, -0.11, -0.09],
            &[0.10, 0.11, 0.09],
            &[0.001, -0.001, 0.0005, -0.0005],
            &[0.10, -0.11, 0.09],
            &[-0.1],
            &[],
        ];
        let found = compare_family(&family, EQUIVALENCE_MARGIN_NATS);
        let words: Vec<String> = found.iter().map(|row| row.verdict.to_string()).collect();
        let expected =
            ["better", "worse", "no change", "inconclusive", "inconclusive", "inconclusive"];
        assert_eq!(words, expected);
        assert_eq!(found[4].difference.unwrap().interval, None);
        assert_eq!(found[5].difference, None);
        assert!(found[0].seeds_to_resolve.is_none());
        // |mean| 0.026667, deviation 0.118463: t·s/√n is 0.02671 at n = 78 and 0.02653 at 79.
        assert_eq!(found[3].seeds_to_resolve, Some(79));
    }

    #[test]
    fn invariant_more_comparisons_make_claims_harder() {
        let row = [-0.020, -0.031, -0.024];
        let alone = compare_family(&[row], 0.005)[0].clone();
        assert_eq!(alone.verdict, Verdict::Better);
        let noisy: Vec<Vec<f64>> = std::iter::once(row.to_vec())
            .chain((0..9).map(|index| normals(index, "null rows", 3, 0.0, 0.05)))
            .collect();
        let among_ten = compare_family(&noisy, 0.005)[0].clone();
        assert_eq!(among_ten.p_value, alone.p_value);
        assert!(among_ten.p_value_holm.unwrap() > 5.0 * alone.p_value_holm.unwrap());
        assert_eq!(among_ten.verdict, Verdict::Inconclusive);
    }

    #[test]
    fn invariant_identical_losses_are_no_change() {
        let found = &compare_family(&[[0.0, 0.0, 0.0]], EQUIVALENCE_MARGIN_NATS)[0];
        assert_eq!(found.verdict, Verdict::NoChange);
        assert_eq!(found.p_value, Some(1.0));
    }

    #[test]
    fn invariant_the_printed_rule_states_the_margin_in_force() {
        assert!(VERDICT_RULE.contains(&format!("±{EQUIVALENCE_MARGIN_NATS} nats")));
    }
}
