//! The files of `harness/experiments`, which are inside the program: their names and texts.

use crate::config::suggest::did_you_mean;
use crate::error::{HarnessError, Result};

include!(concat!(env!("OUT_DIR"), "/experiments.rs"));

/// Names of the registered experiments.
pub fn registered() -> Vec<&'static str> {
    EXPERIMENTS.iter().map(|(name, _)| *name).collect()
}

/// Names of the presets of `reproduce`.
pub fn presets() -> Vec<&'static str> {
    PRESETS.iter().map(|(name, _)| *name).collect()
}

/// Text of the registered experiment or preset called `name`.
pub fn text(name: &str) -> Result<&'static str> {
    let all = || EXPERIMENTS.iter().chain(PRESETS);
    all().find(|(known, _)| *known == name).map(|(_, text)| *text).ok_or_else(|| {
        let guess = did_you_mean(name, all().map(|(known, _)| *known));
        HarnessError::config(
            format!("no experiment '{name}'"),
            format!(
                "{guess}registered are {}; presets are {}; or give the name of a .toml file",
                registered().join(", "),
                presets().join(", ")
            ),
        )
    })
}

/// Text of the recipe called `name`: `[data]` and `[train]` that several experiments share.
pub fn recipe(name: &str) -> Result<&'static str> {
    RECIPES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text).ok_or_else(|| {
        let known: Vec<&str> = RECIPES.iter().map(|(name, _)| *name).collect();
        let guess = did_you_mean(name, known.iter().copied());
        HarnessError::config(
            format!("no recipe '{name}'"),
            format!("{guess}recipes are {}", known.join(", ")),
        )
    })
}

/// Names and texts of the claims.
pub fn claims() -> &'static [(&'static str, &'static str)] {
    CLAIMS
}
