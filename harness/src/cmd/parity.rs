//! `crossscale parity FILE…`: compare our models with known-answer files.

use std::fmt::Write;
use std::path::PathBuf;

use crate::checks::known_answers::{self, FileReport, Precision, TensorReport};
use crate::error::{HarnessError, Result};

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
        match known_answers::check(file) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../golden/known_answers").join(name)
    }

    fn run_on(files: Vec<PathBuf>, json: bool) -> Result<()> {
        run(&Args { files, json })
    }

    #[test]
    fn cli_parity_fails_with_the_code_of_the_reason() {
        let good = shipped("pt2026/exact_rope.safetensors");
        run_on(vec![good.clone()], false).unwrap();
        run_on(vec![good.clone()], true).unwrap();
        let missing = run_on(vec![shipped("absent.safetensors"), good.clone()], false);
        assert_eq!(missing.unwrap_err().exit_code(), 3);

        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text.safetensors");
        std::fs::write(&text, "not a known answer").unwrap();
        assert_eq!(run_on(vec![good.clone(), text], false).unwrap_err().exit_code(), 2);

        let mut bytes = std::fs::read(good).unwrap();
        // The file ends with z (.., 16) in f64, and its last two rows are padding: an exponent
        // bit of the last entry before them.
        let position = bytes.len() - 2 * 16 * 8 - 2;
        bytes[position] ^= 0x10;
        let changed = folder.path().join("changed.safetensors");
        std::fs::write(&changed, bytes).unwrap();
        assert_eq!(run_on(vec![changed], false).unwrap_err().exit_code(), 10);
    }

    #[test]
    fn golden_a_difference_names_tensor_index_and_both_values() {
        let tensor = TensorReport {
            name: "grad.unary".to_owned(),
            shape: vec![29, 16],
            precision: Precision::F64,
            relative_error: 0.5,
            tolerance: 1e-9,
            agrees: false,
            worst: Some(known_answers::Worst { index: vec![3, 4], computed: 1.5, expected: 1.0 }),
        };
        let expected = "grad.unary [29, 16]: relative error 5.000e-1 > 1e-9; \
                        worst at [3, 4]: computed 1.5e0, expected 1e0";
        assert_eq!(difference(&tensor), expected);
    }
}
