//! Weights in a run folder or an exported file, with what their place says about them.

use std::path::Path;

use super::{StandardWeights, load, run_folder};
use crate::config::data::DataConfig;
use crate::config::run::RunConfig;
use crate::corpus::TokenizerRecord;
use crate::error::{HarnessError, Result};

/// Weights with the run that they belong to.
#[derive(Debug, Clone)]
pub struct KnownWeights {
    /// Configuration; of a file the model alone is known, the rest is default.
    pub run: RunConfig,
    /// Whether they stand in a run folder, so that all of `run` is known.
    pub of_run: bool,
    /// Weights in layout order.
    pub parameters: Vec<f32>,
    /// Tokenizer whose ids they know.
    pub tokenizer: Option<TokenizerRecord>,
    /// Fingerprint of the text that they were trained on.
    pub text: Option<String>,
    /// Where that text lies; files of weights do not say.
    pub trained_on: Option<DataConfig>,
}

impl KnownWeights {
    /// Opens the run folder, one-run ledger or exported file at `path`; says if the run has not
    /// ended.
    ///
    /// # Errors
    /// If there is nothing there, or it holds no weights.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            let folder = run_folder::find(path, Path::new("runs"))?;
            let trained = run_folder::trained(&folder)?;
            trained.tell_unfinished();
            return Ok(Self {
                of_run: true,
                tokenizer: trained.tokenizer(),
                text: Some(trained.manifest.data_fingerprint),
                trained_on: Some(trained.run.data.clone()),
                run: trained.run,
                parameters: trained.parameters,
            });
        }
        if !path.exists() {
            let hint =
                "name a run folder (crossscale status FOLDER lists runs) or a .safetensors file";
            return Err(HarnessError::input(path, "no such file or folder", hint));
        }
        let weights = load(path)?;
        let run = weights.plain_run()?;
        let StandardWeights { parameters, origin, .. } = weights;
        let (tokenizer, text) = (origin.tokenizer, origin.text);
        Ok(Self { run, of_run: false, parameters, tokenizer, text, trained_on: None })
    }
}
