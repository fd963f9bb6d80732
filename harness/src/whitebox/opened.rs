//! A run folder or an exported file, opened for questions: its model and its tokenizer.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use models::architecture::{Architecture, Probe, TensorBatch, Weights, tensors};
use models::batch::{Batch, Target};
use models::layers;

use crate::checks::recorded::subject::Subject;
use crate::config::data::{TokenizerConfig, TokenizerKind};
use crate::config::run::RunConfig;
use crate::corpus::{Tokenizer, TokenizerRecord};
use crate::error::{HarnessError, Result};
use crate::weights::{KnownWeights, finite, run_folder};

/// Tokens of one text that are read at most: attention needs memory for all pairs of them.
pub const TOKENS_MAX: usize = 4096;

/// Weights with the run they belong to.
#[derive(Debug)]
pub struct Opened {
    /// Configuration; of an exported file the model alone is known, the rest is default.
    pub run: RunConfig,
    /// Tokens of a sequence in training, if that is known.
    length: Option<usize>,
    /// Weights in layout order.
    pub parameters: Vec<f32>,
    /// How text becomes tokens.
    pub tokenizer: Tokenizer,
}

impl Opened {
    /// Opens the run folder, one-run ledger or exported file at `path` with the tokenizer that it
    /// keeps; a file that keeps none needs `tokenizer`, a `tokenizer.json` or the folder of a run.
    ///
    /// # Errors
    /// If there is nothing to open, or the tokenizer is not the one that the model was trained
    /// with as far as that can be known.
    pub fn open(path: &Path, tokenizer: Option<&Path>) -> Result<Self> {
        let given = tokenizer.map(given_tokenizer).transpose()?;
        let KnownWeights { run, of_run, parameters, tokenizer, .. } = KnownWeights::open(path)?;
        let tokenizer = of_weights(given, tokenizer, path)?;
        let (known, found) = (run.model.vocab(), tokenizer.vocabulary().size);
        if known < found {
            return Err(HarnessError::config(
                format!("the model has {known} vocabulary entries, the tokenizer {found}"),
                "use the tokenizer that the model was trained with: --tokenizer RUN",
            ));
        }
        let length = of_run.then_some(run.data.length);
        Ok(Self { run, length, parameters, tokenizer })
    }

    /// The model, computing in `dtype`.
    pub fn model(&self, dtype: DType) -> Result<TrainedModel> {
        TrainedModel::new(&self.run, &self.parameters, dtype)
    }

    /// Refuses a text of too many tokens, warns of one longer than the model ever saw.
    pub fn check_length(&self, tokens: usize) -> Result<()> {
        if tokens == 0 || tokens > TOKENS_MAX {
            return Err(HarnessError::config(
                format!("the text has {tokens} tokens; from 1 to {TOKENS_MAX} can be read"),
                "give one sentence or paragraph",
            ));
        }
        if let Some(trained) = self.length
            && tokens > trained
        {
            tracing::warn!(
                "the text has {tokens} tokens, more than the {trained} of a sequence in training"
            );
        }
        Ok(())
    }
}

/// The tokenizer of the weights at `path`: theirs, which `given` may only repeat.
fn of_weights(
    given: Option<Tokenizer>,
    known: Option<TokenizerRecord>,
    path: &Path,
) -> Result<Tokenizer> {
    match (given, known) {
        (None, None) => Err(HarnessError::config(
            format!("{} holds weights but no tokenizer", path.display()),
            "add --tokenizer FILE.json, or --tokenizer RUN for that of a run folder",
        )),
        (None, Some(known)) => known.restore(),
        (Some(given), None) => Ok(given),
        (Some(given), Some(known)) if TokenizerRecord::of(&given)?.encodes_like(&known) => {
            Ok(given)
        }
        (Some(_), Some(_)) => Err(HarnessError::config(
            format!("--tokenizer is not the tokenizer of the weights in {}", path.display()),
            "leave it out: the weights bring theirs",
        )),
    }
}

/// The tokenizer of a run folder, or the one in a `tokenizer.json`.
fn given_tokenizer(path: &Path) -> Result<Tokenizer> {
    if path.is_dir() {
        let folder = run_folder::find(path, Path::new("runs"))?;
        return of_weights(None, run_folder::trained(&folder)?.tokenizer(), &folder);
    }
    let kind = TokenizerKind::File;
    let config =
        TokenizerConfig { kind, path: Some(path.to_owned()), ..TokenizerConfig::default() };
    Tokenizer::prepare(&config, &[], None)
}

