//! Recorded activation statistics of the cells, how they are computed and compared.

use std::collections::BTreeMap;

use models::parametrization::{Parametrization, Resolved};
use serde::{Deserialize, Serialize};

use super::activations::{SiteStatistics, StatisticsProbe};
use super::cells::{Cell, CellData, RECORDED_STEPS, SEED};
use super::subject::Subject;
use super::trace::{self, Number};
use crate::checks::thresholds;
use crate::config::model::{ComputePath, ModelConfig};
use crate::error::Result;
use crate::train::{BatchSource, EvaluationBatch, Observer, StepMetrics, TrainJob};

/// Numbers of one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellRecord {
    /// Which one.
    pub cell: Cell,
    /// blake3 of the initial parameters' bits.
    pub initial: String,
    /// blake3 of the bits of every number below, before rounding to nine digits.
    pub exact: String,
    /// Loss of each training step, reference path.
    pub losses_nats: Vec<f64>,
    /// The same by the trainer with the fused path; empty without one.
    pub fused_losses_nats: Vec<f64>,
    /// l1, rms, max and entropy by site and recorded step.
    pub sites: BTreeMap<String, Vec<[f64; 4]>>,
}

/// What is computed besides the reference path's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Also the losses of the fused path.
    Whole,
    /// Nothing: enough to tell whether a rule has changed.
    Reference,
}

/// Computes `cell` with `table`, whose rules `change` may alter.
pub fn compute(
    cell: &Cell,
    table: &Parametrization,
    data: &CellData,
    extent: Extent,
    change: &dyn Fn(&mut Resolved),
) -> Result<CellRecord> {
    let (model, base) = cell.models(data.vocab)?;
    let mut resolved = super::subject::resolve(&model, &base, table)?;
    change(&mut resolved);
    let subject = Subject::with_rules(&model, &base, resolved)?;
    let mut hasher = blake3::Hasher::new();
    for value in subject.initial(SEED)? {
        hasher.update(&value.to_le_bytes());
    }
    let (losses, sites) = reference::<f32>(&subject, cell, data)?;
    let fused = match extent {
        Extent::Whole if !matches!(model, ModelConfig::Pt2023(_)) => {
            trainer_losses(&model, &base, (table, ComputePath::Fused), (cell, data))?
        }
        _ => Vec::new(),
    };
    let mut exact = blake3::Hasher::new();
    for value in losses.iter().chain(&fused).chain(sites.values().flatten().flatten()) {
        exact.update(&value.to_le_bytes());
    }
    let rounded = |values: &[f64]| values.iter().map(|&value| nine_digits(value)).collect();
    Ok(CellRecord {
        cell: cell.clone(),
        initial: hasher.finalize().to_hex().to_string(),
        exact: exact.finalize().to_hex().to_string(),
        losses_nats: rounded(&losses),
        fused_losses_nats: rounded(&fused),
        sites: sites
            .into_iter()
            .map(|(site, steps)| {
                (site, steps.into_iter().map(|numbers| numbers.map(nine_digits)).collect())
            })
            .collect(),
    })
}

fn nine_digits(value: f64) -> f64 {
    format!("{value:.8e}").parse().unwrap_or(value)
}

type SiteNumbers = BTreeMap<String, Vec<[f64; 4]>>;

/// Losses and statistics of the reference path in `F`.
pub fn reference<F: Number>(
    subject: &Subject,
    cell: &Cell,
    data: &CellData,
) -> Result<(Vec<f64>, SiteNumbers)> {
    let mut parameters: Vec<F> =
        subject.initial(SEED)?.iter().map(|&value| F::from_f64(f64::from(value))).collect();
    let mut sites = SiteNumbers::new();
    let record = |done: u64, parameters: &[F]| {
        if RECORDED_STEPS.contains(&done) {
            let mut probe = StatisticsProbe::default();
            trace::forward(subject, parameters, &data.probe, &mut probe)?;
            for (site, statistics) in probe.sites {
                sites.entry(site).or_default().push(statistics.numbers());
            }
        }
        Ok(())
    };
    let losses = trace::train(subject, &mut parameters, &data.training, &cell.train(), record)?;
    Ok((losses, sites))
}

/// Fixed batches as a source of the trainer.
struct Fixed<'a> {
    data: &'a CellData,
    evaluation: Vec<EvaluationBatch>,
}

impl BatchSource for Fixed<'_> {
    fn training_batch(&self, step: u64, _: usize) -> models::batch::Batch {
        self.data.training[step as usize].clone()
    }

    fn evaluation(&self) -> &[EvaluationBatch] {
        &self.evaluation
    }
}

/// Keeps the loss of every step.
struct Losses(Vec<f64>);

impl Observer for Losses {
    fn step(&mut self, metrics: &StepMetrics, _: f64) -> Result<()> {
        self.0.extend(metrics.loss_nats);
        Ok(())
    }
}

