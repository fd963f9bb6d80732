//! Two arms, each at its own best rate, compared seed by seed.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::protocol::Protocol;
use crate::config::model::{ComputePath, ModelConfig};
use crate::config::run::RunConfig;
use crate::cost::plan::PlannedRuns;
use crate::error::{HarnessError, Result};
use crate::experiment::rate_search::{RateSearch, Sweep};
use crate::experiment::setting::{self, Setting, Subject};
use crate::experiment::words::{count, title, with_interval};
use crate::runs::record::{self, RunRecord};
use crate::runs::source::{Gathered, RunSource};
use crate::statistics::{self, Comparison, EQUIVALENCE_MARGIN_NATS};

/// The `[pair]` table of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// What is asked about.
    pub candidate: Arm,
    /// What it is compared with.
    pub baseline: Arm,
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Name in tables.
    pub name: String,
    /// Family.
    pub family: String,
    /// Which implementation computes, if not the experiment's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<ComputePath>,
    /// Parametrization table.
    pub parametrization: String,
    /// Width of the base model.
    pub base_width: usize,
    /// Width.
    pub width: usize,
    /// First rate of the search.
    pub center: f64,
    /// Keys of its model table.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub model: Table,
    /// Keys laid on `[train]`.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub train: Table,
}

/// Runs of one arm so far.
#[derive(Debug, Clone)]
pub struct ArmOutcome {
    /// What was run.
    pub arm: Arm,
    /// Its learning-rate search.
    pub search: RateSearch,
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
pub struct PairOutcome {
    /// Seeds wanted.
    pub seeds: u64,
    /// Candidate and baseline.
    pub arms: [ArmOutcome; 2],
}

impl PairOutcome {
    /// Every run, searches included.
    pub fn runs(&self) -> impl Iterator<Item = &RunRecord> {
        self.arms.iter().flat_map(|arm| arm.search.runs().chain(&arm.runs))
    }

    /// Candidate minus baseline over common seeds, judged by the rule of all reports.
    pub fn comparison(&self) -> Result<Comparison> {
        let [candidate, baseline] = &self.arms;
        let pairing = statistics::pair_common_seeds(&candidate.losses(), &baseline.losses())?;
        let family = [pairing.differences()];
        let found = statistics::compare_family(&family, EQUIVALENCE_MARGIN_NATS).remove(0);
        let read = record::all_read(self.arms.iter().flat_map(|arm| &arm.runs));
        Ok(if read { found } else { found.on_plateau() })
    }

    /// The difference in a line; `None` without a common seed.
    pub fn describe(&self) -> Result<Option<String>> {
        let [candidate, baseline] = &self.arms;
        Ok(self.comparison()?.difference.map(|difference| {
            format!(
                "{} − {} = {} nats; n = {} seeds",
                candidate.arm.name,
                baseline.arm.name,
                with_interval(difference.mean, difference.interval, 4),
                difference.n
            )
        }))
    }

    /// The difference with p and verdict; why there is none otherwise.
    pub fn answer(&self) -> Result<Vec<String>> {
        let Some(difference) = self.describe()? else {
            let diverged = |arm: &&ArmOutcome| {
                arm.search.complete && arm.losses().is_empty() && arm.search.runs().next().is_some()
            };
            let arms: Vec<&str> =
                self.arms.iter().filter(diverged).map(|arm| arm.arm.name.as_str()).collect();
            return Ok(match arms.as_slice() {
                [] => Vec::new(),
                arms => vec![format!("no difference: every run of {} diverged", arms.join(", "))],
            });
        };
        let found = self.comparison()?;
        let p = found.p_value.map_or("no p".to_owned(), |p| format!("p = {p:.2e}"));
        let name = &self.arms[0].arm.name;
        let wait = found.seeds_to_resolve.map_or(String::new(), |seeds| {
            format!(" ({seeds} seeds would decide if the noise stays)")
        });
        Ok(vec![format!("{difference}; {p}"), format!("{name} is: {}{wait}", found.verdict)])
    }
}

impl Arm {
    fn models(&self, vocab: usize) -> Result<(ModelConfig, ModelConfig)> {
        let base = setting::model(&self.family, &self.model, vocab)?.at_width(self.base_width);
        Ok((base.at_width(self.width), base))
    }

