//! Reading a known-answer file.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors};

use crate::error::{HarnessError, Result};
use crate::input;

/// Largest file that is read; those of `golden/` have a few hundred kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Entries of a tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Weights, outputs and gradients.
    Float(Vec<f64>),
    /// Ids, labels and masks.
    Integer(Vec<i64>),
}

/// A tensor of a known-answer file.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Row-major shape.
    pub shape: Vec<usize>,
    /// Entries.
    pub values: Values,
}

/// A known-answer file in memory.
#[derive(Debug, Clone)]
pub struct KnownAnswer {
    origin: String,
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, Array>,
}

impl KnownAnswer {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = input::bytes(path, FILE_BYTES_MAX).map_err(|error| {
            HarnessError::input(path, error.to_string(), "name a known-answer .safetensors file")
        })?;
        Self::parse(&path.display().to_string(), &bytes)
    }

    /// Reads the bytes of a file; `origin` names it in errors.
    pub fn parse(origin: &str, bytes: &[u8]) -> Result<Self> {
        let not_ours = |problem: String| {
            let hint = "known answers are safetensors files with F64 and I64 tensors";
            HarnessError::config(format!("{origin}: {problem}"), hint)
        };
        let header = SafeTensors::read_metadata(bytes);
        let (_, header) = header.map_err(|error| not_ours(error.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let content =
            SafeTensors::deserialize(bytes).map_err(|error| not_ours(error.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in content.iter() {
            let words = view
                .data()
                .chunks_exact(8)
                .map(|word| word.try_into().expect("chunks_exact yields eight bytes"));
            let values = match view.dtype() {
                Dtype::F64 => {
                    let values: Vec<f64> = words.map(f64::from_le_bytes).collect();
                    // Nothing agrees or disagrees with a number that is none.
                    if let Some(entry) = values.iter().position(|value| !value.is_finite()) {
                        let value = values[entry];
                        let problem = format!("tensor '{name}' holds {value} at entry {entry}");
                        let hint = "record the file again: known answers are finite numbers";
                        return Err(HarnessError::config(format!("{origin}: {problem}"), hint));
                    }
                    Values::Float(values)
                }
                Dtype::I64 => Values::Integer(words.map(i64::from_le_bytes).collect()),
                other => return Err(not_ours(format!("tensor '{name}' is {other:?}"))),
            };
            tensors.insert(name.to_owned(), Array { shape: view.shape().to_vec(), values });
        }
        Ok(Self { origin: origin.to_owned(), metadata, tensors })
    }

    /// The file's name as it was given.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// A [`HarnessError::Config`] that names this file.
    pub fn error(&self, problem: &str, hint: &str) -> HarnessError {
        HarnessError::config(format!("{}: {problem}", self.origin), hint)
    }

    /// The metadata map.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Whether the metadata map has `key`.
    pub fn has_key(&self, key: &str) -> bool {
        self.metadata.contains_key(key)
    }

    /// Whether there is a tensor called `name`.
    pub fn has_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The metadata entry `key`.
    pub fn text(&self, key: &str) -> Result<&str> {
        self.metadata.get(key).map(String::as_str).ok_or_else(|| {
            let known: Vec<_> = self.metadata.keys().map(String::as_str).collect();
            let hint = format!("its keys are {}", known.join(", "));
            self.error(&format!("metadata key '{key}' is missing"), &hint)
        })
    }

    /// The metadata entry `key` as a number.
    pub fn number<T: FromStr>(&self, key: &str) -> Result<T> {
        let text = self.text(key)?;
        text.trim().parse().map_err(|_| {
            let kind = std::any::type_name::<T>();
            self.error(&format!("metadata '{key}' is '{text}'"), &format!("expected a {kind}"))
        })
    }

    /// The metadata entry `key` as a truth value (`True` or `False`).
    pub fn flag(&self, key: &str) -> Result<bool> {
        match self.text(key)?.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            other => {
                let problem = format!("metadata '{key}' is '{other}'");
                Err(self.error(&problem, "expected True or False"))
            }
        }
    }

    /// Like [`KnownAnswer::number`], `default` if the key is absent.
    pub fn number_or<T: FromStr>(&self, key: &str, default: T) -> Result<T> {
        if self.has_key(key) { self.number(key) } else { Ok(default) }
    }

    /// Like [`KnownAnswer::flag`], `default` if the key is absent.
    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        if self.has_key(key) { self.flag(key) } else { Ok(default) }
    }

    /// All tensors in name order.
    pub fn tensors(&self) -> &BTreeMap<String, Array> {
        &self.tensors
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Result<&Array> {
        self.tensors.get(name).ok_or_else(|| {
            self.error(&format!("tensor '{name}' is missing"), "record the file again")
        })
    }

    /// Shape and entries of the float tensor `name`.
    pub fn floats(&self, name: &str) -> Result<(&[usize], &[f64])> {
        let array = self.tensor(name)?;
        match &array.values {
            Values::Float(values) => Ok((&array.shape, values)),
            Values::Integer(_) => {
                Err(self.error(&format!("tensor '{name}' holds integers"), "expected F64"))
            }
        }
    }

    /// Shape and entries of the integer tensor `name`.
    pub fn integers(&self, name: &str) -> Result<(&[usize], &[i64])> {
        let array = self.tensor(name)?;
        match &array.values {
            Values::Integer(values) => Ok((&array.shape, values)),
            Values::Float(_) => {
                Err(self.error(&format!("tensor '{name}' holds floats"), "expected I64"))
            }
        }
    }

    /// The float tensor `name` on the CPU in `dtype`; its shape must be `shape`.
    pub fn load(&self, name: &str, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let (found, values) = self.floats(name)?;
        if found != shape {
            let problem = format!("tensor '{name}' has shape {found:?}");
            return Err(self.error(&problem, &format!("its metadata asks for {shape:?}")));
        }
        let tensor = Tensor::from_slice(values, shape, &Device::Cpu);
        Ok(tensor.and_then(|t| t.to_dtype(dtype)).map_err(models::ModelError::from)?)
    }
}
