//! `crossscale reproduce`: the whole comparison from one command.

use std::path::{Component, Path, PathBuf};

use toml::Table;

use super::{counts, experiments, print, print_table, print_wrapped};
use crate::config::locate::with_places;
use crate::config::overrides;
use crate::config::suggest::did_you_mean;
use crate::config::text_folder::{TextLayer, text_layer};
use crate::cost::plan::SpeedBasis;
use crate::cost::plan_text;
use crate::error::{HarnessError, Result};
use crate::experiment::definition::{Definition, SEEDS_MAX};
use crate::experiment::{plan, reproduce, study, tables};
use crate::input;
use crate::launch::quoted;
use crate::runs::corpora::{self, Corpora};
use crate::runs::runner::{Runner, RunnerOptions};

/// Stands for all registered experiments.
const CLAIMS: &str = "claims";

/// Arguments of `reproduce`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale reproduce --dry-run
  crossscale reproduce
  crossscale reproduce --preset laptop --out runs/laptop --jobs 2
  crossscale reproduce --preset paper --text minipile/data --dry-run
  crossscale reproduce --preset claims --dry-run")]
pub struct Args {
    /// Built-in definition (quick, small, laptop, paper, paper-matched), a TOML file, or claims:
    /// every registered experiment, then the claims page
    #[arg(long, default_value = "quick")]
    preset: String,
    /// Folder of runs and report [default: runs/PRESET]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Runs at a time, one thread each by default [default: number of cores]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Seeds of every ladder cell, instead of the preset's
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// Text file or folder instead of the preset's (.txt, .jsonl, also .gz or .zst; .parquet in
    /// builds with that feature); files named train…, validation…, test… are those splits
    #[arg(long)]
    text: Option<PathBuf>,
    /// Any key of the definition: path.to.key=value
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Markdown file whose `crossscale:results` marks get the first table
    #[arg(long, value_name = "FILE")]
    splice: Option<PathBuf>,
    /// Print the plan and start nothing
    #[arg(long)]
    dry_run: bool,
    /// No progress lines
    #[arg(long, short)]
    quiet: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let jobs = counts::jobs(args.jobs)?;
    if args.preset == CLAIMS {
        if args.text.is_some() || !args.sets.is_empty() {
            return Err(HarnessError::config(
                "--text and --set change a definition, and registered experiments are fixed",
                "leave them out, or give another --preset",
            ));
        }
        let folder = args.out.clone().unwrap_or_else(|| PathBuf::from(experiments::FOLDER));
        let options = RunnerOptions { folder, jobs, threads: None, quiet: args.quiet };
        return experiments::run_all(options, args.dry_run);
    }
    let definition = definition(args)?;
    let folder = folder(args.out.as_deref(), &definition.name)?;
    let options = RunnerOptions { folder: folder.clone(), jobs, threads: None, quiet: args.quiet };
    if args.dry_run {
        let corpus = Corpora::new(None).load(&definition.data)?;
        let vocab = corpora::vocabulary(&definition.data, &corpus);
        let ladders = study::ladders(&definition, vocab)?;
        let rows = plan::plan(&definition, &ladders, vocab)?;
        let basis = SpeedBasis::of(definition.train.device);
        print_table(&plan_text::shapes(&rows, &basis)?)?;
        print("")?;
        print_table(&plan_text::roles(&rows)?)?;
        print("")?;
        let totals = plan_text::totals(&rows, jobs, &basis);
        return print_wrapped(&(totals + &plan::deviations(&definition)));
    }
    // An absent device is told before anything is read or trained.
    crate::device::open(definition.train.device).map_err(without_device)?;
    let command = command(args, &definition);
    let runner = Runner::new(options, crate::train::stop::on_signal()?);
    let study = reproduce::run(&definition, &runner)?;
    let files = reproduce::write(&study, &command, &folder)?;
    if let Some(page) = &args.splice {
        let table = tables::summary(&study, &command)?;
        let folder = format!("reports/published/{}/", study.definition.name);
        let text = reports::markdown::table_with_notes(&table, &folder);
        reports::markdown::splice_file(page, "results", &text, &command)?;
    }
    for warning in crate::experiment::document::warnings(&study) {
        anstream::eprintln!("warning: {warning}");
    }
    print_table(&tables::comparison(&study, &command)?)?;
    let report = files.first().map_or(folder, Clone::clone);
    print(&format!("\nreport: {}", report.display()))
}

