//! The stages of `reproduce`: shapes, learning-rate search, ladder, transfer.
//!
//! Every run of a stage is a plain [`RunConfig`]; the ledger recognises runs that two stages
//! share, so the winning search run is also the first seed of its ladder cell.

use toml::Table;

use super::definition::Definition;
use super::setting::Setting;
use super::sweep::{self, SearchOutcome, Sweep};
use crate::config::model::ModelConfig;
use crate::config::run::RunConfig;
use crate::cost::budget::{self, Workload};
use crate::error::{HarnessError, Result};
use crate::runs::record::RunRecord;
use crate::runs::source::{Gathered, RunSource};

/// The shapes of one family, one per budget or per size of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Ladder {
    /// Family name.
    pub family: String,
    /// Models in order of size; the first is the base of the parametrization, unless the family
    /// is tuned at every size.
    pub models: Vec<ModelConfig>,
}

/// All seeds of one family at one size.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Index into the definition's budgets, or into the family's own sizes.
    pub budget: usize,
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

    /// Training seconds of the fastest seed: all seeds compute the same amount, and whatever else
    /// ran beside them only adds to their times.
    pub fn training_seconds(&self) -> Option<f64> {
        self.runs.iter().map(|run| run.seconds).min_by(f64::total_cmp)
    }
}

/// Everything a `reproduce` measured.
#[derive(Debug, Clone)]
pub struct Study {
    /// What was asked.
    pub definition: Definition,
    /// Shapes.
    pub ladders: Vec<Ladder>,
    /// Searches in family order, of one family in order of size.
    pub searches: Vec<SearchOutcome>,
    /// Ladder cells, by budget, then family.
    pub cells: Vec<Cell>,
    /// Learning-rate curves by parametrization and width.
    pub transfer: Vec<SearchOutcome>,
}

impl Study {
    /// The study of `definition` with nothing run yet.
    pub fn before_any_run(definition: &Definition, vocab: usize) -> Result<Self> {
        Ok(Self {
            definition: definition.clone(),
            ladders: ladders(definition, vocab)?,
            searches: Vec::new(),
            cells: Vec::new(),
            transfer: Vec::new(),
        })
    }

    /// Number of sizes at which `family` is trained.
    pub fn sizes(&self, family: &str) -> usize {
        let ladder = self.ladders.iter().find(|ladder| ladder.family == family);
        ladder.map_or(0, |ladder| ladder.models.len())
    }

    /// Whether `cell` is the largest of its family.
    pub fn is_largest(&self, cell: &Cell) -> bool {
        cell.budget + 1 == self.sizes(&cell.family)
    }

    /// The budget that `cell` meets: its own parameters where its family has sizes of its own.
    pub fn budget(&self, cell: &Cell) -> f64 {
        let own = || cell.runs.first().map_or(f64::NAN, |run| run.parameters_total as f64);
        if self.definition.has_own_sizes(&cell.family) {
            own()
        } else {
            self.definition.budgets[cell.budget]
        }
    }

    /// Every run: searches, transfer, ladder.
    pub fn runs(&self) -> impl Iterator<Item = &RunRecord> {
        let searched = self.searches.iter().chain(&self.transfer);
        searched
            .flat_map(|search| search.points.iter().flat_map(|(_, runs)| runs))
            .chain(self.cells.iter().flat_map(|cell| &cell.runs))
    }
}

/// The shapes of every family at every budget, or at its own sizes.
pub fn ladders(definition: &Definition, vocab: usize) -> Result<Vec<Ladder>> {
    let workload =
        Workload { length: definition.data.length, target_share: definition.data.masking.share };
    definition
        .families
        .iter()
        .map(|family| {
            let entry = definition.entry(family)?;
            let count = if entry.own_sizes { entry.shapes.len() } else { definition.budgets.len() };
            let models = (0..count)
                .map(|index| {
                    let shape = entry.shapes.get(index);
                    let template = definition.template(family, shape, vocab)?;
                    if shape.is_some_and(|shape| shape.contains_key("width")) {
                        return Ok(template);
                    }
                    let budget = definition.budgets[index];
                    budget::solve(&template, budget, definition.axis, workload)
                })
                .collect::<Result<Vec<_>>>()?;
            Ok(Ladder { family: family.clone(), models })
        })
        .collect()
}

