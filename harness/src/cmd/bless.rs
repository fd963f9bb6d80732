//! `crossscale bless`: recorded expectations against what the code gives now, and their renewal.

use std::path::PathBuf;

use models::parametrization::Parametrization;
use reports::{Cell, Column, Table};

use super::{print, print_table};
use crate::coordcheck::{self, Bench, Outcome, Plan, Tier};
use crate::error::{HarnessError, Result};
use crate::guard::golden::Difference;
use crate::guard::{Findings, cells, recorded, tables};
use crate::ledger::{RESULTS_VERSION, provenance};

/// Differences shown; the rest is counted.
const SHOWN: usize = 40;

/// Arguments of `bless`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale bless                    show what differs; exit 10 if anything does
  crossscale bless --family pt        activation statistics of one family only
  crossscale bless --write            record the new numbers, after the coordinate check")]
pub struct Args {
    /// Folder of recorded expectations
    #[arg(long, default_value = "golden")]
    golden: PathBuf,
    /// Only the activation statistics of this family: pt, bert, preln, ut, pt2023
    #[arg(long)]
    family: Option<String>,
    /// Write the new numbers instead of failing
    #[arg(long)]
    write: bool,
    /// Print the differences as JSON
    #[arg(long, conflicts_with = "write")]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let families: Vec<&str> = match &args.family {
        None => cells::FAMILIES.to_vec(),
        Some(name) => {
            let known = cells::FAMILIES.iter().find(|known| *known == name);
            vec![known.ok_or_else(|| {
                HarnessError::config(
                    format!("no recorded family '{name}'"),
                    format!("families are {}", cells::FAMILIES.join(", ")),
                )
            })?]
        }
    };
    if !args.write && !args.golden.is_dir() {
        return Err(HarnessError::input(
            &args.golden,
            "no such folder, so there is nothing to compare with",
            "run this in a clone of the repository, or name its golden/ with --golden",
        ));
    }
    let command = provenance::portable_command(std::env::args());
    let new = recorded::record(&families, &command, RESULTS_VERSION)?;
    let mut differences = Vec::new();
    for (family, new) in families.iter().zip(&new) {
        differences.extend(recorded::differences(&args.golden, family, new)?);
    }
    let rules = if args.family.is_none() {
        tables::differences(&args.golden, &tables::current()?)?
    } else {
        Findings::new()
    };
    if args.json {
        let text = serde_json::to_string_pretty(&(&rules, &differences))
            .map_err(|error| HarnessError::Invariant(error.to_string()))?;
        print(&text)?;
    } else {
        show(&rules, &differences)?;
    }
    let outside = rules.len() + differences.iter().filter(|d| d.outside).count();
    if !args.write {
        return if outside == 0 {
            Ok(())
        } else {
            Err(HarnessError::Invariant(format!(
                "{outside} recorded numbers are not what the code gives\n\
                 hint: if the change is meant, say why in the commit and run \
                 crossscale bless --write"
            )))
        };
    }
    if rules.is_empty() && differences.is_empty() {
        return print("nothing to write");
    }
    require_coordinate_check(args.family.as_deref())?;
    for (family, new) in families.iter().zip(&new) {
        recorded::write(&args.golden, family, new)?;
    }
    if args.family.is_none() {
        tables::write(&args.golden, &tables::current()?)?;
    }
    print(&format!("written below {}", args.golden.display()))
}

/// Refuses while a coordinate check is red: what would be recorded is wrong.
fn require_coordinate_check(family: Option<&str>) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let checks = [("pt", "pt-2026-strict"), ("preln", "mup-table8")];
    let chosen = checks.into_iter().filter(|(of, _)| match family {
        None => true,
        Some("pt" | "pt2023") => *of == "pt",
        Some(_) => *of == "preln",
    });
    for (family, table) in chosen {
        print(&format!("coordinate check of {family} under {table} ..."))?;
        let bench = Bench::new(Plan::new(family, Tier::Ci, &[])?, cores)?;
        let check = coordcheck::check(&bench, &Parametrization::built_in(table)?)?;
        if check.outcome() == Outcome::Fail {
            return Err(HarnessError::Invariant(format!(
                "nothing was written: the coordinate check of {family} under {table} fails\n\
                 hint: crossscale coordcheck --model {family} --parametrization {table} --bisect \
                 --out runs/coordcheck names the rule"
            )));
        }
    }
    Ok(())
}

fn show(rules: &Findings, differences: &[Difference]) -> Result<()> {
    for rule in rules {
        print(&format!("rule: {rule}"))?;
    }
    if differences.is_empty() {
        return print("activation statistics: every number is as recorded");
    }
    let mut sorted: Vec<&Difference> = differences.iter().collect();
    sorted.sort_by(|a, b| b.relative.total_cmp(&a.relative));
    let columns = vec![
        Column::text("cell", "cell"),
        Column::text("what", "number"),
        Column::text("old", "recorded"),
        Column::text("new", "now"),
        Column::number("relative", "relative", ""),
        Column::text("verdict", "verdict"),
    ];
    let mut table = Table::new("bless", "Largest differences", columns);
    for difference in sorted.iter().take(SHOWN) {
        table.push(vec![
            Cell::text(&difference.cell),
            Cell::text(&difference.what),
            Cell::text(&difference.old),
            Cell::text(&difference.new),
            Cell::significant(difference.relative, 2),
            Cell::verdict(if difference.outside { "outside" } else { "within band" }),
        ])?;
    }
    print_table(&table)?;
    let more = sorted.len().saturating_sub(SHOWN);
    print(&format!("{} numbers differ, {more} of them not shown", sorted.len()))
}
