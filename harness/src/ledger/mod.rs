//! The record of all runs: content addresses, manifests, claims.
//!
//! ```text
//! <ledger>/runs/<family>-<width>-<hash>/
//!     manifest.json     what the run was and how it ended; status finished = everything whole
//!     metrics.csv       one row per step        evaluation.csv   one row per evaluation
//!     documents.csv     final sums per document timing.csv       wall times, nowhere else
//!     checkpoints/      the last two            claim-000001     who works on it
//! ```
//! A run is named by the hash of everything that decides its numbers, so a finished run is never
//! done again and an interrupted one is continued by whoever comes first.

pub mod atomic;
mod claim;
mod key;
mod manifest;
pub mod overview;
pub mod provenance;
mod source;
mod tidy;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Instant;

pub use claim::{ClaimTiming, Heartbeat};
pub use key::{RESULTS_VERSION, RunKey, canonical};
pub use manifest::{
    MANIFEST_FILE, Manifest, ParameterCounts, ParametrizationSummary, RuleSummary, RunDescription,
    RunResult, RunStatus,
};

use crate::error::{HarnessError, Result};
use crate::train::{RunFolder, TrainOutcome};

/// A folder of runs.
#[derive(Debug, Clone)]
pub struct Ledger {
    runs: PathBuf,
    timing: ClaimTiming,
}

/// What the ledger knows about a run.
#[derive(Debug, Clone, PartialEq)]
pub enum RunState {
    /// Complete.
    Finished(Box<Manifest>),
    /// Ended without a result, and would again.
    Diverged(Box<Manifest>),
    /// A live worker is at it.
    Running,
    /// Begun, not complete, and nobody is at it.
    Interrupted,
    /// Never begun.
    Absent,
}

/// Answer to the wish to do a run.
#[derive(Debug)]
pub enum Begin {
    /// It is ours to do, from its last checkpoint if there is one.
    Ours(Box<Claim>),
    /// Another worker is at it.
    Taken,
    /// It is finished or diverged.
    Done(Box<Manifest>),
}

impl Ledger {
    /// Opens the ledger in `folder`, which is created if it does not exist.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::with_timing(folder, ClaimTiming::default())
    }

    /// As [`Ledger::open`], with other times for heartbeats.
    pub fn with_timing(folder: &Path, timing: ClaimTiming) -> Result<Self> {
        let runs = folder.join("runs");
        atomic::own_folder(&runs)?;
        Ok(Self { runs, timing })
    }

    /// Folder of a run, whether it exists or not.
    pub fn folder(&self, key: &RunKey) -> PathBuf {
        self.runs.join(key.to_string())
    }

    /// State of a run. A manifest that is not whole counts as missing, with a warning: the run
    /// is then continued from its last checkpoint, whose own hash says whether it is whole.
    pub fn find(&self, key: &RunKey) -> Result<RunState> {
        let folder = self.folder(key);
        if let Some(manifest) = Manifest::read_or_warn(&folder)? {
            match manifest.status {
                RunStatus::Finished => return Ok(RunState::Finished(Box::new(manifest))),
                RunStatus::Diverged => return Ok(RunState::Diverged(Box::new(manifest))),
                RunStatus::Running | RunStatus::Interrupted => {}
            }
        }
        if claim::is_claimed(&folder, self.timing)? {
            Ok(RunState::Running)
        } else if folder.exists() {
            Ok(RunState::Interrupted)
        } else {
            Ok(RunState::Absent)
        }
    }

    /// Claims a run to do it. `describe` is called only if the run is ours.
    pub fn begin<'a>(
        &self,
        key: &RunKey,
        describe: impl FnOnce() -> RunDescription<'a>,
    ) -> Result<Begin> {
        let folder = self.folder(key);
        if let Some(manifest) = Manifest::read_or_warn(&folder)?.filter(Manifest::is_done) {
            // Only tidying up: a ledger that cannot be written can still be read.
            let _ = claim::clear(&folder);
            return Ok(Begin::Done(Box::new(manifest)));
        }
        atomic::own_folder(&folder)?;
        self.claim(key, describe)
    }

    /// Claims first and looks then: the run may have been finished, and its claim removed, since
    /// the caller's look.
    fn claim<'a>(
        &self,
        key: &RunKey,
        describe: impl FnOnce() -> RunDescription<'a>,
    ) -> Result<Begin> {
        let folder = self.folder(key);
        let Some(hold) = claim::take(&folder, self.timing)? else { return Ok(Begin::Taken) };
        if let Some(manifest) = Manifest::read_or_warn(&folder)?.filter(Manifest::is_done) {
            hold.remove()?;
            return Ok(Begin::Done(Box::new(manifest)));
        }
        let manifest = Manifest::begin(key, describe());
        manifest.write(&folder)?;
        let begun = Instant::now();
        Ok(Begin::Ours(Box::new(Claim { folder, manifest, begun, hold: Some(hold) })))
    }

    /// The newest claim on a run folder of this ledger, if there is one.
    pub fn heartbeat(&self, run_folder: &Path) -> Result<Option<Heartbeat>> {
        claim::heartbeat(run_folder, self.timing)
    }

    /// Manifests of all runs by folder name, or why one cannot be read.
    pub fn manifests(&self) -> Result<Vec<(PathBuf, Result<Manifest>)>> {
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(&self.runs).map_err(HarnessError::io(&self.runs))? {
            folders.push(entry.map_err(HarnessError::io(&self.runs))?.path());
        }
        folders.sort();
        let read = |folder: PathBuf| match Manifest::read(&folder) {
            Ok(manifest) => manifest.map(|manifest| (folder, Ok(manifest))),
            Err(error) => Some((folder, Err(error))),
        };
        Ok(folders.into_iter().filter_map(read).collect())
    }
}

/// The right to do one run. Dropping it leaves the run interrupted and free for others.
#[derive(Debug)]
pub struct Claim {
    folder: PathBuf,
    manifest: Manifest,
    begun: Instant,
    hold: Option<claim::Hold>,
}

impl Claim {
    /// What [`TrainJob`](crate::train::TrainJob) needs to write into the run's folder.
    pub fn run_folder(&self) -> RunFolder<'_> {
        RunFolder { path: &self.folder, config_hash: &self.manifest.hash }
    }

    /// The run's folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Records the end of the run, well or diverged, and gives the claim back.
    ///
    /// # Errors
    /// If the manifest cannot be written, or another worker took the run over meanwhile.
    pub fn finish(mut self, outcome: &TrainOutcome) -> Result<Manifest> {
        let status = match outcome.divergence {
            Some(_) => RunStatus::Diverged,
            None => RunStatus::Finished,
        };
        let Some(hold) = self.hold.take() else { unreachable!("a claim holds until its end") };
        if !hold.is_ours()? {
            let run = &self.manifest.run;
            return Err(HarnessError::Invariant(format!(
                "run {run} was taken over by another worker, which will finish it"
            )));
        }
        let result = Some(RunResult::of(outcome));
        self.manifest.end(status, result, self.begun.elapsed().as_secs_f64());
        self.manifest.write(&self.folder)?;
        hold.remove()?;
        Ok(self.manifest.clone())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(hold) = self.hold.take() else { return };
        if !matches!(hold.is_ours(), Ok(true)) {
            return;
        }
        let seconds = self.begun.elapsed().as_secs_f64();
        self.manifest.end(RunStatus::Interrupted, None, seconds);
        if let Err(error) = self.manifest.write(&self.folder) {
            tracing::warn!("run {} could not be marked interrupted: {error}", self.manifest.run);
        }
    }
}