    fn subject<'a>(&'a self, (model, base): &'a (ModelConfig, ModelConfig)) -> Subject<'a> {
        let (parametrization, train) = (&self.parametrization, &self.train);
        Subject { model, base, parametrization, train, path: self.path }
    }

    fn gather(
        &self,
        setting: &Setting,
        vocab: usize,
        source: &dyn RunSource,
        wanted: &mut Vec<RunConfig>,
    ) -> Result<ArmOutcome> {
        let models = self.models(vocab)?;
        let subject = self.subject(&models);
        let rule = &setting.search_rule;
        let sweep = Sweep {
            family: &self.family,
            parametrization: &self.parametrization,
            width: self.width,
            center: self.center,
            seeds: vec![rule.seed],
        };
        let search = sweep.gather(rule, source, |rate, seed| setting.run(&subject, rate, seed))?;
        wanted.extend(search.wanted);
        let search = search.outcome;
        let runs = match search.best.filter(|_| search.complete) {
            Some(rate) => setting.find((&subject, rate), setting.seeds(), source, wanted)?,
            None => Vec::new(),
        };
        Ok(ArmOutcome { arm: self.clone(), search, runs })
    }

    fn words(&self) -> String {
        let keys = self.model.iter().chain(&self.train);
        let keys: Vec<String> = keys.map(|(key, value)| format!(", {key} = {value}")).collect();
        format!(
            "{}: {}, width {}, base width {}, {}{}",
            self.name,
            if title(&self.family) == "unknown" { &self.family } else { title(&self.family) },
            self.width,
            self.base_width,
            self.parametrization,
            keys.concat()
        )
    }
}

impl Pair {
    fn arms(&self) -> [(&'static str, &Arm); 2] {
        [("candidate", &self.candidate), ("baseline", &self.baseline)]
    }

    /// Replays searches, then seeds, of both arms.
    pub fn gather(
        &self,
        setting: &Setting,
        vocab: usize,
        source: &dyn RunSource,
    ) -> Result<Gathered<PairOutcome>> {
        let mut wanted = Vec::new();
        let candidate = self.candidate.gather(setting, vocab, source, &mut wanted)?;
        let baseline = self.baseline.gather(setting, vocab, source, &mut wanted)?;
        let outcome = PairOutcome { seeds: setting.seeds, arms: [candidate, baseline] };
        Ok(Gathered { outcome, wanted })
    }
}

impl Protocol for Pair {
    fn check(&self, _: &Setting) -> Result<()> {
        for (side, arm) in self.arms() {
            let fail = |problem: String, hint: &str| {
                Err(HarnessError::config(format!("pair.{side}.{problem}"), hint))
            };
            if arm.width == 0 || arm.base_width == 0 {
                let (width, base) = (arm.width, arm.base_width);
                return fail(format!("width = {width}, base_width = {base}"), "give both above 0");
            }
            if !(arm.center.is_finite() && arm.center > 0.0) {
                return fail(format!("center = {}", arm.center), "a rate above 0");
            }
            arm.models(0)?;
        }
        if self.candidate.name == self.baseline.name {
            return Err(HarnessError::config(
                format!("pair: both arms are called {}", self.candidate.name),
                "give them different names",
            ));
        }
        Ok(())
    }

    fn plan(&self, setting: &Setting, vocab: usize) -> Result<Vec<PlannedRuns>> {
        let mut rows = Vec::new();
        for (_, arm) in self.arms() {
            let models = arm.models(vocab)?;
            let subject = arm.subject(&models);
            let rule = &setting.search_rule;
            rows.push(setting.planned("search", &subject, rule.rates())?);
            let searched = usize::from((1..=setting.seeds).contains(&rule.seed));
            let seeds = setting.seeds as usize - searched;
            rows.push(setting.planned("pair", &subject, (seeds, seeds))?);
        }
        Ok(rows)
    }

    fn fixed(&self) -> Vec<String> {
        vec![self.candidate.words(), self.baseline.words()]
    }

    fn stopping(&self, setting: &Setting) -> String {
        let (rule, seeds) = (setting.search_rule.words(), count(setting.seeds, "seed"));
        format!("For each arm {rule}; then {seeds} of each at its best rate.")
    }
}
