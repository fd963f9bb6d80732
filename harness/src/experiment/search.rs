//! Learning-rate search on a geometric grid, its rule fixed before any run.
//!
//! Start with three neighbouring rates; while the best one has fewer than the wanted number of
//! points on a side, try the next rate on that side; stop at the limit. A diverged run counts as
//! an infinite loss and stays in the table.

use super::definition::SearchRule;

/// A finished run of the search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The rate is `center * factor^exponent`.
    pub exponent: i32,
    /// Held-out loss in nats; `None` if the run diverged.
    pub loss_nats: Option<f64>,
}

impl Point {
    fn cost(self) -> f64 {
        self.loss_nats.filter(|loss| loss.is_finite()).unwrap_or(f64::INFINITY)
    }
}

/// What the rule asks for next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Run these exponents.
    Try(Vec<i32>),
    /// The search is over.
    Done {
        /// Exponent of the lowest loss; `None` if every run diverged.
        best: Option<i32>,
        /// Whether the best has the wanted number of points on both sides.
        bracketed: bool,
    },
}

/// The next step of the search after `points`.
pub fn next(rule: &SearchRule, points: &[Point]) -> Next {
    if points.is_empty() {
        return Next::Try(vec![-1, 0, 1]);
    }
    let lowest = points.iter().map(|point| point.exponent).min().unwrap_or(0);
    let highest = points.iter().map(|point| point.exponent).max().unwrap_or(0);
    let room = rule.points_max.saturating_sub(points.len());
    let Some(best) = best(points) else {
        // Everything diverged: only lower rates can help.
        return if room == 0 {
            Next::Done { best: None, bracketed: false }
        } else {
            Next::Try((1..=2.min(room as i32)).map(|step| lowest - step).collect())
        };
    };
    let wanted = rule.points_each_side as i32;
    let missing_below = wanted - (best - lowest);
    let missing_above = wanted - (highest - best);
    if missing_below <= 0 && missing_above <= 0 {
        return Next::Done { best: Some(best), bracketed: true };
    }
    if room == 0 {
        return Next::Done { best: Some(best), bracketed: false };
    }
    let below = (1..=missing_below).map(|step| lowest - step);
    let above = (1..=missing_above).map(|step| highest + step);
    Next::Try(below.chain(above).take(room).collect())
}

/// Exponent of the lowest loss; the lower rate wins a tie.
pub(super) fn best(points: &[Point]) -> Option<i32> {
    points
        .iter()
        .filter(|point| point.cost().is_finite())
        .min_by(|a, b| a.cost().total_cmp(&b.cost()).then(a.exponent.cmp(&b.exponent)))
        .map(|point| point.exponent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULE: SearchRule =
        SearchRule { factor: 2.0, points_each_side: 1, points_max: 9, seed: 1 };

    /// Runs the search on a known loss curve.
    fn search(rule: &SearchRule, loss: impl Fn(i32) -> Option<f64>) -> (Vec<Point>, Next) {
        let mut points = Vec::new();
        loop {
            match next(rule, &points) {
                Next::Try(exponents) => {
                    assert!(!exponents.is_empty(), "an empty step would never end");
                    points.extend(
                        exponents.iter().map(|&e| Point { exponent: e, loss_nats: loss(e) }),
                    );
                }
                done @ Next::Done { .. } => return (points, done),
            }
        }
    }

    proptest! {
        #[test]
        fn invariant_search_finds_the_minimum_of_a_bowl(minimum in -4i32..5, sides in 1usize..3) {
            let rule = SearchRule { points_each_side: sides, points_max: 12, ..RULE };
            let (_, done) = search(&rule, |e| Some(f64::from((e - minimum).pow(2))));
            prop_assert_eq!(done, Next::Done { best: Some(minimum), bracketed: true });
        }

        #[test]
        fn invariant_search_never_exceeds_its_limit(limit in 3usize..8, slope in -1.0f64..1.0) {
            let rule = SearchRule { points_max: limit, ..RULE };
            let (points, _) = search(&rule, |e| Some(slope * f64::from(e)));
            prop_assert!(points.len() <= limit);
        }
    }

    #[test]
    fn invariant_diverged_points_bracket_from_above() {
        let (points, done) = search(&RULE, |e| (e <= 0).then(|| f64::from(-e)));
        assert_eq!(done, Next::Done { best: Some(0), bracketed: true });
        assert_eq!(points.len(), 3);
        let (points, done) = search(&RULE, |e| (e <= -3).then(|| f64::from(-e)));
        assert_eq!(done, Next::Done { best: Some(-3), bracketed: true });
        assert!(points.iter().any(|p| p.exponent == 1 && p.loss_nats.is_none()));
    }

    #[test]
    fn invariant_a_search_that_only_diverges_says_so() {
        let (points, done) = search(&RULE, |_| None);
        assert_eq!(done, Next::Done { best: None, bracketed: false });
        assert_eq!(points.len(), RULE.points_max);
    }
}
