//! The plan as text, in as many columns as a terminal has.

use std::fmt::Write;

use models::parameters::Role;

use super::definition::Definition;
use super::plan::{PlannedRuns, SpeedBasis};
use crate::cmd::plan::grouped;
use crate::config::compute::DeviceKind;

/// A column: heading, width in a wide terminal, and the order in which columns are left out of a
/// narrow one (0 never, then the largest first).
struct Column {
    heading: &'static str,
    width: usize,
    left_out: usize,
}

const fn column(heading: &'static str, width: usize, left_out: usize) -> Column {
    Column { heading, width, left_out }
}

/// Columns that hold words and stand to the left; the others hold numbers.
const WORDS: [&str; 3] = ["stage", "family", "parametriz."];

const SHAPES: [Column; 11] = [
    column("stage", 9, 0),
    column("family", 7, 0),
    column("parametriz.", 14, 2),
    column("width", 6, 0),
    column("depth", 6, 3),
    column("parameters", 12, 0),
    column("non-embed.", 12, 6),
    column("FLOPs/token", 11, 5),
    column("tokens", 11, 4),
    column("memory", 9, 1),
    column("runs", 7, 0),
];

/// The plan as text: one line per shape, then totals and the time with its basis. Leaves out
/// columns, and says which, where `within` columns have no room for all of them.
pub fn readable(
    rows: &[PlannedRuns],
    jobs: usize,
    basis: &SpeedBasis,
    within: Option<usize>,
) -> String {
    let gpu = basis.device == DeviceKind::Cuda;
    let hours = |flops: f64| flops / basis.flops_per_second / 3600.0;
    let mut columns = Vec::from(SHAPES);
    if gpu {
        columns.push(column("GPU-h/run", 10, 0));
    }
    let (mut fewest, mut most) = (0.0, 0.0);
    let (mut runs_fewest, mut runs_most) = (0, 0);
    let mut lines = Vec::new();
    for row in rows {
        let cost = row.flops_per_token * row.tokens as f64;
        let mut line = cells(row);
        if gpu {
            line.push(format!("{:.1}", hours(cost)));
        }
        lines.push(line);
        fewest += cost * row.runs.0 as f64;
        most += cost * row.runs.1 as f64;
        runs_fewest += row.runs.0;
        runs_most += row.runs.1;
    }
    let time = if gpu {
        format!("time {:.0} to {:.0} GPU-hours", hours(fewest), hours(most))
    } else {
        let minutes = |flops: f64| 60.0 * hours(flops) / jobs as f64;
        format!("time {:.1} to {:.1} minutes with {jobs} jobs", minutes(fewest), minutes(most))
    };
    format!(
        "{}\n{}\n{runs_fewest} to {runs_most} runs, {fewest:.3e} to {most:.3e} FLOPs\n\
         {time}\nbasis: {}",
        grid(&columns, &lines, within),
        roles(rows, within),
        basis.explanation
    )
}

/// One shape.
fn cells(row: &PlannedRuns) -> Vec<String> {
    let dimensions = row.model.dimensions();
    let count = if row.runs.0 == row.runs.1 {
        row.runs.0.to_string()
    } else {
        format!("{}–{}", row.runs.0, row.runs.1)
    };
    vec![
        row.stage.to_owned(),
        row.model.family().to_owned(),
        row.parametrization.clone(),
        dimensions.width.to_string(),
        dimensions.depth.to_string(),
        grouped(row.parameters_total as u64),
        grouped(row.parameters_non_embedding as u64),
        format!("{:.3e}", row.flops_per_token),
        grouped(row.tokens),
        format!("{}MB", row.memory.peak.div_ceil(1_000_000)),
        count,
    ]
}

/// Where `definition` parts from the published recipe, one line each; empty without any.
pub fn deviations(definition: &Definition) -> String {
    if definition.deviations.is_empty() {
        return String::new();
    }
    let mut text = "\n\ndeviations from the published recipe".to_owned();
    for deviation in &definition.deviations {
        write!(text, "\n- {deviation}").expect("writing to a string cannot fail");
    }
    text
}

