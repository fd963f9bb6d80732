//! How far an experiment has come.

use std::fmt::Write;

use serde::Serialize;

use super::claim::Finding;
use super::verdicts;
use crate::config::run::RunConfig;
use crate::cost::plan::PlannedRuns;
use crate::error::Result;
use crate::experiment::Experiment;
use crate::runs::source::LedgerSource;

/// An experiment with what has run and what is missing.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Name.
    pub name: String,
    /// Its kind of question.
    pub design: &'static str,
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
    /// Fewest and most runs of the whole experiment, the finished ones among them.
    pub runs_planned: (usize, usize),
    /// Single-thread seconds of the runs wanted next, from the FLOP rate of the finished ones;
    /// absent without a finished run.
    pub seconds_wanted: Option<f64>,
    /// Whether nothing is missing.
    pub complete: bool,
    /// What came out so far.
    pub answer: Vec<String>,
    /// Verdicts so far.
    pub findings: Vec<Finding>,
}

/// Status of `experiment` in the ledger.
pub fn of(experiment: &Experiment, ledger: &LedgerSource) -> Result<Status> {
    let vocab = ledger.vocabulary(&experiment.setting.data, experiment.setting.text.as_ref())?;
    let gathered = experiment.gather(vocab, ledger)?;
    let complete = gathered.wanted.is_empty();
    let mut findings = Vec::new();
    for claim in super::judged_by(experiment)? {
        findings.push(verdicts::judge(&claim, &experiment.name, &gathered.outcome, complete)?);
    }
    let runs = gathered.outcome.runs();
    let done: f64 = runs.iter().map(|run| run.training_flops()).sum();
    let seconds: f64 = runs.iter().map(|run| run.seconds).sum();
    let flops: f64 = gathered.wanted.iter().map(RunConfig::training_flops).sum::<Result<f64>>()?;
    let planned = experiment.plan(vocab)?;
    let total = |end: fn(&PlannedRuns) -> usize| planned.iter().map(end).sum();
    Ok(Status {
        name: experiment.name.clone(),
        design: experiment.design.name(),
        question: experiment.question.clone(),
        scientific: experiment.scientific.clone(),
        nuisance: experiment.nuisance.clone(),
        fixed: experiment.fixed(),
        stopping: experiment.stopping(),
        analysis: experiment.analysis.clone(),
        runs_done: runs.len(),
        runs_wanted: gathered.wanted.len(),
        runs_planned: (total(|row| row.runs.0), total(|row| row.runs.1)),
        seconds_wanted: (done > 0.0).then(|| flops * seconds / done),
        complete,
        answer: gathered.outcome.answer()?,
        findings,
    })
}

impl Status {
    /// A few lines for a terminal: how far it has come, and the verdicts so far.
    pub fn readable(&self) -> String {
        self.with_lines(&[])
    }

    /// The same with what came out.
    pub fn answered(&self) -> String {
        self.with_lines(&self.answer)
    }

    fn with_lines(&self, answer: &[String]) -> String {
        let mut text = format!("{} ({})\n  {}\n", self.name, self.design, self.question);
        let (fewest, most) = self.runs_planned;
        let all = if fewest == most { format!("{most}") } else { format!("{fewest} to {most}") };
        let state = match (self.complete, self.seconds_wanted) {
            (true, _) => format!("{} runs, complete", self.runs_done),
            (false, Some(seconds)) => format!(
                "{} of {all} runs done, the next step needs {}: about {:.0} minutes on one core",
                self.runs_done,
                self.runs_wanted,
                (seconds / 60.0).ceil()
            ),
            (false, None) => {
                format!("no run of {all} done, the first step needs {}", self.runs_wanted)
            }
        };
        write!(text, "  {state}").expect("writing to a string cannot fail");
        for line in answer.iter().cloned().chain(self.findings.iter().map(line)) {
            write!(text, "\n  {line}").expect("writing to a string cannot fail");
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
