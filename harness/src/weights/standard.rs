//! Between weights of a run and weights in standard form.

use std::path::Path;

use serde_json::Value as Json;
use toml::{Table, Value};

use super::{Origin, finite};
use crate::config::model::ModelConfig;
use crate::config::run::RunConfig;
use crate::error::{HarnessError, Result};
use crate::ledger::canonical;

/// Keys that decide how a model is initialised or trained, not what it computes.
const NOT_FORWARD: [&str; 10] = [
    "zero_readout",
    "init_std",
    "position_start",
    "initial",
    "halting_bias",
    "ponder_cost",
    "dropout",
    "frobenius_coefficient",
    "fixed_rank",
    "logit_factor",
];
/// Keys that say a size in one of several ways; the sizes themselves are compared instead.
const SIZES: [&str; 5] = ["heads", "head_dim", "feed_forward_width", "rank", "topics"];
/// Constants this close, relative to their size, are equal: folding rounds.
const TOLERANCE: f64 = 1e-9;

/// A model and its weights, usable without any parametrization.
#[derive(Debug, Clone, PartialEq)]
pub struct StandardWeights {
    /// Family, shape and constants.
    pub model: ModelConfig,
    /// Weights in layout order.
    pub parameters: Vec<f32>,
    /// Where they come from.
    pub origin: Origin,
}

/// One thing that folding changed.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Change {
    /// Tensor, or key of the model table.
    pub name: String,
    /// Factor on its entries, or on the constant.
    pub factor: f64,
}

impl StandardWeights {
    /// blake3 of model and weights.
    pub fn hash(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(canonical(&self.model.table_json()?).as_bytes());
        hasher.update(bytemuck::cast_slice(&self.parameters));
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// The run that this model is at its own base width: every multiplier is one.
    pub fn plain_run(&self) -> Result<RunConfig> {
        let mut layer = self.model.table_toml()?;
        let base = layer["model"].clone();
        let width = Value::Integer(self.model.dimensions().width as i64);
        let name = Value::String("standard".to_owned());
        let keys = [("name".to_owned(), name), ("base_width".to_owned(), width)];
        layer.insert("base".to_owned(), base);
        layer.insert("parametrization".to_owned(), Value::Table(Table::from_iter(keys)));
        RunConfig::resolve(self.model.family(), vec![layer], &[])
    }
}

/// Carries the weights of `run` over to standard form; also what that changed.
pub fn fold(
    run: &RunConfig,
    parameters: &[f32],
    origin: Origin,
) -> Result<(StandardWeights, Vec<Change>)> {
    let form = run.standard_form()?;
    let layout = run.model.layout()?;
    assert_eq!(parameters.len(), layout.total(), "weights do not fit the model");
    let mut folded = parameters.to_vec();
    let mut changes = Vec::new();
    for (position, (spec, &factor)) in layout.specs().iter().zip(&form.factors).enumerate() {
        if is_one(factor) {
            continue;
        }
        changes.push(Change { name: spec.name().to_owned(), factor });
        for value in &mut folded[layout.range(position)] {
            *value = (f64::from(*value) * factor) as f32;
        }
        finite::check("folded", spec.name(), &folded[layout.range(position)])?;
    }
    changes.extend(constants_changed(&run.model, &form.config)?);
    Ok((StandardWeights { model: form.config, parameters: folded, origin }, changes))
}

/// Parameters with which `run` starts as the function of `weights`, which come from `path`.
pub fn unfold(run: &RunConfig, weights: &StandardWeights, path: &Path) -> Result<Vec<f32>> {
    let form = run.standard_form()?;
    let differences = differences(&form.config, &weights.model)?;
    if !differences.is_empty() {
        return Err(HarnessError::input(
            path,
            format!("holds another model than the run's: {}", differences.join("; ")),
            "train with the file's own sizes and constants (crossscale import writes them as \
             config.toml), or export from a run with these",
        ));
    }
    let layout = run.model.layout()?;
    let mut parameters = weights.parameters.clone();
    for (position, &factor) in form.factors.iter().enumerate() {
        if !is_one(factor) {
            for value in &mut parameters[layout.range(position)] {
                *value = (f64::from(*value) / factor) as f32;
            }
            let name = layout.specs()[position].name();
            let origin = path.display().to_string();
            finite::check(&origin, name, &parameters[layout.range(position)])?;
        }
    }
    Ok(parameters)
}

fn is_one(factor: f64) -> bool {
    (factor - 1.0).abs() == 0.0
}

fn constants_changed(from: &ModelConfig, to: &ModelConfig) -> Result<Vec<Change>> {
    let (from, to) = (from.table_json()?, to.table_json()?);
    let (Json::Object(from), Json::Object(to)) = (from, to) else { return Ok(Vec::new()) };
    let number = |table: &serde_json::Map<String, Json>, key: &str| table.get(key)?.as_f64();
    let changed = from.keys().filter_map(|key| {
        let (old, new) = (number(&from, key)?, number(&to, key)?);
        let name = format!("model.{key}");
        ((old - new).abs() > 0.0).then(|| Change { name, factor: new / old })
    });
    Ok(changed.collect())
}

/// What the forward passes of `expected` and `found` differ in, in words.
fn differences(expected: &ModelConfig, found: &ModelConfig) -> Result<Vec<String>> {
    if expected.family() != found.family() {
        return Ok(vec![format!("family {}, expected {}", found.family(), expected.family())]);
    }
    let mut differences = Vec::new();
    let sizes = |model: &ModelConfig| (model.dimensions(), model.heads());
    let (expected_sizes, found_sizes) = (sizes(expected), sizes(found));
    if expected_sizes != found_sizes {
        differences.push(format!("sizes {found_sizes:?}, expected {expected_sizes:?}"));
    }
    let (expected, found) = (expected.table_json()?, found.table_json()?);
    let (Json::Object(expected), Json::Object(found)) = (expected, found) else {
        return Ok(differences);
    };
    let keys: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    for key in keys {
        if NOT_FORWARD.contains(&key.as_str()) || SIZES.contains(&key.as_str()) {
            continue;
        }
        let (expected, found) = (expected.get(key), found.get(key));
        let close = match (expected.and_then(Json::as_f64), found.and_then(Json::as_f64)) {
            (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
            _ => expected == found,
        };
        if !close {
            let text = |value: Option<&Json>| value.map_or("absent".to_owned(), Json::to_string);
            differences.push(format!("{key} = {}, expected {}", text(found), text(expected)));
        }
    }
    Ok(differences)
}
