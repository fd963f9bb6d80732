//! `crossscale parity FILE…`: compare our models with known-answer files.

use std::fmt::Write;
use std::path::PathBuf;

use crate::error::{HarnessError, Result};
use crate::parity::{self, FileReport, Precision, TensorReport};

/// Recompute what known-answer files record, in f64 and f32, and compare tensor by tensor.
///
/// Exit status: 0 all tensors within tolerance (1e-9 in f64, 1e-4 in f32), 10 some outside,
/// 2 a file that is no known answer, 3 a file that is missing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Known-answer files (.safetensors).
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print every comparison as JSON, one array over all files.
    #[arg(long)]
    json: bool,
}

/// Checks every file, prints the comparisons, and fails if a tensor disagrees or, before that, if
/// a file could not be checked.
pub fn run(args: &Args) -> Result<()> {
    let mut reports = Vec::new();
    let mut failure = None;
    for file in &args.files {
        match parity::check(file) {
            Ok(report) => reports.push(report),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if args.json {
        let text = serde_json::to_string_pretty(&reports).map_err(|error| {
            HarnessError::config(error.to_string(), "report this: the comparison must serialise")
        })?;
        super::print(&text)?;
    } else {
        for report in &reports {
            super::print(&table(report))?;
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    let differing = reports.iter().filter(|report| !report.agrees()).count();
    if differing > 0 {
        let total = reports.len();
        return Err(HarnessError::Invariant(format!(
            "{differing} of {total} known answers differ from what our models compute"
        )));
    }
    Ok(())
}

/// One line per file and precision, and one per tensor that disagrees.
fn table(report: &FileReport) -> String {
    let mut text = format!("{} ({})", report.file, report.family);
    for precision in Precision::ALL {
        let tensors: Vec<_> =
            report.tensors.iter().filter(|tensor| tensor.precision == precision).collect();
        if tensors.is_empty() {
            continue;
        }
        let agreeing = tensors.iter().filter(|tensor| tensor.agrees).count();
        let _ = write!(
            text,
            "\n  {}: {agreeing} of {} tensors within {:e}; largest relative error {:.1e}",
            precision.name(),
            tensors.len(),
            precision.tolerance(),
            report.worst_error(precision)
        );
        for tensor in tensors.iter().filter(|tensor| !tensor.agrees) {
            let _ = write!(text, "\n    {}", difference(tensor));
        }
    }
    text
}

fn difference(tensor: &TensorReport) -> String {
    let mut text = format!(
        "{} {:?}: relative error {:.3e} > {:e}",
        tensor.name, tensor.shape, tensor.relative_error, tensor.tolerance
    );
    if let Some(worst) = &tensor.worst {
        let _ = write!(
            text,
            "; worst at {:?}: computed {:e}, expected {:e}",
            worst.index, worst.computed, worst.expected
        );
    }
    text
}
