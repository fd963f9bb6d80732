//! The judged check for scripts, terminals and readers.

use reports::figure::{CoordinateFigure, CoordinateLine, CoordinatePanel, coordinate_check};
use reports::{Cell, Column, Figure, Provenance, Table};
use serde_json::{Value, json};

use super::super::report::{Page, interval_cells, interval_columns, with_interval};
use super::{Activations, Finding, Question, StepFinding, rule};
use crate::checks::coordinates::Verdict;
use crate::error::Result;

/// Most sites drawn, the failing ones first.
const PANELS_MAX: usize = 12;
/// Most sites in sentences of their own.
const SENTENCES_MAX: usize = 12;

/// The findings as scripts read them; slope and ends are those of the last step.
pub fn json(findings: &[Finding]) -> Value {
    let step = |step: &StepFinding| {
        let interval = step.slope.and_then(|slope| slope.interval);
        json!({
            "step": step.step,
            "slope": step.slope.map(|slope| slope.slope),
            "slope_low": interval.map(|interval| interval.low),
            "slope_high": interval.map(|interval| interval.high),
            "verdict": step.verdict.map(Verdict::word),
            "problem": step.problem,
        })
    };
    let finding = |finding: &Finding| {
        let last = finding.last();
        let slope = last.and_then(|last| last.slope);
        let interval = slope.and_then(|slope| slope.interval);
        json!({
            "site": finding.site,
            "slope": slope.map(|slope| slope.slope),
            "slope_low": interval.map(|interval| interval.low),
            "slope_high": interval.map(|interval| interval.high),
            "verdict": finding.verdict.word(),
            "expected": finding.expected,
            "problem": last.and_then(|last| last.problem.clone()),
            "steps": finding.steps.iter().map(step).collect::<Vec<_>>(),
        })
    };
    findings.iter().map(finding).collect()
}

/// Everything for people.
///
/// # Errors
/// A table or figure that cannot be made: a bug.
pub fn document(
    table: &Activations,
    findings: &[Finding],
    question: &Question,
    command: &str,
) -> Result<Page> {
    let mut ordered: Vec<&Finding> = findings.iter().collect();
    ordered.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
    let mut sentences = vec![summary(findings)];
    let open = ordered.iter().filter(|finding| finding.verdict != Verdict::Pass);
    sentences.extend(open.take(SENTENCES_MAX).map(|finding| sentence(finding)));
    let seeds = findings.iter().map(|finding| finding.seeds).min().unwrap_or(0);
    let mut notes = table.notes.sentences();
    if seeds < 2 {
        notes.insert(0, "one seed: intervals rest on how straight the lines are".to_owned());
    }
    Ok(Page {
        title: "Does the size of activations depend on width?".to_owned(),
        findings: sentences,
        rule: rule(question.accept),
        tables: vec![verdicts(&ordered)?, steps(findings)?],
        figure: figure(table, &ordered, command)?,
        notes,
    })
}

fn summary(findings: &[Finding]) -> String {
    let count = |word: Verdict| findings.iter().filter(|f| f.verdict == word).count();
    let words = [Verdict::Fail, Verdict::Inconclusive, Verdict::Transient, Verdict::Pass];
    let parts = words.map(|word| format!("{} {word}", count(word)));
    format!("{} sites: {}.", findings.len(), parts.join(", "))
}

/// One line about a site.
pub(super) fn sentence(finding: &Finding) -> String {
    let Some(last) = finding.last() else {
        return format!("{}: {}. Every value is exactly zero.", finding.site, finding.verdict);
    };
    let slope = last.slope.map_or_else(
        || "no slope".to_owned(),
        |slope| format!("slope {} per octave", with_interval(slope.slope, slope.interval, 3)),
    );
    let problem = last.problem.as_ref().map(|problem| format!("; {problem}")).unwrap_or_default();
    format!(
        "{}: {}. {slope} at step {}, expected {}{problem}.",
        finding.site, finding.verdict, last.step, finding.expected
    )
}