/// Losses of the trainer on `path`.
fn trainer_losses(
    model: &ModelConfig,
    base: &ModelConfig,
    (table, path): (&Parametrization, ComputePath),
    (cell, data): (&Cell, &CellData),
) -> Result<Vec<f64>> {
    let built = model.build(base, table, path, data.probe.length)?;
    let documents = vec![0; data.probe.targets.len()];
    let evaluation = vec![EvaluationBatch { batch: data.probe.clone(), documents }];
    let config = cell.train();
    let mut losses = Losses(Vec::new());
    let job = TrainJob {
        engine: built.engine,
        layout: &built.layout,
        resolved: &built.resolved,
        initial_parameters: built.resolved.initialise(&built.layout, &built.base_layout, SEED)?,
        config: &config,
        source: &Fixed { data, evaluation },
        vocab: data.vocab,
        dropout_seed: None,
        threads: 1,
        folder: None,
        stop: None,
    };
    crate::train::run(job, &mut losses)?;
    Ok(losses.0)
}

/// One number that is not what was recorded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Which cell.
    pub cell: String,
    /// Which number.
    pub what: String,
    /// Recorded.
    pub old: String,
    /// Computed now.
    pub new: String,
    /// Relative difference; infinite for hashes and missing numbers.
    pub relative: f64,
    /// Whether this is more than the class of this machine allows.
    pub outside: bool,
}

/// Compares two records of one cell. `same_arithmetic`: every bit counts; otherwise initial
/// hashes and numbers outside their bands do.
pub fn compare(old: &CellRecord, new: &CellRecord, same_arithmetic: bool) -> Vec<Difference> {
    let cell = new.cell.to_string();
    let difference = |what: String, old: String, new: String, relative: f64, outside: bool| {
        Difference { cell: cell.clone(), what, old, new, relative, outside }
    };
    let thresholds = &thresholds::committed().recorded;
    let bands = &thresholds.bands.value;
    let mut found = Vec::new();
    if old.initial != new.initial {
        let [old, new] = [&old.initial, &new.initial].map(|hash| hash[..12].to_owned());
        found.push(difference("initial parameters".into(), old, new, f64::INFINITY, true));
    }
    let mut number = |what: String, old: f64, new: f64, band: f64| {
        let relative = (new - old).abs() / old.abs().max(thresholds.floor.value);
        if old.to_bits() != new.to_bits() {
            // A NaN is outside every band.
            let outside = same_arithmetic || relative.is_nan() || relative > band;
            let [old, new] = [old, new].map(|value| format!("{value:e}"));
            found.push(difference(what, old, new, relative, outside));
        }
    };
    for (name, old, new) in [
        ("loss", &old.losses_nats, &new.losses_nats),
        ("fused loss", &old.fused_losses_nats, &new.fused_losses_nats),
    ] {
        for step in 0..old.len().max(new.len()) {
            let get = |losses: &[f64]| losses.get(step).copied().unwrap_or(f64::NAN);
            let band = bands[place_of(step as u64)];
            number(format!("{name} of step {}", step + 1), get(old), get(new), band);
        }
    }
    let sites: std::collections::BTreeSet<&String> =
        old.sites.keys().chain(new.sites.keys()).collect();
    for site in sites {
        for (place, &step) in RECORDED_STEPS.iter().enumerate() {
            for (which, name) in SiteStatistics::NAMES.iter().enumerate() {
                let get = |record: &CellRecord| {
                    let steps = record.sites.get(site);
                    steps.and_then(|steps| steps.get(place)).map_or(f64::NAN, |n| n[which])
                };
                number(format!("{name} of {site} after {step}"), get(old), get(new), bands[place]);
            }
        }
    }
    if found.is_empty() && same_arithmetic && old.exact != new.exact {
        let [old, new] = [&old.exact, &new.exact].map(|hash| hash[..12].to_owned());
        found.push(difference("bits beyond nine digits".into(), old, new, 1e-9, true));
    }
    found
}

/// Place of the first recorded step at or after `done` steps.
fn place_of(done: u64) -> usize {
    let place = RECORDED_STEPS.iter().position(|&step| step >= done);
    place.unwrap_or(RECORDED_STEPS.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::recorded::cells;

    #[test]
    fn invariant_a_trace_takes_the_steps_of_the_trainer() {
        let data = CellData::load().unwrap();
        for family in cells::FAMILIES {
            let of_family = |cell: &&Cell| cell.family == family && cell.width == 64;
            let cells = cells::all();
            let cell = cells.iter().find(of_family).unwrap();
            let table = Parametrization::built_in(&cell.table).unwrap();
            let (model, base) = cell.models(data.vocab).unwrap();
            let subject = Subject::new(&model, &base, &table).unwrap();
            let (found, _) = reference::<f32>(&subject, cell, &data).unwrap();
            let path = (&table, ComputePath::Reference);
            let expected = trainer_losses(&model, &base, path, (cell, &data)).unwrap();
            let bits = |losses: &[f64]| losses.iter().map(|l| l.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&found), bits(&expected), "{family}: {found:?} {expected:?}");
        }
    }
}
