//! Two arms, each at its own best rate, compared seed by seed.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::Experiment;
use crate::config::model::ComputePath;
use crate::error::Result;
use crate::experiment::setting::Setting;
use crate::experiment::sweep::{SearchOutcome, Sweep};
use crate::runs::record::RunRecord;
use crate::runs::source::{Gathered, RunSource};

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Name in tables.
    pub name: String,
    /// Family.
    pub family: String,
    /// Keys of its model table.
    #[serde(default)]
    pub model: Table,
    /// Keys laid on `[train]`.
    #[serde(default)]
    pub train: Table,
    /// Which implementation computes.
    #[serde(default)]
    pub path: ComputePath,
    /// Parametrization table.
    pub parametrization: String,
    /// Width of the base model.
    pub base_width: usize,
    /// Width.
    pub width: usize,
    /// First rate of the search.
    pub center: f64,
}

/// Runs of one arm so far.
#[derive(Debug, Clone)]
pub struct ArmOutcome {
    /// What was run.
    pub arm: Arm,
    /// Its learning-rate search.
    pub search: SearchOutcome,
    /// Runs at the best rate, in seed order; empty until the search is over.
    pub runs: Vec<RunRecord>,
}

impl ArmOutcome {
    /// `(seed, loss)` of the runs that did not diverge.
    pub fn losses(&self) -> Vec<(u64, f64)> {
        self.runs.iter().filter_map(|run| Some((run.config.seed, run.loss_nats?))).collect()
    }
}

/// Both arms so far.
#[derive(Debug, Clone)]
pub struct PairedOutcome {
    /// Seeds wanted.
    pub seeds: u64,
    /// Candidate and baseline.
    pub arms: [ArmOutcome; 2],
}

impl PairedOutcome {
    /// Every run, searches included.
    pub fn runs(&self) -> impl Iterator<Item = &RunRecord> {
        self.arms.iter().flat_map(|arm| {
            let tried = arm.search.points.iter().flat_map(|(_, runs)| runs);
            tried.chain(&arm.runs)
        })
    }
}

/// Replays searches, then seeds, of both arms.
pub fn gather(
    experiment: &Experiment,
    vocab: usize,
    source: &dyn RunSource,
) -> Result<Gathered<PairedOutcome>> {
    let mut wanted = Vec::new();
    let mut side = |arm: &Arm| -> Result<ArmOutcome> {
        let setting = Setting { path: arm.path, ..experiment.setting(&arm.train)? };
        let base = super::model(&arm.family, &arm.model, vocab, arm.base_width)?;
        let model = base.at_width(arm.width);
        let make =
            |rate: f64, seed: u64| setting.run(&model, &base, &arm.parametrization, rate, seed);
        let sweep = Sweep {
            family: &arm.family,
            parametrization: &arm.parametrization,
            width: arm.width,
            center: arm.center,
            seeds: vec![experiment.search_rule.seed],
        };
        let search = sweep.gather(&experiment.search_rule, source, make)?;
        wanted.extend(search.wanted);
        let mut runs = Vec::new();
        if let Some(rate) = search.outcome.best.filter(|_| search.outcome.complete) {
            for seed in 1..=experiment.seeds {
                let run = make(rate, seed)?;
                match source.find(&run)? {
                    Some(record) => runs.push(record),
                    None => wanted.push(run),
                }
            }
        }
        Ok(ArmOutcome { arm: arm.clone(), search: search.outcome, runs })
    };
    let arms = [side(&experiment.paired[0])?, side(&experiment.paired[1])?];
    Ok(Gathered { outcome: PairedOutcome { seeds: experiment.seeds, arms }, wanted })
}
