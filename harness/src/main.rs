//! The crossscale binary: one verb per file in `harness::cmd`.

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::cmd::main()
}
