//! The best model of every family at one budget, by a search that gives each the same trials.

mod knob;
mod outcome;

use std::collections::BTreeMap;

use models::random::{Purpose, Stream};
use serde::{Deserialize, Serialize};
use toml::Value;

pub use knob::Knob;
pub use outcome::{FamilySearch, SearchOutcome, Trial};

use super::ladder::{FamilyEntry, Ladder};
use super::protocol::Protocol;
use crate::config::overrides;
use crate::config::run::RunConfig;
use crate::cost::plan::PlannedRuns;
use crate::error::{HarnessError, Result};
use crate::experiment::setting::Setting;
use crate::experiment::words::{count, list};
use crate::runs::source::{Gathered, RunSource};

/// Path of the knob that is the learning rate.
const LEARNING_RATE: &str = "train.learning_rate";
/// Draws for one trial until a shape fits.
const DRAWS_MAX: u64 = 100;
/// No search has more trials: draws of different trials never meet.
const TRIALS_MAX: u64 = 1_000_000;

/// The `[search]` table of an experiment.
///
/// Trial 0 has every knob at its start. The trials of a round each change the best trial of the
/// rounds before: every knob is drawn again with probability `change`, in the first round from
/// its whole range, in round k from a window of `shrink^k` of it around the best; a draw for which
/// no shape meets the budget is drawn again. All trials run with `trial_seed`. The start and the
/// best `finalists` others then run with seeds 1..=`seeds`, which no trial had; the lowest mean
/// loss wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// Families and budgets; a file names the experiment whose ladder it is.
    pub ladder: Ladder,
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

