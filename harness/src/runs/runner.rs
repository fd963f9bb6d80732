//! Runs many configurations side by side, each at most once.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::corpora::Corpora;
use super::execute::{self, Context};
use super::record::RunRecord;
use crate::collective::{Alone, Collective};
use crate::config::data::DataConfig;
use crate::config::run::RunConfig;
use crate::corpus::Corpus;
use crate::error::Result;
use crate::ledger::Ledger;
use crate::train::progress::Progress;
use crate::workers;

/// How a runner works.
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// Folder of the ledger.
    pub folder: PathBuf,
    /// Runs at a time.
    pub jobs: usize,
    /// Threads of each run; `None` = cores over jobs.
    pub threads: Option<usize>,
    /// No progress lines.
    pub quiet: bool,
}

/// Runs configurations, reusing what the ledger already holds.
pub struct Runner {
    corpora: Corpora,
    options: RunnerOptions,
    progress: Progress,
    stop: &'static AtomicBool,
    cheapest_first: bool,
    keep_weights: bool,
}

impl Runner {
    /// A runner over the ledger of `options.folder`, which is created with the first run;
    /// `stop` ends runs with their state saved.
    pub fn new(options: RunnerOptions, stop: &'static AtomicBool) -> Self {
        let corpora = Corpora::new(Some(&options.folder.join("cache")));
        let progress = if options.quiet { Progress::hidden() } else { Progress::stderr() };
        Self { corpora, options, progress, stop, cheapest_first: false, keep_weights: false }
    }

    /// Starts with the cheapest runs if `yes`, for a runner that may be stopped before its end,
    /// instead of the most expensive ones, which leaves the fewest idle cores at the end.
    #[must_use]
    pub fn cheapest_first(mut self, yes: bool) -> Self {
        self.cheapest_first = yes;
        self
    }

    /// Whether run folders keep the final weights; changes neither names nor results of runs.
    #[must_use]
    pub fn keep_weights(mut self, keep: bool) -> Self {
        self.keep_weights = keep;
        self
    }

    /// The corpus of `config`.
    pub fn corpus(&self, config: &DataConfig) -> Result<Arc<Corpus>> {
        self.corpora.load(config)
    }

    /// The corpus of `run`, in the ids that its initial weights know if it has some.
    pub fn corpus_of(&self, run: &RunConfig) -> Result<Arc<Corpus>> {
        self.corpora.of_run(run)
    }

    /// What to run before looking again at what is wanted: everything, or only the cheapest few.
    pub fn next_round(&self, wanted: &[RunConfig]) -> Vec<RunConfig> {
        if !self.cheapest_first {
            return wanted.to_vec();
        }
        let order = longest_first(wanted);
        let cheapest = order.iter().rev().take(2 * self.options.jobs.max(1));
        cheapest.map(|&index| wanted[index].clone()).collect()
    }

    /// Runs every configuration, `jobs` at a time, and returns their records in order. Runs that
    /// another process is doing are left to it and looked at again after the others.
    ///
    /// The first error stops the start of further runs; runs under way finish and are kept.
    pub fn run_all(&self, runs: &[RunConfig]) -> Result<Vec<RunRecord>> {
        let order = longest_first(runs).into();
        workers::complete(order, self.options.jobs, execute::POLL, |index| {
            let run = &runs[index];
            let Some(mut record) = self.attempt(run)? else { return Ok(None) };
            record.lines = self.corpora.lines(&run.data, &self.corpora.of_run(run)?)?;
            Ok(Some(record))
        })
    }

    /// Runs one configuration, or reads it from the ledger; waits if another process is at it.
    pub fn run_one(&self, run: &RunConfig) -> Result<RunRecord> {
        loop {
            if let Some(record) = self.attempt(run)? {
                return Ok(record);
            }
            std::thread::sleep(execute::POLL);
        }
    }

    /// Runs one configuration with the other ranks of `collective`, all of which call this; the
    /// record on rank 0, unless another process is at the run.
    pub fn run_together(
        &self,
        run: &RunConfig,
        collective: &dyn Collective,
    ) -> Result<Option<RunRecord>> {
        let corpus = self.corpora.of_run(run)?;
        let ledger = Ledger::open(&self.options.folder)?;
        let (threads, stop, keep_weights) = (self.threads(), self.stop, self.keep_weights);
        let context = Context { ledger: &ledger, threads, stop, keep_weights, collective };
        let mut line = self.progress.job(&label(run), run.train.steps);
        if collective.rank() == 0 {
            return execute::attempt(run, &corpus, &context, &mut line);
        }
        execute::follow(run, &corpus, &context, &mut line).map(|()| None)
    }

    /// Runs one configuration, or reads it; `None` if another process is at it.
    fn attempt(&self, run: &RunConfig) -> Result<Option<RunRecord>> {
        self.run_together(run, &Alone)
    }

    fn threads(&self) -> usize {
        self.options.threads.unwrap_or_else(|| {
            let cores = crate::process::cores();
            (cores / self.options.jobs.max(1)).max(1)
        })
    }
}

/// What a progress line calls a run.
fn label(run: &RunConfig) -> String {
    format!(
        "{} {} lr {:.2e} seed {}",
        run.model.family(),
        run.model.dimensions().width,
        run.train.learning_rate,
        run.seed
    )
}

/// Indices of `runs`, the most expensive first, so that no long run is left for the end.
fn longest_first(runs: &[RunConfig]) -> Vec<usize> {
    let cost = |run: &RunConfig| run.training_flops().unwrap_or(0.0);
    let mut order: Vec<usize> = (0..runs.len()).collect();
    order.sort_by(|&a, &b| cost(&runs[b]).total_cmp(&cost(&runs[a])).then(a.cmp(&b)));
    order
}
