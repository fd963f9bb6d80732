//! Learning rate against width: bracket with one seed, then all seeds near the bowl.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::protocol::Protocol;
use crate::config::model::ModelConfig;
use crate::cost::plan::PlannedRuns;
use crate::error::{HarnessError, Result};
use crate::experiment::rate_search::{RateSearch, SearchRule, Sweep};
use crate::experiment::setting::{self, SEEDS_MAX, Setting, Subject};
use crate::experiment::words::{count, list, with_interval};
use crate::runs::record::{self, RunRecord};
use crate::runs::source::{Gathered, RunSource};
use crate::statistics::{
    self, BOOTSTRAP_SEED, LearningRateCurve, LearningRatePoint, REPLICATES, ShiftSlope,
    TransferRegret, TransferShift,
};

/// The `[transfer]` table of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// Family that is swept.
    pub family: String,
    /// Keys of its model table.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub model: Table,
    /// Keys laid on `[train]`.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub train: Table,
    /// The claim first, then the controls.
    pub parametrizations: Vec<String>,
    /// Widths, the first of which is the base.
    pub widths: Vec<usize>,
    /// First rate tried at each width.
    pub center: f64,
    /// Rates with all seeds wanted on each side of the best one, after a search with one seed;
    /// without it the search itself runs every rate with all seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refine_each_side: Option<usize>,
    /// Seeds, if not as many as the experiment's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<u64>,
}

/// Curves so far.
#[derive(Debug, Clone)]
pub struct TransferOutcome {
    /// What was asked.
    pub plan: Transfer,
    /// Seeds that every rate of a bowl should have.
    pub seeds: u64,
    /// One curve per parametrization and width, in this order; `complete` means that its bowl
    /// has all seeds.
    pub curves: Vec<RateSearch>,
}

impl TransferOutcome {
    /// Every run, curves in order.
    pub fn runs(&self) -> impl Iterator<Item = &RunRecord> {
        self.curves.iter().flat_map(RateSearch::runs)
    }

    /// Shift slope of one parametrization.
    pub fn slope(&self, parametrization: &str) -> ShiftSlope {
        statistics::shift_slope(&self.curves_of(parametrization), REPLICATES, BOOTSTRAP_SEED)
    }

    /// The same with seeds and grid in its interval: what verdicts rest on.
    pub fn shift(&self, parametrization: &str) -> TransferShift {
        statistics::transfer_shift(&self.curves_of(parametrization), REPLICATES, BOOTSTRAP_SEED)
    }

    /// Whether the runs at the best rate of every width read their context, under the first
    /// parametrization.
    pub fn reads_context(&self) -> bool {
        let own = |curve: &&RateSearch| curve.parametrization == self.plan.parametrizations[0];
        let best = |curve: &RateSearch| {
            let at = |point: &&(f64, Vec<RunRecord>)| Some(point.0) == curve.best;
            curve.points.iter().find(at).is_none_or(|(_, runs)| record::all_read(runs))
        };
        self.curves.iter().filter(own).all(best)
    }

    /// Regret of keeping the base width's best rate, at every larger width.
    pub fn regrets(&self, parametrization: &str) -> Vec<TransferRegret> {
        let curves = self.curves_of(parametrization);
        let Some((base, larger)) = curves.split_first() else { return Vec::new() };
        larger.iter().filter_map(|curve| statistics::transfer_regret(base, curve)).collect()
    }

