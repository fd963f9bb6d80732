//! The plan for people: tables of shapes and roles, then totals and what they rest on.

use models::parameters::Role;
use reports::{Cell, Column, Table};

use super::plan::{PlannedRuns, SpeedBasis};
use crate::config::compute::DeviceKind;
use crate::error::Result;

/// One line per shape; the columns that a narrow terminal can do without are ranked.
///
/// # Errors
/// A row that does not fit its columns.
pub fn shapes(rows: &[PlannedRuns], basis: &SpeedBasis) -> Result<Table> {
    let gpu = basis.device == DeviceKind::Cuda;
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
            cells.push(Cell::decimals(basis.hours(row.flops_per_token * row.tokens as f64), 1));
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

/// Runs, floating-point operations and time of all `rows`, with the basis of the time.
pub fn totals(rows: &[PlannedRuns], jobs: usize, basis: &SpeedBasis) -> String {
    let cost = |row: &PlannedRuns| row.flops_per_token * row.tokens as f64;
    let sum = |runs: fn(&PlannedRuns) -> usize| {
        let flops = rows.iter().map(|row| cost(row) * runs(row) as f64).sum::<f64>();
        (rows.iter().map(runs).sum::<usize>(), flops)
    };
    let ((runs_fewest, fewest), (runs_most, most)) = (sum(|row| row.runs.0), sum(|row| row.runs.1));
    let time = match basis.device {
        DeviceKind::Cuda => {
            format!("time {:.0} to {:.0} GPU-hours", basis.hours(fewest), basis.hours(most))
        }
        DeviceKind::Cpu => {
            let minutes = |flops: f64| 60.0 * basis.hours(flops) / jobs as f64;
            format!("time {:.1} to {:.1} minutes with {jobs} jobs", minutes(fewest), minutes(most))
        }
    };
    format!(
        "{runs_fewest} to {runs_most} runs, {fewest:.3e} to {most:.3e} FLOPs\n{time}\nbasis: {}",
        basis.explanation
    )
}
