//! Runs that are the same but for the text.

use crate::config::run::RunConfig;
use crate::corpus::Corpus;
use crate::error::Result;
use crate::ledger::{Ledger, RunKey};

use super::execute::key_on;

/// A line for every run of `ledger` that has the configuration of `run` and another text than
/// `corpus`: its files have changed since, or others were given.
pub fn of_other_text(
    ledger: &Ledger,
    (run, key): (&RunConfig, &RunKey),
    corpus: &Corpus,
) -> Result<Vec<String>> {
    let now = corpus.fingerprint.to_hex();
    let mut told = Vec::new();
    for (_, manifest) in ledger.manifests()? {
        // What cannot be read is told where it is asked for.
        let Ok(manifest) = manifest else { continue };
        let Ok(mut other) = serde_json::from_value::<RunConfig>(manifest.config.clone()) else {
            continue;
        };
        // Another text may have fewer merges.
        other.model = other.model.with_vocab(run.model.vocab());
        other.base = other.base.map(|base| base.with_vocab(run.model.vocab()));
        if manifest.data_fingerprint == now.as_str()
            || key_on(&other, &now).ok().as_ref() != Some(key)
        {
            continue;
        }
        told.push(format!(
            "note: {} has this configuration and was trained on another text (fingerprint {}…, now \
             {}…): a new run begins",
            manifest.run,
            manifest.data_fingerprint.get(..12).unwrap_or_default(),
            &now[..12]
        ));
    }
    Ok(told)
}