fn verdicts(findings: &[&Finding]) -> Result<Table> {
    let [slope, low, high] = interval_columns("slope_per_octave", "slope", "per octave");
    let columns = vec![
        Column::text("site", "site"),
        Column::text("verdict", "verdict"),
        Column::number("expected", "expected", ""),
        slope,
        low,
        high,
        Column::number("step", "at step", ""),
        Column::number("seeds", "seeds", "").left_out(1),
        Column::text("problem", "remark").left_out(2),
    ];
    let mut table = Table::new("verdicts", "Does the size of a site depend on width?", columns);
    for finding in findings {
        let last = finding.last();
        let found = last.and_then(|last| last.slope);
        let [slope, low, high] =
            interval_cells(found.map(|s| s.slope), found.and_then(|s| s.interval), 3);
        table.push(vec![
            Cell::text(&finding.site),
            Cell::verdict(finding.verdict),
            Cell::decimals(finding.expected, 2),
            slope,
            low,
            high,
            Cell::or_missing(last, |last| Cell::count(last.step)),
            Cell::count(finding.seeds),
            Cell::text(last.and_then(|last| last.problem.clone()).unwrap_or_default()),
        ])?;
    }
    Ok(table)
}

fn steps(findings: &[Finding]) -> Result<Table> {
    let [slope, low, high] = interval_columns("slope_per_octave", "slope", "per octave");
    let columns = vec![
        Column::text("site", "site"),
        Column::number("step", "step", ""),
        Column::text("verdict", "verdict of the step"),
        slope,
        low,
        high,
        Column::number("freedom", "degrees of freedom", ""),
    ];
    let mut table = Table::new("steps", "Every step", columns);
    for (finding, step) in findings.iter().flat_map(|f| f.steps.iter().map(move |s| (f, s))) {
        let [slope, low, high] =
            interval_cells(step.slope.map(|s| s.slope), step.slope.and_then(|s| s.interval), 3);
        table.push(vec![
            Cell::text(&finding.site),
            Cell::count(step.step),
            Cell::or_missing(step.verdict, Cell::verdict),
            slope,
            low,
            high,
            Cell::or_missing(step.slope, |slope| Cell::count(slope.freedom)),
        ])?;
    }
    Ok(table)
}

fn figure(table: &Activations, findings: &[&Finding], command: &str) -> Result<Option<Figure>> {
    let line = |step: &StepFinding| CoordinateLine {
        step: step.step,
        points: step.points.iter().map(|&(width, value)| (width as usize, value)).collect(),
        slope: step.slope.map(|slope| {
            (slope.slope, slope.interval.map(|interval| (interval.low, interval.high)))
        }),
    };
    let panel = |finding: &&Finding| CoordinatePanel {
        title: format!("{}: {}", finding.site, finding.verdict),
        lines: finding.steps.iter().map(line).collect(),
    };
    let drawable = |finding: &&&Finding| {
        let mut points = finding.steps.iter().flat_map(|step| &step.points);
        points.any(|point| point.1.is_finite() && point.1 > 0.0)
    };
    let panels: Vec<CoordinatePanel> =
        findings.iter().filter(drawable).take(PANELS_MAX).map(panel).collect();
    if panels.is_empty() {
        return Ok(None);
    }
    let hidden = findings.len().saturating_sub(panels.len());
    let setting = match hidden {
        0 => "the table as given".to_owned(),
        hidden => format!("the table as given, {hidden} more sites not drawn"),
    };
    let data = CoordinateFigure {
        panels,
        statistic: table.statistic.clone(),
        setting,
        seeds: findings.iter().map(|finding| finding.seeds).min().unwrap_or(0),
        provenance: Provenance::new(command, Vec::<String>::new()),
    };
    Ok(Some(coordinate_check(&data, "")?))
}