/// What a run of a study trains.
#[derive(Clone, Copy)]
struct Subject<'a> {
    family: &'a str,
    model: &'a ModelConfig,
    base: &'a ModelConfig,
    parametrization: &'a str,
    /// Keys laid on the family's training recipe.
    train: Option<&'a Table>,
}

/// The run of `subject` at one rate and seed.
fn run_config(
    definition: &Definition,
    subject: Subject,
    rate: f64,
    seed: u64,
) -> Result<RunConfig> {
    let mut over = definition.entry(subject.family)?.train.clone();
    crate::config::overrides::merge(&mut over, subject.train.cloned().unwrap_or_default());
    let train = definition.train_with(&over)?;
    let setting = Setting { data: &definition.data, train, path: definition.path };
    setting.run(subject.model, subject.base, subject.parametrization, rate, seed)
}

/// The run of a ladder's model at one rate and seed.
pub(super) fn ladder_run(
    definition: &Definition,
    ladder: &Ladder,
    index: usize,
    rate: f64,
    seed: u64,
) -> Result<RunConfig> {
    let entry = definition.entry(&ladder.family)?;
    let subject = Subject {
        family: &ladder.family,
        model: &ladder.models[index],
        base: &ladder.models[if entry.tuned_at_every_size() { index } else { 0 }],
        parametrization: &entry.parametrization,
        train: None,
    };
    run_config(definition, subject, rate, seed)
}

/// Sizes at which the rates of `ladder` are searched for, by index.
pub(super) fn searched(definition: &Definition, ladder: &Ladder) -> Result<std::ops::Range<usize>> {
    let entry = definition.entry(&ladder.family)?;
    Ok(match (entry.learning_rates.is_empty(), entry.search.each_size) {
        (false, _) => 0..0,
        (true, false) => 0..1,
        (true, true) => 0..ladder.models.len(),
    })
}

/// Learning-rate searches of every family that has no given rates.
fn search_rates(
    definition: &Definition,
    ladders: &[Ladder],
    source: &dyn RunSource,
) -> Result<Gathered<Vec<SearchOutcome>>> {
    let mut searches = Vec::new();
    for ladder in ladders {
        let entry = definition.entry(&ladder.family)?;
        for index in searched(definition, ladder)? {
            let sweep = Sweep {
                family: &ladder.family,
                parametrization: &entry.parametrization,
                width: ladder.models[index].dimensions().width,
                center: entry.search.center,
                seeds: vec![definition.search_rule.seed],
            };
            searches.push(sweep.gather(&definition.search_rule, source, |rate, seed| {
                ladder_run(definition, ladder, index, rate, seed)
            }));
        }
    }
    sweep::together(searches)
}

/// The rate of model `index` of `ladder`: given, or found by the searches; `None` while the
/// search is not over.
fn rate(
    definition: &Definition,
    ladder: &Ladder,
    index: usize,
    searches: &[SearchOutcome],
) -> Result<Option<f64>> {
    let entry = definition.entry(&ladder.family)?;
    if let Some(last) = entry.learning_rates.len().checked_sub(1) {
        return Ok(Some(entry.learning_rates[index.min(last)]));
    }
    let of_size = if entry.search.each_size { index } else { 0 };
    let mut own = searches.iter().filter(|search| search.family == ladder.family);
    let Some(search) = own.nth(of_size).filter(|search| search.complete) else { return Ok(None) };
    search.best.map(Some).ok_or_else(|| {
        HarnessError::config(
            format!("every learning rate of {} diverged", ladder.family),
            format!("lower [{}] search.center", ladder.family),
        )
    })
}