    /// Slopes, largest regret and seeds in a line.
    pub fn describe(&self) -> String {
        let names = &self.plan.parametrizations;
        let slope = |name: &String| {
            let shift = self.shift(name);
            // Without seeds the grid alone would pass for an interval.
            let interval = shift.seeds.as_ref().and(shift.interval);
            match shift.slope {
                Some(k) => {
                    format!("k = {} under {name}", with_interval(k, interval, 3))
                }
                None => format!("k not known yet under {name}"),
            }
        };
        let mut parts: Vec<String> = names.iter().map(slope).collect();
        let regrets = self.regrets(&names[0]);
        let largest = regrets.iter().filter_map(|regret| regret.regret).map(|regret| regret.mean);
        if let Some(largest) = largest.max_by(f64::total_cmp) {
            parts.push(format!("largest regret {largest:.3} nats"));
        }
        let seeds = if names.iter().all(|name| self.is_complete(name)) {
            format!("n = {} seeds", self.seeds)
        } else {
            "one seed where the bowls lack seeds".to_owned()
        };
        format!("{}; {} widths, {seeds}", parts.join("; "), self.plan.widths.len())
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
fn statistics_curve(curve: &RateSearch, seeds: Option<u64>) -> LearningRateCurve {
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

impl Transfer {
    fn seeds(&self, setting: &Setting) -> u64 {
        self.seeds.unwrap_or(setting.seeds)
    }

    fn subject<'a>(
        &'a self,
        (model, base): (&'a ModelConfig, &'a ModelConfig),
        parametrization: &'a str,
    ) -> Subject<'a> {
        Subject { model, base, parametrization, train: &self.train, path: None }
    }

    /// Parametrizations and widths of different models: at the base width all parametrizations
    /// are the same one, so its curve runs once, under the first, and is shown for each.
    fn arms(&self) -> impl Iterator<Item = (&String, usize)> {
        self.parametrizations.iter().enumerate().flat_map(|(rank, parametrization)| {
            let widths = self.widths.iter().skip(usize::from(rank > 0));
            widths.map(move |&width| (parametrization, width))
        })
    }

    /// Replays the registered rule on the finished runs.
    pub fn gather(
        &self,
        setting: &Setting,
        vocab: usize,
        source: &dyn RunSource,
    ) -> Result<Gathered<TransferOutcome>> {
        let base = setting::model(&self.family, &self.model, vocab)?.at_width(self.widths[0]);
        let mut curves = Vec::new();
        for (parametrization, width) in self.arms() {
            let model = base.at_width(width);
            let subject = self.subject((&model, &base), parametrization);
            let bowl = Bowl { setting, plan: self, subject };
            curves.push(bowl.gather(source)?);
        }
        if self.refine_each_side.is_some() {
            self.transferred_rate(setting, &base, &mut curves, source)?;
        }
        let take = |curve: &mut Gathered<RateSearch>| std::mem::take(&mut curve.wanted);
        let wanted = curves.iter_mut().flat_map(take).collect();
        let own: Vec<RateSearch> = curves.into_iter().map(|curve| curve.outcome).collect();
        let curves = shared_base(&self.parametrizations, &own);
        let outcome = TransferOutcome { plan: self.clone(), seeds: self.seeds(setting), curves };
        Ok(Gathered { outcome, wanted })
    }

    /// Regret compares with the base width's best rate, which therefore runs with all seeds at
    /// every width once the base width has its bowl.
    fn transferred_rate(
        &self,
        setting: &Setting,
        base: &ModelConfig,
        curves: &mut [Gathered<RateSearch>],
        source: &dyn RunSource,
    ) -> Result<()> {
        let Some(first) = curves.first().filter(|first| first.outcome.complete) else {
            return Ok(());
        };
        let Some(rate) = first.outcome.best else { return Ok(()) };
        for curve in curves.iter_mut().skip(1).filter(|curve| curve.outcome.complete) {
            let model = base.at_width(curve.outcome.width);
            let parametrization = curve.outcome.parametrization.clone();
            let subject = self.subject((&model, base), &parametrization);
            let seeds = 1..=self.seeds(setting);
            let runs = setting.find((&subject, rate), seeds, source, &mut curve.wanted)?;
            if !runs.is_empty() {
                replace_point(&mut curve.outcome.points, rate, runs);
            }
            curve.outcome.complete = curve.wanted.is_empty();
        }
        Ok(())
    }
}

/// The bowl of one parametrization at one width.
struct Bowl<'a> {
    setting: &'a Setting,
    plan: &'a Transfer,
    subject: Subject<'a>,
}