/// A trained model on the reference path.
pub struct TrainedModel {
    subject: Subject,
    tensors: Vec<Tensor>,
    dtype: DType,
}

impl TrainedModel {
    /// The model of `run` with these weights, computing in `dtype` on the CPU.
    pub fn new(run: &RunConfig, parameters: &[f32], dtype: DType) -> Result<Self> {
        let table = run.parametrization.table()?;
        let subject = Subject::new(&run.model, &run.base_model(), &table)?;
        let stored = tensors(&subject.layout, parameters, &Device::Cpu)?;
        let convert = |tensor: &Tensor| tensor.to_dtype(dtype);
        let converted: candle_core::Result<_> = stored.iter().map(convert).collect();
        let tensors = converted.map_err(models::ModelError::from)?;
        Ok(Self { subject, tensors, dtype })
    }

    /// The reference definition.
    pub fn architecture(&self) -> &dyn Architecture {
        self.subject.architecture.as_ref()
    }

    /// Its weights with the multipliers of the parametrization.
    pub fn weights(&self) -> Weights<'_> {
        Weights::new(&self.subject.layout, &self.tensors, Some(&self.subject.resolved))
    }

    /// Runs one sequence of `ids` and shows its intermediate values to `probe`; the last hidden
    /// states `(n, D)`.
    ///
    /// # Errors
    /// If the model cannot run them, or what it computes is no number.
    pub fn read(&self, ids: &[u32], probe: &mut dyn Probe) -> Result<Tensor> {
        let batch = self.batch(ids, &[])?;
        let hidden = self.architecture().encode(&self.weights(), &batch, probe)?.hidden;
        let sum = || hidden.to_dtype(DType::F64)?.abs()?.sum_all()?.to_scalar::<f64>();
        require_finite(sum().map_err(models::ModelError::from)?)?;
        Ok(hidden.squeeze(0).map_err(models::ModelError::from)?)
    }

    /// Probabilities of every token at `positions` of one sequence, `(R, V)`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn predict(
        &self,
        ids: &[u32],
        positions: &[usize],
        probe: &mut dyn Probe,
    ) -> Result<Vec<Vec<f64>>> {
        let batch = self.batch(ids, positions)?;
        let run = |probe: &mut dyn Probe| -> models::Result<Vec<Vec<f64>>> {
            let weights = self.weights();
            let hidden = self.architecture().encode(&weights, &batch, probe)?.hidden.squeeze(0)?;
            let rows = hidden.index_select(&batch.positions, 0)?;
            let logits = self.architecture().head(&weights, &rows, probe)?.to_dtype(DType::F64)?;
            Ok(layers::softmax(&logits, None)?.to_vec2::<f64>()?)
        };
        let rows = run(probe)?;
        require_finite(rows.iter().flatten().sum())?;
        Ok(rows)
    }

    fn batch(&self, ids: &[u32], positions: &[usize]) -> Result<TensorBatch> {
        let target = |&position: &usize| Target { position: position as u32, label: 0 };
        let batch = Batch {
            ids: ids.to_vec(),
            targets: positions.iter().map(target).collect(),
            sequences: 1,
            length: ids.len(),
            ..Batch::default()
        };
        batch.validate(self.architecture().vocab())?;
        Ok(TensorBatch::new(&batch, self.dtype, &Device::Cpu)?)
    }
}

/// Refuses what is computed of a text if the sum over it is no number.
fn require_finite(sum: f64) -> Result<()> {
    if sum.is_finite() {
        return Ok(());
    }
    Err(finite::computed(format!("what the model computes from the text sums to {sum}")))
}

#[cfg(test)]
mod tests {
    use models::architecture::NoProbe;

    use super::*;

    #[test]
    fn invariant_what_is_no_number_is_no_answer() {
        let sets = ["model.width=64", "model.vocab=20"].map(str::to_owned);
        for family in ["pt", "preln"] {
            let run = RunConfig::resolve(family, Vec::new(), &sets).unwrap();
            let parameters = vec![f32::MAX; run.model.layout().unwrap().total()];
            let model = TrainedModel::new(&run, &parameters, DType::F32).unwrap();
            let read = model.read(&[1, 2, 3], &mut NoProbe).map(|_| ());
            let predicted = model.predict(&[1, 2, 3], &[1], &mut NoProbe).map(|_| ());
            for result in [read, predicted] {
                let error = result.expect_err(family);
                assert!(matches!(error, HarnessError::NotFinite { .. }), "{family}: {error}");
            }
        }
    }
}
