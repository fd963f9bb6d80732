//! The claims page: every claim with its verdict first, then a section per experiment.

mod compare;
mod ladder;
mod perturb;
mod quality;
mod transfer;

use reports::{Block, Cell, Column, Document, Section, Table};

use super::registered::claim::{Claim, Finding};
use super::registered::{self, Experiment, Outcome, verdicts};
use crate::error::Result;
use crate::runs::source::LedgerSource;

/// One experiment as the ledger knows it.
pub struct Chapter<'a> {
    /// What was asked.
    pub experiment: &'a Experiment,
    /// What the finished runs say.
    pub outcome: Outcome,
    /// Runs wanted next.
    pub wanted: usize,
    /// Verdicts on the claims it judges.
    pub findings: Vec<Finding>,
}

impl Chapter<'_> {
    /// The command that makes its runs.
    fn command(&self) -> String {
        format!("crossscale {} {}", self.experiment.kind().verb(), self.experiment.name)
    }

    fn run_ids(&self) -> Vec<String> {
        self.outcome.runs().iter().map(|run| run.id.clone()).collect()
    }
}

/// The whole report of `experiments` from what is in the ledger; nothing is started.
pub fn build(experiments: &[Experiment], ledger: &LedgerSource) -> Result<Document> {
    let claims = registered::claims()?;
    let mut chapters = Vec::new();
    for experiment in experiments {
        let gathered = experiment
            .gather(ledger.vocabulary(&experiment.data()?, experiment.text.as_ref())?, ledger)?;
        let wanted = gathered.wanted.len();
        let judged = claims
            .iter()
            .filter(|claim| claim.experiments.contains(&experiment.name))
            .map(|claim| verdicts::judge(claim, &experiment.name, &gathered.outcome, wanted == 0));
        let findings = judged.collect::<Result<_>>()?;
        chapters.push(Chapter { experiment, outcome: gathered.outcome, wanted, findings });
    }
    document(&claims, &chapters)
}

/// The report of `chapters`.
pub fn document(claims: &[Claim], chapters: &[Chapter]) -> Result<Document> {
    let mut document = Document::new("crossscale: claims").with_section(front(claims, chapters)?);
    for chapter in chapters {
        document = document.with_section(section(claims, chapter)?);
    }
    Ok(document.with_section(
        Section::new("How to read the numbers")
            .with(Block::text(reports::format::ROUNDING_RULE))
            .with(Block::text(
                "Verdicts on claims: `supported` and `contradicted` by the claim's rule, \
                 `inconclusive` if the complete experiment meets neither condition, `unfinished` \
                 while runs are missing (its numbers are provisional), `not run`. Every rule was \
                 written down in the experiment's file before its first run.",
            )),
    ))
}

/// The claims page.
fn front(claims: &[Claim], chapters: &[Chapter]) -> Result<Section> {
    let columns = vec![
        Column::text("claim", "claim"),
        Column::text("statement", "says"),
        Column::text("verdict", "verdict"),
        Column::text("number", "numbers"),
        Column::number("runs", "runs", ""),
        Column::text("experiment", "experiment"),
        Column::text("would_take", "to decide"),
    ];
    let mut table = Table::new("claims", "Claims and verdicts", columns)
        .with_rule("The rule of every claim stands in the section of its experiment.");
    for claim in claims {
        let found: Vec<&Finding> = chapters
            .iter()
            .flat_map(|chapter| &chapter.findings)
            .filter(|finding| finding.claim == claim.id)
            .collect();
        let waiting = verdicts::waiting(claim);
        let rows = if found.is_empty() { vec![&waiting] } else { found };
        for finding in rows {
            let experiment = finding
                .experiment
                .as_ref()
                .map_or(Cell::Missing, |name| Cell::link(name, format!("#{}", title(name))));
            table.push(vec![
                Cell::text(&claim.id),
                Cell::text(&claim.statement),
                Cell::verdict(finding.verdict),
                Cell::text(&finding.number),
                Cell::count(finding.runs),
                experiment,
                finding.would_take.as_ref().map_or(Cell::Missing, Cell::text),
            ])?;
        }
    }
    let mut section = Section::new("Claims").with(Block::text(
        "What the 2026 paper (and, for C8, the 2023 one) says about Probabilistic Transformers, \
         and what these experiments make of it, at the sizes they were run at. Sizes here are up \
         to a thousand times smaller than the paper's: a verdict speaks about these sizes and this \
         text only.",
    ));
    let open: Vec<String> = chapters
        .iter()
        .filter(|chapter| chapter.wanted > 0)
        .map(|chapter| {
            format!(
                "`{}`: {} runs finished, {} wanted next",
                chapter.experiment.name,
                chapter.outcome.runs().len(),
                chapter.wanted
            )
        })
        .collect();
    if !open.is_empty() {
        let text = format!("Not every experiment is finished: {}.", open.join("; "));
        section = section.with(Block::Warning(text));
    }
    Ok(section.with(Block::Table(table)))
}

/// Heading of an experiment's section, which is also its anchor.
fn title(name: &str) -> String {
    format!("experiment-{name}")
}

fn section(claims: &[Claim], chapter: &Chapter) -> Result<Section> {
    let experiment = chapter.experiment;
    let mut section = Section::new(title(&experiment.name).replacen('-', " ", 1))
        .with(Block::text(&experiment.question))
        .with(Block::List(registration(experiment)))
        .with(Block::text(format!("Made by `{}`.", chapter.command())));
    let runs = chapter.outcome.runs().len();
    if chapter.wanted > 0 {
        section = section.with(Block::Warning(format!(
            "Unfinished: {runs} runs are there, {} are wanted next (a search may want more after \
             them). What stands below is what the finished runs say.",
            chapter.wanted
        )));
    }
    for finding in &chapter.findings {
        let rule = claims.iter().find(|claim| claim.id == finding.claim);
        let rule = rule.map_or("", |claim| claim.rule.as_str());
        section = section.with(Block::text(format!(
            "**{}: {}.** {}. Rule: {rule}",
            finding.claim, finding.verdict, finding.number
        )));
    }
    if runs == 0 {
        return Ok(section);
    }
    let blocks = match &chapter.outcome {
        Outcome::Transfer(outcome) => transfer::blocks(chapter, outcome)?,
        Outcome::Perturb(outcome) => perturb::blocks(chapter, outcome)?,
        Outcome::Compare(outcome) => compare::blocks(chapter, outcome)?,
        Outcome::Ladder(study) => ladder::blocks(claims, chapter, study)?,
        Outcome::Search(found) => quality::blocks(chapter, found)?,
    };
    Ok(blocks.into_iter().fold(section, Section::with))
}

/// What was fixed before the first run.
fn registration(experiment: &Experiment) -> Vec<String> {
    let list = |items: &[String]| items.join("; ");
    vec![
        format!("asked about: {}", list(&experiment.scientific)),
        format!("also varied: {}", list(&experiment.nuisance)),
        format!("fixed: {}", list(&experiment.fixed)),
        format!("stopping: {}", experiment.stopping),
        format!("analysis: {}", experiment.analysis),
    ]
}

/// `name` of this experiment's table or figure, unique in the document.
fn own_name(chapter: &Chapter, name: &str) -> String {
    format!("{}_{name}", chapter.experiment.name.replace('-', "_"))
}

/// Text and length of training in a few words, for captions.
fn setting(experiment: &Experiment) -> String {
    let (data, train) = (&experiment.data, &experiment.train);
    format!(
        "{} steps of {} sequences of {} tokens, {} % masked",
        train.steps,
        train.batch,
        data.length,
        100.0 * data.masking.share
    )
}