/// Parameters by role, one line per ladder shape.
fn roles(rows: &[PlannedRuns], within: Option<usize>) -> String {
    let mut columns = vec![column("family", 7, 0), column("width", 6, 0)];
    let named = Role::ALL.iter().enumerate();
    columns.extend(named.map(|(index, role)| column(role.name(), 12, index)));
    let line = |row: &PlannedRuns| {
        let width = row.model.dimensions().width.to_string();
        let count = |role| row.parameters_by_role.get(role).copied().unwrap_or(0);
        let counts = Role::ALL.iter().map(|role| grouped(count(role) as u64));
        [row.model.family().to_owned(), width].into_iter().chain(counts).collect()
    };
    let ladder = rows.iter().filter(|row| row.stage == "ladder");
    grid(&columns, &ladder.map(line).collect::<Vec<_>>(), within)
}

/// Lines of `rows` under their headings, each ended. Where they are wider than `within`, columns
/// become as narrow as what they hold, and if that is not enough some are left out.
fn grid(columns: &[Column], rows: &[Vec<String>], within: Option<usize>) -> String {
    let length = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = columns.iter().map(|column| column.width).collect();
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let room = within.unwrap_or(usize::MAX);
    let total = |shown: &[usize], widths: &[usize]| -> usize {
        shown.iter().map(|&index| widths[index] + 1).sum::<usize>().saturating_sub(1)
    };
    if total(&shown, &widths) > room {
        for (index, width) in widths.iter_mut().enumerate() {
            let cells = rows.iter().map(|row| length(&row[index]));
            *width = cells.chain([length(columns[index].heading)]).max().unwrap_or(0);
        }
    }
    let mut left_out = Vec::new();
    while total(&shown, &widths) > room {
        let rank = |index: &usize| columns[*index].left_out;
        let Some(last) = shown.iter().copied().filter(|index| rank(index) > 0).max_by_key(rank)
        else {
            break;
        };
        shown.retain(|&index| index != last);
        left_out.push(columns[last].heading);
    }
    let line = |cell: &dyn Fn(usize) -> String| {
        let padded = shown.iter().map(|&index| {
            let (cell, width) = (cell(index), widths[index]);
            if WORDS.contains(&columns[index].heading) {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        padded.collect::<Vec<_>>().join(" ") + "\n"
    };
    let mut text = line(&|index| columns[index].heading.to_owned());
    for row in rows {
        text.push_str(&line(&|index| row[index].clone()));
    }
    if !left_out.is_empty() {
        left_out.reverse();
        writeln!(text, "(no room for {}; a pipe has it)", left_out.join(", "))
            .expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::wrapped;
    use crate::experiment::{plan, study};

    #[test]
    fn invariant_a_plan_fits_its_terminal_and_says_what_it_leaves_out() {
        let definition = Definition::preset("quick").unwrap();
        let ladders = study::ladders(&definition, 512).unwrap();
        let rows = plan::plan(&definition, &ladders, 512).unwrap();
        for device in [DeviceKind::Cpu, DeviceKind::Cuda] {
            let basis = SpeedBasis { flops_per_second: 1e9, explanation: "x".to_owned(), device };
            let whole = readable(&rows, 2, &basis, None);
            assert_eq!(readable(&rows, 2, &basis, Some(200)), whole);
            assert!(!whole.contains("no room"), "{whole}");
            for within in [60, 80, 100] {
                // As it is printed: a long list of what is left out is broken between words.
                let text = wrapped(&readable(&rows, 2, &basis, Some(within)), within);
                let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
                assert!(widest <= within, "{within}:\n{text}");
                let heading = text.lines().next().unwrap();
                let one_line = text.replace('\n', " ");
                let notes: Vec<&str> = one_line
                    .split("(no room for ")
                    .skip(1)
                    .filter_map(|note| note.split(')').next())
                    .collect();
                for column in &SHAPES {
                    let said = notes.iter().any(|note| note.contains(column.heading));
                    assert!(heading.contains(column.heading) != said, "{within}:\n{text}");
                }
                assert_eq!(text.matches("ladder").count(), whole.matches("ladder").count());
            }
        }
    }
}
