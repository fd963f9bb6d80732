//! Learning rate against width: bracket with one seed, then all seeds near the bowl.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::Experiment;
use crate::config::model::ModelConfig;
use crate::config::run::RunConfig;
use crate::error::Result;
use crate::experiment::definition::SearchRule;
use crate::experiment::study::shared_base;
use crate::experiment::sweep::{SearchOutcome, Sweep};
use crate::runs::record::RunRecord;
use crate::runs::source::{Gathered, RunSource};
use crate::statistics::{LearningRateCurve, LearningRatePoint};

/// The `[transfer]` table of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferPlan {
    /// Family that is swept.
    pub family: String,
    /// Keys of its model table.
    #[serde(default)]
    pub model: Table,
    /// The claim first, then the controls.
    pub parametrizations: Vec<String>,
    /// Widths, the first of which is the base.
    pub widths: Vec<usize>,
    /// First rate tried at each width.
    pub center: f64,
    /// Rates with all seeds wanted on each side of the best one.
    pub refine_each_side: usize,
}

/// Curves so far.
#[derive(Debug, Clone)]
pub struct TransferOutcome {
    /// What was asked.
    pub plan: TransferPlan,
    /// Seeds that every rate of a bowl should have.
    pub seeds: u64,
    /// One curve per parametrization and width, in this order; `complete` means that its bowl
    /// has all seeds.
    pub curves: Vec<SearchOutcome>,
}

impl TransferOutcome {
    /// Every run, curves in order.
    pub fn runs(&self) -> impl Iterator<Item = &RunRecord> {
        self.curves.iter().flat_map(|curve| curve.points.iter().flat_map(|(_, runs)| runs))
    }

    /// Curves of one parametrization for the statistics.
    ///
    /// Only rates that have all seeds count, so that no rate looks good because of the seed it
    /// was run with. While any curve lacks its bowl, all curves are reduced to the first seed:
    /// then there is a slope without an interval.
    pub fn curves_of(&self, parametrization: &str) -> Vec<LearningRateCurve> {
        let own: Vec<_> =
            self.curves.iter().filter(|curve| curve.parametrization == parametrization).collect();
        let seeded = own.iter().all(|curve| curve.complete) && !own.is_empty();
        own.into_iter().map(|curve| statistics_curve(curve, seeded.then_some(self.seeds))).collect()
    }

    /// Whether every curve of `parametrization` has its bowl with all seeds.
    pub fn is_complete(&self, parametrization: &str) -> bool {
        let mut own = self.curves.iter().filter(|c| c.parametrization == parametrization);
        own.all(|curve| curve.complete)
    }
}

/// The curve of rates that have `seeds` seeds; `None`: of all rates, first seed only.
fn statistics_curve(curve: &SearchOutcome, seeds: Option<u64>) -> LearningRateCurve {
    let points = curve.points.iter().filter_map(|(rate, runs)| {
        let mut losses: Vec<(u64, Option<f64>)> =
            runs.iter().map(|run| (run.config.seed, run.loss_nats)).collect();
        losses.sort_by_key(|loss| loss.0);
        match seeds {
            Some(seeds) if (losses.len() as u64) < seeds => return None,
            Some(_) => {}
            None => losses.truncate(1),
        }
        Some(LearningRatePoint { log2_learning_rate: rate.log2(), losses })
    });
    LearningRateCurve { width: curve.width, points: points.collect() }
}

/// Replays the registered rule on the finished runs.
pub fn gather(
    experiment: &Experiment,
    plan: &TransferPlan,
    vocab: usize,
    source: &dyn RunSource,
) -> Result<Gathered<TransferOutcome>> {
    let base = super::model(&plan.family, &plan.model, vocab, plan.widths[0])?;
    let setting = experiment.setting(&Table::new())?;
    let mut curves = Vec::new();
    for (rank, parametrization) in plan.parametrizations.iter().enumerate() {
        for &width in &plan.widths {
            // At the base width all parametrizations are the same model.
            if width == plan.widths[0] && rank > 0 {
                continue;
            }
            let model = base.at_width(width);
            let make =
                |rate: f64, seed: u64| setting.run(&model, &base, parametrization, rate, seed);
            curves.push(Bowl { experiment, plan, parametrization, width }.gather(source, &make)?);
        }
    }
    transferred_rate(experiment, &base, &mut curves, source)?;
    let wanted = curves.iter_mut().flat_map(|curve| std::mem::take(&mut curve.wanted)).collect();
    let own: Vec<SearchOutcome> = curves.into_iter().map(|curve| curve.outcome).collect();
    let curves = shared_base(&plan.parametrizations, &own);
    let outcome = TransferOutcome { plan: plan.clone(), seeds: experiment.seeds, curves };
    Ok(Gathered { outcome, wanted })
}

