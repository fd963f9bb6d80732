//! `manifest.json`: what a run was and how it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use models::parameters::{Layout, Role};
use models::parametrization::{Resolved, Rule, SiteScales};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::{RESULTS_VERSION, RunKey};
use super::{atomic, provenance};
use crate::error::{HarnessError, Result};
use crate::input;
use crate::train::{ContextLosses, Overfitting, TrainOutcome};

/// Name of the manifest inside a run folder.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Version of the manifest's fields.
const SCHEMA: u32 = 1;

/// How far a run got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// Begun; whether anyone still works on it only the claim tells.
    Running,
    /// Complete.
    Finished,
    /// Ended with numbers that are no result, and will again if repeated.
    Diverged,
    /// Stopped before its end; can be continued.
    Interrupted,
}

/// Parameters by role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterCounts {
    /// All of them.
    pub total: usize,
    /// Without embeddings and decoder.
    pub non_embedding: usize,
    /// By role.
    pub by_role: BTreeMap<Role, usize>,
}

impl ParameterCounts {
    /// Counts those of `layout`.
    pub fn of(layout: &Layout) -> Self {
        Self {
            total: layout.total(),
            non_embedding: layout.non_embedding(),
            by_role: layout.by_role(),
        }
    }
}

/// Tensors of one role that follow the same rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleSummary {
    /// Their role.
    pub role: Role,
    /// How many there are.
    pub tensors: usize,
    /// Their multipliers.
    pub rule: Rule,
}

/// A resolved parametrization, equal rules taken together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParametrizationSummary {
    /// Name of the table.
    pub name: String,
    /// Distinct rules in the order of their first tensor.
    pub rules: Vec<RuleSummary>,
    /// Factors on forward constants.
    pub sites: SiteScales,
    /// Factor on the gradient-clip threshold.
    pub gradient_clip_multiplier: f64,
}

impl ParametrizationSummary {
    /// Summarises `resolved`, whose rules are those of `layout`.
    pub fn of(layout: &Layout, resolved: &Resolved) -> Self {
        let mut rules: Vec<RuleSummary> = Vec::new();
        for (spec, &rule) in layout.specs().iter().zip(&resolved.rules) {
            let role = spec.role();
            match rules.iter_mut().find(|known| known.role == role && known.rule == rule) {
                Some(known) => known.tensors += 1,
                None => rules.push(RuleSummary { role, tensors: 1, rule }),
            }
        }
        Self {
            name: resolved.parametrization.clone(),
            rules,
            sites: resolved.sites,
            gradient_clip_multiplier: resolved.gradient_clip_multiplier,
        }
    }
}

/// Numbers at the end of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Final evaluation loss in nats; absent if the run diverged before.
    pub loss_nats: Option<f64>,
    /// The same evaluation with other words around the targets; runs of older versions of the
    /// program have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextLosses>,
    /// Evaluation targets.
    pub evaluation_targets: u64,
    /// Optimiser steps done.
    pub steps: u64,
    /// Training tokens seen.
    pub tokens: u64,
    /// Training time in seconds, evaluation and checkpoints left out.
    pub training_seconds: f64,
    /// Why the run counts as diverged.
    pub divergence: Option<String>,
    /// How it overfitted, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overfitted: Option<Overfitting>,
    /// Steps whose batch had no target, and which made no update.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub idle_steps: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(steps: &u64) -> bool {
    *steps == 0
}

impl RunResult {
    /// What a reader of the loss should know beside it, in words.
    pub fn remarks(&self) -> Vec<String> {
        let overfitted = self.overfitted.map(|overfitted| overfitted.to_string());
        let idle = (self.idle_steps > 0).then(|| {
            format!(
                "{} of {} steps had no target and made no update; raise train.batch or \
                 data.masking.share for fewer",
                self.idle_steps, self.steps
            )
        });
        overfitted.into_iter().chain(idle).collect()
    }

    /// The numbers of `outcome`.
    pub fn of(outcome: &TrainOutcome) -> Self {
        let evaluation = outcome.final_evaluation.as_ref();
        Self {
            loss_nats: evaluation.map(|evaluation| evaluation.loss_nats),
            context: outcome.context,
            evaluation_targets: evaluation.map_or(0, |evaluation| evaluation.targets),
            steps: outcome.steps,
            tokens: outcome.tokens,
            training_seconds: outcome.seconds,
            divergence: outcome.divergence.as_ref().map(ToString::to_string),
            overfitted: outcome.overfitted,
            idle_steps: outcome.idle_steps,
        }
    }
}

/// What the caller knows about a run before it begins.
pub struct RunDescription<'a> {
    /// The command line, see [`provenance::portable_command`].
    pub command: String,
    /// The resolved configuration.
    pub config: Value,
    /// Parameters.
    pub layout: &'a Layout,
    /// Rules.
    pub resolved: &'a Resolved,
    /// Hash of the tokenised data.
    pub data_fingerprint: String,
    /// Threads of the run.
    pub threads: usize,
}