impl Search {
    /// The ladder at the searched budget only.
    pub fn at_budget(&self) -> Result<Ladder> {
        let mut ladder = Ladder { transfer: None, ..self.ladder.clone() };
        let budget = ladder.budgets.get(self.budget).copied().ok_or_else(|| {
            HarnessError::config(
                format!("search.budget = {}: its ladder has fewer budgets", self.budget),
                "the first budget is 0",
            )
        })?;
        for entry in ladder.models.values_mut() {
            entry.shapes = entry.shapes.drain(..).skip(self.budget).take(1).collect();
        }
        ladder.budgets = vec![budget];
        Ok(ladder)
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

    /// The family's entry in `ladder` with its knobs at `places`, and its learning rate.
    fn entry(&self, ladder: &Ladder, family: &str, places: &Places) -> Result<(FamilyEntry, f64)> {
        let mut entry = ladder.entry(family)?.clone();
        let mut rate = f64::NAN;
        for (name, value) in self.values(family, places) {
            if name == LEARNING_RATE {
                rate = value.as_float().unwrap_or_default();
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
        Ok((entry, rate))
    }

    /// `ladder` with the winner of every family in place of its own constants, whose rate the
    /// searches start from; `None` while a family has none.
    pub fn tuned(&self, ladder: &Ladder, outcome: &SearchOutcome) -> Result<Option<Ladder>> {
        let mut tuned = Ladder { transfer: None, ..ladder.clone() };
        for search in &outcome.families {
            let Some(winner) = search.winner else { return Ok(None) };
            let places = &search.trials[winner].places;
            let (mut entry, rate) = self.entry(ladder, &search.family, places)?;
            entry.search.center = rate;
            tuned.models.insert(search.family.clone(), entry);
        }
        Ok(Some(tuned))
    }

    /// Replays the search of every family.
    pub fn gather(
        &self,
        setting: &Setting,
        vocab: usize,
        source: &dyn RunSource,
    ) -> Result<Gathered<SearchOutcome>> {
        let ladder = self.at_budget()?;
        let mut wanted = Vec::new();
        let mut families = Vec::new();
        for family in &ladder.families {
            let trials = Trials { plan: self, ladder: &ladder, family, setting, vocab, source };
            families.push(trials.search(&mut wanted)?);
        }
        let outcome = SearchOutcome { plan: self.clone(), seeds: setting.seeds, families };
        Ok(Gathered { outcome, wanted })
    }
}

/// Runs of one family at the searched budget.
struct Trials<'a> {
    plan: &'a Search,
    ladder: &'a Ladder,
    setting: &'a Setting,
    family: &'a str,
    vocab: usize,
    source: &'a dyn RunSource,
}

impl Trials<'_> {
    /// The run of the knobs at `places`; `None` if no shape meets the budget.
    fn run(&self, places: &Places, seed: u64) -> Result<Option<RunConfig>> {
        let (entry, rate) = self.plan.entry(self.ladder, self.family, places)?;
        let mut ladder = self.ladder.clone();
        ladder.models.insert(self.family.to_owned(), entry);
        let Ok(shapes) = ladder.shapes_of(self.family, self.setting, self.vocab) else {
            return Ok(None);
        };
        self.setting.run(&ladder.subject(&shapes, 0)?, rate, seed).map(Some)
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

    fn search(&self, wanted: &mut Vec<RunConfig>) -> Result<FamilySearch> {
        let (plan, seeds) = (self.plan, self.setting.seeds);
        let mut own = Vec::new();
        let start = plan.start(self.family);
        let first = self.trial((0, 0), start.clone(), &mut own)?;
        let mut trials = vec![first.ok_or_else(|| {
            HarnessError::config(
                format!("the start of {} meets no budget", self.family),
                "start at the ladder's own shape",
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

impl Protocol for Search {
    fn check(&self, setting: &Setting) -> Result<()> {
        let fail = |problem: String, hint: &str| {
            Err(HarnessError::config(format!("search.{problem}"), hint))
        };
        self.ladder.check(setting)?;
        let ladder = self.at_budget()?;
        if setting.seeds >= self.trial_seed {
            return fail(
                format!("trial_seed = {} also judges the winner", self.trial_seed),
                "choose one above the number of seeds",
            );
        }
        if self.rounds.is_empty() || self.finalists == 0 {
            return fail("rounds or finalists: none".to_owned(), "rounds = [8, 8], finalists = 2");
        }
        for (what, value) in [("change", self.change), ("shrink", self.shrink)] {
            if !(value > 0.0 && value <= 1.0) {
                return fail(format!("{what} = {value}"), "a number above 0, at most 1");
            }
        }
        for family in &ladder.families {
            let Some(knobs) = self.knobs.get(family) else {
                return fail(format!("knobs.{family} is missing"), "every family is searched");
            };
            if !knobs.contains_key(LEARNING_RATE) {
                return fail(
                    format!("knobs.{family} lacks {LEARNING_RATE}"),
                    "every family tunes its rate",
                );
            }
            for (path, knob) in knobs {
                knob.validate(&format!("[search.knobs.{family}] {path}"))?;
            }
            let (entry, _) = self.entry(&ladder, family, &self.start(family))?;
            setting.train.with(&entry.train)?;
            ladder.template(family, Some(&entry.model), setting.data.tokenizer.vocab)?;
        }
        Ok(())
    }

    fn plan(&self, setting: &Setting, vocab: usize) -> Result<Vec<PlannedRuns>> {
        let ladder = self.at_budget()?;
        let trials = 1 + self.rounds.iter().sum::<u64>() as usize;
        let seeds = setting.seeds as usize;
        let mut rows = Vec::new();
        for shapes in ladder.shapes(setting, vocab)? {
            let subject = ladder.subject(&shapes, 0)?;
            rows.push(setting.planned("trials", &subject, (trials, trials))?);
            // Fewer finalists than asked for where few trials differ or did not diverge.
            let most = (1 + self.finalists) * seeds;
            rows.push(setting.planned("finalists", &subject, (seeds, most))?);
        }
        Ok(rows)
    }

    fn fixed(&self) -> Vec<String> {
        let budget = self.ladder.budgets.get(self.budget).copied().unwrap_or(f64::NAN);
        vec![format!(
            "{budget} {}, width and inner width (feed-forward, topics) solved for after every \
             change",
            self.ladder.axis.words()
        )]
    }

    fn stopping(&self, setting: &Setting) -> String {
        format!(
            "Trial 0 is the ladder's own setting. Then rounds of {} trials, each a change of the \
             best trial so far: every knob is drawn again with probability {}, in the first round \
             from its whole range, in each later one from a window {} times as wide around the \
             best; draws that no shape of the budget fits are drawn again. All trials run with \
             seed {}. The start and the {} best others run with {}, fresh ones; the lowest mean \
             wins. Nothing is added afterwards.",
            list(&self.rounds),
            self.change,
            self.shrink,
            self.trial_seed,
            self.finalists,
            count(setting.seeds, "seed"),
        )
    }
}
