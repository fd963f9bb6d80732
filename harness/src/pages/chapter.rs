//! One experiment as the ledger knows it, and what its tables and figures share.

use crate::claims::claim::{Claim, Finding};
use crate::experiment::Experiment;
use crate::experiment::design::Outcome;

/// One experiment as the ledger knows it.
pub struct Chapter<'a> {
    /// What was asked.
    pub experiment: &'a Experiment,
    /// What the finished runs say.
    pub outcome: Outcome,
    /// Runs wanted next.
    pub wanted: usize,
    /// Claims that it judges.
    pub claims: Vec<Claim>,
    /// Verdicts on them.
    pub findings: Vec<Finding>,
    /// The command that makes its runs.
    pub command: String,
}

impl Chapter<'_> {
    pub(super) fn command(&self) -> String {
        self.command.clone()
    }

    pub(super) fn run_ids(&self) -> Vec<String> {
        self.outcome.runs().iter().map(|run| run.id.clone()).collect()
    }
}

/// `name` of this experiment's table or figure, unique in the document.
pub(super) fn own_name(chapter: &Chapter, name: &str) -> String {
    format!("{}_{name}", slug(&chapter.experiment.name))
}

/// `name` as part of the name of a file: whatever an experiment is called, it leads nowhere else.
pub fn slug(name: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let slug: String = name.chars().take(80).map(plain).collect();
    if slug.is_empty() { "unnamed".to_owned() } else { slug }
}

/// What was fixed before the first run.
pub(super) fn registration(experiment: &Experiment) -> Vec<String> {
    let mut lines = vec![
        ("asked about", experiment.scientific.join("; ")),
        ("also varied", experiment.nuisance.join("; ")),
        ("fixed", experiment.fixed().join("; ")),
        ("stopping", experiment.stopping()),
        ("analysis", experiment.analysis.clone()),
    ];
    lines.retain(|(_, text)| !text.is_empty());
    lines.into_iter().map(|(what, text)| format!("{what}: {text}")).collect()
}
