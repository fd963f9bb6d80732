//! `judge compare`: which of two labels has the lower loss?

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use reports::{Cell as ReportCell, Column, Estimate, Table};
use serde_json::{Value as Json, json};

use super::cells::{self, Value};
use super::names::{LABEL, LOSS, Mapping, SEED, STEP, Selection, Wanted};
use super::notes::Notes;
use super::report::{Page, with_interval};
use super::runs::{Cell, Collector, Names, Seeds};
use super::table::{Reader, unreadable};
use crate::error::Result;
use crate::statistics::{Comparison, Sample, compare_samples, pair_common_seeds};

const WANTED: [Wanted; 4] = [LABEL, LOSS, SEED, STEP];

/// What is asked of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The label that may be better; without one, every other label of the table.
    pub candidate: Option<String>,
    /// The label that it is compared with.
    pub baseline: String,
    /// Columns whose values make rows of their own.
    pub by: Vec<String>,
    /// Differences below this are none.
    pub margin: f64,
    /// Never pair by seed.
    pub unpaired: bool,
    /// Names of columns.
    pub mapping: Mapping,
    /// Rows that count.
    pub selection: Selection,
}

/// Losses by group and label.
#[derive(Debug, Clone, PartialEq)]
pub struct Losses {
    /// Group (empty without `by`), label, and its runs.
    pub cells: Vec<(String, String, Cell)>,
    /// What was left out.
    pub notes: Notes,
    /// Whether rows name their seed.
    pub seeded: bool,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Values of the `by` columns.
    pub group: String,
    /// The candidate.
    pub candidate: String,
    /// The baseline.
    pub baseline: String,
    /// Whether seeds are paired.
    pub paired: bool,
    /// Difference, tests and word.
    pub comparison: Comparison,
}

/// The rule in words.
pub fn rule(margin: f64) -> String {
    format!(
        "Difference = candidate − baseline, with its 95 % Student-t interval: of the differences \
         per seed where both have them, otherwise Welch's. p is two-sided and Holm-corrected over \
         the rows. no change: two one-sided tests (Holm-corrected p < 0.05) put the difference \
         within ±{margin}. Otherwise better or worse: p < 0.05 and the interval leaves out 0. \
         Everything else is inconclusive; seeds to decide hold if mean and deviation stay."
    )
}

/// Reads the table at `path`.
///
/// # Errors
/// A file that is no such table, or without one of the labels.
pub fn read(path: &Path, question: &Question) -> Result<Losses> {
    let mut reader = Reader::open(path, &question.selection)?;
    let mapping = &question.mapping;
    mapping.require_known(&WANTED)?;
    let label = reader.require(&LABEL, mapping)?;
    let loss = reader.require(&LOSS, mapping)?;
    let (seed, step) = (reader.find(&SEED, mapping)?, reader.find(&STEP, mapping)?);
    let by: Vec<usize> =
        question.by.iter().map(|name| reader.place_named(name)).collect::<Result<_>>()?;
    let (mut labels, mut groups, mut seeds) =
        (Names::default(), Names::default(), Seeds::default());
    let (mut notes, mut runs) = (Notes::default(), Collector::new(seed.is_some()));
    while reader.advance(&mut notes)? {
        let line = reader.line();
        let at = step.and_then(|place| cells::number(reader.text(place)));
        let (value, at) = match cells::value(reader.text(loss)) {
            Value::Finite(value) => (Some(value), at),
            Value::Absent if step.is_some() => (None, Some(f64::NEG_INFINITY)),
            Value::Diverged | Value::Absent => (None, at),
            Value::Unreadable => {
                notes.leave_out("their loss is no number and no word for divergence", line);
                continue;
            }
        };
        let group: Vec<String> = by
            .iter()
            .zip(&question.by)
            .map(|(&place, name)| format!("{name} {}", reader.text(place)))
            .collect();
        let key = (groups.number(&group.join(", ")), labels.number(reader.text(label)));
        let seed = seed.map_or(0, |place| seeds.number(reader.text(place)));
        runs.push(key, seed, at.unwrap_or(0.0), value, line);
    }
    let known: BTreeSet<&String> = labels.all().iter().collect();
    for wanted in question.candidate.iter().chain([&question.baseline]) {
        if !known.contains(wanted) {
            let names: Vec<&str> = known.iter().take(12).map(|name| name.as_str()).collect();
            return Err(unreadable(
                path,
                format!("no row is labelled '{wanted}'; labels are {}", names.join(", ")),
                "give --candidate and --baseline as the table spells them",
            ));
        }
    }
    let seeded = seed.is_some();
    let cells = runs.finish(&mut notes).into_iter();
    let cells = cells.map(|((group, label), cell)| {
        (groups.text(group).to_owned(), labels.text(label).to_owned(), cell)
    });
    Ok(Losses { cells: cells.collect(), notes, seeded })
}

