//! Checkpoints: one safetensors file per saved step, whole or absent, with its own hash.
//!
//! The data section is three flat buffers in layout order: weights (under their plain names, so
//! any safetensors reader can use them), `first_moment:<name>` and `second_moment:<name>`. The
//! metadata key `crossscale` holds a JSON object with step, tokens, configuration hash and the
//! blake3 hash of all of that and the data. Batches and dropout are functions of the step, so
//! the step is the data cursor and the state of every random stream.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use models::parameters::Layout;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::{Deserialize, Serialize};

use crate::error::{HarnessError, Result};
use crate::ledger::atomic;

/// Folder of checkpoints inside a run folder.
pub const CHECKPOINTS_FOLDER: &str = "checkpoints";
/// Checkpoints kept: the newest, and one to fall back on.
const KEPT: usize = 2;
const SCHEMA: u32 = 1;
const METADATA_KEY: &str = "crossscale";
const PREFIXES: [&str; 3] = ["", "first_moment:", "second_moment:"];
/// Longest header that is read; a layout of 100 000 tensors stays below.
const HEADER_LIMIT: u64 = 100 << 20;

/// Training state after `step` steps, borrowed for saving.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotView<'a> {
    /// Steps done.
    pub step: u64,
    /// Training tokens seen.
    pub tokens: u64,
    /// Weights, first and second moments, each in layout order.
    pub buffers: [&'a [f32]; 3],
}

/// Training state read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Steps done.
    pub step: u64,
    /// Training tokens seen.
    pub tokens: u64,
    /// Weights, first and second moments, each in layout order.
    pub buffers: [Vec<f32>; 3],
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Description {
    schema: u32,
    step: u64,
    tokens: u64,
    config_hash: String,
    blake3: String,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointProblem {
    /// Truncated, altered or not a checkpoint.
    #[error("{0}")]
    Damaged(String),
    /// Whole, but of another run.
    #[error("it belongs to configuration {found}, not {expected}")]
    OtherConfiguration {
        /// Hash in the file.
        found: String,
        /// Hash of the run.
        expected: String,
    },
}

/// Bytes that the checkpoints of a run take on disk once it has written two, and a third while
/// one is replaced.
pub fn bytes_on_disk(layout: &Layout) -> u64 {
    (KEPT as u64 + 1) * 12 * layout.total() as u64
}

/// Writes a checkpoint into `run_folder` and deletes all but the newest two.
///
/// # Errors
/// If the file cannot be written; earlier checkpoints are untouched then.
pub fn save(
    run_folder: &Path,
    layout: &Layout,
    view: &SnapshotView<'_>,
    config_hash: &str,
) -> Result<PathBuf> {
    let folder = run_folder.join(CHECKPOINTS_FOLDER);
    atomic::own_folder(&folder)?;
    let path = folder.join(format!("step-{:010}.safetensors", view.step));
    let mut description = Description {
        schema: SCHEMA,
        step: view.step,
        tokens: view.tokens,
        config_hash: config_hash.to_owned(),
        blake3: String::new(),
    };
    description.blake3 = digest(&description, view.buffers);
    let header = header(layout, &description);
    atomic::replace(&path, |file, _| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        view.buffers.iter().try_for_each(|values| file.write_all(bytemuck::cast_slice(values)))
    })?;
    for old in list(run_folder)?.iter().skip(KEPT) {
        std::fs::remove_file(old).map_err(HarnessError::io(old))?;
    }
    Ok(path)
}

/// Reads and verifies one checkpoint.
pub fn load(
    path: &Path,
    layout: &Layout,
    config_hash: &str,
) -> std::result::Result<Snapshot, CheckpointProblem> {
    let damaged = |problem: &str| CheckpointProblem::Damaged(problem.to_owned());
    let system = |error: std::io::Error| CheckpointProblem::Damaged(error.to_string());
    let mut file = File::open(path).map_err(system)?;
    let size = file.metadata().map_err(system)?.len();
    let mut length = [0u8; 8];
    file.read_exact(&mut length).map_err(system)?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_LIMIT || length > size {
        return Err(damaged("its header length is impossible"));
    }
    let mut text = vec![0u8; length as usize];
    file.read_exact(&mut text).map_err(system)?;
    let text = String::from_utf8(text).map_err(|_| damaged("its header is not text"))?;
    let description = describe(&text).ok_or_else(|| damaged("its header is not readable"))?;
    if description.schema != SCHEMA {
        let found = description.schema;
        return Err(damaged(&format!("it is of schema {found}, this program reads {SCHEMA}")));
    }
    let expected = 8 + length + 12 * layout.total() as u64;
    if text != header(layout, &description) || size != expected {
        return Err(damaged("its tensors are not those of the model, or it is truncated"));
    }
    let mut buffers = [(); 3].map(|()| vec![0f32; layout.total()]);
    for buffer in &mut buffers {
        file.read_exact(bytemuck::cast_slice_mut(buffer)).map_err(system)?;
    }
    let views = [buffers[0].as_slice(), &buffers[1], &buffers[2]];
    if digest(&description, views) != description.blake3 {
        return Err(damaged("its content does not match its hash"));
    }
    if description.config_hash != config_hash {
        return Err(CheckpointProblem::OtherConfiguration {
            found: description.config_hash,
            expected: config_hash.to_owned(),
        });
    }
    Ok(Snapshot { step: description.step, tokens: description.tokens, buffers })
}

