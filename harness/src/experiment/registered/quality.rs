//! The best model of every family at one budget, by a search that gives each the same trials.

mod knob;
mod outcome;

use std::collections::BTreeMap;

use models::random::{Purpose, Stream};
use serde::{Deserialize, Serialize};
use toml::Value;

pub use knob::Knob;
pub use outcome::{FamilySearch, QualityOutcome, Trial};

use super::Experiment;
use crate::config::overrides;
use crate::config::run::RunConfig;
use crate::error::{HarnessError, Result};
use crate::experiment::definition::{Definition, FamilyEntry};
use crate::experiment::study;
use crate::runs::source::{Gathered, RunSource};

/// Path of the knob that is the learning rate.
const LEARNING_RATE: &str = "train.learning_rate";
/// Draws for one trial until a shape fits.
const DRAWS_MAX: u64 = 100;
/// No search has more trials: draws of different trials never meet.
const TRIALS_MAX: u64 = 1_000_000;

/// The `[quality]` table of an experiment.
///
/// Trial 0 has every knob at its start. The trials of a round each change the best trial of the
/// rounds before: every knob is drawn again with probability `change`, in the first round from
/// its whole range, in round k from a window of `shrink^k` of it around the best; a draw for which
/// no shape meets the budget is drawn again. All trials run with `trial_seed`. The start and the
/// best `finalists` others then run with seeds 1..=`seeds`, which no trial had; the lowest mean
/// loss wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityPlan {
    /// Preset with the budgets, the families and the recipe.
    pub preset: String,
    /// Index of the budget that is searched at.
    pub budget: usize,
    /// Trials of each round, the same for every family.
    pub rounds: Vec<u64>,
    /// Probability that a trial draws a knob again.
    pub change: f64,
    /// Ratio of the windows of one round and the round before.
    pub shrink: f64,
    /// Trials that run with fresh seeds, besides the start.
    pub finalists: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// Seed of every trial's run.
    pub trial_seed: u64,
    /// Knobs by family and path, `train.…` or `model.…`.
    pub knobs: BTreeMap<String, BTreeMap<String, Knob>>,
}

/// Places of all knobs on their ranges, 0 to 1, in the order of their names.
type Places = Vec<f64>;

impl QualityPlan {
    /// The preset, without its transfer sweep, at the searched budget only.
    fn definition(&self) -> Result<Definition> {
        let mut definition = Definition { transfer: None, ..Definition::preset(&self.preset)? };
        let budget = definition.budgets.get(self.budget).copied().ok_or_else(|| {
            HarnessError::config(
                format!("quality.budget = {}: {} has fewer budgets", self.budget, self.preset),
                "the first budget is 0",
            )
        })?;
        for family in definition.families.clone() {
            let mut entry = definition.entry(&family)?.clone();
            entry.shapes = entry.shapes.into_iter().skip(self.budget).take(1).collect();
            definition.replace(&family, entry)?;
        }
        definition.budgets = vec![budget];
        Ok(definition)
    }

    /// Checks the plan before anything runs.
    pub fn validate(&self, origin: &str) -> Result<()> {
        let fail = |problem: String, hint: &str| {
            Err(HarnessError::config(format!("{origin}: {problem}"), hint))
        };
        let definition = self.definition()?;
        if definition.seeds >= self.trial_seed {
            return fail(
                format!("trial_seed {} also judges the winner", self.trial_seed),
                "choose one above the preset's seeds",
            );
        }
        if self.rounds.is_empty() || self.finalists == 0 {
            return fail("no rounds or no finalists".to_owned(), "rounds = [8, 8], finalists = 2");
        }
        for (what, value) in [("change", self.change), ("shrink", self.shrink)] {
            if !(value > 0.0 && value <= 1.0) {
                return fail(format!("quality.{what} = {value}"), "a number above 0, at most 1");
            }
        }
        for family in &definition.families {
            let Some(knobs) = self.knobs.get(family) else {
                return fail(format!("no [quality.knobs.{family}]"), "every family is searched");
            };
            if !knobs.contains_key(LEARNING_RATE) {
                return fail(
                    format!("[quality.knobs.{family}] lacks {LEARNING_RATE}"),
                    "every family tunes its rate",
                );
            }
            for (path, knob) in knobs {
                knob.validate(&format!("{origin}: [quality.knobs.{family}] {path}"))?;
            }
            self.settings(&definition, family, &self.start(family))?;
        }
        Ok(())
    }

