//! What a search has found so far.

use std::collections::BTreeMap;

use toml::Value;

use super::Search;
use crate::error::Result;
use crate::experiment::words::{title, with_interval};
use crate::runs::record::RunRecord;
use crate::statistics::{estimate, mean, pair_common_seeds};

/// One setting of all knobs.
#[derive(Debug, Clone)]
pub struct Trial {
    /// 0 is the start.
    pub index: u64,
    /// Round that drew it.
    pub round: usize,
    /// Places of the knobs on their ranges.
    pub places: Vec<f64>,
    /// Values of the knobs by name.
    pub values: BTreeMap<String, Value>,
    /// Run with the trial seed, once finished.
    pub run: Option<RunRecord>,
    /// Runs of a finalist with fresh seeds, in seed order.
    pub fresh: Vec<RunRecord>,
}

impl Trial {
    /// Loss with the trial seed; infinite if it diverged.
    pub fn cost(&self) -> f64 {
        let loss = self.run.as_ref().and_then(|run| run.loss_nats);
        loss.filter(|loss| loss.is_finite()).unwrap_or(f64::INFINITY)
    }

    /// `(seed, loss)` of the fresh runs that did not diverge.
    pub fn losses(&self) -> Vec<(u64, f64)> {
        self.fresh.iter().filter_map(|run| Some((run.config.seed, run.loss_nats?))).collect()
    }
}

/// Search of one family.
#[derive(Debug, Clone)]
pub struct FamilySearch {
    /// Family.
    pub family: String,
    /// Trials in the order drawn, the start first.
    pub trials: Vec<Trial>,
    /// Place in `trials` of the finalist with the lowest mean loss over all fresh seeds.
    pub winner: Option<usize>,
}

/// All searches.
#[derive(Debug, Clone)]
pub struct SearchOutcome {
    /// What was asked.
    pub plan: Search,
    /// Fresh seeds wanted.
    pub seeds: u64,
    /// One search per family, in the ladder's order.
    pub families: Vec<FamilySearch>,
}

impl SearchOutcome {
    /// Every run.
    pub fn runs(&self) -> impl Iterator<Item = &RunRecord> {
        let trials = self.families.iter().flat_map(|search| &search.trials);
        trials.flat_map(|trial| trial.run.iter().chain(&trial.fresh))
    }

    /// Winner and start of every family with fresh seeds, in a line each.
    pub fn answer(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for search in &self.families {
            let Some(winner) = search.winner.map(|place| &search.trials[place]) else { continue };
            let (own, start) = (winner.losses(), search.trials[0].losses());
            let losses: Vec<f64> = own.iter().map(|loss| loss.1).collect();
            let loss = estimate(&losses).map_or("diverged".to_owned(), |loss| {
                format!("{} nats", with_interval(loss.mean, loss.interval, 4))
            });
            let gain = estimate(&pair_common_seeds(&own, &start)?.differences());
            let gain = gain.filter(|_| winner.index > 0).map_or(String::new(), |gain| {
                format!("; winner − start {}", with_interval(gain.mean, gain.interval, 4))
            });
            let (family, index) = (title(&search.family), winner.index);
            lines.push(format!("{family}: trial {index} wins with {loss}{gain}"));
        }
        Ok(lines)
    }

    /// The search of `family`.
    pub fn family(&self, family: &str) -> Option<&FamilySearch> {
        self.families.iter().find(|search| search.family == family)
    }
}

/// Trials with a finite loss from the best on; the earlier wins a tie.
pub(super) fn order(trials: &[Trial]) -> Vec<usize> {
    let mut order: Vec<usize> =
        (0..trials.len()).filter(|&place| trials[place].cost().is_finite()).collect();
    order.sort_by(|&a, &b| trials[a].cost().total_cmp(&trials[b].cost()).then(a.cmp(&b)));
    order
}

/// The start and the best `count` other settings; equal settings count once.
pub(super) fn finalists(trials: &[Trial], count: usize) -> Vec<usize> {
    let mut chosen = vec![0];
    for place in order(trials) {
        let known = |&other: &usize| trials[other].values == trials[place].values;
        if chosen.len() <= count && !chosen.iter().any(known) {
            chosen.push(place);
        }
    }
    chosen
}

/// The finalist with the lowest mean loss over all `seeds`; a finalist that diverged once is out.
pub(super) fn winner(trials: &[Trial], seeds: u64) -> Option<usize> {
    let score = |place: usize| {
        let losses: Vec<f64> = trials[place].losses().into_iter().map(|loss| loss.1).collect();
        mean(&losses).filter(|_| losses.len() as u64 == seeds)
    };
    let scored = (0..trials.len()).filter_map(|place| Some((place, score(place)?)));
    scored.min_by(|a, b| a.1.total_cmp(&b.1)).map(|found| found.0)
}
