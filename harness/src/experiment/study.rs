//! The stages of `reproduce`: shapes, learning-rate search, ladder, transfer.
//!
//! Every run of a stage is a plain [`RunConfig`]; the ledger recognises runs that two stages
//! share, so the winning search run is also the first seed of its ladder cell.

use toml::Table;

use super::budget::{self, Workload};
use super::definition::{Definition, TransferEntry};
use super::record::RunRecord;
use super::runner::Runner;
use super::search::{self, Next, Point};
use crate::config::data::{DataConfig, TokenizerKind};
use crate::config::model::{ComputePath, ModelConfig};
use crate::config::run::{ParametrizationConfig, RunConfig};
use crate::corpus::Corpus;
use crate::error::{HarnessError, Result};

/// The shapes of one family, one per budget.
#[derive(Debug, Clone, PartialEq)]
pub struct Ladder {
    /// Family name.
    pub family: String,
    /// Models in budget order; the first is the base of the parametrization.
    pub models: Vec<ModelConfig>,
}

/// One learning-rate search: the runs tried and the rate chosen.
#[derive(Debug, Clone)]
pub struct SearchOutcome {
    /// Family name.
    pub family: String,
    /// Parametrization table.
    pub parametrization: String,
    /// Width of the searched model.
    pub width: usize,
    /// Every rate tried with its runs (one per seed), in increasing order of rate.
    pub points: Vec<(f64, Vec<RunRecord>)>,
    /// Best rate; `None` if every run diverged.
    pub best: Option<f64>,
    /// Whether the best rate has the wanted number of neighbours on both sides.
    pub bracketed: bool,
}

/// All seeds of one family at one budget.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Index into the definition's budgets.
    pub budget: usize,
    /// Family name.
    pub family: String,
    /// One run per seed, in seed order.
    pub runs: Vec<RunRecord>,
}

/// Everything a `reproduce` measured.
#[derive(Debug, Clone)]
pub struct Study {
    /// What was asked.
    pub definition: Definition,
    /// Shapes.
    pub ladders: Vec<Ladder>,
    /// Searches at the smallest budget, in family order.
    pub searches: Vec<SearchOutcome>,
    /// Ladder cells, by budget, then family.
    pub cells: Vec<Cell>,
    /// Learning-rate curves by parametrization and width.
    pub transfer: Vec<SearchOutcome>,
}

/// Vocabulary of every model: what the definition asks for, even where the text has fewer
/// byte-level merges, so that parameter counts do not depend on the text.
pub fn vocabulary(data: &DataConfig, corpus: &Corpus) -> usize {
    let found = corpus.vocabulary().size;
    match data.tokenizer.kind {
        TokenizerKind::Bpe => data.tokenizer.vocab.max(found),
        TokenizerKind::Words | TokenizerKind::File => found,
    }
}

