//! The recorded files of activation statistics: written, read, compared.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use models::parametrization::Parametrization;
use serde::{Deserialize, Serialize};

use super::cells::{Cell, CellData};
use super::golden::{CellRecord, Difference, Extent, compare, compute};
use crate::error::{HarnessError, Result};
use crate::input;
use crate::workers;

/// Folder of the recorded files below `golden/`.
pub const FOLDER: &str = "activations";

/// One recorded file: the cells of a family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Where the numbers come from.
    pub provenance: Provenance,
    /// blake3 of ids and targets of the training batches and the probe batch.
    pub batches: String,
    /// The cells.
    pub cell: Vec<CellRecord>,
}

/// Where recorded numbers come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The command that wrote the file.
    pub command: String,
    /// Commit of the source.
    pub commit: String,
    /// Version of results at that time.
    pub results_version: u32,
    /// See [`arithmetic`].
    pub arithmetic: String,
}

/// What arithmetic this machine has: architecture, instruction set of the fused kernels, and a
/// hash of what products, sums and functions give on fixed inputs. Where it is the recording
/// machine's, every bit must be; elsewhere the bands hold.
pub fn arithmetic() -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut value = 0.123_f64;
    for _ in 0..4096 {
        value = (value * 997.0 + 0.017).fract() + 0.01;
        for result in [value.ln(), value.exp(), value.sin(), value.cos(), value.powf(0.35)] {
            hasher.update(&result.to_le_bytes());
        }
        let single = value as f32;
        for result in [single.exp(), single.tanh(), single.sin(), single.cos(), single.ln()] {
            hasher.update(&result.to_le_bytes());
        }
    }
    let tensors = || -> candle_core::Result<Vec<f32>> {
        let values = |count: usize, step: f32| -> Vec<f32> {
            (0..count).map(|index| (index as f32 * step).fract() - 0.5).collect()
        };
        let left = Tensor::from_vec(values(37 * 512, 0.377), (37, 512), &Device::Cpu)?;
        let right = Tensor::from_vec(values(512 * 45, 0.741), (512, 45), &Device::Cpu)?;
        let product = left.matmul(&right)?;
        let sums = [product.exp()?.sum(1)?, product.sqr()?.sqrt()?.mean(1)?, left.erf()?.sum(1)?];
        let mut results = product.flatten_all()?.to_vec1::<f32>()?;
        for sum in sums {
            results.extend(sum.to_vec1::<f32>()?);
        }
        Ok(results)
    };
    for result in tensors().map_err(models::ModelError::from)? {
        hasher.update(&result.to_le_bytes());
    }
    let level = format!("{:?}", models::fused::dispatch::level()).to_lowercase();
    let hash = &hasher.finalize().to_hex()[..16];
    Ok(format!("{} {level} {hash}", std::env::consts::ARCH))
}

/// Path of the file of `family` below the folder `golden`.
pub fn path(golden: &Path, family: &str) -> PathBuf {
    golden.join(FOLDER).join(format!("{family}.toml"))
}

/// Reads the recorded file of `family`.
pub fn read(golden: &Path, family: &str) -> Result<Recorded> {
    let path = path(golden, family);
    let remedy = "crossscale bless --write records it";
    let text = input::text(&path, input::TEXT_BYTES_MAX)
        .map_err(|error| HarnessError::input(&path, error.to_string(), remedy))?;
    toml::from_str(&text).map_err(|error| HarnessError::input(&path, error.to_string(), remedy))
}

/// Computes the records of `families`, one file each.
pub fn record(families: &[&str], command: &str, results_version: u32) -> Result<Vec<Recorded>> {
    let data = CellData::load()?;
    let cells: Vec<Cell> = super::cells::all()
        .into_iter()
        .filter(|cell| families.contains(&cell.family.as_str()))
        .collect();
    let records = workers::map(&cells, |cell| {
        let table = Parametrization::built_in(&cell.table)?;
        compute(cell, &table, &data, Extent::Whole, &|_| {})
    })?;
    let provenance = Provenance {
        command: command.to_owned(),
        commit: crate::ledger::provenance::git_revision().unwrap_or_else(|| "unknown".to_owned()),
        results_version,
        arithmetic: arithmetic()?,
    };
    let batches = data.hash();
    let of_family = |family: &&str| Recorded {
        provenance: provenance.clone(),
        batches: batches.clone(),
        cell: records.iter().filter(|record| record.cell.family == **family).cloned().collect(),
    };
    Ok(families.iter().map(of_family).collect())
}

/// How `new` differs from the file of `family` below `golden`; all of it if there is none.
pub fn differences(golden: &Path, family: &str, new: &Recorded) -> Result<Vec<Difference>> {
    let missing = |cell: &Cell, old: &str, new: &str| Difference {
        cell: cell.to_string(),
        what: "cell".to_owned(),
        old: old.to_owned(),
        new: new.to_owned(),
        relative: f64::INFINITY,
        outside: true,
    };
    if !path(golden, family).exists() {
        return Ok(new.cell.iter().map(|new| missing(&new.cell, "none", "present")).collect());
    }
    let old = read(golden, family)?;
    let same = old.provenance.arithmetic == new.provenance.arithmetic;
    let mut found = Vec::new();
    if old.batches != new.batches {
        found.push(Difference {
            cell: family.to_owned(),
            what: "batches".to_owned(),
            old: old.batches[..12].to_owned(),
            new: new.batches[..12].to_owned(),
            relative: f64::INFINITY,
            outside: true,
        });
    }
    for new in &new.cell {
        match old.cell.iter().find(|old| old.cell == new.cell) {
            Some(old) => found.extend(compare(old, new, same)),
            None => found.push(missing(&new.cell, "none", "present")),
        }
    }
    for old in &old.cell {
        if !new.cell.iter().any(|new| new.cell == old.cell) {
            found.push(missing(&old.cell, "present", "none"));
        }
    }
    Ok(found)
}

/// Writes the file of `family` below `golden`.
pub fn write(golden: &Path, family: &str, recorded: &Recorded) -> Result<()> {
    let text =
        toml::to_string(recorded).map_err(|error| HarnessError::Invariant(error.to_string()))?;
    super::write_recorded(&path(golden, family), &text)
}