/// The error of an absent device, with what can be done about it here.
fn without_device(error: HarnessError) -> HarnessError {
    match error {
        HarnessError::Unavailable { what, .. } => HarnessError::Unavailable {
            what,
            hint: "this definition is for a GPU: build with --features cuda where there is one, \
                   look at --dry-run, or --set train.device=cpu"
                .to_owned(),
        },
        other => other,
    }
}

/// The folder that `--out` names, or `runs/NAME`; a name from somebody's file leads nowhere else.
pub(super) fn folder(out: Option<&Path>, name: &str) -> Result<PathBuf> {
    let mut parts = Path::new(name).components();
    match (out, parts.next(), parts.next()) {
        (Some(out), ..) => Ok(out.to_owned()),
        (None, Some(Component::Normal(part)), None) if part == name => {
            Ok(Path::new("runs").join(name))
        }
        _ => Err(HarnessError::config(
            format!("name = {name:?} is no name of a folder in runs/"),
            "give the definition a name of letters, digits and hyphens, or name a folder by --out",
        )),
    }
}

/// A built-in definition or that of a TOML file.
pub(super) fn read_definition(preset: &str) -> Result<Definition> {
    changed_definition(preset, &[], &[])
}

/// The same on another text, with `sets` applied; a line says what became a document where that
/// was chosen.
pub(super) fn changed_definition(
    preset: &str,
    text_paths: &[PathBuf],
    sets: &[String],
) -> Result<Definition> {
    let path = Path::new(preset);
    let is_file = path.extension().is_some_and(|extension| extension == "toml");
    let text = if is_file {
        input::text(path, input::TEXT_BYTES_MAX).map_err(|error| {
            HarnessError::input(path, error.to_string(), "give an existing TOML definition")
        })?
    } else {
        Definition::preset_text(preset)?.to_owned()
    };
    let located = |error| with_places(error, is_file.then_some(path), sets);
    // Parsed as it stands first: an error then points at the text's own line.
    let definition = Definition::parse(preset, &text).map_err(located)?;
    if text_paths.is_empty() && sets.is_empty() {
        return Ok(definition);
    }
    let reread = |error: String| HarnessError::config(error, "values must be TOML");
    let mut table: Table = text.parse().map_err(|e: toml::de::Error| reread(e.to_string()))?;
    if !text_paths.is_empty() {
        let TextLayer { keys, told } = text_layer(text_paths, &[&table], sets)?;
        if let Some(line) = told {
            anstream::eprintln!("{line}");
        }
        overrides::merge(&mut table, keys);
    }
    for set in sets {
        overrides::set(&mut table, set)?;
    }
    let text = toml::to_string(&table).map_err(|error| reread(error.to_string()))?;
    Definition::parse(&format!("{preset} with --text and --set"), &text).map_err(located)
}

fn definition(args: &Args) -> Result<Definition> {
    let mut definition = changed_definition(&args.preset, args.text.as_slice(), &args.sets)
        .map_err(|error| with_claims(error, &args.preset))?;
    if let Some(seeds) = args.seeds {
        definition.seeds = counts::counted("seeds", seeds, SEEDS_MAX)?;
    }
    Ok(definition)
}

/// The error for a name that no definition has, with the one preset that is not a definition.
fn with_claims(error: HarnessError, preset: &str) -> HarnessError {
    let is_name = Path::new(preset).extension().is_none_or(|extension| extension != "toml");
    match error {
        HarnessError::Config { problem, .. }
            if is_name && !Definition::names().contains(&preset) =>
        {
            let known: Vec<&str> = Definition::names().into_iter().chain([CLAIMS]).collect();
            let guess = did_you_mean(preset, known.iter().copied());
            let rest = "or the name of a .toml file";
            HarnessError::config(
                problem,
                format!("{guess}presets are {}, {rest}", known.join(", ")),
            )
        }
        other => other,
    }
}

/// The command that makes this report again, without options that cannot change it.
fn command(args: &Args, definition: &Definition) -> String {
    let seeds = args.seeds.map_or(String::new(), |_| format!(" --seeds {}", definition.seeds));
    let text = args.text.iter().map(|text| ("--text", text.display().to_string()));
    let sets = args.sets.iter().map(|set| ("--set", set.clone()));
    let mut command = format!("crossscale reproduce --preset {}", quoted(&args.preset));
    for (flag, value) in text.chain(sets) {
        command.extend([" ", flag, " ", &quoted(&value)]);
    }
    command + &seeds
}
