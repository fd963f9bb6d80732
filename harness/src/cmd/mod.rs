//! The command line: one file per verb.

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::{HarnessError, Result};

pub mod bench;
pub mod bless;
pub mod compare;
pub mod completions;
pub mod coordcheck;
mod counts;
pub mod data;
pub mod doctor;
pub mod evaluate;
pub mod explain;
pub mod export;
pub mod fill;
pub mod import;
pub mod inspect;
pub mod judge;
pub mod launch;
pub mod ls;
pub mod man;
pub mod mutate;
pub mod new;
pub mod parity;
pub mod plan;
pub mod regress;
pub mod report;
pub mod reproduce;
pub mod run;
pub mod runs;
pub mod status;
mod terminal;
pub mod train;

use terminal::{Colour, PlainWarnings};

/// Name of the program.
const NAME: &str = "crossscale";
const START: &str = "Start with: crossscale reproduce --dry-run";
const LONG_HELP: &str = "\
Exit codes:
  0    done
  1    a file could not be read or written, or an internal error
  2    wrong usage or configuration
  3    an input is missing or not what it should be
  4    nothing matches
  5    a training diverged or gave numbers that are none
  6    this build or machine lacks a device or feature
  10   an invariant does not hold
  11   a number left its band
  12   a check could not decide
  130  stopped by a signal, state saved

With every verb:
  --color auto|always|never says where colours go; NO_COLOR=1 turns them off

Environment:
  CROSSSCALE_SIMD=avx2 holds the CPU kernels to AVX2, =portable to no vector
  instructions beyond the target's; `doctor` shows what they use

Start with: crossscale reproduce --dry-run";

/// Does the Probabilistic Transformer scale, and do its hyper-parameters carry over?
#[derive(Debug, Parser)]
#[command(name = NAME, version, about, propagate_version = true, after_help = START)]
// The list of verbs fills a screen; each has its own --help.
#[command(after_long_help = LONG_HELP, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Where colours go; told in the long help, so that the help of every verb stays short.
    #[arg(long, global = true, value_enum, value_name = "WHEN", hide = true)]
    #[arg(default_value_t)]
    color: Colour,
}

/// The verbs with their help: the enumeration that clap reads, and what runs each of them.
macro_rules! verbs {
    ($($(#[$help:meta])+ $verb:ident => $module:ident,)+) => {
        #[derive(Debug, Subcommand)]
        enum Verb {
            $($(#[$help])+ $verb($module::Args),)+
        }

        fn perform(verb: Verb) -> Result<()> {
            match verb {
                $(Verb::$verb(args) => $module::run(&args),)+
            }
        }
    };
}

verbs! {
    /// Print what a model costs: parameters by role, FLOPs, memory.
    Plan => plan,
    /// Train one model on one text.
    Train => train,
    /// Train every family at matched budgets and write the report.
    Reproduce => reproduce,
    /// List experiments and claims: what is asked, has run, is missing.
    Ls => ls,
    /// Run an experiment, a preset or a file to its answer.
    #[command(aliases = ["transfer", "perturb", "search", "ladder"])]
    Run => run,
    /// Write a commented file to start an experiment or a table from.
    New => new,
    /// Compare two models, each at its own best rate, paired by seed.
    Compare => compare,
    /// Write the claims page from whatever has run.
    Report => report,
    /// Judge a table of runs that comes from anywhere.
    Judge => judge,
    /// Show what a parametrization says about every tensor, and why.
    Explain => explain,
    /// Check that no activation's size depends on width.
    Coordcheck => coordcheck,
    /// Compare recorded expectations with the code; record them anew.
    Bless => bless,
    /// Change every rule of a table in turn and show which checks notice.
    Mutate => mutate,
    /// Compare our models with known-answer files.
    Parity => parity,
    /// Write a run's weights for other programs.
    Export => export,
    /// Take weights of another program in.
    Import => import,
    /// Held-out loss of a run's or a file's weights.
    Evaluate => evaluate,
    /// Fill the masks of a text with a trained model.
    Fill => fill,
    /// Show heads, labels and objective of one sentence.
    Inspect => inspect,
    /// Build corpora beside the embedded one.
    Data => data,
    /// Measure a training step: tokens per second, memory, stages.
    Bench => bench,
    /// Judge short trainings by bands measured from seeds.
    Regress => regress,
    /// What is done, running, stale, failed and missing.
    Status => status,
    /// List the runs of a folder, as CSV too; archive or remove some.
    Runs => runs,
    /// What this machine and this build can do.
    Doctor => doctor,
    /// Hand an experiment to a cluster.
    Launch => launch,
    /// Print a completion script for a shell.
    Completions => completions,
    /// Print the manual page, or write one a verb.
    Man => man,
}

/// The whole command line, for help, completions and manual pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the arguments, runs the verb and maps errors to exit codes.
pub fn main() -> ExitCode {
    crate::process::fix_candle_threads();
    crate::process::keep_large_blocks();
    tracing_subscriber::fmt()
        .with_writer(anstream::stderr)
        .with_max_level(Level::WARN)
        .with_ansi(false)
        .event_format(PlainWarnings)
        .finish()
        // Its warning of ids without a token lists them all; ours, of the file, counts them.
        .with(Targets::new().with_default(Level::WARN).with_target("tokenizers", Level::ERROR))
        .init();
    let cli = parse();
    cli.color.apply();
    // Before anything is computed, so that a wrong CROSSSCALE_SIMD is an error and no panic.
    let level = models::fused::dispatch::asked_for().map_err(HarnessError::from);
    match level.and_then(|_| perform(cli.verb)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// The arguments; ends the process with 2 if they are wrong, with 0 after a help text.
fn parse() -> Cli {
    let mut command = terminal::fit(command());
    // Asking git takes time that no other call needs to spend.
    if std::env::args_os().any(|argument| argument == "--version") {
        command = command.long_version(&*doctor::long_version().leak());
    }
    let matches = command.get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

fn print_error(error: &HarnessError) {
    // A closed standard error is no reason to panic: the exit code still tells.
    let text = terminal::inert(&error.to_string());
    let _ = writeln!(anstream::stderr().lock(), "{} {text}", terminal::ERROR);
}

/// A reader that has gone away (`crossscale … | head`) is no failure.
fn is_broken_pipe(error: &HarnessError) -> bool {
    matches!(error, HarnessError::Io { source, .. }
        if source.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Writes a table as it fits the terminal; whole where standard output is none.
pub(crate) fn print_table(table: &reports::Table) -> Result<()> {
    let columns = terminal::output_columns();
    let text = columns.map_or_else(|| table.to_text(), |width| table.to_text_within(width));
    print_wrapped(&text)
}

/// As [`print`], with lines that are too long for the terminal broken between words.
pub(crate) fn print_wrapped(text: &str) -> Result<()> {
    let columns = terminal::output_columns();
    print(&columns.map_or_else(|| text.to_owned(), |width| terminal::wrapped(text, width)))
}

/// Writes `text` and a newline to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    writeln!(anstream::stdout().lock(), "{}", terminal::inert(text))
        .map_err(HarnessError::io(std::path::Path::new("standard output")))
}