    fn knobs(&self, family: &str) -> &BTreeMap<String, Knob> {
        &self.knobs[family]
    }

    fn start(&self, family: &str) -> Places {
        self.knobs(family).values().map(Knob::start_place).collect()
    }

    /// Draw `index` for `family`, a change of `parent` in round `round`.
    fn draw(&self, family: &str, round: usize, index: u64, parent: &Places) -> Places {
        let knobs = self.knobs(family).keys();
        let draw = |(name, &place): (&String, &f64)| {
            let knob = format!("{family} {name}");
            let mut stream = Stream::named(self.seed, Purpose::Sweep, &knob, index);
            let (decides, at) = (stream.unit(), stream.unit());
            if decides >= self.change {
                place
            } else if round == 0 {
                at
            } else {
                let window = self.shrink.powi(round as i32);
                (place + window * (at - 0.5)).clamp(0.0, 1.0)
            }
        };
        knobs.zip(parent).map(draw).collect()
    }

    /// Values of all knobs at `places`, by name.
    fn values(&self, family: &str, places: &Places) -> BTreeMap<String, Value> {
        let knobs = self.knobs(family).iter().zip(places);
        knobs.map(|((name, knob), &place)| (name.clone(), knob.value(place))).collect()
    }

    /// The family's entry with its knobs at `places`.
    fn settings(
        &self,
        definition: &Definition,
        family: &str,
        places: &Places,
    ) -> Result<FamilyEntry> {
        let mut entry = definition.entry(family)?.clone();
        for (name, value) in self.values(family, places) {
            if name == LEARNING_RATE {
                entry.search.center = value.as_float().unwrap_or_default();
                continue;
            }
            let (table, key) = match name.split_once('.') {
                Some(("train", key)) => (&mut entry.train, key),
                Some(("model", key)) => (&mut entry.model, key),
                _ => {
                    return Err(HarnessError::config(
                        format!("knob '{name}' of {family}"),
                        "knobs are paths such as train.learning_rate or model.lambda_h",
                    ));
                }
            };
            overrides::set(table, &format!("{key}={value}"))?;
        }
        definition.template(family, Some(&entry.model), definition.data.tokenizer.vocab)?;
        definition.train_with(&entry.train)?;
        Ok(entry)
    }
}

/// Runs of one family at the searched budget.
struct Bench<'a> {
    plan: &'a QualityPlan,
    definition: &'a Definition,
    family: &'a str,
    vocab: usize,
    source: &'a dyn RunSource,
}