/// The shapes of every family at every budget.
pub fn ladders(definition: &Definition, vocab: usize) -> Result<Vec<Ladder>> {
    let workload =
        Workload { length: definition.data.length, target_share: definition.data.masking.share };
    definition
        .families
        .iter()
        .map(|family| {
            let entry = definition.entry(family)?;
            let models = definition
                .budgets
                .iter()
                .enumerate()
                .map(|(index, &budget)| {
                    let shape = entry.shapes.get(index);
                    let template = definition.template(family, shape)?.with_vocab(vocab);
                    if shape.is_some_and(|shape| shape.contains_key("width")) {
                        return Ok(template);
                    }
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
    let mut train = definition.train_with(&over)?;
    train.learning_rate = rate;
    let run = RunConfig {
        model: subject.model.clone(),
        base: Some(subject.base.clone()),
        parametrization: ParametrizationConfig {
            name: subject.parametrization.to_owned(),
            base_width: subject.base.dimensions().width,
        },
        data: definition.data.clone(),
        train,
        seed,
        data_seed: seed,
        path: ComputePath::Fused,
    };
    run.validate()?;
    Ok(run)
}

/// The run of a ladder's model at one rate and seed.
fn ladder_run(
    definition: &Definition,
    ladder: &Ladder,
    index: usize,
    rate: f64,
    seed: u64,
) -> Result<RunConfig> {
    let subject = Subject {
        family: &ladder.family,
        model: &ladder.models[index],
        base: &ladder.models[0],
        parametrization: &definition.entry(&ladder.family)?.parametrization,
        train: None,
    };
    run_config(definition, subject, rate, seed)
}

/// A search in progress.
struct Search<'a> {
    outcome: SearchOutcome,
    center: f64,
    seeds: Vec<u64>,
    exponents: Vec<i32>,
    make: Box<dyn Fn(f64, u64) -> Result<RunConfig> + 'a>,
}

impl Search<'_> {
    fn points(&self, factor: f64) -> Vec<Point> {
        self.exponents
            .iter()
            .map(|&exponent| {
                let rate = self.rate(factor, exponent);
                let runs =
                    self.outcome.points.iter().find(|(tried, _)| tried.to_bits() == rate.to_bits());
                let losses: Option<Vec<f64>> = runs
                    .map(|(_, runs)| runs.iter().map(|run| run.loss_nats).collect())
                    .unwrap_or_default();
                let loss_nats =
                    losses.map(|losses| losses.iter().sum::<f64>() / losses.len() as f64);
                Point { exponent, loss_nats }
            })
            .collect()
    }

    fn rate(&self, factor: f64, exponent: i32) -> f64 {
        self.center * factor.powi(exponent)
    }
}

/// Runs several searches at once, round by round, so that the runner always has work.
fn run_searches(
    definition: &Definition,
    runner: &Runner,
    mut searches: Vec<Search>,
) -> Result<Vec<SearchOutcome>> {
    let rule = &definition.search_rule;
    loop {
        let mut wanted = Vec::new();
        for (index, search) in searches.iter_mut().enumerate() {
            match search::next(rule, &search.points(rule.factor)) {
                Next::Try(exponents) => {
                    for exponent in exponents {
                        search.exponents.push(exponent);
                        wanted.push((index, search.rate(rule.factor, exponent)));
                    }
                }
                Next::Done { best, bracketed } => {
                    search.outcome.best = best.map(|exponent| search.rate(rule.factor, exponent));
                    search.outcome.bracketed = bracketed;
                }
            }
        }
        if wanted.is_empty() {
            break;
        }
        let mut runs = Vec::new();
        for &(index, rate) in &wanted {
            for &seed in &searches[index].seeds {
                runs.push((searches[index].make)(rate, seed)?);
            }
        }
        let mut records = runner.run_all(&runs)?.into_iter();
        for (index, rate) in wanted {
            let count = searches[index].seeds.len();
            let runs = records.by_ref().take(count).collect();
            searches[index].outcome.points.push((rate, runs));
        }
    }
    Ok(searches
        .into_iter()
        .map(|search| {
            let mut outcome = search.outcome;
            outcome.points.sort_by(|a, b| a.0.total_cmp(&b.0));
            outcome
        })
        .collect())
}

/// Learning-rate search of every family at the smallest budget.
pub fn search_rates(
    definition: &Definition,
    ladders: &[Ladder],
    runner: &Runner,
) -> Result<Vec<SearchOutcome>> {
    let searches = ladders
        .iter()
        .map(|ladder| {
            let entry = definition.entry(&ladder.family)?;
            Ok(Search {
                outcome: SearchOutcome {
                    family: ladder.family.clone(),
                    parametrization: entry.parametrization.clone(),
                    width: ladder.models[0].dimensions().width,
                    points: Vec::new(),
                    best: None,
                    bracketed: false,
                },
                center: entry.search.center,
                seeds: vec![definition.search_rule.seed],
                exponents: Vec::new(),
                make: Box::new(move |rate, seed| ladder_run(definition, ladder, 0, rate, seed)),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    run_searches(definition, runner, searches)
}

/// Every family at every budget and seed, at its own best rate.
pub fn run_ladder(
    definition: &Definition,
    ladders: &[Ladder],
    searches: &[SearchOutcome],
    runner: &Runner,
) -> Result<Vec<Cell>> {
    let mut runs = Vec::new();
    let mut cells = Vec::new();
    for budget in 0..definition.budgets.len() {
        for (ladder, search) in ladders.iter().zip(searches) {
            let rate = search.best.ok_or_else(|| {
                HarnessError::config(
                    format!("every learning rate of {} diverged", ladder.family),
                    format!("lower [{}] search.center", ladder.family),
                )
            })?;
            for seed in 1..=definition.seeds {
                runs.push(ladder_run(definition, ladder, budget, rate, seed)?);
            }
            cells.push(Cell { budget, family: ladder.family.clone(), runs: Vec::new() });
        }
    }
    let mut records = runner.run_all(&runs)?.into_iter();
    for cell in &mut cells {
        cell.runs = records.by_ref().take(definition.seeds as usize).collect();
    }
    Ok(cells)
}

/// Learning-rate curves at several widths under several parametrizations.
///
/// At the base width all parametrizations are the same model, so its curve is run once, under
/// the first parametrization, and shown for each.
pub fn run_transfer(
    definition: &Definition,
    vocab: usize,
    runner: &Runner,
) -> Result<Vec<SearchOutcome>> {
    let Some(transfer) = &definition.transfer else { return Ok(Vec::new()) };
    let template = definition.template(&transfer.family, None)?.with_vocab(vocab);
    let base_width = transfer.widths[0];
    let mut searches = Vec::new();
    for (rank, parametrization) in transfer.parametrizations.iter().enumerate() {
        for &width in &transfer.widths {
            if width == base_width && rank > 0 {
                continue;
            }
            let (model, base) = (template.at_width(width), template.at_width(base_width));
            searches.push(Search {
                outcome: SearchOutcome {
                    family: transfer.family.clone(),
                    parametrization: parametrization.clone(),
                    width,
                    points: Vec::new(),
                    best: None,
                    bracketed: false,
                },
                center: transfer.center,
                seeds: (1..=transfer.seeds).collect(),
                exponents: Vec::new(),
                make: Box::new(move |rate, seed| {
                    let subject = Subject {
                        family: &transfer.family,
                        model: &model,
                        base: &base,
                        parametrization,
                        train: Some(&transfer.train),
                    };
                    run_config(definition, subject, rate, seed)
                }),
            });
        }
    }
    let outcomes = run_searches(definition, runner, searches)?;
    Ok(shared_base(transfer, &outcomes))
}

/// Copies the base-width curve to the parametrizations that share it.
fn shared_base(transfer: &TransferEntry, outcomes: &[SearchOutcome]) -> Vec<SearchOutcome> {
    let base = outcomes.first().cloned();
    let mut complete = Vec::new();
    for parametrization in &transfer.parametrizations {
        let own = outcomes.iter().filter(|curve| curve.parametrization == *parametrization);
        if let Some(base) = base.as_ref().filter(|base| base.parametrization != *parametrization) {
            let parametrization = parametrization.clone();
            complete.push(SearchOutcome { parametrization, ..base.clone() });
        }
        complete.extend(own.cloned());
    }
    complete
}
