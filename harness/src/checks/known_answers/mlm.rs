//! Running an encoder with a masked-language-modelling head on a file's batch.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use models::ModelError;
use models::architecture::{Architecture, Probe, TensorBatch, Weights};
use models::batch::{Batch, Target};
use models::layers;

use super::{Computed, KnownAnswer};
use crate::error::Result;

/// Label of positions that are not predicted.
const NOT_PREDICTED: i64 = -100;

/// `input_ids`, `attention_mask` (optional) and `labels` of a file, each `(B, n)`.
#[derive(Debug, Clone)]
pub struct MlmCase {
    /// Ids, padding and positions to predict.
    pub batch: Batch,
}

impl MlmCase {
    /// Reads the one batch of `file` for a vocabulary of `vocab`.
    pub fn read(file: &KnownAnswer, vocab: usize) -> Result<Self> {
        let mut batches = Self::read_steps(file, vocab, 2)?;
        Ok(batches.remove(0))
    }

    /// Reads the batches of `file` whose ids have `axes` axes: 2 = one batch `(B, n)`, 3 = one
    /// batch per step `(steps, B, n)`.
    pub fn read_steps(file: &KnownAnswer, vocab: usize, axes: usize) -> Result<Vec<Self>> {
        let (shape, ids) = file.integers("input_ids")?;
        let mut padding = None;
        if file.has_tensor("attention_mask") {
            padding = Some(same_shape(file, "attention_mask", shape)?);
        }
        let labels = same_shape(file, "labels", shape)?;
        if shape.len() != axes || shape.contains(&0) {
            let problem = format!("tensor 'input_ids' has shape {shape:?}");
            let expected = if axes == 2 { "(B, n)" } else { "(steps, B, n)" };
            return Err(file.error(&problem, &format!("expected {expected}, no axis empty")));
        }
        let (sequences, length) = (shape[axes - 2], shape[axes - 1]);
        let tokens = sequences * length;
        let cases = ids.chunks(tokens).zip(labels.chunks(tokens)).enumerate();
        cases
            .map(|(step, (ids, labels))| {
                let attention = padding.map(|flags| {
                    flags[step * tokens..][..tokens].iter().map(|&flag| flag != 0).collect()
                });
                let batch = Batch {
                    ids: ids.iter().map(|&id| token(file, id)).collect::<Result<_>>()?,
                    attention,
                    targets: targets(file, labels)?,
                    sequences,
                    length,
                    dropout: None,
                };
                batch.validate(vocab)?;
                Ok(Self { batch })
            })
            .collect()
    }

    /// `true` where a word stands, `(B, n)`.
    pub fn words(&self) -> Vec<bool> {
        self.batch.attention.clone().unwrap_or_else(|| vec![true; self.batch.ids.len()])
    }

    /// For a value `(B, C, n, ..)`: `true` in the rows of words, `(B, C, n)`.
    pub fn word_rows(&self, channels: usize) -> Vec<bool> {
        let words = self.words();
        let each = words.chunks(self.batch.length);
        each.flat_map(|row| std::iter::repeat_n(row, channels).flatten().copied()).collect()
    }
}

fn same_shape<'a>(file: &'a KnownAnswer, name: &str, shape: &[usize]) -> Result<&'a [i64]> {
    let (found, values) = file.integers(name)?;
    if found == shape {
        return Ok(values);
    }
    let problem = format!("tensor '{name}' has shape {found:?}");
    Err(file.error(&problem, &format!("'input_ids' has {shape:?}")))
}

fn token(file: &KnownAnswer, id: i64) -> Result<u32> {
    u32::try_from(id).map_err(|_| file.error(&format!("id {id} is no token"), "ids start at 0"))
}

fn targets(file: &KnownAnswer, labels: &[i64]) -> Result<Vec<Target>> {
    let predicted = labels.iter().enumerate().filter(|&(_, &label)| label != NOT_PREDICTED);
    let targets = predicted
        .map(|(position, &label)| {
            Ok(Target { position: position as u32, label: token(file, label)? })
        })
        .collect::<Result<Vec<_>>>()?;
    if targets.is_empty() {
        return Err(file.error("no position is predicted", "give some labels other than -100"));
    }
    Ok(targets)
}

/// Everything one forward and backward pass gives.
pub struct MlmRun {
    /// Hidden states of the encoder, `(B, n, D)`.
    pub hidden: Tensor,
    /// Logits at every position, `(B, n, V)`.
    pub logits: Tensor,
    /// Mean cross-entropy over the targets, nats, a scalar.
    pub loss: Tensor,
    /// Gradient of the loss, one per parameter in layout order.
    pub gradients: Vec<Tensor>,
    /// Recorded quantities by site and iteration.
    pub probes: BTreeMap<(String, usize), Tensor>,
}

