//! The registered files inside the program.

use super::Experiment;
use super::claim::Claim;
use crate::config::suggest::did_you_mean;
use crate::error::{HarnessError, Result};

include!(concat!(env!("OUT_DIR"), "/registered.rs"));

/// Every registered experiment, in the order in which claims name them.
pub fn experiments() -> Result<Vec<Experiment>> {
    let read = EXPERIMENTS.iter().map(|(name, text)| Experiment::parse(name, text));
    let mut all: Vec<Experiment> = read.collect::<Result<_>>()?;
    let named: Vec<String> = claims()?.into_iter().flat_map(|claim| claim.experiments).collect();
    let place = |experiment: &Experiment| {
        named.iter().position(|name| *name == experiment.name).unwrap_or(usize::MAX)
    };
    all.sort_by_key(place);
    Ok(all)
}

/// The registered experiment called `name`.
pub fn experiment(name: &str) -> Result<Experiment> {
    let all = experiments()?;
    let known: Vec<String> = all.iter().map(|experiment| experiment.name.clone()).collect();
    all.into_iter().find(|experiment| experiment.name == name).ok_or_else(|| {
        let guess = did_you_mean(name, known.iter().map(String::as_str));
        HarnessError::config(
            format!("no experiment '{name}'"),
            format!("{guess}registered are {}; or give a TOML file", known.join(", ")),
        )
    })
}

/// Every registered claim, by file name.
pub fn claims() -> Result<Vec<Claim>> {
    CLAIMS.iter().map(|(name, text)| Claim::parse(name, text)).collect()
}
