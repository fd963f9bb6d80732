//! The recorded rules of every built-in table: its exponents, and what they resolve to.

use std::path::{Path, PathBuf};

use models::parametrization::{Parametrization, SiteScales};
use serde::{Deserialize, Serialize};

use super::properties::Tables;
use super::subject::{resolve, with_depth};
use super::{Findings, cells};
use crate::checks::thresholds;
use crate::error::{HarnessError, Result};
use crate::input;

/// Name of the recorded file below `golden/`.
pub const FILE: &str = "parametrizations.toml";
/// Vocabulary of the models that rules are resolved for.
const VOCAB: usize = 50;

/// The recorded file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedTables {
    /// One entry per built-in table, in order.
    pub table: Vec<RecordedTable>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedTable {
    /// Its exponents.
    pub exponents: Parametrization,
    /// What they give for small models of twice the base width and depth.
    pub resolved: Vec<ResolvedModel>,
}

/// Rules of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolvedModel {
    /// Family.
    pub family: String,
    /// Factor on the clip.
    pub gradient_clip: f64,
    /// Factors on forward constants.
    pub sites: SiteScales,
    /// `[init std, forward, rate, decay, epsilon]` of every tensor, in layout order.
    pub tensors: Vec<(String, [f64; 5])>,
}

/// The rules of `table` as they are now.
pub fn of(table: &Parametrization) -> Result<RecordedTable> {
    let resolved = ["pt", "preln"].map(|family| -> Result<ResolvedModel> {
        let base = cells::base(family, VOCAB)?;
        let model = with_depth(base.at_width(2 * cells::BASE_WIDTH), 2 * cells::BASE_DEPTH);
        let rules = resolve(&model, &base, table)?;
        let layout = model.layout()?;
        let tensors = layout.specs().iter().zip(&rules.rules).map(|(spec, rule)| {
            let numbers = [
                rule.init_std,
                rule.forward_multiplier,
                rule.lr_multiplier,
                rule.weight_decay_multiplier,
                rule.eps_multiplier,
            ];
            (spec.name().to_owned(), numbers)
        });
        Ok(ResolvedModel {
            family: family.to_owned(),
            gradient_clip: rules.gradient_clip_multiplier,
            sites: rules.sites,
            tensors: tensors.collect(),
        })
    });
    let resolved = resolved.into_iter().collect::<Result<_>>()?;
    Ok(RecordedTable { exponents: table.clone(), resolved })
}

/// All built-in tables as they are now.
pub fn current() -> Result<RecordedTables> {
    let tables = Parametrization::names();
    let table = |name: &str| of(&Parametrization::built_in(name)?);
    Ok(RecordedTables { table: tables.into_iter().map(table).collect::<Result<_>>()? })
}

/// Path of the recorded file below the folder `golden`.
pub fn path(golden: &Path) -> PathBuf {
    golden.join(FILE)
}

/// Reads the recorded file below `golden`.
pub fn read(golden: &Path) -> Result<RecordedTables> {
    let path = path(golden);
    let remedy = "crossscale bless --write records it";
    let text = input::text(&path, input::TEXT_BYTES_MAX)
        .map_err(|error| HarnessError::input(&path, error.to_string(), remedy))?;
    toml::from_str(&text).map_err(|error| HarnessError::input(&path, error.to_string(), remedy))
}

/// How `tables` differ from the recorded ones.
pub fn compare(recorded: &RecordedTables, tables: &Tables) -> Result<Findings> {
    let mut findings = Findings::new();
    for old in &recorded.table {
        let new = of(tables.get(&old.exponents.name)?)?;
        compare_table(old, &new, &mut findings)?;
    }
    for table in tables.iter() {
        if !recorded.table.iter().any(|old| old.exponents.name == table.name) {
            findings.push(format!("{} is not recorded", table.name));
        }
    }
    Ok(findings)
}

fn compare_table(old: &RecordedTable, new: &RecordedTable, findings: &mut Findings) -> Result<()> {
    let name = &old.exponents.name;
    let flat = |table: &RecordedTable| {
        toml::Value::try_from(table).map_err(|error| HarnessError::Invariant(error.to_string()))
    };
    let (mut left, mut right) = (Vec::new(), Vec::new());
    flatten("", &flat(old)?, &mut left);
    flatten("", &flat(new)?, &mut right);
    if left.len() != right.len() {
        findings.push(format!("{name}: {} entries recorded, {} now", left.len(), right.len()));
    }
    let tolerance = thresholds::committed().recorded.rule.value;
    for ((path, old), (path_now, new)) in left.iter().zip(&right) {
        let same = match (old.as_float(), new.as_float()) {
            (Some(old), Some(new)) => (old - new).abs() <= tolerance * old.abs(),
            _ => old == new,
        };
        if path != path_now || !same {
            findings.push(format!("{name}: {path_now} is {new}, recorded {old}"));
        }
    }
    Ok(())
}

/// Leaves of `value` with their paths.
fn flatten(path: &str, value: &toml::Value, leaves: &mut Vec<(String, toml::Value)>) {
    let join =
        |part: &str| if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") };
    match value {
        toml::Value::Table(table) => {
            table.iter().for_each(|(key, value)| flatten(&join(key), value, leaves));
        }
        toml::Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                flatten(&join(&index.to_string()), value, leaves);
            }
        }
        leaf => leaves.push((path.to_owned(), leaf.clone())),
    }
}

/// How `current` differs from the file below `golden`.
pub fn differences(golden: &Path, current: &RecordedTables) -> Result<Findings> {
    if !path(golden).exists() {
        return Ok(current.table.iter().map(|t| format!("{} is new", t.exponents.name)).collect());
    }
    compare(&read(golden)?, &Tables::built_in()?)
}

/// Writes the file below `golden`.
pub fn write(golden: &Path, recorded: &RecordedTables) -> Result<()> {
    let text =
        toml::to_string(recorded).map_err(|error| HarnessError::Invariant(error.to_string()))?;
    super::write_recorded(&path(golden), &text)
}