#[derive(Default)]
struct Recorder(BTreeMap<(String, usize), Tensor>);

impl Probe for Recorder {
    fn record(&mut self, site: &str, iteration: usize, value: &Tensor) -> models::Result<()> {
        self.0.insert((site.to_owned(), iteration), value.detach());
        Ok(())
    }
}

impl MlmRun {
    /// Runs `model` on `case` with `parameters` (layout order).
    pub fn new<A: Architecture + ?Sized>(
        model: &A,
        case: &MlmCase,
        parameters: &[Tensor],
    ) -> std::result::Result<Self, ModelError> {
        let variables =
            parameters.iter().map(Var::from_tensor).collect::<candle_core::Result<Vec<_>>>()?;
        let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
        let weights = Weights::new(model.layout(), &tensors, None);
        let dtype = tensors.first().map_or(DType::F64, Tensor::dtype);
        let batch = TensorBatch::new(&case.batch, dtype, &Device::Cpu)?;
        let mut recorder = Recorder::default();
        let hidden = model.encode(&weights, &batch, &mut recorder)?.hidden;
        let width = hidden.dim(2)?;
        let rows = hidden.reshape((batch.sequences * batch.length, width))?;
        let logits = model.head(&weights, &rows, &mut recorder)?;
        let targets = logits.index_select(&batch.positions, 0)?;
        let loss = layers::cross_entropy(&targets, &batch.labels)?.mean_all()?;
        let store = loss.backward()?;
        let gradients = variables.iter().map(|variable| match store.get(variable) {
            Some(gradient) => Ok(gradient.clone()),
            None => variable.zeros_like(),
        });
        Ok(Self {
            logits: logits.reshape((batch.sequences, batch.length, model.vocab()))?.detach(),
            hidden: hidden.detach(),
            loss: loss.detach(),
            gradients: gradients.collect::<candle_core::Result<Vec<_>>>()?,
            probes: recorder.0,
        })
    }

    /// The recorded `site` of `iteration`.
    ///
    /// # Panics
    /// If the model records no such site: that is a bug in the model.
    pub fn probe(&self, site: &str, iteration: usize) -> &Tensor {
        let found = self.probes.get(&(site.to_owned(), iteration));
        found.unwrap_or_else(|| panic!("the model records {site} of iteration {iteration}"))
    }

    /// `logits` at words, `loss`, and `grad.<name>` for each parameter, where `file_name` turns a
    /// layout's name into the file's.
    pub fn computed<A: Architecture + ?Sized>(
        &self,
        model: &A,
        case: &MlmCase,
        file_name: impl Fn(&str) -> String,
    ) -> Result<Vec<Computed>> {
        let loss = self.loss.reshape(1).map_err(ModelError::from)?;
        let mut computed = vec![
            Computed::at("logits", &self.logits, &case.words())?,
            Computed::new("loss", &loss)?,
        ];
        for (spec, gradient) in model.layout().specs().iter().zip(&self.gradients) {
            computed.push(Computed::new(format!("grad.{}", file_name(spec.name())), gradient)?);
        }
        Ok(computed)
    }
}

/// The `param.*` tensors of `file` in the layout order of `model`, as `dtype`; `file_name` turns a
/// layout's name into the file's. A parameter that the model lacks is an error.
pub fn parameters<A: Architecture + ?Sized>(
    file: &KnownAnswer,
    model: &A,
    dtype: DType,
    file_name: impl Fn(&str) -> String,
) -> Result<Vec<Tensor>> {
    parameters_beside(file, model, dtype, file_name, &[])
}

/// Like [`parameters`], for a file that also has parameters called `unused`, which are not read.
pub fn parameters_beside<A: Architecture + ?Sized>(
    file: &KnownAnswer,
    model: &A,
    dtype: DType,
    file_name: impl Fn(&str) -> String,
    unused: &[&str],
) -> Result<Vec<Tensor>> {
    let specs = model.layout().specs();
    let names: Vec<_> =
        specs.iter().map(|spec| format!("param.{}", file_name(spec.name()))).collect();
    for name in file.tensors().keys() {
        let Some(bare) = name.strip_prefix("param.") else { continue };
        if !names.contains(name) && !unused.contains(&bare) {
            let hint = format!("its parameters are {}", names.join(", "));
            return Err(file.error(&format!("the model has no '{name}'"), &hint));
        }
    }
    let pairs = specs.iter().zip(&names);
    pairs.map(|(spec, name)| file.load(name, spec.shape(), dtype)).collect()
}
