//! Families at matched budgets: shapes, learning-rate searches, every seed of every size, and
//! where it is wanted the learning rate against width.
//!
//! The ledger recognises runs that two stages share, so the winning search run is also the first
//! seed of its ladder cell.

pub mod arcs;
mod entry;
mod fixed;
pub mod rows;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Table;

pub use entry::{FamilyEntry, SearchConfig};

use super::transfer::{Transfer, TransferOutcome};
use crate::config::model::ModelConfig;
use crate::config::overrides;
use crate::cost::budget::{self, Axis, Workload};
use crate::error::{HarnessError, Result};
use crate::experiment::rate_search::{self, RateSearch, Sweep};
use crate::experiment::setting::{self, Setting, Subject};
use crate::runs::record::{self, RunRecord};
use crate::runs::source::{Gathered, RunSource};

/// The `[ladder]` table of an experiment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ladder {
    /// What a budget counts.
    #[serde(default)]
    pub axis: Axis,
    /// Budgets, in increasing order.
    pub budgets: Vec<f64>,
    /// Families in report order.
    pub families: Vec<String>,
    /// How each of them is built and trained.
    pub models: BTreeMap<String, FamilyEntry>,
    /// Learning rate against width of one of them, with its model and recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<Transfer>,
}

/// The shapes of one family, one per budget or per size of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Shapes {
    /// Family name.
    pub family: String,
    /// Models in order of size; the first is the base of the parametrization, unless the family
    /// is tuned at every size.
    pub models: Vec<ModelConfig>,
}

/// All seeds of one family at one size.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Index into the ladder's budgets, or into the family's own sizes.
    pub index: usize,
    /// Family name.
    pub family: String,
    /// One run per seed, in seed order.
    pub runs: Vec<RunRecord>,
}

impl Cell {
    /// `(seed, loss)` of the runs that did not diverge.
    pub fn losses(&self) -> Vec<(u64, f64)> {
        self.runs.iter().filter_map(|run| Some((run.config.seed, run.loss_nats?))).collect()
    }

    /// Whether every run reads its context.
    pub fn reads_context(&self) -> bool {
        record::all_read(&self.runs)
    }

    /// Training seconds of the fastest seed: all seeds compute the same amount, and whatever else
    /// ran beside them only adds to their times.
    pub fn training_seconds(&self) -> Option<f64> {
        self.runs.iter().map(|run| run.seconds).min_by(f64::total_cmp)
    }
}

/// What the runs of a ladder say so far.
#[derive(Debug, Clone)]
pub struct Study {
    /// What was asked.
    pub ladder: Ladder,
    /// Text, recipe and seeds.
    pub setting: Setting,
    /// Shapes.
    pub shapes: Vec<Shapes>,
    /// Searches in family order, of one family in order of size.
    pub searches: Vec<RateSearch>,
    /// Ladder cells, by size, then family.
    pub cells: Vec<Cell>,
    /// Learning-rate curves, where they were asked for.
    pub transfer: Option<TransferOutcome>,
}

impl Study {
    /// Number of sizes at which `family` is trained.
    pub fn sizes(&self, family: &str) -> usize {
        let shapes = self.shapes.iter().find(|shapes| shapes.family == family);
        shapes.map_or(0, |shapes| shapes.models.len())
    }

    /// Whether `cell` is the largest of its family.
    pub fn is_largest(&self, cell: &Cell) -> bool {
        cell.index + 1 == self.sizes(&cell.family)
    }

    /// The budget that `cell` meets: its own parameters where its family has sizes of its own.
    pub fn budget(&self, cell: &Cell) -> f64 {
        let own = || cell.runs.first().map_or(f64::NAN, |run| run.parameters_total as f64);
        if self.ladder.has_own_sizes(&cell.family) {
            own()
        } else {
            self.ladder.budgets[cell.index]
        }
    }

