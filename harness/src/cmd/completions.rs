//! `crossscale completions`: completion scripts for shells.

use super::{NAME, command, print};
use crate::error::{HarnessError, Result};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale completions bash > ~/.local/share/bash-completion/completions/crossscale
  crossscale completions fish > ~/.config/fish/completions/crossscale.fish
  crossscale completions zsh > _crossscale      in a folder of $fpath")]
pub struct Args {
    /// Shell whose script is printed
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), NAME, &mut script);
    let script = String::from_utf8(script)
        .map_err(|error| HarnessError::Invariant(format!("the script is not text: {error}")))?;
    print(script.trim_end())
}