/// One curve on its way.
struct Refined<'a> {
    outcome: SearchOutcome,
    wanted: Vec<RunConfig>,
    parametrization: &'a str,
}

/// The bowl of one parametrization at one width.
struct Bowl<'a> {
    experiment: &'a Experiment,
    plan: &'a TransferPlan,
    parametrization: &'a str,
    width: usize,
}

impl<'a> Bowl<'a> {
    fn sweep(&self, seeds: Vec<u64>) -> Sweep<'a> {
        Sweep {
            family: &self.plan.family,
            parametrization: self.parametrization,
            width: self.width,
            center: self.plan.center,
            seeds,
        }
    }

    fn gather(
        &self,
        source: &dyn RunSource,
        make: &dyn Fn(f64, u64) -> Result<RunConfig>,
    ) -> Result<Refined<'a>> {
        let rule = &self.experiment.search_rule;
        let bracket = self.sweep(vec![rule.seed]).gather(rule, source, make)?;
        let mut refined = Refined {
            outcome: bracket.outcome,
            wanted: bracket.wanted,
            parametrization: self.parametrization,
        };
        let Some(best) = refined.outcome.best.filter(|_| refined.outcome.complete) else {
            return Ok(refined);
        };
        let start = (best / self.plan.center).log(rule.factor).round() as i32;
        let bowl_rule = SearchRule { points_each_side: self.plan.refine_each_side, ..rule.clone() };
        let seeds: Vec<u64> = (1..=self.experiment.seeds).collect();
        let found = self.sweep(seeds).replay(&bowl_rule, start, source, make)?;
        let rate = |exponent: i32| self.plan.center * rule.factor.powi(exponent);
        for (exponent, runs) in found.tried {
            replace_point(&mut refined.outcome.points, rate(exponent), runs);
        }
        refined.outcome.complete = found.wanted.is_empty();
        if refined.outcome.complete {
            refined.outcome.best = found.best.map(rate);
            refined.outcome.bracketed = found.bracketed;
        }
        refined.wanted = found.wanted;
        Ok(refined)
    }
}

/// Puts `runs` in the place of the runs of the same rate.
fn replace_point(points: &mut Vec<(f64, Vec<RunRecord>)>, rate: f64, runs: Vec<RunRecord>) {
    match points.iter_mut().find(|(known, _)| known.to_bits() == rate.to_bits()) {
        Some(point) if point.1.len() < runs.len() => point.1 = runs,
        Some(_) => {}
        None => points.push((rate, runs)),
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
}

/// Regret compares with the base width's best rate, which therefore runs with all seeds at every
/// width once the base width has its bowl.
fn transferred_rate(
    experiment: &Experiment,
    base: &ModelConfig,
    curves: &mut [Refined],
    source: &dyn RunSource,
) -> Result<()> {
    let Some(first) = curves.first().filter(|first| first.outcome.complete) else { return Ok(()) };
    let Some(rate) = first.outcome.best else { return Ok(()) };
    let setting = experiment.setting(&Table::new())?;
    for curve in curves.iter_mut().skip(1).filter(|curve| curve.outcome.complete) {
        let model = base.at_width(curve.outcome.width);
        let mut runs = Vec::new();
        for seed in 1..=experiment.seeds {
            let run = setting.run(&model, base, curve.parametrization, rate, seed)?;
            match source.find(&run)? {
                Some(record) => runs.push(record),
                None => curve.wanted.push(run),
            }
        }
        if !runs.is_empty() {
            replace_point(&mut curve.outcome.points, rate, runs);
        }
        curve.outcome.complete = curve.wanted.is_empty();
    }
    Ok(())
}
