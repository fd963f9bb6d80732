//! Random hyper-parameter sets around a base point, at two widths.

use models::random::{Purpose, Stream};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::protocol::Protocol;
use crate::config::model::ModelConfig;
use crate::config::overrides;
use crate::config::run::RunConfig;
use crate::cost::plan::PlannedRuns;
use crate::error::{HarnessError, Result};
use crate::experiment::rate_search::{RateSearch, Sweep};
use crate::experiment::setting::{self, Setting, Subject};
use crate::experiment::words::{count, list, with_interval};
use crate::runs::record::{self, RunRecord};
use crate::runs::source::{Gathered, RunSource};
use crate::statistics::{Estimate, RankCorrelation, estimate, rank_correlation};

/// Fewest sets: with the base point five pairs of losses, below which no interval of a rank
/// correlation says anything.
const SETS_MIN: usize = 4;

/// The `[perturb]` table of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Perturb {
    /// Family.
    pub family: String,
    /// Keys of its model table: the base point.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub model: Table,
    /// Keys laid on `[train]`.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub train: Table,
    /// Parametrization table.
    pub parametrization: String,
    /// The small width, which is the base, and the large one.
    pub widths: [usize; 2],
    /// First rate of the search for the base point's rate.
    pub center: f64,
    /// Number of random sets.
    pub sets: usize,
    /// Every knob is multiplied by a uniform draw from `1 ± span`.
    pub span: f64,
    /// Seed of the draws.
    pub seed: u64,
    /// Paths of the knobs, `train.…` or `model.…`.
    pub knobs: Vec<String>,
}

/// One hyper-parameter set with its runs.
#[derive(Debug, Clone)]
pub struct PerturbedSet {
    /// 0 is the base point.
    pub index: usize,
    /// Factor on every knob, in the order of the plan.
    pub factors: Vec<f64>,
    /// Finished runs at the small and the large width, in seed order.
    pub runs: [Vec<RunRecord>; 2],
}

/// Sets so far.
#[derive(Debug, Clone)]
pub struct PerturbOutcome {
    /// What was asked.
    pub plan: Perturb,
    /// Seeds wanted.
    pub seeds: u64,
    /// Search for the base point's learning rate.
    pub search: RateSearch,
    /// Base point first; empty until the search is over.
    pub sets: Vec<PerturbedSet>,
}

impl PerturbOutcome {
    /// Every run, the search included.
    pub fn runs(&self) -> impl Iterator<Item = &RunRecord> {
        let tried = self.search.runs();
        tried.chain(self.sets.iter().flat_map(|set| set.runs.iter().flatten()))
    }

    /// Agreement of the widths over the seeds that every set has, in a line.
    pub fn describe(&self) -> Option<String> {
        let seeds = self.common_seeds();
        let found = compare(self, &seeds)?;
        Some(format!(
            "rank correlation {}, {}; base point {} nats above the best of {} sets at width {}; \
             n = {} seeds",
            with_interval(found.correlation.correlation, found.correlation.interval, 2),
            found.ceiling_of_means(seeds.len()).map_or_else(
                || "ceiling not known".to_owned(),
                |ceiling| format!("of at most {ceiling:.2} that noise allows")
            ),
            with_interval(found.distance.mean, found.distance.interval, 4),
            self.plan.sets,
            self.plan.widths[1],
            seeds.len()
        ))
    }

    /// Whether the base point reads its context at both widths.
    pub fn reads_context(&self) -> bool {
        let base = self.sets.iter().find(|set| set.index == 0);
        base.is_none_or(|set| record::all_read(set.runs.iter().flatten()))
    }

    /// Seeds that every set has at both widths: unfinished seeds are left out for all sets, so
    /// that no set is better for the seeds it was run with.
    pub fn common_seeds(&self) -> Vec<u64> {
        (1..=self.seeds)
            .filter(|seed| {
                let has = |runs: &Vec<RunRecord>| runs.iter().any(|run| run.config.seed == *seed);
                !self.sets.is_empty() && self.sets.iter().all(|set| set.runs.iter().all(has))
            })
            .collect()
    }
}

impl PerturbedSet {
    /// Mean loss over `seeds` at the small (0) or large (1) width; `None` if any diverged.
    pub fn mean_loss(&self, width: usize, seeds: &[u64]) -> Option<f64> {
        let losses = self.losses(width, seeds)?;
        crate::statistics::mean(&losses)
    }

    /// Losses of `seeds` in their order; `None` if any is missing or diverged.
    pub fn losses(&self, width: usize, seeds: &[u64]) -> Option<Vec<f64>> {
        let loss = |seed: &u64| {
            let run = self.runs[width].iter().find(|run| run.config.seed == *seed)?;
            run.loss_nats
        };
        seeds.iter().map(loss).collect()
    }
}

