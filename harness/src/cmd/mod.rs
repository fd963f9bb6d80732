//! The command line: one file per verb.

use crate::error::{HarnessError, Result};

pub mod parity;

/// Writes `text` and a newline to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    use std::io::Write;
    writeln!(anstream::stdout().lock(), "{text}")
        .map_err(HarnessError::io(std::path::Path::new("standard output")))
}