    /// Every run: searches, transfer, ladder.
    pub fn runs(&self) -> impl Iterator<Item = &RunRecord> {
        let curves = self.transfer.iter().flat_map(|transfer| &transfer.curves);
        let searched = self.searches.iter().chain(curves).flat_map(RateSearch::runs);
        searched.chain(self.cells.iter().flat_map(|cell| &cell.runs))
    }
}

impl Ladder {
    /// Whether `family` stands at sizes of its own.
    pub fn has_own_sizes(&self, family: &str) -> bool {
        self.entry(family).is_ok_and(|entry| entry.own_sizes)
    }

    /// The entry of `family`.
    pub fn entry(&self, family: &str) -> Result<&FamilyEntry> {
        self.models.get(family).ok_or_else(|| {
            HarnessError::config(
                format!("no [ladder.models.{family}] table"),
                format!("add [ladder.models.{family}] with parametrization and search.center"),
            )
        })
    }

    /// The family's model over `vocab` ids before its width is solved for, with `over` laid on
    /// its keys.
    pub fn template(
        &self,
        family: &str,
        over: Option<&Table>,
        vocab: usize,
    ) -> Result<ModelConfig> {
        let mut keys = self.entry(family)?.model.clone();
        overrides::merge(&mut keys, over.cloned().unwrap_or_default());
        setting::model(family, &keys, vocab)
    }

    /// The shapes of every family at every budget, or at its own sizes.
    pub fn shapes(&self, setting: &Setting, vocab: usize) -> Result<Vec<Shapes>> {
        self.families.iter().map(|family| self.shapes_of(family, setting, vocab)).collect()
    }