impl Perturb {
    /// Factors of set `index`; set 0 is the base point.
    pub fn factors(&self, index: usize) -> Vec<f64> {
        let draw = |knob: &String| {
            let mut stream = Stream::named(self.seed, Purpose::Sweep, knob, index as u64);
            1.0 + self.span * (2.0 * stream.unit() - 1.0)
        };
        self.knobs.iter().map(|knob| if index == 0 { 1.0 } else { draw(knob) }).collect()
    }

    /// `run` with every knob multiplied by its factor.
    fn apply(&self, run: &RunConfig, factors: &[f64]) -> Result<RunConfig> {
        if factors.iter().all(|factor| factor.to_bits() == 1f64.to_bits()) {
            return Ok(run.clone());
        }
        let broken = |error: String| HarnessError::Invariant(error);
        let mut table = Table::try_from(run).map_err(|error| broken(error.to_string()))?;
        for (knob, factor) in self.knobs.iter().zip(factors) {
            let mut places = vec![knob.clone()];
            if let Some(key) = knob.strip_prefix("model.") {
                // The base model has the same constants: they are no function of width.
                places = vec![format!("model.{}.{key}", self.family)];
                places.push(format!("base.{}.{key}", self.family));
            }
            for place in places {
                let value = number(&table, &place).ok_or_else(|| {
                    HarnessError::config(
                        format!("knob '{knob}' is no number of a {} run", self.family),
                        "knobs are paths such as train.learning_rate or model.lambda_h",
                    )
                })?;
                overrides::set(&mut table, &format!("{place}={:?}", value * factor))?;
            }
        }
        RunConfig::from_table(&table)
    }
}

fn number(table: &Table, path: &str) -> Option<f64> {
    let mut keys = path.split('.');
    let mut place = table.get(keys.next()?)?;
    for key in keys {
        place = place.as_table()?.get(key)?;
    }
    match place {
        Value::Float(value) => Some(*value),
        Value::Integer(value) => Some(*value as f64),
        _ => None,
    }
}

impl Perturb {
    /// The base point at both widths.
    fn models(&self, vocab: usize) -> Result<[ModelConfig; 2]> {
        let small = setting::model(&self.family, &self.model, vocab)?.at_width(self.widths[0]);
        let large = small.at_width(self.widths[1]);
        Ok([small, large])
    }

    fn subject<'a>(&'a self, models: &'a [ModelConfig; 2], width: usize) -> Subject<'a> {
        Subject {
            model: &models[width],
            base: &models[0],
            parametrization: &self.parametrization,
            train: &self.train,
            path: None,
        }
    }

    /// Replays the search for the base rate, then every set, seed by seed.
    pub fn gather(
        &self,
        setting: &Setting,
        vocab: usize,
        source: &dyn RunSource,
    ) -> Result<Gathered<PerturbOutcome>> {
        let models = self.models(vocab)?;
        let sweep = Sweep {
            family: &self.family,
            parametrization: &self.parametrization,
            width: self.widths[0],
            center: self.center,
            seeds: vec![setting.search_rule.seed],
        };
        let small = self.subject(&models, 0);
        let make = |rate, seed| setting.run(&small, rate, seed);
        let search = sweep.gather(&setting.search_rule, source, make)?;
        let (mut sets, mut by_seed) = (Vec::new(), vec![Vec::new(); setting.seeds as usize]);
        if let Some(rate) = search.outcome.best.filter(|_| search.outcome.complete) {
            for index in 0..=self.sets {
                let factors = self.factors(index);
                let mut runs = [Vec::new(), Vec::new()];
                for (width, found) in runs.iter_mut().enumerate() {
                    for seed in setting.seeds() {
                        let base = setting.run(&self.subject(&models, width), rate, seed)?;
                        let run = self.apply(&base, &factors)?;
                        match source.find(&run)? {
                            Some(record) => found.push(record),
                            None => by_seed[seed as usize - 1].push(run),
                        }
                    }
                }
                sets.push(PerturbedSet { index, factors, runs });
            }
        }
        // The first seed of all sets before the second, so that an unfinished experiment has
        // pairs.
        let mut wanted = search.wanted;
        wanted.extend(by_seed.into_iter().find(|runs| !runs.is_empty()).unwrap_or_default());
        let (plan, search) = (self.clone(), search.outcome);
        let outcome = PerturbOutcome { plan, seeds: setting.seeds, search, sets };
        Ok(Gathered { outcome, wanted })
    }
}

