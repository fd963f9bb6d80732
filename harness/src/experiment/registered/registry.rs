//! The registered files inside the program.

use super::Experiment;
use super::claim::Claim;
use crate::error::{HarnessError, Result};

include!(concat!(env!("OUT_DIR"), "/registered.rs"));

/// Every registered experiment, by file name.
pub fn experiments() -> Result<Vec<Experiment>> {
    EXPERIMENTS.iter().map(|(name, text)| Experiment::parse(name, text)).collect()
}

/// The registered experiment called `name`.
pub fn experiment(name: &str) -> Result<Experiment> {
    let all = experiments()?;
    let known: Vec<String> = all.iter().map(|experiment| experiment.name.clone()).collect();
    all.into_iter().find(|experiment| experiment.name == name).ok_or_else(|| {
        HarnessError::config(
            format!("no experiment '{name}'"),
            format!("registered are {}; or give a TOML file", known.join(", ")),
        )
    })
}

/// Every registered claim, by file name.
pub fn claims() -> Result<Vec<Claim>> {
    CLAIMS.iter().map(|(name, text)| Claim::parse(name, text)).collect()
}
