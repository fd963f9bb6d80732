//! A finished check as files: CSV for scripts, Markdown and SVG for people.

use std::path::{Path, PathBuf};

use reports::figure::{CoordinateFigure, CoordinateLine, CoordinatePanel, coordinate_check};
use reports::{Block, Cell, Column, Document, Provenance, Section, Table};

use super::ablation;
use super::bisect::Bisection;
use super::check::{CONTROL, Check, Outcome};
use super::plan::Plan;
use super::row::{Kind, Row};
use super::slope::{Fit, LineKey, NoSlope, Slope};
use super::verdict::{Line, Verdict, logged};
use crate::checks::thresholds;
use crate::error::{HarnessError, Result};

/// Most failing lines printed in a message; the CSV has all.
const FAILURES_SHOWN: usize = 40;

/// Writes `coordcheck.csv` and `control.csv` (a row per site, iteration, step and rate),
/// `rows.csv` (everything measured under the table), `context.csv` (what the context is worth),
/// `coordcheck.md` and the figures into `folder`, and returns the paths.
///
/// # Errors
/// A folder that cannot be written.
pub fn write(
    check: &Check,
    bisection: Option<&Bisection>,
    plan: &Plan,
    command: &str,
    folder: &Path,
) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).map_err(HarnessError::io(folder))?;
    let mut files = vec![
        (
            "coordcheck.csv".to_owned(),
            lines_table(&check.lines, &logged(&check.rows, plan), plan)?.to_csv()?,
        ),
        ("rows.csv".to_owned(), rows_table(&check.rows)?.to_csv()?),
        ("context.csv".to_owned(), ablation::table(&check.rows, plan)?.to_csv()?),
        ("coordcheck.md".to_owned(), document(check, bisection, plan, command)?.to_markdown()),
    ];
    if !check.control.is_empty() {
        files.push(("control.csv".to_owned(), lines_table(&check.control, &[], plan)?.to_csv()?));
    }
    if let Some(bisection) = bisection {
        files.push(("bisect.csv".to_owned(), bisection_table(bisection)?.to_csv()?));
    }
    for figure in figures(check, plan, command)? {
        files.push((format!("{}.svg", figure.name), figure.svg));
    }
    let mut paths = Vec::new();
    for (name, content) in files {
        let path = folder.join(name);
        std::fs::write(&path, content).map_err(HarnessError::io(&path))?;
        paths.push(path);
    }
    Ok(paths)
}

/// A row per line and, without verdict, per logged slope; scripts rely on the first eight columns.
pub fn lines_table(lines: &[Line], logged: &[Fit], plan: &Plan) -> Result<Table> {
    let number = |name: &str| Column::number(name, name, "");
    let columns = vec![
        Column::text("site", "site"),
        number("iteration"),
        number("step"),
        number("slope"),
        number("slope_ci_low"),
        number("slope_ci_high"),
        number("expected"),
        Column::text("verdict", "verdict"),
        Column::text("kind", "kind"),
        number("learning_rate_factor"),
        number("accept"),
        number("seeds"),
        Column::text("note", "note"),
    ];
    let mut table = Table::new("coordcheck", "", columns);
    for line in lines {
        let judgement = [
            Cell::decimals(line.expected, 3),
            Cell::verdict(line.verdict),
            Cell::decimals(line.accept, 3),
        ];
        table.push(line_cells(&line.key, &line.slope, judgement, plan))?;
    }
    for fit in logged {
        let nothing = [Cell::Missing, Cell::Missing, Cell::Missing];
        table.push(line_cells(&fit.key, &fit.slope, nothing, plan))?;
    }
    Ok(table)
}

fn line_cells(
    key: &LineKey,
    slope: &std::result::Result<Slope, NoSlope>,
    [expected, verdict, accept]: [Cell; 3],
    plan: &Plan,
) -> Vec<Cell> {
    let of_slope = |pick: fn(&Slope) -> f64| {
        Cell::or_missing(slope.as_ref().ok().map(pick), |v| Cell::decimals(v, 3))
    };
    vec![
        Cell::text(&key.site),
        Cell::count(key.iteration),
        Cell::count(key.step),
        of_slope(|slope| slope.slope),
        of_slope(|slope| slope.interval.low),
        of_slope(|slope| slope.interval.high),
        expected,
        verdict,
        Cell::text(key.kind.name()),
        Cell::decimals(plan.learning_rate_factors[key.rate], 2),
        accept,
        Cell::count(plan.seeds),
        slope.err().map_or(Cell::Missing, |why| Cell::text(why.words())),
    ]
}

