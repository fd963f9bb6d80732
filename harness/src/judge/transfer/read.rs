//! From rows to curves of loss over learning rate.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::cells::{self, Value};
use super::super::names::{
    BATCH, DEPTH, LABEL, LOG2_RATE, LOG10_RATE, LOSS, RATE, SEED, STEP, TOKENS, WIDTH, Wanted,
};
use super::super::notes::Notes;
use super::super::runs::{Cell, Collector, Names, Seeds};
use super::super::table::{Reader, unreadable};
use super::{Axis, Curves, Question};
use crate::error::Result;
use crate::statistics::{LearningRateCurve, LearningRatePoint, mean};

/// Everything that this verb can read.
const WANTED: [Wanted; 11] =
    [LABEL, WIDTH, DEPTH, BATCH, TOKENS, STEP, RATE, LOG2_RATE, LOG10_RATE, LOSS, SEED];
/// Rates closer than this are one rate, written with few digits, in octaves.
const SAME_RATE_OCTAVES: f64 = 0.005;
/// Most seeds of a curve that are resampled; more are averaged in blocks of equal size.
const SEEDS_MAX: usize = 200;
/// What a table without labels calls its only parametrization.
const UNNAMED: &str = "all runs";

/// Places of the columns.
struct Columns {
    label: Option<usize>,
    axis: usize,
    rate: usize,
    /// From a cell of the rate's column to log2 of the rate.
    log2_rate: fn(f64) -> Option<f64>,
    loss: usize,
    seed: Option<usize>,
    step: Option<usize>,
    tokens: Option<usize>,
    /// Depth, batch, width: whichever is not the axis. They may not vary within a curve.
    others: Vec<(&'static str, usize)>,
}

impl Columns {
    fn new(reader: &Reader, question: &Question) -> Result<Self> {
        let mapping = &question.mapping;
        mapping.require_known(&WANTED)?;
        let find = |wanted: &Wanted| reader.find(wanted, mapping);
        let positive = |rate: f64| (rate > 0.0 && rate.is_finite()).then(|| rate.log2());
        let finite = |log: f64| log.is_finite().then_some(log);
        let per_decade = |log: f64| log.is_finite().then_some(log * std::f64::consts::LOG2_10);
        let (rate, log2_rate): (usize, fn(f64) -> Option<f64>) =
            match (find(&RATE)?, find(&LOG2_RATE)?, find(&LOG10_RATE)?) {
                (Some(place), _, _) => (place, positive),
                (None, Some(place), _) => (place, finite),
                (None, None, Some(place)) => (place, per_decade),
                (None, None, None) => return Err(reader.no_column(RATE.name)),
            };
        let column = |axis| match axis {
            Axis::Width => WIDTH,
            Axis::Depth => DEPTH,
            Axis::Batch => BATCH,
            Axis::Tokens => TOKENS,
        };
        let mut others = Vec::new();
        for axis in [Axis::Width, Axis::Depth, Axis::Batch] {
            if axis != question.axis
                && let Some(place) = find(&column(axis))?
            {
                others.push((axis.name(), place));
            }
        }
        Ok(Self {
            label: find(&LABEL)?,
            axis: reader.require(&column(question.axis), mapping)?,
            rate,
            log2_rate,
            loss: reader.require(&LOSS, mapping)?,
            seed: find(&SEED)?,
            step: find(&STEP)?,
            tokens: if question.axis == Axis::Tokens { None } else { find(&TOKENS)? },
            others,
        })
    }
}

/// A cell of the sweep: curve, and log2 of the rate as ordered bits.
type Key = (u32, i64);

/// Orders floats by their bits.
fn ordered(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    bits ^ (((bits >> 63).cast_unsigned() >> 1).cast_signed())
}

fn unordered(key: i64) -> f64 {
    f64::from_bits((key ^ (((key >> 63).cast_unsigned() >> 1).cast_signed())).cast_unsigned())
}

/// Reads the table at `path`.
///
/// # Errors
/// A file that is no such table, or of which nothing can be used.
pub fn read(path: &Path, question: &Question) -> Result<Curves> {
    let mut reader = Reader::open(path, &question.selection)?;
    let columns = Columns::new(&reader, question)?;
    let mut notes = Notes::default();
    let loss_name = reader.header()[columns.loss].clone();
    if loss_name != LOSS.name {
        notes.remark(format!("the loss is column '{loss_name}'"));
    }
    if columns.label.is_none() {
        notes.remark("no column names the parametrization: all rows are taken as one");
    }
    let (mut labels, mut seeds) = (Names::default(), Seeds::default());
    // Curves as (label, axis, tokens), in order of appearance.
    let mut curves: BTreeMap<(u32, u64, u64), u32> = BTreeMap::new();
    let mut settings: BTreeMap<u32, BTreeSet<Vec<String>>> = BTreeMap::new();
    let mut collected: Collector<Key> = Collector::new(columns.seed.is_some());
    while reader.advance(&mut notes)? {
        let line = reader.line();
        let Some(axis) = cells::count(reader.text(columns.axis)) else {
            notes.leave_out(not_whole(question.axis), line);
            continue;
        };
        let rate = cells::number(reader.text(columns.rate)).and_then(columns.log2_rate);
        let Some(log2_rate) = rate else {
            notes.leave_out("their learning rate is no positive number", line);
            continue;
        };
        let step = columns.step.and_then(|place| cells::number(reader.text(place)));
        let (loss, step) = match cells::value(reader.text(columns.loss)) {
            Value::Finite(loss) => (Some(loss), step),
            // A log has no loss at most of its steps; a table of runs has none for a lost run.
            Value::Absent if columns.step.is_some() => (None, Some(f64::NEG_INFINITY)),
            Value::Diverged | Value::Absent => (None, step),
            Value::Unreadable => {
                notes.leave_out("their loss is no number and no word for divergence", line);
                continue;
            }
        };
        let label = columns.label.map_or(UNNAMED, |place| reader.text(place));
        let label = labels.number(if label.is_empty() { UNNAMED } else { label });
        let tokens = columns.tokens.and_then(|place| cells::number(reader.text(place)));
        let logged = columns.step.is_some();
        let budget = if logged { 0 } else { tokens.map_or(0, |t| t.max(0.0) as u64) };
        let next = u32::try_from(curves.len()).expect("fewer than 2^32 curves");
        let curve = *curves.entry((label, axis, budget)).or_insert(next);
        if !columns.others.is_empty() {
            let setting = columns.others.iter().map(|&(_, place)| reader.text(place).to_owned());
            settings.entry(curve).or_default().insert(setting.collect());
        }
        let seed = columns.seed.map_or(0, |place| seeds.number(reader.text(place)));
        let order = step.or(tokens.filter(|_| logged)).unwrap_or(0.0);
        collected.push((curve, ordered(log2_rate)), seed, order, loss, line);
    }
    let names: Vec<&str> = columns.others.iter().map(|other| other.0).collect();
    refuse_mixtures(path, &names, &settings)?;
    let seeded = columns.seed.is_some();
    let cells = collected.finish(&mut notes);
    let kept = largest_budgets(&curves, &mut notes);
    let curves = assemble(&labels, &kept, cells, seeded, &mut notes);
    if curves.is_empty() {
        let said = notes.sentences().join("; ");
        return Err(unreadable(path, format!("no row can be used: {said}"), "look at that line"));
    }
    let mut table = Curves { curves, notes, seeded };
    if question.shared_base {
        table.share_base();
    }
    Ok(table)
}

const fn not_whole(axis: Axis) -> &'static str {
    match axis {
        Axis::Width => "their width is no positive whole number",
        Axis::Depth => "their depth is no positive whole number",
        Axis::Batch => "their batch is no positive whole number",
        Axis::Tokens => "their tokens are no positive whole number",
    }
}