/// Compares candidates with the baseline, in every group, as one family.
pub fn judge(losses: &mut Losses, question: &Question) -> Vec<Finding> {
    let mut by_group: BTreeMap<&str, BTreeMap<&str, &Cell>> = BTreeMap::new();
    for (group, label, cell) in &losses.cells {
        by_group.entry(group).or_default().insert(label, cell);
    }
    let (mut rows, mut samples, mut remarks) = (Vec::new(), Vec::new(), Vec::new());
    for (group, cells) in &by_group {
        let Some(baseline) = cells.get(question.baseline.as_str()) else {
            remarks.push(format!("{group}: the baseline has no run there"));
            continue;
        };
        for (label, candidate) in cells {
            let asked = question.candidate.as_deref().is_none_or(|asked| asked == *label);
            if *label == question.baseline || !asked {
                continue;
            }
            let diverged =
                [candidate, baseline].map(|c| c.iter().filter(|r| r.1.is_none()).count());
            if diverged != [0, 0] {
                remarks.push(format!(
                    "{label} has {} diverged runs, {} has {}: they are left out of the means",
                    diverged[0], question.baseline, diverged[1]
                ));
            }
            let pair = !question.unpaired && losses.seeded;
            let (sample, paired, dropped) = sample(candidate, baseline, pair);
            if dropped > 0 {
                let left_out = "have a loss on one side only and are left out";
                let baseline = &question.baseline;
                remarks.push(format!("{dropped} seeds of {label} and {baseline} {left_out}"));
            }
            rows.push(((*group).to_owned(), (*label).to_owned(), paired));
            samples.push(sample);
        }
    }
    let found = compare_samples(&samples, question.margin);
    let findings = rows.into_iter().zip(found).map(|((group, candidate, paired), comparison)| {
        Finding { group, candidate, baseline: question.baseline.clone(), paired, comparison }
    });
    let findings = findings.collect();
    for remark in remarks {
        losses.notes.remark(remark);
    }
    findings
}

/// Differences by seed where at least two seeds are common, otherwise both sides; whether they are
/// paired; and how many seeds are left out.
fn sample(candidate: &Cell, baseline: &Cell, pair: bool) -> (Sample, bool, usize) {
    let finite = |cell: &Cell| -> Vec<(u64, f64)> {
        cell.iter().filter_map(|(seed, loss)| Some((*seed, (*loss)?))).collect()
    };
    let (candidate, baseline) = (finite(candidate), finite(baseline));
    let paired = pair_common_seeds(&candidate, &baseline).ok().filter(|_| pair);
    if let Some(pairing) = paired.filter(|pairing| pairing.seeds.len() > 1) {
        let dropped = pairing.unpaired.len();
        return (Sample::Paired(pairing.differences()), true, dropped);
    }
    let losses = |side: Vec<(u64, f64)>| side.into_iter().map(|run| run.1).collect();
    let sample = Sample::Unpaired { candidate: losses(candidate), baseline: losses(baseline) };
    (sample, false, 0)
}

