//! `crossscale mutate`: every rule of a parametrization changed in turn, and which checks notice.

use std::path::PathBuf;

use models::parametrization::Parametrization;
use reports::{Block, Cell, Column, Document, Provenance, Section, Table};

use super::{print, print_table};
use crate::checks::mutations::{Bench, CHECKS, Outcome, Row};
use crate::config::run::built_in;
use crate::error::{HarnessError, Result};
use crate::ledger::provenance;

/// Arguments of `mutate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale mutate                           every rule of every built-in table
  crossscale mutate --table pt-2026           one table
  crossscale mutate --table pt-2026-strict --rule hidden.learning_rate --coordcheck
  crossscale mutate --out reports/published/mutation_matrix")]
pub struct Args {
    /// Built-in table whose rules are changed; repeat for several [default: all]
    #[arg(long, value_name = "NAME")]
    table: Vec<String>,
    /// Only rules whose name contains this, e.g. hidden. or learning_rate
    #[arg(long, value_name = "PART")]
    rule: Option<String>,
    /// Folder of recorded expectations
    #[arg(long, default_value = "golden")]
    golden: PathBuf,
    /// Also run a small coordinate check for every change (seconds each)
    #[arg(long)]
    coordcheck: bool,
    /// Folder for the matrix as Markdown, HTML and CSV
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let names: Vec<String> = if args.table.is_empty() {
        Parametrization::names().into_iter().map(String::from).collect()
    } else {
        for name in &args.table {
            built_in(name)?;
        }
        args.table.clone()
    };
    let rows = Bench::load(&args.golden, args.coordcheck)?.matrix(&names, args.rule.as_deref())?;
    if rows.is_empty() {
        let wanted = args.rule.as_deref().unwrap_or_default();
        return Err(HarnessError::NothingSelected(format!(
            "no rule has '{wanted}' in its name\nhint: crossscale mutate without --rule lists all"
        )));
    }
    let table = table(&rows)?;
    if args.json {
        print(&json(&rows)?)?;
    } else {
        print_table(&table)?;
        print(&summary(&rows))?;
    }
    if let Some(folder) = &args.out {
        let document = Document::new("Mutation matrix")
            .with_section(
                Section::new("What was done")
                    .with(Block::text(EXPLANATION))
                    .with(Block::text(summary(&rows))),
            )
            .with_section(Section::new("Every rule, changed").with(Block::Table(table)));
        document.write(folder)?;
    }
    let unguarded: Vec<String> = rows
        .iter()
        .filter(|row| !row.guarded())
        .map(|row| format!("{} of {}", row.mutation.rule, row.mutation.table))
        .collect();
    if unguarded.is_empty() {
        return Ok(());
    }
    Err(HarnessError::Invariant(format!("no check notices a change of {}", unguarded.join(", "))))
}

const EXPLANATION: &str = "Each row changes one rule of one parametrization table and leaves all \
    others alone: an exponent that is not zero becomes zero, one that is zero becomes one half; \
    the rules that code derives from exponents are broken as named. *Recorded rules* and \
    *published rules* and *shrinkage* read the rules; *equivalent forms*, *recorded initial \
    values*, *recorded training* and *coordinate check* run small models under them and look at \
    losses, activations and their slopes over width. Red means that the check notices; an empty \
    field, that it does not look at this table or rule. The coordinate check trains without decay \
    and with a negligible epsilon, so it cannot see these two; no rule of depth acts at one depth.";

/// Why a change that no run of a model can show is none of behaviour.
fn unseen(row: &Row) -> &'static str {
    let rule = row.mutation.rule.as_str();
    let vectors = rule.starts_with("bias.") || rule.starts_with("gain.");
    if vectors && rule.ends_with("init_std") {
        "zeros and ones have no deviation to scale"
    } else {
        ""
    }
}

fn summary(rows: &[Row]) -> String {
    let guarded = rows.iter().filter(|row| row.guarded()).count();
    let behavioural = rows.iter().filter(|row| row.behavioural()).count();
    format!(
        "{guarded} of {} changes are noticed, {behavioural} of them by one that runs the model.",
        rows.len()
    )
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Red => "red",
        Outcome::Green => "green",
        Outcome::NotApplied => "",
    }
}

fn table(rows: &[Row]) -> Result<Table> {
    let mut columns = vec![
        Column::text("table", "table"),
        Column::text("rule", "rule"),
        Column::text("change", "change"),
    ];
    columns.extend(CHECKS.map(|check| Column::text(&check.replace(' ', "_"), check)));
    columns.push(Column::text("evidence", "largest number that moved"));
    let command = provenance::this_command();
    let commit = provenance::git_revision().unwrap_or_else(|| "unknown".to_owned());
    let none: [String; 0] = [];
    let mut table = Table::new("mutation_matrix", "Which check notices which change", columns)
        .with_provenance(Provenance::new(format!("{command} at commit {commit}"), none));
    for row in rows {
        let mutation = &row.mutation;
        let mut cells = vec![
            Cell::text(&mutation.table),
            Cell::text(&mutation.rule),
            Cell::text(&mutation.change),
        ];
        cells.extend(row.outcomes.iter().map(|outcome| Cell::text(word(*outcome))));
        let evidence = if row.evidence.is_empty() { unseen(row) } else { &row.evidence };
        cells.push(Cell::text(evidence));
        table.push(cells)?;
    }
    Ok(table)
}

fn json(rows: &[Row]) -> Result<String> {
    let values: Vec<serde_json::Value> = rows
        .iter()
        .map(|row| {
            let outcomes: serde_json::Map<String, serde_json::Value> = CHECKS
                .iter()
                .zip(&row.outcomes)
                .map(|(check, outcome)| ((*check).to_owned(), word(*outcome).into()))
                .collect();
            serde_json::json!({
                "table": row.mutation.table,
                "rule": row.mutation.rule,
                "change": row.mutation.change,
                "checks": outcomes,
                "guarded": row.guarded(),
                "behavioural": row.behavioural(),
                "evidence": row.evidence,
            })
        })
        .collect();
    serde_json::to_string_pretty(&values)
        .map_err(|error| HarnessError::Invariant(error.to_string()))
}