/// A curve whose runs differ in depth or batch would compare rates of different models.
fn refuse_mixtures(
    path: &Path,
    names: &[&str],
    settings: &BTreeMap<u32, BTreeSet<Vec<String>>>,
) -> Result<()> {
    for values in settings.values().filter(|values| values.len() > 1) {
        for (place, name) in names.iter().enumerate() {
            let different: BTreeSet<&String> = values.iter().map(|value| &value[place]).collect();
            if different.len() > 1 {
                let shown: Vec<&str> =
                    different.iter().take(4).map(|value| value.as_str()).collect();
                let first = shown.first().copied().unwrap_or_default();
                return Err(unreadable(
                    path,
                    format!("runs of one curve differ in {name} ({})", shown.join(", ")),
                    &format!("judge one of them with --where {name}={first}, or --axis {name}"),
                ));
            }
        }
    }
    Ok(())
}

/// Per label and axis value the curve of the largest budget; the others are told.
fn largest_budgets(
    curves: &BTreeMap<(u32, u64, u64), u32>,
    notes: &mut Notes,
) -> BTreeMap<u32, (u32, u64)> {
    let mut largest: BTreeMap<(u32, u64), (u64, u32)> = BTreeMap::new();
    for (&(label, axis, budget), &curve) in curves {
        largest.insert((label, axis), (budget, curve));
    }
    if largest.len() < curves.len() {
        notes.remark(
            "runs of several token budgets: only the largest of each curve counts; choose another \
             with --where tokens=N",
        );
    }
    largest.into_iter().map(|((label, axis), (_, curve))| (curve, (label, axis))).collect()
}

