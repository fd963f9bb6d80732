//! `crossscale new`: a commented file to start from.

use std::path::{Path, PathBuf};

use models::parametrization::Parametrization;
use toml::Table;

use super::print;
use crate::config::commented::commented;
use crate::config::names;
use crate::config::run::ParametrizationConfig;
use crate::error::{HarnessError, Result};
use crate::experiment::Experiment;
use crate::experiment::read::Changes;
use crate::launch::quoted;

/// Arguments of `new`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file holds every key with a sentence on it (docs/keys.md has all of them)
and runs as it is. Question and notes are left to you.

Examples:
  crossscale new experiment mine --from transfer
  crossscale new parametrization half-rate --from mup-table8")]
pub struct Args {
    /// What the file is
    #[arg(value_enum)]
    kind: Kind,
    /// Its name; the file is NAME.toml
    name: String,
    /// Experiment, preset or table to start from, or a file [default: tour, mup-table8]
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// Folder of the file
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
}

/// Kinds of files that one writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// A question with its runs
    Experiment,
    /// A table of exponents
    Parametrization,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    names::check("new", &args.name)?;
    let file = format!("{}.toml", args.name);
    let here = args.out == Path::new(".");
    let path = if here { PathBuf::from(&file) } else { args.out.join(&file) };
    if path.exists() {
        let hint = "choose another name, or another folder by --out";
        return Err(HarnessError::input(&path, "is there already", hint));
    }
    let (text, next) = match args.kind {
        Kind::Experiment => {
            let from = args.from.as_deref().unwrap_or("tour");
            let next = format!("crossscale run {} --dry-run", quoted(&path.display().to_string()));
            (experiment(&args.name, from, &next)?, next)
        }
        Kind::Parametrization => {
            let from = args.from.as_deref().unwrap_or("mup-table8");
            let table = quoted(&path.display().to_string());
            let next =
                format!("crossscale explain --model pt --width 512 --parametrization {table}");
            (parametrization(&args.name, from, &next)?, next)
        }
    };
    std::fs::create_dir_all(&args.out).map_err(HarnessError::io(&args.out))?;
    crate::ledger::atomic::write(&path, text.as_bytes())?;
    print(&format!("wrote {}\nnext: {next}", path.display()))
}

/// The whole of the experiment `from` under a new name, without sentences that speak of it.
fn experiment(name: &str, from: &str, next: &str) -> Result<String> {
    let mut experiment = Experiment::find(from, &Changes::default())?;
    name.clone_into(&mut experiment.name);
    "What is asked? A sentence, before anything is run".clone_into(&mut experiment.question);
    experiment.analysis.clear();
    experiment.notes.clear();
    let head = format!(
        "# An experiment, begun from {from}. Try: {next}\n# Your own text: add --text FILE, or set \
         [data] source = \"paths\" and paths.train below.\n\n"
    );
    Ok(head + &commented(&experiment.to_toml()?))
}

/// The whole of the table `from` under a new name.
fn parametrization(name: &str, from: &str, next: &str) -> Result<String> {
    let config =
        ParametrizationConfig { name: from.to_owned(), ..ParametrizationConfig::default() };
    let mut table: Parametrization = config.table()?;
    name.clone_into(&mut table.name);
    table.description = format!("begun from {from}: say in a sentence what is different");
    let broken = |error: toml::ser::Error| HarnessError::Invariant(error.to_string());
    let table = Table::try_from(table).map_err(broken)?;
    let text = toml::to_string(&table).map_err(broken)?;
    let head = format!(
        "# A table of exponents, begun from {from}. Try: {next}\n# Held to the coordinate check by \
         crossscale coordcheck --parametrization {name}.toml --bisect\n\n"
    );
    Ok(head + &commented(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::registry;

    #[test]
    fn invariant_every_experiment_comes_back_from_its_commented_file() {
        for from in registry::registered().into_iter().chain(registry::presets()) {
            let text = experiment("mine", from, "").unwrap();
            let (mine, theirs) =
                (Experiment::parse("mine", &text).unwrap(), Experiment::registered(from).unwrap());
            assert_eq!(mine.name, "mine");
            assert_eq!((&mine.design, &mine.setting), (&theirs.design, &theirs.setting), "{from}");
        }
    }

    #[test]
    fn invariant_every_table_comes_back_from_its_commented_file() {
        for from in Parametrization::names() {
            let text = parametrization("mine", from, "").unwrap();
            let mine = Parametrization::parse("mine", &text).unwrap();
            let theirs = Parametrization::built_in(from).unwrap();
            assert_eq!(mine.exponents().unwrap(), theirs.exponents().unwrap(), "{from}");
        }
    }

    #[test]
    fn invariant_files_are_not_overwritten_and_names_are_no_paths() {
        let folder = tempfile::tempdir().unwrap();
        let args = |name: &str| Args {
            kind: Kind::Parametrization,
            name: name.to_owned(),
            from: None,
            out: Path::new(folder.path()).to_owned(),
        };
        run(&args("a")).unwrap();
        assert!(run(&args("a")).unwrap_err().to_string().contains("is there already"));
        assert!(run(&args("../b")).is_err());
    }
}
