//! Learning-rate searches on a geometric grid, replayed from finished runs by a rule that is
//! fixed before any of them.
//!
//! Start with three neighbouring rates; while the best one has fewer than the wanted number of
//! points on a side, try the next rate on that side; stop at the limit. A diverged run counts as
//! an infinite loss and stays in the table.

use serde::{Deserialize, Serialize};

use crate::config::run::RunConfig;
use crate::error::Result;
use crate::runs::record::RunRecord;
use crate::runs::source::{Gathered, RunSource};

/// Rule of every learning-rate search, fixed before any run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRule {
    /// Ratio of neighbouring rates.
    pub factor: f64,
    /// Points wanted on each side of the best one.
    pub points_each_side: usize,
    /// No search tries more rates than this.
    pub points_max: usize,
    /// Seed of the search runs.
    pub seed: u64,
}

impl SearchRule {
    /// Fewest and most rates of a search.
    pub fn rates(&self) -> (usize, usize) {
        let fewest = 1 + 2 * self.points_each_side.max(1);
        let most = self.points_max.max(3);
        (fewest.min(most), most)
    }

    /// The rule as a sentence has it.
    pub fn words(&self) -> String {
        format!(
            "seed {} tries rates a factor {} apart until {} on each side of the best ({} at most)",
            self.seed,
            self.factor,
            match self.points_each_side {
                1 => "one lies".to_owned(),
                more => format!("{more} lie"),
            },
            self.points_max
        )
    }
}

/// One learning-rate search: the runs tried and the rate chosen.
#[derive(Debug, Clone)]
pub struct RateSearch {
    /// Family name.
    pub family: String,
    /// Parametrization table.
    pub parametrization: String,
    /// Width of the searched model.
    pub width: usize,
    /// Every rate tried with its runs (one per seed), in increasing order of rate.
    pub points: Vec<(f64, Vec<RunRecord>)>,
    /// Best rate; `None` if every run diverged.
    pub best: Option<f64>,
    /// Whether the best rate has the wanted number of neighbours on both sides.
    pub bracketed: bool,
    /// Whether the search is over; until then `best` is the lowest so far.
    pub complete: bool,
}

impl RateSearch {
    /// Every run, in increasing order of rate.
    pub fn runs(&self) -> impl Iterator<Item = &RunRecord> {
        self.points.iter().flat_map(|(_, runs)| runs)
    }
}

/// A learning-rate search of one model.
pub struct Sweep<'a> {
    /// Family name.
    pub family: &'a str,
    /// Parametrization table.
    pub parametrization: &'a str,
    /// Width of the model.
    pub width: usize,
    /// First rate tried; the grid is `center * factor^k`.
    pub center: f64,
    /// Seeds of every rate; the search follows their mean loss.
    pub seeds: Vec<u64>,
}

/// Runs of one rate, one per seed.
type Tried = (i32, Vec<RunRecord>);

impl Sweep<'_> {
    /// Follows `rule` as far as the finished runs lead; `make` gives the run of a rate and seed.
    pub fn gather(
        &self,
        rule: &SearchRule,
        source: &dyn RunSource,
        make: impl Fn(f64, u64) -> Result<RunConfig>,
    ) -> Result<Gathered<RateSearch>> {
        let replayed = self.replay(rule, 0, source, &make)?;
        let rate = |exponent: i32| self.center * rule.factor.powi(exponent);
        let mut points: Vec<(f64, Vec<RunRecord>)> =
            replayed.tried.into_iter().map(|(exponent, runs)| (rate(exponent), runs)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let outcome = RateSearch {
            family: self.family.to_owned(),
            parametrization: self.parametrization.to_owned(),
            width: self.width,
            points,
            best: replayed.best.map(rate),
            bracketed: replayed.bracketed,
            complete: replayed.wanted.is_empty(),
        };
        Ok(Gathered { outcome, wanted: replayed.wanted })
    }

    /// The search whose first three rates stand around `start`.
    pub(super) fn replay(
        &self,
        rule: &SearchRule,
        start: i32,
        source: &dyn RunSource,
        make: &dyn Fn(f64, u64) -> Result<RunConfig>,
    ) -> Result<Replayed> {
        let mut tried: Vec<Tried> = Vec::new();
        loop {
            let points: Vec<Point> = tried.iter().map(|tried| point(tried, start)).collect();
            let exponents = match next(rule, &points) {
                Next::Try(exponents) => exponents,
                Next::Done { best, bracketed } => {
                    let best = best.map(|exponent| exponent + start);
                    return Ok(Replayed { tried, best, bracketed, wanted: Vec::new() });
                }
            };
            let mut wanted = Vec::new();
            for exponent in exponents.into_iter().map(|exponent| exponent + start) {
                let mut runs = Vec::new();
                for &seed in &self.seeds {
                    let run = make(self.center * rule.factor.powi(exponent), seed)?;
                    match source.find(&run)? {
                        Some(record) => runs.push(record),
                        None => wanted.push(run),
                    }
                }
                if !runs.is_empty() {
                    tried.push((exponent, runs));
                }
            }
            if !wanted.is_empty() {
                let whole = |tried: &&Tried| tried.1.len() == self.seeds.len();
                let points: Vec<Point> =
                    tried.iter().filter(whole).map(|tried| point(tried, start)).collect();
                let best = best(&points).map(|exponent| exponent + start);
                return Ok(Replayed { tried, best, bracketed: false, wanted });
            }
        }
    }
}

/// How far a search has come.
pub(super) struct Replayed {
    /// Runs by exponent, in the order tried.
    pub tried: Vec<Tried>,
    /// Exponent of the lowest loss so far.
    pub best: Option<i32>,
    /// Whether the search ended with neighbours on both sides.
    pub bracketed: bool,
    /// Runs that the search waits for; empty when it is over.
    pub wanted: Vec<RunConfig>,
}

/// Mean loss of a rate; none if any of its runs diverged.
fn point((exponent, runs): &Tried, start: i32) -> Point {
    let losses: Option<Vec<f64>> = runs.iter().map(|run| run.loss_nats).collect();
    let loss_nats = losses.map(|losses| losses.iter().sum::<f64>() / losses.len() as f64);
    Point { exponent: exponent - start, loss_nats }
}

/// Several searches as one: their runs are wanted at once.
pub fn together(
    searches: impl IntoIterator<Item = Result<Gathered<RateSearch>>>,
) -> Result<Gathered<Vec<RateSearch>>> {
    let mut all = Gathered { outcome: Vec::new(), wanted: Vec::new() };
    for search in searches {
        let search = search?;
        all.outcome.push(search.outcome);
        all.wanted.extend(search.wanted);
    }
    Ok(all)
}

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
fn best(points: &[Point]) -> Option<i32> {
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