/// Every family at every size and seed, at its own best rate; sizes whose search is not over are
/// left out.
fn gather_ladder(
    definition: &Definition,
    ladders: &[Ladder],
    searches: &[SearchOutcome],
    source: &dyn RunSource,
) -> Result<Gathered<Vec<Cell>>> {
    let (mut cells, mut wanted) = (Vec::new(), Vec::new());
    let sizes = ladders.iter().map(|ladder| ladder.models.len()).max().unwrap_or(0);
    for budget in 0..sizes {
        for ladder in ladders.iter().filter(|ladder| budget < ladder.models.len()) {
            let Some(rate) = rate(definition, ladder, budget, searches)? else { continue };
            let mut runs = Vec::new();
            for seed in 1..=definition.seeds {
                let run = ladder_run(definition, ladder, budget, rate, seed)?;
                match source.find(&run)? {
                    Some(record) => runs.push(record),
                    None => wanted.push(run),
                }
            }
            cells.push(Cell { budget, family: ladder.family.clone(), runs });
        }
    }
    Ok(Gathered { outcome: cells, wanted })
}

/// Learning-rate curves at several widths under several parametrizations.
///
/// At the base width all parametrizations are the same model, so its curve is run once, under
/// the first parametrization, and shown for each.
fn gather_transfer(
    definition: &Definition,
    vocab: usize,
    source: &dyn RunSource,
) -> Result<Gathered<Vec<SearchOutcome>>> {
    let Some(transfer) = &definition.transfer else {
        return Ok(Gathered { outcome: Vec::new(), wanted: Vec::new() });
    };
    let template = definition.template(&transfer.family, None, vocab)?;
    let base_width = transfer.widths[0];
    let mut searches = Vec::new();
    for (rank, parametrization) in transfer.parametrizations.iter().enumerate() {
        for &width in &transfer.widths {
            if width == base_width && rank > 0 {
                continue;
            }
            let (model, base) = (template.at_width(width), template.at_width(base_width));
            let sweep = Sweep {
                family: &transfer.family,
                parametrization,
                width,
                center: transfer.center,
                seeds: (1..=transfer.seeds).collect(),
            };
            searches.push(sweep.gather(&definition.search_rule, source, |rate, seed| {
                let subject = Subject {
                    family: &transfer.family,
                    model: &model,
                    base: &base,
                    parametrization,
                    train: Some(&transfer.train),
                };
                run_config(definition, subject, rate, seed)
            }));
        }
    }
    let gathered = sweep::together(searches)?;
    let outcome = shared_base(&transfer.parametrizations, &gathered.outcome);
    Ok(Gathered { outcome, wanted: gathered.wanted })
}

/// What the finished runs say about `definition`, and which runs it wants next: the searches
/// first, then the ladder, then the transfer sweep.
pub fn gather(
    definition: &Definition,
    vocab: usize,
    source: &dyn RunSource,
) -> Result<Gathered<Study>> {
    let ladders = ladders(definition, vocab)?;
    let searches = search_rates(definition, &ladders, source)?;
    let cells = gather_ladder(definition, &ladders, &searches.outcome, source)?;
    let transfer = gather_transfer(definition, vocab, source)?;
    let stages = [searches.wanted, cells.wanted, transfer.wanted];
    let wanted = stages.into_iter().find(|wanted| !wanted.is_empty()).unwrap_or_default();
    let study = Study {
        definition: definition.clone(),
        ladders,
        searches: searches.outcome,
        cells: cells.outcome,
        transfer: transfer.outcome,
    };
    Ok(Gathered { outcome: study, wanted })
}

/// Copies the base-width curve to the parametrizations that share it.
pub(super) fn shared_base(
    parametrizations: &[String],
    outcomes: &[SearchOutcome],
) -> Vec<SearchOutcome> {
    let base = outcomes.first().cloned();
    let mut complete = Vec::new();
    for parametrization in parametrizations {
        let own = outcomes.iter().filter(|curve| curve.parametrization == *parametrization);
        if let Some(base) = base.as_ref().filter(|base| base.parametrization != *parametrization) {
            let parametrization = parametrization.clone();
            complete.push(SearchOutcome { parametrization, ..base.clone() });
        }
        complete.extend(own.cloned());
    }
    complete
}