/// Cells as curves of the statistics, rates that are one rate put together.
fn assemble(
    labels: &Names,
    kept: &BTreeMap<u32, (u32, u64)>,
    cells: Vec<(Key, Cell)>,
    seeded: bool,
    notes: &mut Notes,
) -> Vec<(String, Vec<LearningRateCurve>)> {
    let mut rates: Vec<f64> = cells.iter().map(|((_, rate), _)| unordered(*rate)).collect();
    rates.sort_by(f64::total_cmp);
    // The first of each group of nearly equal rates stands for the group.
    rates.dedup_by(|next, first| *next - *first < SAME_RATE_OCTAVES);
    let group = |rate: f64| rates[rates.partition_point(|&first| first <= rate) - 1];
    let mut curves: BTreeMap<(u32, u64), BTreeMap<i64, Cell>> = BTreeMap::new();
    for ((curve, rate), mut cell) in cells {
        if let Some(&place) = kept.get(&curve) {
            let rate = ordered(group(unordered(rate)));
            let runs = curves.entry(place).or_default().entry(rate).or_default();
            runs.append(&mut cell);
            runs.sort_by_key(|run| run.0);
            runs.dedup_by_key(|run| run.0);
        }
    }
    let mut found: BTreeMap<u32, Vec<LearningRateCurve>> = BTreeMap::new();
    for ((label, axis), points) in curves {
        let points: Vec<(f64, Cell)> =
            points.into_iter().map(|(rate, cell)| (unordered(rate), cell)).collect();
        let points = balanced(points, seeded, notes);
        let points = points.into_iter().map(|(log2_learning_rate, losses)| LearningRatePoint {
            log2_learning_rate,
            losses: in_blocks(losses),
        });
        let curve = LearningRateCurve { width: axis as usize, points: points.collect() };
        found.entry(label).or_default().push(curve);
    }
    found.into_iter().map(|(label, curves)| (labels.text(label).to_owned(), curves)).collect()
}

/// The points of a curve with the same seeds at every rate, as far as there are such: a rate must
/// not look good because of the seeds that it was run with.
fn balanced(points: Vec<(f64, Cell)>, seeded: bool, notes: &mut Notes) -> Vec<(f64, Cell)> {
    // Runs of a cell are in the order of their seeds.
    let seeds = |cell: &Cell| cell.iter().map(|run| run.0).collect::<Vec<u64>>();
    if points.iter().all(|(_, cell)| seeds(cell) == seeds(&points[0].1)) {
        return points;
    }
    let sets: Vec<Vec<u64>> = points.iter().map(|point| seeds(&point.1)).collect();
    let mut all = sets.concat();
    all.sort_unstable();
    all.dedup();
    let in_all = |seed: &u64| sets.iter().all(|set| set.binary_search(seed).is_ok());
    let common: Vec<u64> = all.iter().copied().filter(|seed| seeded && in_all(seed)).collect();
    let complete = sets.iter().filter(|set| **set == all).count();
    let of = |cell: &Cell| mean_of(cell).unwrap_or(f64::INFINITY);
    let lowest = points.iter().min_by(|a, b| of(&a.1).total_cmp(&of(&b.1)));
    if complete >= 3 && lowest.is_some_and(|(_, cell)| cell.len() == all.len()) {
        notes.remark("rates that lack some seeds of their curve are left out of it");
        return points.into_iter().filter(|(_, cell)| cell.len() == all.len()).collect();
    }
    if common.is_empty() {
        if seeded {
            notes.remark("no seed ran at every rate: runs of a rate are taken as repetitions");
        }
        let number = |(rate, cell): (f64, Cell)| {
            (rate, cell.into_iter().zip(0..).map(|((_, loss), place)| (place, loss)).collect())
        };
        return points.into_iter().map(number).collect();
    }
    notes.remark("seeds that some rates of a curve lack are left out of it");
    let keep = |(rate, mut cell): (f64, Cell)| {
        cell.retain(|(seed, _)| common.binary_search(seed).is_ok());
        (rate, cell)
    };
    points.into_iter().map(keep).collect()
}

fn mean_of(cell: &Cell) -> Option<f64> {
    mean(&cell.iter().map(|run| run.1).collect::<Option<Vec<f64>>>()?)
}

/// Means of equally large blocks where there are more runs than are resampled one by one.
fn in_blocks(cell: Cell) -> Cell {
    if cell.len() <= SEEDS_MAX {
        return cell;
    }
    let size = cell.len().div_ceil(SEEDS_MAX);
    let whole = cell.chunks_exact(size);
    whole.zip(0..).map(|(block, place)| (place, mean_of(&block.to_vec()))).collect()
}
