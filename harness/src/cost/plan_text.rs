//! The plan for people: tables of shapes and roles, then totals and what they rest on.

use models::parameters::Role;
use reports::{Cell, Column, Table};

use super::device::{DevicePlan, Fit, Work};
use super::plan::{PRECISIONS, PlannedRuns, SpeedBasis, gpu_hours};
use crate::error::Result;

/// One line per shape; the columns that a narrow terminal can do without are ranked.
///
/// # Errors
/// A row that does not fit its columns.
pub fn shapes(rows: &[PlannedRuns], basis: &SpeedBasis) -> Result<Table> {
    let gpu = matches!(basis, SpeedBasis::Gpu);
    let text = |title: &str| Column::text(title, title);
    let number = |title: &str| Column::number(title, title, "");
    let mut columns = vec![
        text("stage"),
        text("family"),
        text("parametrization").left_out(3),
        number("width"),
        number("depth").left_out(2),
        number("parameters"),
        number("non-embedding").left_out(6),
        number("FLOPs/token").left_out(5),
        number("tokens").left_out(4),
        Column::number("memory", "memory", "MB").left_out(1),
        text("runs"),
    ];
    if gpu {
        columns.push(number("GPU-h/run"));
    }
    let mut table = Table::new("plan", "", columns);
    for row in rows {
        let dimensions = row.model.dimensions();
        let runs = match row.runs {
            (fewest, most) if fewest == most => fewest.to_string(),
            (fewest, most) => format!("{fewest}–{most}"),
        };
        let mut cells = vec![
            Cell::text(row.stage),
            Cell::text(row.model.family()),
            Cell::text(&row.parametrization),
            Cell::count(dimensions.width),
            Cell::count(dimensions.depth),
            Cell::count(row.parameters_total),
            Cell::count(row.parameters_non_embedding),
            Cell::text(format!("{:.3e}", row.flops_per_token)),
            Cell::count(row.tokens),
            Cell::count(row.memory.peak.div_ceil(1_000_000)),
            Cell::text(runs),
        ];
        if gpu {
            cells.push(Cell::decimals(basis.hours(row), 1));
        }
        table.push(cells)?;
    }
    Ok(table)
}

/// Parameters by role, one line per ladder shape.
///
/// # Errors
/// A row that does not fit its columns.
pub fn roles(rows: &[PlannedRuns]) -> Result<Table> {
    let mut columns = vec![Column::text("family", "family"), Column::number("width", "width", "")];
    columns.extend(Role::ALL.iter().map(|role| Column::number(role.name(), role.name(), "")));
    let mut table = Table::new("roles", "", columns);
    for row in rows.iter().filter(|row| row.stage == "ladder") {
        let count = |role| Cell::count(row.parameters_by_role.get(role).copied().unwrap_or(0));
        let shape = [Cell::text(row.model.family()), Cell::count(row.model.dimensions().width)];
        table.push(shape.into_iter().chain(Role::ALL.iter().map(count)).collect())?;
    }
    Ok(table)
}

/// GPU-hours, and the days that one GPU takes and eight do, a run on each at a time; no number of
/// GPUs is faster than the longest run.
fn gpu_time(fewest: f64, most: f64, longest: f64) -> String {
    let days = |gpus: f64| {
        let days = |hours: f64| (hours / gpus).max(longest) / 24.0;
        format!("{:.1} to {:.1} days on {gpus}", days(fewest), days(most))
    };
    format!(
        "time {fewest:.0} to {most:.0} GPU-hours: {}, {} GPUs with a run on each; the longest run \
         alone takes {:.1} days",
        days(1.0),
        days(8.0),
        longest / 24.0
    )
}

/// Runs, floating-point operations and time of all `rows`, with the basis of the time.
pub fn totals(rows: &[PlannedRuns], jobs: usize, basis: &SpeedBasis) -> String {
    let sum = |cost: &dyn Fn(&PlannedRuns) -> f64| {
        let of = |end: fn(&PlannedRuns) -> usize| {
            rows.iter().map(|row| cost(row) * end(row) as f64).sum::<f64>()
        };
        (of(|row| row.runs.0), of(|row| row.runs.1))
    };
    let (runs, flops) = (sum(&|_| 1.0), sum(&PlannedRuns::flops));
    let hours = sum(&|row| basis.hours(row));
    let (time, explanation) = match basis {
        SpeedBasis::Gpu => {
            let longest = rows.iter().map(|row| basis.hours(row)).fold(0.0, f64::max);
            (gpu_time(hours.0, hours.1, longest), gpu_basis(rows, &sum))
        }
        SpeedBasis::Thread { explanation, .. } => {
            let minutes = |hours: f64| 60.0 * hours / jobs as f64;
            let (fewest, most) = (minutes(hours.0), minutes(hours.1));
            (format!("time {fewest:.1} to {most:.1} minutes with {jobs} jobs"), explanation.clone())
        }
    };
    format!(
        "{} to {} runs, {:.3e} to {:.3e} FLOPs\n{time}\nbasis: {explanation}",
        runs.0, runs.1, flops.0, flops.1
    )
}

/// Fewest and most of something over all rows.
type Sum<'a> = dyn Fn(&dyn Fn(&PlannedRuns) -> f64) -> (f64, f64) + 'a;

/// What GPU-hours rest on: precisions, rates, and the terms of the longest step.
fn gpu_basis(rows: &[PlannedRuns], sum: &Sum) -> String {
    let Some(longest) = rows
        .iter()
        .filter_map(|row| Some((row, row.device.first()?)))
        .max_by(|(_, a), (_, b)| f64::total_cmp(&a.seconds_per_step, &b.seconds_per_step))
    else {
        return "nothing is planned for a GPU".to_owned();
    };
    let throughout: Vec<String> = PRECISIONS
        .iter()
        .enumerate()
        .map(|(place, precision)| {
            let hours = |row: &PlannedRuns| {
                row.device.get(place + 1).map_or(f64::NAN, |plan| gpu_hours(row, plan))
            };
            let (fewest, most) = sum(&hours);
            format!("{} {fewest:.0} to {most:.0}", precision.name())
        })
        .collect();
    let mut families: Vec<String> = Vec::new();
    for (family, plan) in
        rows.iter().filter_map(|row| Some((row.model.family(), row.device.first()?)))
    {
        let said = format!("{family} {}", plan.precision.name());
        if !families.contains(&said) {
            families.push(said);
        }
    }
    let (row, plan) = longest;
    let parts = |fit: &Fit| fit.parts.map_or("no number of".to_owned(), |parts| parts.to_string());
    format!(
        "precision {}; one precision throughout: {} GPU-hours; {}\nlongest step: {} {} in {}: \
         {:.2} s, {} steps a run, {:.1} GB in {} parts (80 GB: {} parts)\n{}",
        families.join(", "),
        throughout.join(", "),
        plan.basis,
        row.model.family(),
        row.model.dimensions().width,
        plan.precision.name(),
        plan.seconds_per_step,
        row.steps,
        plan.bytes_peak as f64 / 1e9,
        plan.parts,
        parts(&plan.fits[0]),
        arithmetic(plan)
    )
}

/// One line for each term of a step.
pub fn arithmetic(plan: &DevicePlan) -> String {
    let line = |work: &Work| {
        format!(
            "- {}: {:.3e} {} / {:.3e} per second = {:.3} s",
            work.what, work.amount, work.unit, work.per_second, work.seconds
        )
    };
    plan.work.iter().map(line).collect::<Vec<_>>().join("\n")
}
