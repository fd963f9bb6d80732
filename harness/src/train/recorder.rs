//! The files of a run: `metrics.csv`, `timing.csv`, `evaluation.csv`, `documents.csv`.
//!
//! `metrics.csv`, `evaluation.csv` and `documents.csv` are functions of the configuration: two
//! runs give the same bytes. Everything read from a clock is in `timing.csv` alone.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::evaluate::Evaluation;
use super::observer::StepMetrics;
use crate::error::{HarnessError, Result};
use crate::input;
use crate::ledger::atomic;

/// First line of [`METRICS_FILE`].
pub const METRICS_HEADER: &str = "step,tokens,loss_nats,auxiliary,gradient_norm,learning_rate";
const TIMING_HEADER: &str = "step,seconds";

/// First line of [`EVALUATION_FILE`].
pub const EVALUATION_HEADER: &str = "step,loss_nats,targets";
/// First line of [`DOCUMENTS_FILE`].
pub const DOCUMENTS_HEADER: &str = "document,loss_nats_sum,targets";
/// Name of the per-step metrics inside a run folder.
pub const METRICS_FILE: &str = "metrics.csv";
/// Name of the file with wall times inside a run folder.
pub const TIMING_FILE: &str = "timing.csv";
/// Name of the evaluation losses inside a run folder.
pub const EVALUATION_FILE: &str = "evaluation.csv";
/// Name of the final per-document sums inside a run folder.
pub const DOCUMENTS_FILE: &str = "documents.csv";

/// Appends rows, one write each, so that a killed run leaves whole lines.
pub struct Recorder {
    folder: PathBuf,
    metrics: Table,
    timing: Table,
    evaluation: Table,
    /// The row being written; its memory is reused.
    row: String,
    /// Steps kept that had no target, and so no loss.
    pub idle: u64,
    /// Loss of the first step with targets, if the files had one.
    pub first_loss_nats: Option<f64>,
    /// Loss of the last step kept with targets, if the files had one.
    pub last_loss_nats: Option<f64>,
    /// Training seconds recorded so far.
    pub seconds: f64,
    /// `(step, held-out loss)` of the evaluations kept.
    pub evaluations: Vec<(u64, f64)>,
}

impl Recorder {
    /// Opens the files of `folder` for a run that continues after `step` steps: rows of later
    /// steps, and evaluations from `step` on, are cut off; with `step` 0 the files start empty.
    ///
    /// # Errors
    /// If a file cannot be written, or holds fewer rows than `step`.
    pub fn open(folder: &Path, step: u64) -> Result<Self> {
        let metrics_path = folder.join(METRICS_FILE);
        let (metrics, rows) = Table::open(&metrics_path, METRICS_HEADER, |row| row <= step)?;
        if rows.len() as u64 != step {
            return Err(HarnessError::input(
                &metrics_path,
                format!("{} rows up to the checkpoint of step {step}", rows.len()),
                "delete the run folder and run again",
            ));
        }
        let (timing, times) =
            Table::open(&folder.join(TIMING_FILE), TIMING_HEADER, |row| row <= step)?;
        let (evaluation, evaluated) =
            Table::open(&folder.join(EVALUATION_FILE), EVALUATION_HEADER, |row| row < step)?;
        let pair = |row: &String| Some((row.split(',').next()?.parse().ok()?, field(row, 1)?));
        let losses = || rows.iter().filter_map(|row| field(row, 2));
        Ok(Self {
            folder: folder.to_owned(),
            metrics,
            timing,
            evaluation,
            row: String::new(),
            idle: (rows.len() - losses().count()) as u64,
            first_loss_nats: losses().next(),
            last_loss_nats: losses().next_back(),
            seconds: times.last().and_then(|row| field(row, 1)).unwrap_or(0.0),
            evaluations: evaluated.iter().filter_map(pair).collect(),
        })
    }

    /// Appends one step.
    pub fn step(&mut self, metrics: &StepMetrics, seconds: f64) -> Result<()> {
        let StepMetrics { step, tokens, loss_nats, auxiliary, gradient_norm, learning_rate } =
            metrics;
        let Self { row, .. } = self;
        row.clear();
        let written = match loss_nats {
            Some(loss) => write!(row, "{step},{tokens},{loss},{auxiliary},"),
            None => write!(row, "{step},{tokens},,{auxiliary},"),
        };
        written
            .and_then(|()| writeln!(row, "{gradient_norm},{learning_rate}"))
            .expect("writing to a string cannot fail");
        self.metrics.append(row)?;
        row.clear();
        writeln!(row, "{step},{seconds:.6}").expect("writing to a string cannot fail");
        self.timing.append(row)
    }

    /// Appends one evaluation after `step` steps.
    pub fn evaluation(&mut self, step: u64, evaluation: &Evaluation) -> Result<()> {
        let Evaluation { loss_nats, targets, .. } = evaluation;
        self.evaluation.append(&format!("{step},{loss_nats},{targets}\n"))
    }

    /// Writes the per-document sums of the final evaluation.
    pub fn documents(&self, evaluation: &Evaluation) -> Result<()> {
        let mut text = format!("{DOCUMENTS_HEADER}\n");
        for entry in &evaluation.documents {
            let row = format!("{},{},{}\n", entry.document, entry.loss_nats_sum, entry.targets);
            text.push_str(&row);
        }
        atomic::write(&self.folder.join(DOCUMENTS_FILE), text.as_bytes())
    }

    /// Makes all rows durable; called before a checkpoint that presupposes them.
    pub fn sync(&self) -> Result<()> {
        [&self.metrics, &self.timing, &self.evaluation].into_iter().try_for_each(Table::sync)
    }
}

struct Table {
    path: PathBuf,
    file: File,
}

impl Table {
    /// Opens `path`, keeping the leading whole rows whose first field (a step) satisfies `keep`.
    fn open(path: &Path, header: &str, keep: impl Fn(u64) -> bool) -> Result<(Self, Vec<String>)> {
        let old = match input::text(path, input::RECORD_BYTES_MAX) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                let remedy = "delete the run folder and run again";
                return Err(HarnessError::input(path, error.to_string(), remedy));
            }
            Err(error) => return Err(HarnessError::io(path)(error)),
        };
        let mut rows = Vec::new();
        let mut kept = format!("{header}\n");
        if let Some(body) = old.strip_prefix(kept.as_str()) {
            for line in body.split_inclusive('\n') {
                let step = line.split(',').next().and_then(|step| step.parse().ok());
                if !line.ends_with('\n') || !step.is_some_and(&keep) {
                    break;
                }
                kept.push_str(line);
                rows.push(line.trim_end().to_owned());
            }
        }
        // Always a new file: a worker that lost this run and wakes up writes into the old one.
        atomic::write(path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path).map_err(HarnessError::io(path))?;
        Ok((Self { path: path.to_owned(), file }, rows))
    }

    fn append(&mut self, row: &str) -> Result<()> {
        // Inside a closure, so that the path is copied for an error only, not for every row.
        self.file.write_all(row.as_bytes()).map_err(|error| HarnessError::io(&self.path)(error))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(HarnessError::io(&self.path))
    }
}

fn field(row: &str, index: usize) -> Option<f64> {
    row.split(',').nth(index)?.parse().ok()
}