impl Protocol for Perturb {
    fn check(&self, setting: &Setting) -> Result<()> {
        let fail = |problem: String, hint: &str| {
            Err(HarnessError::config(format!("perturb.{problem}"), hint))
        };
        let [small, large] = self.widths;
        if small == 0 || small >= large {
            return fail(
                format!("widths = [{small}, {large}]"),
                "two widths in increasing order, the base first: [32, 128]",
            );
        }
        if self.sets < SETS_MIN {
            return fail(
                format!("sets = {}", self.sets),
                &format!("{SETS_MIN} sets or more; with fewer no interval tells anything"),
            );
        }
        if !(self.span > 0.0 && self.span < 1.0) {
            return fail(format!("span = {}", self.span), "a share above 0, below 1");
        }
        if !(self.center.is_finite() && self.center > 0.0) {
            return fail(format!("center = {}", self.center), "a rate above 0");
        }
        let twice = |(place, knob): (usize, &String)| self.knobs[..place].contains(knob);
        if self.knobs.is_empty() || self.knobs.iter().enumerate().any(twice) {
            let knobs = format!("knobs = {:?}", self.knobs);
            return fail(knobs, "list one or more, each once, such as train.learning_rate");
        }
        let models = self.models(setting.data.tokenizer.vocab.max(1))?;
        let run = setting.run(&self.subject(&models, 1), self.center, 1)?;
        self.apply(&run, &self.factors(1)).map(|_| ())
    }

    fn plan(&self, setting: &Setting, vocab: usize) -> Result<Vec<PlannedRuns>> {
        let models = self.models(vocab)?;
        let subject = |width| self.subject(&models, width);
        let (rule, seeds) = (&setting.search_rule, setting.seeds as usize);
        let all = (self.sets + 1) * seeds;
        // The base point at the small width is a run of the search where the seed is the same.
        let searched = usize::from((1..=setting.seeds).contains(&rule.seed));
        Ok(vec![
            setting.planned("search", &subject(0), rule.rates())?,
            setting.planned("perturb", &subject(0), (all - searched, all - searched))?,
            setting.planned("perturb", &subject(1), (all, all))?,
        ])
    }

    fn fixed(&self) -> Vec<String> {
        let [small, large] = self.widths;
        vec![format!("widths {small} and {large}, base width {small}, {}", self.parametrization)]
    }

    fn stopping(&self, setting: &Setting) -> String {
        let (rule, seeds) = (setting.search_rule.words(), count(setting.seeds, "seed"));
        let (low, high) = (1.0 - self.span, 1.0 + self.span);
        format!(
            "Base point: the published values with the learning rate of a search at width {}, \
             where {rule}. {} sets, {} multiplied by their own uniform draws from {low} to \
             {high}; each set and the base point run with {seeds} at both widths.",
            self.widths[0],
            self.sets,
            list(&self.knobs)
        )
    }
}

/// Order of the sets at both widths.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    /// Rank correlation of the mean losses of all sets, base point included, that are finite at
    /// both widths.
    pub correlation: RankCorrelation,
    /// Base point's loss minus that of the best set at the large width, paired by seed. The
    /// minimum over noisy sets makes it slightly too large.
    pub distance: Estimate,
    /// Index of the best set at the large width.
    pub best: usize,
    /// Rank correlation between the first two seeds at the large width: what noise allows.
    pub ceiling: Option<RankCorrelation>,
}

impl Agreement {
    /// Largest correlation that noise allows between means over `seeds` seeds, by Spearman and
    /// Brown from the correlation of two single seeds, `n r / (1 + (n − 1) r)`; `None` while that
    /// is not known or not above 0.
    pub fn ceiling_of_means(&self, seeds: usize) -> Option<f64> {
        let single = self.ceiling?.correlation;
        let n = seeds as f64;
        (single > 0.0).then(|| n * single / (1.0 + (n - 1.0) * single))
    }
}

/// Compares the sets on `seeds`, which every set has; `None` without seeds or with too few sets.
pub fn compare(outcome: &PerturbOutcome, seeds: &[u64]) -> Option<Agreement> {
    let finite: Vec<(&PerturbedSet, f64, f64)> = outcome
        .sets
        .iter()
        .filter_map(|set| Some((set, set.mean_loss(0, seeds)?, set.mean_loss(1, seeds)?)))
        .collect();
    let (small, large): (Vec<f64>, Vec<f64>) = finite.iter().map(|row| (row.1, row.2)).unzip();
    let correlation = rank_correlation(&small, &large)?;
    let (best, ..) = finite.iter().min_by(|a, b| a.2.total_cmp(&b.2))?;
    let (base, ..) = finite.iter().find(|(set, ..)| set.index == 0)?;
    let own = base.losses(1, seeds)?;
    let lowest = best.losses(1, seeds)?;
    let distances: Vec<f64> = own.iter().zip(&lowest).map(|(own, low)| own - low).collect();
    let by_seed = |seed: &u64| -> Option<Vec<f64>> {
        finite.iter().map(|(set, ..)| set.mean_loss(1, &[*seed])).collect()
    };
    let ceiling = match seeds {
        [first, second, ..] => rank_correlation(&by_seed(first)?, &by_seed(second)?),
        _ => None,
    };
    Some(Agreement { correlation, distance: estimate(&distances)?, best: best.index, ceiling })
}
