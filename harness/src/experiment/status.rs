//! How far a registered experiment has come.

use std::fmt::Write;

use serde::Serialize;

use super::registered::claim::Finding;
use super::registered::{self, Experiment, Kind, verdicts};
use crate::config::run::RunConfig;
use crate::error::Result;
use crate::runs::source::LedgerSource;

/// An experiment with what has run and what is missing.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Name.
    pub name: String,
    /// Kind, which is also the verb.
    pub kind: Kind,
    /// What is asked.
    pub question: String,
    /// What is varied because it is asked about.
    pub scientific: Vec<String>,
    /// What is varied because it would otherwise decide the answer.
    pub nuisance: Vec<String>,
    /// What stays the same.
    pub fixed: Vec<String>,
    /// When a search stops and how many seeds run.
    pub stopping: String,
    /// How the runs become numbers.
    pub analysis: String,
    /// Finished runs.
    pub runs_done: usize,
    /// Runs wanted next; searches may want more after them.
    pub runs_wanted: usize,
    /// Single-thread seconds of the runs wanted next, from the FLOP rate of the finished ones;
    /// absent without a finished run.
    pub seconds_wanted: Option<f64>,
    /// Whether nothing is missing.
    pub complete: bool,
    /// Verdicts so far.
    pub findings: Vec<Finding>,
}

/// Status of `experiment` in the ledger.
pub fn of(experiment: &Experiment, ledger: &LedgerSource) -> Result<Status> {
    let gathered = experiment
        .gather(ledger.vocabulary(&experiment.data()?, experiment.text.as_ref())?, ledger)?;
    let complete = gathered.wanted.is_empty();
    let mut findings = Vec::new();
    for claim in registered::claims()? {
        if claim.experiments.contains(&experiment.name) {
            findings.push(verdicts::judge(&claim, &experiment.name, &gathered.outcome, complete)?);
        }
    }
    let runs = gathered.outcome.runs();
    let done: f64 = runs.iter().map(|run| run.flops_per_token * run.tokens as f64).sum();
    let seconds: f64 = runs.iter().map(|run| run.seconds).sum();
    let flops: f64 = gathered.wanted.iter().map(flops).sum::<Result<f64>>()?;
    Ok(Status {
        name: experiment.name.clone(),
        kind: experiment.kind(),
        question: experiment.question.clone(),
        scientific: experiment.scientific.clone(),
        nuisance: experiment.nuisance.clone(),
        fixed: experiment.fixed.clone(),
        stopping: experiment.stopping.clone(),
        analysis: experiment.analysis.clone(),
        runs_done: runs.len(),
        runs_wanted: gathered.wanted.len(),
        seconds_wanted: (done > 0.0).then(|| flops * seconds / done),
        complete,
        findings,
    })
}

/// Training FLOPs of a run.
fn flops(run: &RunConfig) -> Result<f64> {
    let tokens = run.train.steps as f64 * (run.train.batch * run.data.length) as f64;
    let flops = run.model.forward_flops(run.data.length)?;
    Ok(tokens * flops.training_per_token(run.data.masking.share))
}

impl Status {
    /// A few lines for a terminal.
    pub fn readable(&self) -> String {
        let mut text = format!("{} ({})\n  {}\n", self.name, self.kind.verb(), self.question);
        let state = match (self.complete, self.seconds_wanted) {
            (true, _) => format!("{} runs, complete", self.runs_done),
            (false, Some(seconds)) => format!(
                "{} runs done, the next step needs {} more: about {:.0} minutes on one core",
                self.runs_done,
                self.runs_wanted,
                (seconds / 60.0).ceil()
            ),
            (false, None) => {
                format!("no run done, the first step needs {}", self.runs_wanted)
            }
        };
        write!(text, "  {state}").expect("writing to a string cannot fail");
        for finding in &self.findings {
            write!(text, "\n  {}", line(finding)).expect("writing to a string cannot fail");
        }
        text
    }
}

/// A verdict in one line.
pub fn line(finding: &Finding) -> String {
    let mut text = format!("{} {}: {}", finding.claim, finding.verdict, finding.number);
    if let Some(would_take) = &finding.would_take {
        write!(text, " ({would_take})").expect("writing to a string cannot fail");
    }
    text
}
