//! Safetensors files of weights: read with every claim checked first, written with the same bytes
//! each time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::{Map, Value, json};

use super::finite;
use crate::error::{HarnessError, Result};
use crate::ledger::atomic;

/// Longest header that is read; one of 100 000 tensors stays below.
const HEADER_LIMIT: u64 = 100 << 20;
/// Metadata key of the blake3 of all tensors, in files that this program wrote.
const HASH_KEY: &str = "crossscale_blake3";
const NOT_SAFETENSORS: &str = "weights are safetensors files; was it written or copied whole?";

/// An open file whose header has been checked against its size.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    data_start: u64,
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl TensorFile {
    /// Opens `path`. Nothing larger than the file itself is allocated, whatever its header says.
    ///
    /// # Errors
    /// [`HarnessError::Input`] if there is no such file or it is no whole safetensors file, or one
    /// of ours that was changed since it was written.
    pub fn open(path: &Path) -> Result<Self> {
        let bad = |problem: String| HarnessError::input(path, problem, NOT_SAFETENSORS);
        let mut file = File::open(path).map_err(|error| {
            HarnessError::input(path, error.to_string(), "name an existing .safetensors file")
        })?;
        let size = file.metadata().map_err(HarnessError::io(path))?.len();
        let mut length = [0u8; 8];
        file.read_exact(&mut length).map_err(|_| bad(format!("holds {size} bytes only")))?;
        let length = u64::from_le_bytes(length);
        if length > HEADER_LIMIT.min(size.saturating_sub(8)) {
            return Err(bad(format!(
                "its header claims {length} bytes in a file of {size} (limit {HEADER_LIMIT})"
            )));
        }
        let mut text = vec![0u8; length as usize];
        file.read_exact(&mut text).map_err(HarnessError::io(path))?;
        // Offsets that leave gaps, overlap, overflow or contradict a shape fail to parse.
        let header: Metadata = serde_json::from_slice(&text)
            .map_err(|error| bad(format!("its header is not valid: {error}")))?;
        let (claimed, there) = (header.data_len() as u64, size - 8 - length);
        if claimed != there {
            return Err(bad(format!(
                "its header claims {claimed} bytes of tensors, {there} follow"
            )));
        }
        let tensors = header.tensors().into_iter().map(|(name, info)| (name, info.clone()));
        let tensors: BTreeMap<_, _> = tensors.collect();
        let mut metadata: BTreeMap<String, String> =
            header.metadata().clone().unwrap_or_default().into_iter().collect();
        if let Some(expected) = metadata.remove(HASH_KEY) {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(&mut file).map_err(HarnessError::io(path))?;
            if hasher.finalize().to_hex().as_str() != expected {
                return Err(bad("its content does not match its hash".to_owned()));
            }
        }
        Ok(Self { path: path.to_owned(), file, data_start: 8 + length, metadata, tensors })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata map.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Shape of the tensor called `name`, if there is one.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|info| info.shape.as_slice())
    }

    /// Entries of the tensor called `name`, which must have `shape`; f64, f16 and bf16 become f32.
    ///
    /// # Errors
    /// If it is missing, of another shape or not a float tensor.
    pub fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let Some(info) = self.tensors.get(name) else {
            return Err(HarnessError::input(
                &self.path,
                format!("has no tensor '{name}' (expected shape {shape:?})"),
                "is it of this family and depth, with its language-model head?",
            ));
        };
        if info.shape != shape {
            return Err(HarnessError::input(
                &self.path,
                format!("tensor '{name}': expected shape {shape:?}, found {:?}", info.shape),
                "give the model the sizes of the file, e.g. --set model.width=…",
            ));
        }
        let dtype = match info.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            other => {
                return Err(HarnessError::input(
                    &self.path,
                    format!("tensor '{name}' is {other:?}"),
                    "weights are f32, f64, f16 or bf16",
                ));
            }
        };
        let (start, end) = info.data_offsets;
        let mut bytes = vec![0u8; end - start];
        self.file
            .seek(SeekFrom::Start(self.data_start + start as u64))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(HarnessError::io(&self.path))?;
        let tensor = Tensor::from_raw_buffer(&bytes, dtype, shape, &Device::Cpu)
            .and_then(|tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>());
        Ok(tensor.map_err(models::ModelError::from)?)
    }

    /// As [`TensorFile::read`], of a tensor whose entries must all be numbers as f32.
    ///
    /// # Errors
    /// Also [`HarnessError::NotFinite`] if an entry is NaN or infinite.
    pub fn read_numbers(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let values = self.read(name, shape)?;
        finite::check(&self.path.display().to_string(), name, &values)?;
        Ok(values)
    }
}