/// Everything that was measured.
fn rows_table(rows: &[Row]) -> Result<Table> {
    let number = |name: &str| Column::number(name, name, "");
    let text = |name: &str| Column::text(name, name);
    let columns = vec![
        text("arch"),
        text("parametrization"),
        number("learning_rate_factor"),
        number("width"),
        number("depth"),
        number("seed"),
        number("step"),
        text("site"),
        number("iter"),
        text("kind"),
        number("n"),
        number("l1"),
        number("rms"),
        number("max"),
        number("mean"),
        number("frac_nonfinite"),
        number("statistic"),
    ];
    let mut table = Table::new("rows", "", columns);
    for row in rows {
        let (reading, summary) = (&row.reading, &row.reading.summary);
        let value = |value: f64| Cell::significant(value, 6);
        table.push(vec![
            Cell::text(row.arch),
            Cell::text(&row.parametrization),
            value(row.learning_rate_factor),
            Cell::count(row.width),
            Cell::count(row.depth),
            Cell::count(row.seed),
            Cell::count(row.step),
            Cell::text(&reading.site),
            Cell::count(reading.iteration),
            Cell::text(reading.kind.name()),
            Cell::count(summary.n),
            value(summary.l1),
            value(summary.rms),
            value(summary.max),
            value(summary.mean),
            value(summary.frac_nonfinite),
            value(reading.statistic),
        ])?;
    }
    Ok(table)
}

/// One row per site and iteration: slopes at every step and the worst verdict.
fn summary_table(lines: &[Line], plan: &Plan) -> Result<Table> {
    let mut columns = vec![
        Column::text("site", "site"),
        Column::number("iteration", "iteration", ""),
        Column::number("learning_rate_factor", "rate times", ""),
        Column::number("expected", "expected at the end", ""),
    ];
    let step = |s: &u64| Column::number(&format!("step_{s}"), &format!("step {s}"), "");
    columns.extend(plan.steps.iter().map(step));
    columns.push(Column::text("interval", "interval at the end"));
    columns.push(Column::text("verdict", "worst verdict"));
    let mut table = Table::new("coordcheck", "Slope per octave of width", columns).with_rule(
        "The rule is in harness/src/checks/coordinates/verdict.rs, its numbers with reasons in \
             thresholds.toml.",
    );
    let same = |a: &Line, b: &Line| {
        let key = |line: &Line| (line.key.rate, line.key.kind, line.key.iteration);
        key(a) == key(b) && a.key.site == b.key.site
    };
    for group in lines.chunk_by(same) {
        let (first, last) = (&group[0], &group[group.len() - 1]);
        let mut cells = vec![
            Cell::text(&first.key.site),
            Cell::count(first.key.iteration),
            Cell::decimals(plan.learning_rate_factors[first.key.rate], 2),
            Cell::decimals(last.expected, 1),
        ];
        cells.extend(plan.steps.iter().map(|&step| {
            let slope = group.iter().find(|line| line.key.step == step);
            let slope = slope.and_then(|line| line.slope.ok());
            Cell::or_missing(slope, |slope| Cell::decimals(slope.slope, 3))
        }));
        cells.push(last.slope.map_or(Cell::Missing, |s| Cell::text(interval(&s))));
        let worst = group.iter().map(|line| line.verdict).max().unwrap_or(Verdict::Pass);
        cells.push(Cell::verdict(worst));
        table.push(cells)?;
    }
    Ok(table)
}

fn interval(slope: &Slope) -> String {
    format!("{:.3} to {:.3}", slope.interval.low, slope.interval.high)
}

/// A line in words.
pub fn sentence(line: &Line) -> String {
    let key = &line.key;
    let place = format!("{} (iteration {}, step {})", key.site, key.iteration, key.step);
    match &line.slope {
        Ok(slope) => format!(
            "{place}: slope {:.3} ({}), expected {:.1}",
            slope.slope,
            interval(slope),
            line.expected
        ),
        Err(why) => format!("{place}: {}", why.words()),
    }
}

/// The outcome and what it rests on, a few lines.
pub fn headline(check: &Check) -> String {
    let count = |verdict| check.with(verdict).count();
    let word = match check.outcome() {
        Outcome::Pass => "every site passes and the control fails",
        Outcome::Fail => "sites fail",
        Outcome::Inconclusive => "inconclusive",
    };
    let thresholds = &thresholds::committed().coordinate_check;
    let control = match check.power() {
        Some(line) => format!("the control {CONTROL} fails, most at {}", sentence(line)),
        None => format!(
            "the control {CONTROL} does not fail by {} an octave by step {}: this check proves \
             nothing",
            thresholds.power_slope.value, thresholds.power_step.value
        ),
    };
    format!(
        "{}: {word}\n{} lines: {} PASS, {} TRANSIENT, {} INCONCLUSIVE, {} FAIL\n{control}",
        check.parametrization,
        check.lines.len(),
        count(Verdict::Pass),
        count(Verdict::Transient),
        count(Verdict::Inconclusive),
        count(Verdict::Fail),
    )
}

