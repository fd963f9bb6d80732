//! `judge collapse`: do the loss curves of several sizes fall onto one?

use std::collections::BTreeMap;
use std::path::Path;

use reports::figure::{CollapseCurve, CollapseFigure, curve_collapse};
use reports::{Cell, Column, Provenance, Table};
use serde_json::{Value as Json, json};

use super::cells::{self, Value};
use super::names::{LOSS, Mapping, SEED, SIZE, STEP, Selection, TOKENS, Wanted};
use super::notes::Notes;
use super::report::Page;
use super::runs::{Collector, Seeds};
use super::table::{Reader, unreadable};
use crate::error::Result;
use crate::statistics::{
    COLLAPSE_RULE, Collapse, RunCurve, SizeCurves, interpolated, judge_collapse, mean,
};

/// Where along a training the curves are compared.
const SHARES: [f64; 8] = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
/// How far along a training a row is.
const PROGRESS: Wanted =
    Wanted { name: "progress", others: &["x", "share", "fraction", "compute", "flops"] };
const WANTED: [Wanted; 6] = [SIZE, LOSS, SEED, STEP, TOKENS, PROGRESS];

/// What is asked of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Column of the size; without it the first known one.
    pub size: Option<String>,
    /// Irreducible loss; without it the one that brings the sizes together best.
    pub irreducible: Option<f64>,
    /// Names of columns.
    pub mapping: Mapping,
    /// Rows that count.
    pub selection: Selection,
}

/// Steps of a run with their losses; `None` where it diverged.
type Raw = Vec<(f64, Option<f64>)>;

/// Curves by size.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves {
    /// Sizes, ascending.
    pub sizes: Vec<SizeCurves>,
    /// Name of the size.
    pub size: String,
    /// What was left out.
    pub notes: Notes,
}

/// Reads the table at `path`.
///
/// # Errors
/// A file that is no such table, or of which nothing can be used.
pub fn read(path: &Path, question: &Question) -> Result<Curves> {
    let mut reader = Reader::open(path, &question.selection)?;
    let mapping = &question.mapping;
    mapping.require_known(&WANTED)?;
    let size = match &question.size {
        Some(name) => reader.place_named(name)?,
        None => reader.require(&SIZE, mapping)?,
    };
    let loss = reader.require(&LOSS, mapping)?;
    let seed = reader.find(&SEED, mapping)?;
    let mut along = None;
    for wanted in [STEP, TOKENS, PROGRESS] {
        along = along.or(reader.find(&wanted, mapping)?.filter(|&place| place != size));
    }
    let along = along.ok_or_else(|| reader.no_column(STEP.name))?;
    let (mut notes, mut seeds) = (Notes::default(), Seeds::default());
    let mut points: Collector<(u64, u64, u64)> = Collector::new(true);
    while reader.advance(&mut notes)? {
        let line = reader.line();
        let positive = |place: usize| {
            cells::number(reader.text(place)).filter(|value| *value > 0.0 && value.is_finite())
        };
        let at = cells::number(reader.text(along));
        if at == Some(0.0) {
            continue;
        }
        let (Some(number), Some(at)) = (positive(size), positive(along)) else {
            notes.leave_out("their size or step is no positive number", line);
            continue;
        };
        let value = match cells::value(reader.text(loss)) {
            Value::Finite(value) => Some(value),
            Value::Diverged => None,
            Value::Absent => continue,
            Value::Unreadable => {
                notes.leave_out("their loss is no number", line);
                continue;
            }
        };
        let seed = seed.map_or(0, |place| seeds.number(reader.text(place)));
        // Positive floats are ordered as their bits.
        points.push((number.to_bits(), seed, at.to_bits()), 0, 0.0, value, line);
    }
    let mut runs: BTreeMap<(u64, u64), Raw> = BTreeMap::new();
    for ((size, seed, at), cell) in points.finish(&mut notes) {
        runs.entry((size, seed)).or_default().push((f64::from_bits(at), cell[0].1));
    }
    let mut sizes: BTreeMap<u64, Vec<RunCurve>> = BTreeMap::new();
    for ((size, _), curve) in runs {
        match normalised(curve) {
            Some(curve) => sizes.entry(size).or_default().push(curve),
            None => notes.remark(format!(
                "a run of size {} diverged or has fewer than three points: left out",
                f64::from_bits(size)
            )),
        }
    }
    if sizes.is_empty() {
        let said = notes.sentences().join("; ");
        return Err(unreadable(path, format!("no curve can be used: {said}"), "look at that line"));
    }
    let of = |(size, runs): (u64, Vec<RunCurve>)| SizeCurves { size: f64::from_bits(size), runs };
    let name = reader.header()[size].clone();
    Ok(Curves { sizes: sizes.into_iter().map(of).collect(), size: name, notes })
}

