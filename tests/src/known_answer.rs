//! Known-answer files that a test has changed.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use harness::checks::known_answers::{Array, KnownAnswer, Values};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// The shipped file `golden/known_answers/<name>.safetensors`.
pub fn shipped(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/known_answers");
    folder.join(format!("{name}.safetensors"))
}

/// A known-answer file in memory, free to change.
#[derive(Debug, Clone)]
pub struct Edited {
    /// Configuration.
    pub metadata: BTreeMap<String, String>,
    /// Tensors by name.
    pub tensors: BTreeMap<String, Array>,
}

impl Edited {
    /// Starts from the shipped file `name`.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn from_shipped(name: &str) -> Self {
        let file = KnownAnswer::read(&shipped(name)).expect("shipped files are readable");
        Self { metadata: file.metadata().clone(), tensors: file.tensors().clone() }
    }

    /// The entries of the float tensor `name`.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn floats(&mut self, name: &str) -> &mut Vec<f64> {
        match self.tensors.get_mut(name).map(|array| &mut array.values) {
            Some(Values::Float(values)) => values,
            _ => panic!("no float tensor named {name}"),
        }
    }

    /// Writes the file as `edited.safetensors` in `folder`.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let bytes: Vec<(&String, Dtype, &Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, array)| {
                let (dtype, data) = match &array.values {
                    Values::Float(v) => {
                        (Dtype::F64, v.iter().flat_map(|x| x.to_le_bytes()).collect())
                    }
                    Values::Integer(v) => {
                        (Dtype::I64, v.iter().flat_map(|x| x.to_le_bytes()).collect())
                    }
                };
                (name, dtype, &array.shape, data)
            })
            .collect();
        let views = bytes.iter().map(|(name, dtype, shape, data)| {
            (*name, TensorView::new(*dtype, (*shape).clone(), data).expect("data fits its shape"))
        });
        let metadata: HashMap<String, String> = self.metadata.clone().into_iter().collect();
        let content = safetensors::serialize(views, Some(metadata)).expect("tensors serialise");
        let path = folder.join("edited.safetensors");
        std::fs::write(&path, content).expect("the test folder is writable");
        path
    }
}
