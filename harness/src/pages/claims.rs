//! The claims page: every claim with its verdict first, then a section per experiment.

use reports::{Block, Cell, Column, Document, Section, Table};

use super::chapter::{Chapter, registration};
use super::tables::reads_context_rule;
use super::{ladder, pair, perturb, search, transfer};
use crate::claims::claim::{Claim, Finding};
use crate::claims::{self, verdicts};
use crate::error::Result;
use crate::experiment::Experiment;
use crate::experiment::design::Outcome;
use crate::runs::source::LedgerSource;

/// The claims page of all registered experiments from what is in the ledger; nothing is started.
pub fn build(ledger: &LedgerSource) -> Result<Document> {
    let experiments = claims::experiments()?;
    let command = |experiment: &Experiment| format!("crossscale run {}", experiment.name);
    let chapters: Vec<Chapter> = experiments
        .iter()
        .map(|experiment| chapter(experiment, command(experiment), ledger))
        .collect::<Result<_>>()?;
    document("crossscale: claims", &claims::claims()?, &chapters)
}

/// A report of the experiments in `asked`, each with the command that makes its runs. It opens
/// with the claims that they judge, if they judge any.
pub fn of(asked: &[(Experiment, String)], ledger: &LedgerSource) -> Result<Document> {
    let chapters: Vec<Chapter> = asked
        .iter()
        .map(|(experiment, command)| chapter(experiment, command.clone(), ledger))
        .collect::<Result<_>>()?;
    let judged = |claim: &Claim| {
        chapters.iter().any(|chapter| chapter.claims.iter().any(|own| own.id == claim.id))
    };
    let claims: Vec<Claim> = claims::claims()?.into_iter().filter(judged).collect();
    let names: Vec<&str> = asked.iter().map(|(experiment, _)| experiment.name.as_str()).collect();
    document(&format!("crossscale: {}", names.join(", ")), &claims, &chapters)
}

fn chapter<'a>(
    experiment: &'a Experiment,
    command: String,
    ledger: &LedgerSource,
) -> Result<Chapter<'a>> {
    let setting = &experiment.setting;
    let gathered =
        experiment.gather(ledger.vocabulary(&setting.data, setting.text.as_ref())?, ledger)?;
    let (outcome, wanted) = (gathered.outcome, gathered.wanted.len());
    let claims = claims::judged_by(experiment)?;
    let judge = |claim| verdicts::judge(claim, &experiment.name, &outcome, wanted == 0);
    let findings = claims.iter().map(judge).collect::<Result<_>>()?;
    Ok(Chapter { experiment, outcome, wanted, claims, findings, command })
}

/// The report of `chapters`.
fn document(title: &str, claims: &[Claim], chapters: &[Chapter]) -> Result<Document> {
    let mut document = Document::new(title);
    if !claims.is_empty() {
        document = document.with_section(front(claims, chapters)?);
    }
    for chapter in chapters {
        document = document.with_section(section(chapter)?);
    }
    let mut reading =
        Section::new("How to read the numbers").with(Block::text(reports::format::ROUNDING_RULE));
    reading = reading.with(Block::text(if claims.is_empty() {
        "No registered claim is judged here: a verdict belongs to the registered protocol, and \
         this is another one."
    } else {
        "Verdicts on claims: `supported` and `contradicted` by the claim's rule, `inconclusive` \
         if the complete experiment meets neither condition, `mixed` if it is decided one way in \
         some rows and the other way in others, `plateau` if a side does not read its context, \
         `unequal loss` if what had to be compared at equal loss was measured at none, \
         `unfinished` while runs are missing (its numbers are provisional). Experiments on words \
         are judged anew by rules that were changed after they had run, because their own let \
         models that ignore their context decide."
    }));
    Ok(document.with_section(reading))
}

fn columns() -> Vec<Column> {
    vec![
        Column::text("claim", "claim"),
        Column::text("experiment", "experiment"),
        Column::text("verdict", "verdict"),
        Column::number("effect", "effect", ""),
        Column::number("effect_low", "from", "95 %"),
        Column::number("effect_high", "to", "95 %"),
        Column::text("unit", "unit"),
        Column::number("seeds", "seeds", ""),
        Column::number("runs", "runs", ""),
    ]
}

/// The claims page.
fn front(claims: &[Claim], chapters: &[Chapter]) -> Result<Section> {
    let mut table = Table::new("claims", "Claims and verdicts", columns()).with_rule(format!(
        "One number a verdict: C1 the shift slope, C2 the rank correlation, C7 the exponent, C10 \
         PT's directed attachment minus the baseline's, all others the candidate's loss minus the \
         baseline's, averaged over the rows of the experiment. {} The rule of every claim stands \
         in the section of its experiment.",
        reads_context_rule()
    ));
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
            let effect = finding.effect.as_ref();
            let number = |value: Option<f64>| Cell::or_missing(value, |v| Cell::decimals(v, 4));
            let interval = effect.and_then(|effect| effect.interval);
            table.push(vec![
                Cell::text(&claim.id),
                experiment,
                Cell::verdict(finding.verdict),
                number(effect.map(|effect| effect.value)),
                number(interval.map(|interval| interval.low)),
                number(interval.map(|interval| interval.high)),
                effect.map_or(Cell::Missing, |effect| Cell::text(effect.unit)),
                Cell::or_missing(effect, |effect| Cell::count(effect.seeds)),
                Cell::count(finding.runs),
            ])?;
        }
    }
    let statements = claims.iter().map(|c| format!("{}: {}", c.id, c.statement)).collect();
    let mut section = Section::new("Claims").with(Block::text(
        "What the 2026 paper (and, for C8, the 2023 one) says about Probabilistic Transformers, \
         or what it promises of their insides (C10, C11), and what these experiments make of it, \
         at the sizes they were run at. Sizes here are up to a thousand times smaller than the \
         paper's: a verdict speaks about these sizes and this text only.",
    ));
    section = section.with(Block::List(statements));
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

fn section(chapter: &Chapter) -> Result<Section> {
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
        let rule = chapter.claims.iter().find(|claim| claim.id == finding.claim);
        let rule = rule.map_or("", |claim| claim.rule.as_str());
        section = section.with(Block::text(format!(
            "**{}: {}.** {}.{} Rule: {rule}",
            finding.claim,
            finding.verdict,
            finding.number,
            finding
                .would_take
                .as_ref()
                .map_or(String::new(), |what| format!(" To decide: {what}."))
        )));
    }
    if runs == 0 {
        return Ok(section);
    }
    let blocks = match &chapter.outcome {
        Outcome::Transfer(outcome) => transfer::blocks(chapter, outcome)?,
        Outcome::Perturb(outcome) => perturb::blocks(chapter, outcome)?,
        Outcome::Pair(outcome) => pair::blocks(chapter, outcome)?,
        Outcome::Ladder(study) => ladder::blocks(chapter, study)?,
        Outcome::Search(found) => search::blocks(chapter, found)?,
    };
    Ok(blocks.into_iter().fold(section, Section::with))
}