/// A run over the share of its training; `None` if it diverged or is too short.
fn normalised(curve: Raw) -> Option<RunCurve> {
    let last = curve.last()?.0;
    let curve: Option<RunCurve> =
        curve.into_iter().map(|(at, loss)| Some((at / last, loss?))).collect();
    curve.filter(|curve| curve.len() >= 3)
}

/// Judges the curves; `None` with the reason in the notes where they cannot be compared.
pub fn judge(curves: &mut Curves, question: &Question) -> Option<Collapse> {
    let first = curves.sizes.iter().flat_map(|size| size.runs.iter().map(|run| run[0].0));
    let first = first.fold(0.0, f64::max);
    let shares: Vec<f64> = SHARES.into_iter().filter(|&share| share >= first).collect();
    let found = judge_collapse(&curves.sizes, &shares, question.irreducible)
        .filter(|found| !found.shares.is_empty());
    if question.irreducible.is_none() && found.is_some() {
        curves.notes.remark(
            "the irreducible loss is the one that brings the sizes together best; give a known one \
             with --irreducible",
        );
    }
    if found.is_none() {
        curves.notes.remark("two sizes with curves from a fifth of their training on are needed");
    }
    found
}

/// The finding as scripts read it.
pub fn json(found: Option<&Collapse>) -> Json {
    let Some(found) = found else { return json!({ "verdict": "inconclusive" }) };
    let at = |at: &crate::statistics::CollapseAt| {
        json!({
            "share": at.share,
            "between_sizes": at.between_sizes,
            "between_seeds": at.between_seeds,
            "p": at.p_value,
        })
    };
    json!({
        "verdict": found.verdict.to_string(),
        "between_sizes": found.between_sizes,
        "between_seeds": found.between_seeds,
        "p": found.p_value_holm,
        "irreducible": found.irreducible,
        "shares": found.shares.iter().map(at).collect::<Vec<_>>(),
    })
}

/// Everything for people.
///
/// # Errors
/// A table or figure that cannot be made: a bug.
pub fn document(curves: &Curves, found: Option<&Collapse>, command: &str) -> Result<Page> {
    Ok(Page {
        title: "Do the loss curves fall onto one?".to_owned(),
        findings: vec![sentence(curves, found)],
        rule: COLLAPSE_RULE.to_owned(),
        tables: found.map(shares).transpose()?.into_iter().collect(),
        figure: found.map(|found| figure(curves, found, command)).transpose()?,
        notes: curves.notes.sentences(),
    })
}

fn sentence(curves: &Curves, found: Option<&Collapse>) -> String {
    let Some(found) = found else { return "inconclusive: there is nothing to compare.".to_owned() };
    let noise = found.between_seeds.map_or_else(
        || "one seed per size, so there is no noise to compare with".to_owned(),
        |noise| format!("σ between seeds {:.2} %", 100.0 * noise),
    );
    format!(
        "{} sizes: {}. Δ between sizes {:.2} %, {noise}; irreducible loss {:.4}.",
        curves.sizes.len(),
        found.verdict,
        100.0 * found.between_sizes,
        found.irreducible
    )
}

fn shares(found: &Collapse) -> Result<Table> {
    let columns = vec![
        Column::number("share", "share of training", ""),
        Column::number("between_sizes", "between sizes", "relative"),
        Column::number("between_seeds", "between seeds", "relative"),
        Column::number("p", "p", ""),
    ];
    let mut table = Table::new("shares", "Spread of normalised curves", columns);
    for at in &found.shares {
        table.push(vec![
            Cell::decimals(at.share, 2),
            Cell::significant(at.between_sizes, 3),
            Cell::or_missing(at.between_seeds, |value| Cell::significant(value, 3)),
            Cell::or_missing(at.p_value, |value| Cell::significant(value, 2)),
        ])?;
    }
    Ok(table)
}

fn figure(curves: &Curves, found: &Collapse, command: &str) -> Result<reports::Figure> {
    let offset = found.irreducible;
    let curve = |size: &SizeCurves| {
        let shares = found.shares.iter().map(|at| at.share).chain([1.0]);
        let points = shares.filter_map(|share| {
            let values: Vec<f64> = size
                .runs
                .iter()
                .filter_map(|run| {
                    Some((interpolated(run, share)? - offset) / (run.last()?.1 - offset))
                })
                .collect();
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            Some((share, mean(&values)?, low, high))
        });
        CollapseCurve {
            label: format!("{} {}", curves.size, size.size),
            points: points.collect(),
            seeds: size.runs.len(),
        }
    };
    let data = CollapseFigure {
        curves: curves.sizes.iter().map(curve).collect(),
        verdict: found.verdict.to_string(),
        irreducible: offset,
        provenance: Provenance::new(command, Vec::<String>::new()),
    };
    Ok(curve_collapse(&data)?)
}