impl<'a> Bowl<'a> {
    fn sweep(&self, seeds: Vec<u64>) -> Sweep<'a> {
        Sweep {
            family: &self.plan.family,
            parametrization: self.subject.parametrization,
            width: self.subject.model.dimensions().width,
            center: self.plan.center,
            seeds,
        }
    }

    fn gather(&self, source: &dyn RunSource) -> Result<Gathered<RateSearch>> {
        let make = |rate: f64, seed: u64| self.setting.run(&self.subject, rate, seed);
        let rule = &self.setting.search_rule;
        let seeds: Vec<u64> = (1..=self.plan.seeds(self.setting)).collect();
        let Some(points_each_side) = self.plan.refine_each_side else {
            return self.sweep(seeds).gather(rule, source, make);
        };
        let mut found = self.sweep(vec![rule.seed]).gather(rule, source, make)?;
        let Some(best) = found.outcome.best.filter(|_| found.outcome.complete) else {
            return Ok(found);
        };
        let start = (best / self.plan.center).log(rule.factor).round() as i32;
        let bowl_rule = SearchRule { points_each_side, ..rule.clone() };
        let bowl = self.sweep(seeds).replay(&bowl_rule, start, source, &make)?;
        let rate = |exponent: i32| self.plan.center * rule.factor.powi(exponent);
        for (exponent, runs) in bowl.tried {
            replace_point(&mut found.outcome.points, rate(exponent), runs);
        }
        found.outcome.complete = bowl.wanted.is_empty();
        if found.outcome.complete {
            found.outcome.best = bowl.best.map(rate);
            found.outcome.bracketed = bowl.bracketed;
        }
        found.wanted = bowl.wanted;
        Ok(found)
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

/// Copies the base-width curve to the parametrizations that share it.
fn shared_base(parametrizations: &[String], outcomes: &[RateSearch]) -> Vec<RateSearch> {
    let base = outcomes.first().cloned();
    let mut complete = Vec::new();
    for parametrization in parametrizations {
        let own = outcomes.iter().filter(|curve| curve.parametrization == *parametrization);
        if let Some(base) = base.as_ref().filter(|base| base.parametrization != *parametrization) {
            let parametrization = parametrization.clone();
            complete.push(RateSearch { parametrization, ..base.clone() });
        }
        complete.extend(own.cloned());
    }
    complete
}

impl Protocol for Transfer {
    fn check(&self, _: &Setting) -> Result<()> {
        let fail = |problem: String, hint: &str| Err(HarnessError::config(problem, hint));
        let (widths, names) = (&self.widths, &self.parametrizations);
        if widths.len() < 2 || widths[0] == 0 || widths.windows(2).any(|pair| pair[0] >= pair[1]) {
            return fail(
                format!("transfer.widths = {widths:?}"),
                "list two or more widths in increasing order, the base first: [32, 64, 128]",
            );
        }
        let twice = |(place, name): (usize, &String)| names[..place].contains(name);
        if names.is_empty() || names.iter().enumerate().any(twice) {
            return fail(
                format!("transfer.parametrizations = {names:?}"),
                "list one or more, each once, for instance [\"pt-2026\", \"standard\"]",
            );
        }
        if !(self.center.is_finite() && self.center > 0.0) {
            return fail(format!("transfer.center = {}", self.center), "a rate above 0");
        }
        if self.refine_each_side == Some(0) {
            return fail(
                "transfer.refine_each_side = 0".to_owned(),
                "1 or more, or leave it out to run every rate with all seeds",
            );
        }
        match self.seeds {
            Some(seeds) if !(1..=SEEDS_MAX).contains(&seeds) => {
                fail(format!("transfer.seeds = {seeds}"), &format!("1 to {SEEDS_MAX} seeds"))
            }
            _ => setting::model(&self.family, &self.model, 0).map(|_| ()),
        }
    }

    fn plan(&self, setting: &Setting, vocab: usize) -> Result<Vec<PlannedRuns>> {
        let base = setting::model(&self.family, &self.model, vocab)?.at_width(self.widths[0]);
        let (fewest, most) = setting.search_rule.rates();
        let seeds = self.seeds(setting) as usize;
        let others = seeds.saturating_sub(1);
        let runs = match self.refine_each_side {
            None => (fewest * seeds, most * seeds),
            // One seed brackets; the others fill the bowl, and the base's best rate.
            Some(sides) => {
                let bowl = 1 + 2 * sides;
                (fewest.max(bowl) + bowl * others, most * seeds + seeds)
            }
        };
        let row = |(parametrization, width): (&String, usize)| {
            let model = base.at_width(width);
            let subject = self.subject((&model, &base), parametrization);
            setting.planned("transfer", &subject, runs)
        };
        self.arms().map(row).collect()
    }

    fn fixed(&self) -> Vec<String> {
        vec![format!(
            "widths {}, base width {}; {}",
            list(&self.widths),
            self.widths[0],
            list(&self.parametrizations)
        )]
    }

    fn stopping(&self, setting: &Setting) -> String {
        let rule = setting.search_rule.words();
        let seeds = count(self.seeds(setting), "seed");
        match self.refine_each_side {
            None => format!("At every width {rule}, each rate with {seeds}."),
            Some(sides) => format!(
                "At every width {rule}; then {seeds} run at the best rate and its neighbours \
                 until {} with all seeds on each side, and at the base width's best rate. \
                 Diverged runs stay as `div`.",
                match sides {
                    1 => "one rate lies".to_owned(),
                    more => format!("{more} rates lie"),
                }
            ),
        }
    }
}