/// The newest usable checkpoint of a run; damaged ones are passed over with a warning.
///
/// # Errors
/// If a whole checkpoint belongs to another configuration.
pub fn newest(run_folder: &Path, layout: &Layout, config_hash: &str) -> Result<Option<Snapshot>> {
    for path in list(run_folder)? {
        match load(&path, layout, config_hash) {
            Ok(snapshot) => return Ok(Some(snapshot)),
            Err(problem @ CheckpointProblem::OtherConfiguration { .. }) => {
                return Err(HarnessError::input(
                    &path,
                    problem.to_string(),
                    "use another output folder, or delete this run folder",
                ));
            }
            Err(CheckpointProblem::Damaged(problem)) => {
                let path = path.display();
                tracing::warn!("checkpoint {path} is passed over: {problem}");
            }
        }
    }
    Ok(None)
}

/// Deletes the checkpoints after `step`, from which a run goes on: it could not use them, and each
/// would be kept in the place of one that it writes now.
pub fn drop_after(run_folder: &Path, step: u64) -> Result<()> {
    let last = format!("step-{step:010}.safetensors");
    let is_later = |path: &PathBuf| path.file_name().is_some_and(|name| *name > *last);
    for later in list(run_folder)?.into_iter().filter(is_later) {
        std::fs::remove_file(&later).map_err(HarnessError::io(&later))?;
    }
    Ok(())
}

/// Checkpoint files of a run, newest first.
pub fn list(run_folder: &Path) -> Result<Vec<PathBuf>> {
    let folder = run_folder.join(CHECKPOINTS_FOLDER);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(HarnessError::io(&folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(HarnessError::io(&folder))?.file_name();
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("step-") && name.ends_with(".safetensors") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names.iter().rev().map(|name| folder.join(name)).collect())
}

fn describe(header: &str) -> Option<Description> {
    let metadata: Metadata = serde_json::from_str(header.trim_end()).ok()?;
    serde_json::from_str(metadata.metadata().as_ref()?.get(METADATA_KEY)?).ok()
}

/// The header text: a function of layout and description, padded to a multiple of 8 bytes.
fn header(layout: &Layout, description: &Description) -> String {
    let mut end = 0;
    let mut tensors = Vec::with_capacity(3 * layout.specs().len());
    for prefix in PREFIXES {
        for spec in layout.specs() {
            let start = end;
            end += 4 * spec.count();
            let info = TensorInfo {
                dtype: Dtype::F32,
                shape: spec.shape().to_vec(),
                data_offsets: (start, end),
            };
            tensors.push((format!("{prefix}{}", spec.name()), info));
        }
    }
    let text = serde_json::to_string(description).expect("a description is plain data");
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), text)]);
    let metadata = Metadata::new(Some(metadata), tensors).expect("offsets follow each other");
    let mut header = serde_json::to_string(&metadata).expect("a header is plain data");
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    header
}

fn digest(description: &Description, buffers: [&[f32]; 3]) -> String {
    let unsigned = Description { blake3: String::new(), ..description.clone() };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&serde_json::to_vec(&unsigned).expect("a description is plain data"));
    for buffer in buffers {
        hasher.update(bytemuck::cast_slice(buffer));
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use models::parameters::ParameterSpec;

    use super::*;

    fn layout() -> Layout {
        Layout::new(vec![ParameterSpec::bias("b", 4)])
    }

    fn view(step: u64) -> SnapshotView<'static> {
        SnapshotView { step, tokens: 10 * step, buffers: [&[0.5; 4]; 3] }
    }

    #[test]
    fn invariant_a_whole_checkpoint_of_another_schema_is_not_guessed_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = save(folder.path(), &layout(), &view(3), "hash").unwrap();
        assert!(load(&path, &layout(), "hash").is_ok());
        let mut description = Description {
            schema: SCHEMA + 1,
            step: 3,
            tokens: 30,
            config_hash: "hash".to_owned(),
            blake3: String::new(),
        };
        description.blake3 = digest(&description, view(3).buffers);
        let header = header(&layout(), &description);
        let values = bytemuck::cast_slice(&[0.5f32; 12]).to_vec();
        let length = (header.len() as u64).to_le_bytes();
        std::fs::write(&path, [&length[..], header.as_bytes(), &values].concat()).unwrap();
        let problem = load(&path, &layout(), "hash").unwrap_err().to_string();
        assert!(problem.contains("schema 2, this program reads 1"), "{problem}");
    }

    #[test]
    fn invariant_unusable_checkpoints_do_not_push_out_those_written_now() {
        let folder = tempfile::tempdir().unwrap();
        for step in [8, 9] {
            let path = save(folder.path(), &layout(), &view(step), "hash").unwrap();
            std::fs::write(path, b"damaged").unwrap();
        }
        assert!(newest(folder.path(), &layout(), "hash").unwrap().is_none());
        drop_after(folder.path(), 0).unwrap();
        let written = save(folder.path(), &layout(), &view(3), "hash").unwrap();
        assert_eq!(list(folder.path()).unwrap(), [written]);
        assert_eq!(newest(folder.path(), &layout(), "hash").unwrap().unwrap().step, 3);
    }
}