/// A tensor to be written: name, shape, entries.
pub type Named<'a> = (String, &'a [usize], &'a [f32]);

/// Writes an f32 safetensors file, whole or not at all; the same arguments give the same bytes.
pub fn write(path: &Path, metadata: &BTreeMap<String, String>, tensors: &[Named]) -> Result<()> {
    let mut hasher = blake3::Hasher::new();
    for (_, _, values) in tensors {
        hasher.update(bytemuck::cast_slice(values));
    }
    let mut metadata = metadata.clone();
    metadata.insert(HASH_KEY.to_owned(), hasher.finalize().to_hex().to_string());
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!(metadata));
    let mut end = 0;
    for (name, shape, values) in tensors {
        let count: usize = shape.iter().product();
        assert_eq!(count, values.len(), "tensor {name} does not fit its shape");
        let start = end;
        end += 4 * count;
        let info = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
        let earlier = header.insert(name.clone(), info);
        assert!(earlier.is_none(), "two tensors are named {name}");
    }
    let mut header = Value::Object(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    atomic::replace(path, |file, _| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        tensors.iter().try_for_each(|(_, _, values)| file.write_all(bytemuck::cast_slice(values)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.safetensors");
        std::fs::write(&path, bytes).unwrap();
        TensorFile::open(&path).unwrap_err().to_string()
    }

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    #[test]
    fn invariant_a_written_file_reads_back_and_has_the_same_bytes_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let metadata = BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".into(), "1".into())]);
        let values = [1.5f32, -0.0, f32::MIN_POSITIVE, 4.0, 5.0, 6.0];
        let tensors: [Named; 2] =
            [("z.w".into(), &[2, 2], &values[..4]), ("a".into(), &[2], &values[4..])];
        let paths = ["1", "2"].map(|name| folder.path().join(name));
        for path in &paths {
            write(path, &metadata, &tensors).unwrap();
        }
        assert_eq!(std::fs::read(&paths[0]).unwrap(), std::fs::read(&paths[1]).unwrap());
        let mut read = TensorFile::open(&paths[0]).unwrap();
        assert_eq!(read.metadata(), &metadata);
        assert_eq!(read.names().collect::<Vec<_>>(), ["a", "z.w"]);
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read.read("z.w", &[2, 2]).unwrap()), bits(&values[..4]));
        let bytes = std::fs::read(&paths[0]).unwrap();
        safetensors::SafeTensors::deserialize(&bytes).unwrap();
        // One bit of one weight, in a file that is otherwise whole.
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(problem(&flipped).contains("does not match its hash"));
    }

    #[test]
    fn invariant_missing_tensors_and_wrong_shapes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        write(&path, &BTreeMap::new(), &[("w".into(), &[2, 3], &[0.0; 6])]).unwrap();
        let mut file = TensorFile::open(&path).unwrap();
        let shape = file.read("w", &[3, 2]).unwrap_err().to_string();
        assert!(shape.contains("'w': expected shape [3, 2], found [2, 3]"), "{shape}");
        let missing = file.read("v", &[1]).unwrap_err().to_string();
        assert!(missing.contains("no tensor 'v'"), "{missing}");
    }

    #[test]
    fn invariant_absurd_and_contradictory_headers_are_refused() {
        assert!(problem(&[1, 2]).contains("holds 2 bytes"));
        let huge = problem(&(1u64 << 60).to_le_bytes());
        assert!(huge.contains("claims 1152921504606846976 bytes in a file of 8"), "{huge}");
        let overflow = format!(
            r#"{{"w":{{"dtype":"F32","shape":[{0},{0}],"data_offsets":[0,4]}}}}"#,
            1u64 << 40
        );
        assert!(problem(&file(&overflow, 4)).contains("not valid"));
        let large = r#"{"w":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}}"#;
        let message = problem(&file(large, 4));
        assert!(message.contains("claims 4000000000 bytes of tensors, 4 follow"), "{message}");
        let gap = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
        assert!(problem(&file(gap, 8)).contains("not valid"));
        assert!(problem(&file("not json", 0)).contains("not valid"));
    }
}