fn document(
    check: &Check,
    bisection: Option<&Bisection>,
    plan: &Plan,
    command: &str,
) -> Result<Document> {
    let mut verdict = Section::new("Verdict");
    for line in headline(check).lines() {
        verdict = verdict.with(Block::text(format!("{line}.")));
    }
    verdict = verdict.with(Block::text(format!("Setting: {}.", plan.describe())));
    let judged = [(Verdict::Fail, "Failing"), (Verdict::Inconclusive, "Inconclusive")];
    for (word, title) in judged {
        let lines: Vec<&Line> = check.with(word).take(FAILURES_SHOWN).collect();
        if !lines.is_empty() {
            let list: Vec<String> =
                lines.iter().map(|line| format!("- {}", sentence(line))).collect();
            let (shown, all) = (lines.len(), check.with(word).count());
            verdict = verdict
                .with(Block::text(format!("{title} lines ({shown} of {all} shown):")))
                .with(Block::text(list.join("\n")));
        }
    }
    let provenance = Provenance::new(command, Vec::<String>::new());
    let sites = summary_table(&check.lines, plan)?.with_provenance(provenance.clone());
    let context = ablation::table(&check.rows, plan)?.with_provenance(provenance.clone());
    let mut document = Document::new(format!(
        "Coordinate check: {} under {}",
        plan.run.model.family(),
        check.parametrization
    ))
    .with_section(verdict)
    .with_section(Section::new("Sites").with(Block::Table(sites)))
    .with_section(Section::new("Context").with(Block::Table(context)));
    if let Some(bisection) = bisection {
        let table = bisection_table(bisection)?.with_provenance(provenance);
        let section = Section::new("Bisection")
            .with(Block::text(format!("{}.", bisection.sentence())))
            .with(Block::Table(table));
        document = document.with_section(section);
    }
    Ok(document)
}

fn bisection_table(bisection: &Bisection) -> Result<Table> {
    let number = |name: &str, title: &str| Column::number(name, title, "");
    let columns = vec![
        number("round", "round"),
        Column::text("rule", "rule switched"),
        number("was", "from"),
        number("reference", "to"),
        number("failing_before", "failing before"),
        number("failing_after", "failing after"),
        Column::text("kept", "kept"),
    ];
    let mut table = Table::new("bisect", "Rules switched one at a time", columns);
    for trial in &bisection.trials {
        table.push(vec![
            Cell::count(trial.round),
            Cell::text(&trial.rule),
            Cell::decimals(trial.was, 2),
            Cell::decimals(trial.reference, 2),
            Cell::count(trial.failing_before),
            Cell::count(trial.failing_after),
            if trial.kept { Cell::text("yes") } else { Cell::Missing },
        ])?;
    }
    Ok(table)
}

/// Figures of activations and of their changes, each site at its last iteration, for the table
/// and for the control.
fn figures(check: &Check, plan: &Plan, command: &str) -> Result<Vec<reports::Figure>> {
    let mut figures = Vec::new();
    let parts = [(&check.parametrization, &check.lines), (&CONTROL.to_owned(), &check.control)];
    for (index, (table, lines)) in parts.into_iter().enumerate() {
        let groups: [(&str, &str, &[Kind]); 2] = [
            ("sizes", "size of the activation", &[Kind::Act, Kind::PreSoftmax, Kind::Simplex]),
            ("changes", "mean |change since step 0|", &[Kind::ActDelta]),
        ];
        for (stem, statistic, kinds) in groups {
            let panels = panels(lines, kinds);
            if panels.is_empty() {
                continue;
            }
            let data = CoordinateFigure {
                panels,
                statistic: statistic.to_owned(),
                setting: format!("{table}: {}", plan.describe()),
                seeds: plan.seeds as usize,
                provenance: Provenance::new(command, Vec::<String>::new()),
            };
            let name = if index == 0 { stem.to_owned() } else { format!("control_{stem}") };
            figures.push(coordinate_check(&data, &name)?);
        }
    }
    Ok(figures)
}

/// A panel per site of `kinds` at the first learning rate and the last iteration.
fn panels(lines: &[Line], kinds: &[Kind]) -> Vec<CoordinatePanel> {
    let wanted = |line: &&Line| line.key.rate == 0 && kinds.contains(&line.key.kind);
    let mut sites: Vec<&str> = Vec::new();
    for line in lines.iter().filter(wanted) {
        if !sites.contains(&line.key.site.as_str()) {
            sites.push(&line.key.site);
        }
    }
    let panel = |site: &&str| {
        let of_site = || lines.iter().filter(wanted).filter(|line| line.key.site == **site);
        let last = of_site().map(|line| line.key.iteration).max().unwrap_or(0);
        let drawn = of_site().filter(|line| line.key.iteration == last);
        let lines = drawn.map(|line| CoordinateLine {
            step: line.key.step,
            points: line.points.clone(),
            slope: line.slope.ok().map(|s| (s.slope, Some((s.interval.low, s.interval.high)))),
        });
        CoordinatePanel { title: format!("{site}, iteration {last}"), lines: lines.collect() }
    };
    sites.iter().map(panel).collect()
}