/// The findings as scripts read them: one object for one comparison that was asked for by name,
/// otherwise a list.
pub fn json(findings: &[Finding], question: &Question) -> Json {
    let object = |finding: &Finding| {
        let row = &finding.comparison;
        let interval = row.difference.and_then(|difference| difference.interval);
        json!({
            "difference": row.difference.map(|difference| difference.mean),
            "low": interval.map(|interval| interval.low),
            "high": interval.map(|interval| interval.high),
            "p": row.p_value_holm,
            "verdict": row.verdict.to_string(),
            "p_uncorrected": row.p_value,
            "p_equivalence": row.p_value_equivalence_holm,
            "seeds_to_decide": row.seeds_to_resolve,
            "paired": finding.paired,
            "n": row.difference.map(|difference| difference.n),
            "candidate": finding.candidate,
            "baseline": finding.baseline,
            "group": finding.group,
        })
    };
    match findings {
        [one] if question.by.is_empty() && question.candidate.is_some() => object(one),
        all => all.iter().map(object).collect(),
    }
}

/// Everything for people.
///
/// # Errors
/// A table that cannot be made: a bug.
pub fn document(losses: &Losses, findings: &[Finding], question: &Question) -> Result<Page> {
    let columns = vec![
        Column::text("group", "group"),
        Column::text("candidate", "candidate"),
        Column::text("baseline", "baseline"),
        Column::text("verdict", "verdict"),
        Column::estimate("difference", "difference", ""),
        Column::number("p_holm", "p (Holm)", ""),
        Column::number("p_equivalence_holm", "p (equivalence)", "").left_out(1),
        Column::text("pairing", "seeds are"),
        Column::number("seeds_to_decide", "seeds to decide", ""),
    ];
    let mut table = Table::new("differences", "Which has the lower loss?", columns);
    for finding in findings {
        let row = &finding.comparison;
        table.push(vec![
            ReportCell::text(&finding.group),
            ReportCell::text(&finding.candidate),
            ReportCell::text(&finding.baseline),
            ReportCell::verdict(row.verdict),
            ReportCell::or_missing(row.difference, |d| {
                let interval = d.interval.map(|i| (i.low, i.high));
                ReportCell::Estimate(Estimate { mean: d.mean, interval, n: d.n })
            }),
            ReportCell::or_missing(row.p_value_holm, |p| ReportCell::significant(p, 2)),
            ReportCell::or_missing(row.p_value_equivalence_holm, |p| ReportCell::significant(p, 2)),
            ReportCell::text(if finding.paired { "paired" } else { "unpaired" }),
            ReportCell::or_missing(row.seeds_to_resolve, ReportCell::count),
        ])?;
    }
    Ok(Page {
        title: "Which has the lower loss?".to_owned(),
        findings: findings.iter().map(sentence).collect(),
        rule: rule(question.margin),
        tables: vec![table],
        figure: None,
        notes: losses.notes.sentences(),
    })
}

fn sentence(finding: &Finding) -> String {
    let row = &finding.comparison;
    let place = if finding.group.is_empty() { "" } else { &format!("{}: ", finding.group) };
    let Some(difference) = row.difference else {
        return format!("{place}{} has no run to compare.", finding.candidate);
    };
    let seeds = match (row.seeds_to_resolve, row.verdict) {
        (Some(seeds), _) => format!("; about {seeds} seeds a side would decide"),
        (None, crate::statistics::Verdict::Inconclusive) if difference.interval.is_none() => {
            "; one seed a side decides nothing".to_owned()
        }
        _ => String::new(),
    };
    format!(
        "{place}{} against {}: {}. Difference {}, n = {}{seeds}.",
        finding.candidate,
        finding.baseline,
        row.verdict,
        with_interval(difference.mean, difference.interval, 4),
        difference.n
    )
}