impl Bench<'_> {
    /// The run of the knobs at `places`; `None` if no shape meets the budget.
    fn run(&self, places: &Places, seed: u64) -> Result<Option<RunConfig>> {
        let entry = self.plan.settings(self.definition, self.family, places)?;
        let rate = entry.search.center;
        let mut definition = self.definition.clone();
        definition.families = vec![self.family.to_owned()];
        definition.replace(self.family, entry)?;
        let Ok(ladders) = study::ladders(&definition, self.vocab) else { return Ok(None) };
        study::ladder_run(&definition, &ladders[0], 0, rate, seed).map(Some)
    }

    /// The trial at `places`, whose run is wanted if it is not there; `None` if no shape fits.
    fn trial(
        &self,
        (round, index): (usize, u64),
        places: Places,
        wanted: &mut Vec<RunConfig>,
    ) -> Result<Option<Trial>> {
        let Some(config) = self.run(&places, self.plan.trial_seed)? else { return Ok(None) };
        let run = self.source.find(&config)?;
        if run.is_none() {
            wanted.push(config);
        }
        let values = self.plan.values(self.family, &places);
        Ok(Some(Trial { index, round, values, run, fresh: Vec::new(), places }))
    }

    /// Trial `index`: the first draw that fits.
    fn drawn(
        &self,
        (round, index): (usize, u64),
        parent: &Places,
        wanted: &mut Vec<RunConfig>,
    ) -> Result<Trial> {
        for attempt in 0..DRAWS_MAX {
            let draw = index + attempt * TRIALS_MAX;
            let places = self.plan.draw(self.family, round, draw, parent);
            if let Some(trial) = self.trial((round, index), places, wanted)? {
                return Ok(trial);
            }
        }
        Err(HarnessError::config(
            format!("no shape of {} meets the budget in {DRAWS_MAX} draws", self.family),
            "widen the choices of its depth and heads",
        ))
    }

    fn search(&self, seeds: u64, wanted: &mut Vec<RunConfig>) -> Result<FamilySearch> {
        let plan = self.plan;
        let mut own = Vec::new();
        let start = plan.start(self.family);
        let first = self.trial((0, 0), start.clone(), &mut own)?;
        let mut trials = vec![first.ok_or_else(|| {
            HarnessError::config(
                format!("the start of {} meets no budget", self.family),
                "start at the preset's own shape",
            )
        })?];
        let mut next = 1;
        for (round, &count) in plan.rounds.iter().enumerate() {
            // Later rounds stand on the best of the earlier ones; the first needs no run.
            if round > 0 && !own.is_empty() {
                break;
            }
            let best = (round > 0).then(|| outcome::order(&trials).first().copied()).flatten();
            let parent = best.map_or(start.clone(), |best| trials[best].places.clone());
            for index in next..next + count {
                trials.push(self.drawn((round, index), &parent, &mut own)?);
            }
            next += count;
        }
        let searched = own.is_empty();
        if searched {
            for index in outcome::finalists(&trials, plan.finalists) {
                for seed in 1..=seeds {
                    let Some(run) = self.run(&trials[index].places, seed)? else { continue };
                    match self.source.find(&run)? {
                        Some(record) => trials[index].fresh.push(record),
                        None => own.push(run),
                    }
                }
            }
        }
        let winner = outcome::winner(&trials, seeds).filter(|_| own.is_empty());
        wanted.extend(own);
        Ok(FamilySearch { family: self.family.to_owned(), trials, winner })
    }
}

/// Replays the search of every family.
pub fn gather(
    experiment: &Experiment,
    plan: &QualityPlan,
    vocab: usize,
    source: &dyn RunSource,
) -> Result<Gathered<QualityOutcome>> {
    let definition = plan.definition()?;
    let mut wanted = Vec::new();
    let mut families = Vec::new();
    for family in &definition.families {
        let bench = Bench { plan, definition: &definition, family, vocab, source };
        families.push(bench.search(experiment.seeds, &mut wanted)?);
    }
    let outcome =
        QualityOutcome { plan: plan.clone(), seeds: experiment.seeds, definition, families };
    Ok(Gathered { outcome, wanted })
}

/// `definition` with the winner of every family in place of its own constants; `None` while a
/// family has none.
pub fn tuned(definition: &Definition, outcome: &QualityOutcome) -> Result<Option<Definition>> {
    let mut tuned = definition.clone();
    for search in &outcome.families {
        let Some(winner) = search.winner else { return Ok(None) };
        let places = &search.trials[winner].places;
        let entry = outcome.plan.settings(definition, &search.family, places)?;
        tuned.replace(&search.family, entry)?;
    }
    Ok(Some(tuned))
}

/// Text and recipe that the search shares with its preset.
pub fn data(plan: &QualityPlan) -> Result<crate::config::data::DataConfig> {
    Ok(plan.definition()?.data)
}
