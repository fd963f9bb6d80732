//! A text that is not inside the program, as the experiment that needs it describes it.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::data::DataConfig;
use crate::config::train::TrainConfig;
use crate::corpus::{Corpus, CorpusSource, EvaluationSet, Lines, Split};
use crate::error::{HarnessError, Result};

/// What an experiment fixes about a text that its user has to fetch or to make. With these facts
/// its finished runs are found, and reported on, where the text itself must not be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchedText {
    /// Its name for `crossscale data fetch`; empty for a text that is made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fetch: String,
    /// What `crossscale data make` is given, but for the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub make: Option<String>,
    /// Hash of tokenizer, tokens and boundaries, as `corpus.toml` gives it.
    pub fingerprint: String,
    /// Ids of its tokenizer.
    pub vocab: usize,
    /// Loss of the unigram distribution on the evaluation targets, in nats.
    pub unigram_loss_nats: f64,
    /// Loss of what also stands in a target's own place; where it is not stated, a run is held
    /// against the unigram loss, which lies above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_token_loss_nats: Option<f64>,
    /// Loss of what the two neighbours tell as well, an estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbour_loss_nats: Option<f64>,
}

impl FetchedText {
    /// The command that makes it where `data` looks for it.
    pub fn command(&self, data: &DataConfig) -> String {
        let folder = data.tokens.as_deref().unwrap_or(Path::new("FOLDER"));
        match &self.make {
            Some(made) => format!("crossscale data make {made} --out {}", folder.display()),
            None => format!("crossscale data fetch {} --out {}", self.fetch, folder.display()),
        }
    }

    /// Its losses without a model, if all are stated.
    pub fn lines(&self) -> Option<Lines> {
        Some(Lines {
            unigram_nats: self.unigram_loss_nats,
            own_token_nats: self.own_token_loss_nats?,
            neighbour_nats: self.neighbour_loss_nats?,
        })
    }

    /// Whether it lies where `data` looks for it.
    pub fn is_there(&self, data: &DataConfig) -> bool {
        data.tokens.as_deref().is_some_and(Path::is_dir)
    }

    /// # Errors
    /// If `corpus` is another text than the experiment was registered with.
    pub fn check(
        &self,
        data: &DataConfig,
        train: &TrainConfig,
        corpus: &Arc<Corpus>,
    ) -> Result<()> {
        let found = corpus.fingerprint.to_hex();
        let folder = data.tokens.as_deref().unwrap_or(Path::new("")).display();
        if found.as_str() != self.fingerprint || corpus.vocabulary().size != self.vocab {
            return Err(HarnessError::config(
                format!(
                    "{folder} holds another text (fingerprint {}…) than the experiment was \
                     registered with ({}…)",
                    &found[..12],
                    self.fingerprint.get(..12).unwrap_or(&self.fingerprint)
                ),
                format!("remove {folder}, then: {}", self.command(data)),
            ));
        }
        let source = CorpusSource::new(corpus.clone(), data, train, 0, Split::Validation)?;
        // Neighbours are counted over the whole text: only where it is asked.
        let stated = self.own_token_loss_nats.or(self.neighbour_loss_nats);
        let lines = stated.map(|_| -> Result<Lines> {
            let set = EvaluationSet::new(corpus.clone(), data, Split::Validation)?;
            Ok(Lines::of(&set, &data.masking))
        });
        let lines = lines.transpose()?;
        let of = |line: fn(&Lines) -> f64| lines.as_ref().map_or(f64::NAN, line);
        let found = [
            ("unigram_loss_nats", Some(self.unigram_loss_nats), source.unigram_loss_nats()),
            ("own_token_loss_nats", self.own_token_loss_nats, of(|lines| lines.own_token_nats)),
            ("neighbour_loss_nats", self.neighbour_loss_nats, of(|lines| lines.neighbour_nats)),
        ];
        for (key, stated, found) in found {
            let Some(stated) = stated.filter(|stated| (stated - found).abs() >= 1e-9) else {
                continue;
            };
            return Err(HarnessError::config(
                format!(
                    "text.{key} = {stated} of the experiment, but this text with this [data] has \
                     {found}"
                ),
                format!("set it to {found}"),
            ));
        }
        Ok(())
    }
}
