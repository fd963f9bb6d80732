//! The training curve of a single run, kept beside it.

use std::path::{Path, PathBuf};

use reports::Provenance;
use reports::figure::{self, TrainingCurve, TrainingFigure};

use crate::error::Result;
use crate::ledger::atomic;
use crate::runs::record::{RunRecord, read_steps};
use crate::statistics;

/// Name of the figure inside a run folder.
pub const CURVE_FILE: &str = "curve.svg";
/// Most points of the training losses, each the mean of as many steps.
const POINTS_MAX: usize = 100;

/// Draws held-out losses and those of the training batches of `record`, whose files are in
/// `folder`; `None` if there is nothing to draw.
///
/// # Errors
/// Files that cannot be read or written.
pub fn write(record: &RunRecord, folder: &Path, command: &str) -> Result<Option<PathBuf>> {
    let steps = read_steps(folder)?;
    let each = steps.len().div_ceil(POINTS_MAX).max(1);
    let training = steps.chunks(each).filter_map(|steps| {
        let losses: Vec<f64> = steps.iter().filter_map(|(_, loss)| *loss).collect();
        Some((steps.last()?.0 as f64, vec![statistics::mean(&losses)?]))
    });
    let held_out = record.evaluations.iter().filter_map(|&(step, loss)| {
        let (tokens, _) = steps.get(usize::try_from(step).ok()?.checked_sub(1)?)?;
        Some((*tokens as f64, vec![loss]))
    });
    let curve = |label: &str, points| TrainingCurve { label: label.to_owned(), points };
    let data = TrainingFigure {
        curves: vec![
            curve("held-out text", held_out.collect()),
            curve("training batches", training.collect()),
        ],
        unigram_loss_nats: Some(record.unigram_loss_nats),
        setting: record.id.clone(),
        provenance: Provenance::new(command, [record.id.clone()]),
    };
    let drawable = data.curves.iter().flat_map(|curve| &curve.points);
    if !drawable.flat_map(|(_, losses)| losses).any(|loss| loss.is_finite()) {
        return Ok(None);
    }
    let path = folder.join(CURVE_FILE);
    atomic::write(&path, figure::run_curve(&data)?.svg.as_bytes())?;
    Ok(Some(path))
}
