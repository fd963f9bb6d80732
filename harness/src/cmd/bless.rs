//! `crossscale bless`: recorded expectations against what the code gives now, and their renewal.

use std::path::{Path, PathBuf};

use models::parametrization::Parametrization;
use reports::{Cell, Column, Table};

use super::{print, print_table};
use crate::checks::coordinates::{self, Bench, Outcome, Plan, Tier};
use crate::checks::recorded::file::Recorded;
use crate::checks::recorded::golden::Difference;
use crate::checks::recorded::tables::RecordedTables;
use crate::checks::recorded::{Findings, cells, file, tables};
use crate::config::suggest::did_you_mean;
use crate::error::{HarnessError, Result};
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
                let guess = did_you_mean(name, cells::FAMILIES);
                HarnessError::config(
                    format!("no recorded family '{name}'"),
                    format!("{guess}families are {}", cells::FAMILIES.join(", ")),
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
    let command = provenance::this_command();
    let new = file::record(&families, &command, RESULTS_VERSION)?;
    let mut differences = Vec::new();
    for (family, new) in families.iter().zip(&new) {
        differences.extend(file::differences(&args.golden, family, new)?);
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
    let rules = if args.family.is_none() { Some(tables::current()?) } else { None };
    let new = families.into_iter().zip(new).collect();
    let checks = coordinate_checks(args.family.as_deref())?;
    write(&args.golden, &New { activations: new, rules }, checks)
}

/// What would be recorded.
struct New<'a> {
    activations: Vec<(&'a str, Recorded)>,
    rules: Option<RecordedTables>,
}

/// Writes `new` below `golden`, unless one of the coordinate `checks` fails.
fn write(golden: &Path, new: &New, checks: Vec<(Plan, Parametrization)>) -> Result<()> {
    for (plan, table) in checks {
        require_coordinate_check(plan, &table)?;
    }
    for (family, activations) in &new.activations {
        file::write(golden, family, activations)?;
    }
    if let Some(rules) = &new.rules {
        tables::write(golden, rules)?;
    }
    print(&format!("written below {}", golden.display()))
}

/// The coordinate checks that must pass before anything of `family` (or of all) is recorded.
fn coordinate_checks(family: Option<&str>) -> Result<Vec<(Plan, Parametrization)>> {
    let checks = [("pt", "pt-2026-strict"), ("preln", "mup-table8")];
    let chosen = checks.into_iter().filter(|(of, _)| match family {
        None => true,
        Some("pt" | "pt2023") => *of == "pt",
        Some(_) => *of == "preln",
    });
    let plan = |(family, table): (&str, &str)| {
        Ok((Plan::new(family, Tier::Ci, &[])?, Parametrization::built_in(table)?))
    };
    chosen.map(plan).collect()
}

/// Refuses while a coordinate check is red: what would be recorded is wrong.
fn require_coordinate_check(plan: Plan, table: &Parametrization) -> Result<()> {
    let (family, name) = (plan.run.model.family(), &table.name);
    print(&format!("coordinate check of {family} under {name} ..."))?;
    if coordinates::check(&Bench::new(plan, crate::process::cores())?, table)?.outcome()
        == Outcome::Fail
    {
        return Err(HarnessError::Invariant(format!(
            "nothing was written: the coordinate check of {family} under {name} fails\n\
             hint: crossscale coordcheck --model {family} --parametrization {name} --bisect \
             --out runs/coordcheck names the rule"
        )));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A check that takes seconds.
    fn small(table: &Parametrization) -> Vec<(Plan, Parametrization)> {
        let sets = ["model.iterations=1", "parametrization.base_width=64", "train.batch=4"];
        let mut plan = Plan::new("pt", Tier::Ci, &sets.map(String::from)).unwrap();
        (plan.widths, plan.seeds, plan.steps) = (vec![32, 64, 128], 3, vec![0, 1, 2]);
        plan.bootstrap_replicates = 100;
        vec![(plan, table.clone())]
    }

    #[test]
    fn invariant_nothing_is_recorded_while_the_coordinate_check_is_red() {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden");
        let activations = vec![("ut", file::read(&committed, "ut").unwrap())];
        let new = New { activations, rules: Some(tables::read(&committed).unwrap()) };
        let folder = tempfile::tempdir().unwrap();
        let sound = Parametrization::built_in("pt-2026-strict").unwrap();
        let broken = sound.with_exponent("hidden.learning_rate", 0.0).unwrap();

        let message = write(folder.path(), &new, small(&broken)).unwrap_err().to_string();
        assert!(message.contains("nothing was written") && message.contains("hint:"), "{message}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was written");

        write(folder.path(), &new, small(&sound)).unwrap();
        assert!(file::path(folder.path(), "ut").is_file());
        assert!(tables::path(folder.path()).is_file());
        assert_eq!(coordinate_checks(None).unwrap().len(), 2);
        for family in cells::FAMILIES {
            assert_eq!(coordinate_checks(Some(family)).unwrap().len(), 1, "{family}");
        }
    }
}