/// The content of `manifest.json`. Holds no absolute path, user or host name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of these fields.
    pub schema: u32,
    /// Folder name: family, width and hash.
    pub run: String,
    /// Model family.
    pub family: String,
    /// Model width.
    pub width: usize,
    /// Hash of configuration, data and results version.
    pub hash: String,
    /// How far the run got.
    pub status: RunStatus,
    /// Numbers at the end, once there are any.
    pub result: Option<RunResult>,
    /// Begin, UTC.
    pub started: String,
    /// End, UTC.
    pub ended: Option<String>,
    /// Seconds from begin to end, resumptions counted from their own begin.
    pub wall_seconds: f64,
    /// Command line.
    pub command: String,
    /// Resolved configuration.
    pub config: Value,
    /// Rules of the parametrization.
    pub parametrization: ParametrizationSummary,
    /// Parameter counts.
    pub parameters: ParameterCounts,
    /// Hash of the tokenised data.
    pub data_fingerprint: String,
    /// See [`RESULTS_VERSION`].
    pub results_version: u32,
    /// Version of this program.
    pub version: String,
    /// Commit that it was built from, see [`provenance::git_revision`].
    pub git_revision: Option<String>,
    /// Compiler.
    pub rustc: String,
    /// Threads of the run.
    pub threads: usize,
}

impl Manifest {
    /// The manifest of a run that begins now.
    pub fn begin(key: &RunKey, description: RunDescription<'_>) -> Self {
        let RunDescription { command, config, layout, resolved, data_fingerprint, threads } =
            description;
        Self {
            schema: SCHEMA,
            run: key.to_string(),
            family: key.family().to_owned(),
            width: key.width(),
            hash: key.hash().to_owned(),
            status: RunStatus::Running,
            result: None,
            started: now(),
            ended: None,
            wall_seconds: 0.0,
            command,
            config,
            parametrization: ParametrizationSummary::of(layout, resolved),
            parameters: ParameterCounts::of(layout),
            data_fingerprint,
            results_version: RESULTS_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git_revision: provenance::git_revision(),
            rustc: provenance::RUSTC.to_owned(),
            threads,
        }
    }

    /// Marks the end of the run.
    pub fn end(&mut self, status: RunStatus, result: Option<RunResult>, wall_seconds: f64) {
        self.status = status;
        self.result = result;
        self.ended = Some(now());
        self.wall_seconds = wall_seconds;
    }

    /// Whether the run needs no further work.
    pub fn is_done(&self) -> bool {
        matches!(self.status, RunStatus::Finished | RunStatus::Diverged)
    }

    /// Reads the manifest of `run_folder`; `None` if there is none.
    ///
    /// # Errors
    /// [`HarnessError::Input`] naming the file if it is not a whole manifest.
    pub fn read(run_folder: &Path) -> Result<Option<Self>> {
        let path = run_folder.join(MANIFEST_FILE);
        match Reading::of(&path)? {
            Reading::Absent => Ok(None),
            Reading::Whole(manifest) => Ok(Some(*manifest)),
            Reading::OtherSchema(error) => Err(error),
            Reading::Damaged(problem) => Err(HarnessError::input(
                &path,
                format!("not a whole manifest: {problem}"),
                "delete the file to run again from the last checkpoint",
            )),
        }
    }

    /// As [`Manifest::read`], for whoever goes on with the run: a manifest that is not whole
    /// counts as missing, with one warning, since the checkpoints say by themselves whether they
    /// are whole.
    ///
    /// # Errors
    /// If the file cannot be read, or is of another schema: that run is not ours to repeat.
    pub fn read_or_warn(run_folder: &Path) -> Result<Option<Self>> {
        static WARNED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        let path = run_folder.join(MANIFEST_FILE);
        match Reading::of(&path)? {
            Reading::Absent => Ok(None),
            Reading::Whole(manifest) => Ok(Some(*manifest)),
            Reading::OtherSchema(error) => Err(error),
            Reading::Damaged(problem) => {
                let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
                if warned.insert(path.clone()) {
                    tracing::warn!(
                        "{}: not a whole manifest: {problem}; the run goes on from its last \
                         checkpoint",
                        path.display()
                    );
                }
                Ok(None)
            }
        }
    }

    /// Writes the manifest into `run_folder`, whole or not at all.
    pub fn write(&self, run_folder: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).expect("a manifest is plain data");
        text.push('\n');
        atomic::write(&run_folder.join(MANIFEST_FILE), text.as_bytes())
    }
}

/// What stands in the place of a manifest.
enum Reading {
    Absent,
    Whole(Box<Manifest>),
    /// Written by another version of the program, whatever its fields are.
    OtherSchema(HarnessError),
    Damaged(String),
}

impl Reading {
    fn of(path: &Path) -> Result<Self> {
        /// The two fields that every schema has.
        #[derive(Deserialize)]
        struct Heading {
            schema: u32,
            version: String,
        }
        let text = match input::bytes(path, input::RECORD_BYTES_MAX) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::Absent),
            Err(error) => return Err(HarnessError::io(path)(error)),
        };
        if let Ok(Heading { schema, version }) = serde_json::from_slice(&text)
            && schema != SCHEMA
        {
            return Ok(Self::OtherSchema(HarnessError::input(
                path,
                format!("is of schema {schema}, this program reads {SCHEMA}"),
                format!("use crossscale {version}, which wrote it, or another --out"),
            )));
        }
        Ok(match serde_json::from_slice(&text) {
            Ok(manifest) => Self::Whole(Box::new(manifest)),
            Err(error) => Self::Damaged(error.to_string()),
        })
    }
}

fn now() -> String {
    format!("{:.0}", jiff::Timestamp::now())
}
