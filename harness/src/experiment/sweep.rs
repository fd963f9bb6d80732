//! Learning-rate searches replayed from finished runs.

use super::search::{self, Next, Point};
use crate::config::run::RunConfig;
use crate::error::Result;
use crate::experiment::definition::SearchRule;
use crate::runs::record::RunRecord;
use crate::runs::source::{Gathered, RunSource};

/// One learning-rate search: the runs tried and the rate chosen.
#[derive(Debug, Clone)]
pub struct SearchOutcome {
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
    ) -> Result<Gathered<SearchOutcome>> {
        let replayed = self.replay(rule, 0, source, &make)?;
        let rate = |exponent: i32| self.center * rule.factor.powi(exponent);
        let mut points: Vec<(f64, Vec<RunRecord>)> =
            replayed.tried.into_iter().map(|(exponent, runs)| (rate(exponent), runs)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let outcome = SearchOutcome {
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
            let exponents = match search::next(rule, &points) {
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
                let best = search::best(&points).map(|exponent| exponent + start);
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
    searches: impl IntoIterator<Item = Result<Gathered<SearchOutcome>>>,
) -> Result<Gathered<Vec<SearchOutcome>>> {
    let mut all = Gathered { outcome: Vec::new(), wanted: Vec::new() };
    for search in searches {
        let search = search?;
        all.outcome.push(search.outcome);
        all.wanted.extend(search.wanted);
    }
    Ok(all)
}