    /// The shapes of one family.
    pub fn shapes_of(&self, family: &str, setting: &Setting, vocab: usize) -> Result<Shapes> {
        let data = &setting.data;
        let workload = Workload { length: data.length, target_share: data.masking.share };
        let entry = self.entry(family)?;
        let count = if entry.own_sizes { entry.shapes.len() } else { self.budgets.len() };
        let models = (0..count)
            .map(|index| {
                let shape = entry.shapes.get(index);
                let template = self.template(family, shape, vocab)?;
                if shape.is_some_and(|shape| shape.contains_key("width")) {
                    return Ok(template);
                }
                budget::solve(&template, self.budgets[index], self.axis, workload)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Shapes { family: family.to_owned(), models })
    }

    /// The model of `shapes` at size `index` with its recipe.
    pub fn subject<'a>(&'a self, shapes: &'a Shapes, index: usize) -> Result<Subject<'a>> {
        let entry = self.entry(&shapes.family)?;
        Ok(Subject {
            model: &shapes.models[index],
            base: &shapes.models[if entry.tuned_at_every_size() { index } else { 0 }],
            parametrization: &entry.parametrization,
            train: &entry.train,
            path: None,
        })
    }

    /// Sizes at which the rates of `shapes` are searched for, by index.
    fn searched(&self, shapes: &Shapes) -> Result<std::ops::Range<usize>> {
        let entry = self.entry(&shapes.family)?;
        Ok(match (entry.learning_rates.is_empty(), entry.search.each_size) {
            (false, _) => 0..0,
            (true, false) => 0..1,
            (true, true) => 0..shapes.models.len(),
        })
    }

    /// Learning-rate searches of every family that has no given rates.
    fn search_rates(
        &self,
        setting: &Setting,
        all: &[Shapes],
        source: &dyn RunSource,
    ) -> Result<Gathered<Vec<RateSearch>>> {
        let mut searches = Vec::new();
        for shapes in all {
            let entry = self.entry(&shapes.family)?;
            for index in self.searched(shapes)? {
                let sweep = Sweep {
                    family: &shapes.family,
                    parametrization: &entry.parametrization,
                    width: shapes.models[index].dimensions().width,
                    center: entry.search.center,
                    seeds: vec![setting.search_rule.seed],
                };
                searches.push(sweep.gather(&setting.search_rule, source, |rate, seed| {
                    setting.run(&self.subject(shapes, index)?, rate, seed)
                }));
            }
        }
        rate_search::together(searches)
    }

    /// The rate of model `index` of `shapes`: given, or found by the searches; `None` while the
    /// search is not over.
    fn rate(&self, shapes: &Shapes, index: usize, searches: &[RateSearch]) -> Result<Option<f64>> {
        let family = &shapes.family;
        let entry = self.entry(family)?;
        if let Some(last) = entry.learning_rates.len().checked_sub(1) {
            return Ok(Some(entry.learning_rates[index.min(last)]));
        }
        let of_size = if entry.search.each_size { index } else { 0 };
        let mut own = searches.iter().filter(|search| search.family == *family);
        let Some(search) = own.nth(of_size).filter(|search| search.complete) else {
            return Ok(None);
        };
        search.best.map(Some).ok_or_else(|| {
            HarnessError::config(
                format!("every learning rate of {family} diverged"),
                format!("lower ladder.models.{family}.search.center"),
            )
        })
    }

    /// Every family at every size and seed, at its own best rate; sizes whose search is not over
    /// are left out.
    fn cells(
        &self,
        setting: &Setting,
        (all, searches): (&[Shapes], &[RateSearch]),
        source: &dyn RunSource,
    ) -> Result<Gathered<Vec<Cell>>> {
        let (mut cells, mut wanted) = (Vec::new(), Vec::new());
        let sizes = all.iter().map(|shapes| shapes.models.len()).max().unwrap_or(0);
        for index in 0..sizes {
            for shapes in all.iter().filter(|shapes| index < shapes.models.len()) {
                let Some(rate) = self.rate(shapes, index, searches)? else { continue };
                let subject = self.subject(shapes, index)?;
                let runs = setting.find((&subject, rate), setting.seeds(), source, &mut wanted)?;
                cells.push(Cell { index, family: shapes.family.clone(), runs });
            }
        }
        Ok(Gathered { outcome: cells, wanted })
    }

    /// The sweep over widths with model and recipe of its family.
    fn sweep(&self) -> Result<Option<Transfer>> {
        let Some(transfer) = &self.transfer else { return Ok(None) };
        let entry = self.entry(&transfer.family)?;
        let (mut model, mut train) = (entry.model.clone(), entry.train.clone());
        overrides::merge(&mut model, transfer.model.clone());
        overrides::merge(&mut train, transfer.train.clone());
        Ok(Some(Transfer { model, train, ..transfer.clone() }))
    }

    /// The study with nothing run yet.
    pub fn before_any_run(&self, setting: &Setting, vocab: usize) -> Result<Study> {
        Ok(Study {
            ladder: self.clone(),
            setting: setting.clone(),
            shapes: self.shapes(setting, vocab)?,
            searches: Vec::new(),
            cells: Vec::new(),
            transfer: None,
        })
    }

    /// What the finished runs say, and which are wanted next: the searches first, then the
    /// ladder, then the sweep over widths.
    pub fn gather(
        &self,
        setting: &Setting,
        vocab: usize,
        source: &dyn RunSource,
    ) -> Result<Gathered<Study>> {
        let study = self.before_any_run(setting, vocab)?;
        let searches = self.search_rates(setting, &study.shapes, source)?;
        let cells = self.cells(setting, (&study.shapes, &searches.outcome), source)?;
        let mut stages = vec![searches.wanted, cells.wanted];
        let mut transfer = None;
        if let Some(sweep) = self.sweep()? {
            let gathered = sweep.gather(setting, vocab, source)?;
            transfer = Some(gathered.outcome);
            stages.push(gathered.wanted);
        }
        let wanted = stages.into_iter().find(|wanted| !wanted.is_empty()).unwrap_or_default();
        let (searches, cells) = (searches.outcome, cells.outcome);
        Ok(Gathered { outcome: Study { searches, cells, transfer, ..study }, wanted })
    }
}
