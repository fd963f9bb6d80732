//! One run: everything that decides its numbers.

use std::path::{Path, PathBuf};

use models::ModelError;
use models::parametrization::Parametrization;
use models::standard_form::StandardForm;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::compute::Compute;
use super::data::DataConfig;
use super::fitting;
use super::model::{BuiltModel, ComputePath, ModelConfig};
use super::overrides;
use super::suggest;
use super::train::TrainConfig;
use crate::error::{HarnessError, Result};
use crate::input;

/// Width at which every parametrization equals `standard`, unless the run says otherwise.
pub const BASE_WIDTH: usize = 256;

/// The `[parametrization]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParametrizationConfig {
    /// A built-in table or the path of a TOML table.
    pub name: String,
    /// Width of the base model; ignored if `[base]` is given.
    pub base_width: usize,
}

impl Default for ParametrizationConfig {
    fn default() -> Self {
        Self { name: "mup-table8".to_owned(), base_width: BASE_WIDTH }
    }
}

impl ParametrizationConfig {
    /// The table of exponents.
    pub fn table(&self) -> Result<Parametrization> {
        match self.file_text()? {
            Some(text) => Ok(Parametrization::parse(&self.name, &text)?),
            None => built_in(&self.name),
        }
    }

    /// blake3 of the table, if it is a file.
    pub fn file_hash(&self) -> Result<Option<blake3::Hash>> {
        Ok(self.file_text()?.map(|text| blake3::hash(text.as_bytes())))
    }

    /// The table as text, if it is a file.
    fn file_text(&self) -> Result<Option<String>> {
        let path = Path::new(&self.name);
        if path.extension().is_none_or(|extension| extension != "toml") {
            return Ok(None);
        }
        input::text(path, input::TEXT_BYTES_MAX).map(Some).map_err(|error| {
            HarnessError::input(path, error.to_string(), "give an existing TOML table")
        })
    }
}

/// The built-in table called `name`, the nearest name in the error if there is none.
pub fn built_in(name: &str) -> Result<Parametrization> {
    Ok(Parametrization::built_in(name).map_err(|error| match error {
        ModelError::Parametrization { name, problem, hint } => {
            let guess = suggest::did_you_mean(&name, Parametrization::names());
            ModelError::Parametrization { name, problem, hint: format!("{guess}{hint}") }
        }
        other => other,
    })?)
}

/// The `[init]` table: weights that a run starts from instead of random ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitConfig {
    /// An exported file or a run folder.
    pub path: PathBuf,
    /// blake3 of the weights in standard form; filled in when the run begins, checked if given.
    #[serde(default)]
    pub blake3: String,
}

/// A fully resolved run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Family and shape.
    pub model: ModelConfig,
    /// Base model of the parametrization; `None` = the model at `parametrization.base_width`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<ModelConfig>,
    /// Exponent table.
    #[serde(default)]
    pub parametrization: ParametrizationConfig,
    /// Text, tokenizer, masking, evaluation.
    #[serde(default)]
    pub data: DataConfig,
    /// Optimiser, schedule, steps.
    #[serde(default)]
    pub train: TrainConfig,
    /// Seed of initial parameters and dropout.
    #[serde(default)]
    pub seed: u64,
    /// Seed of token order and training masks; the same for every model of a comparison.
    #[serde(default)]
    pub data_seed: u64,
    /// Which implementation computes the gradients.
    #[serde(default)]
    pub path: ComputePath,
    /// Weights to start from; `None` = random ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitConfig>,
}

/// A configuration file before it is laid on the defaults: every table may be absent. Only read
/// so that an error points at the file's own line, which a merged table no longer knows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only the success of reading it matters")]
struct RunFile {
    model: Option<ModelConfig>,
    base: Option<ModelConfig>,
    parametrization: Option<ParametrizationConfig>,
    data: Option<DataConfig>,
    train: Option<TrainConfig>,
    seed: Option<u64>,
    data_seed: Option<u64>,
    path: Option<ComputePath>,
    init: Option<InitConfig>,
}

/// Reads the configuration file `path` as a layer.
pub fn read_layer(path: &Path) -> Result<Table> {
    let text = input::text(path, input::TEXT_BYTES_MAX).map_err(|error| {
        HarnessError::input(path, error.to_string(), "give an existing TOML file")
    })?;
    let invalid = |error: toml::de::Error| {
        HarnessError::config(
            format!("{}: {}", path.display(), suggest::plain(error.to_string().trim_end())),
            keys_hint(&error),
        )
    };
    toml::from_str::<RunFile>(&text).map_err(invalid)?;
    text.parse().map_err(invalid)
}

fn keys_hint(error: &toml::de::Error) -> String {
    let guess = suggest::from_message(error.message());
    format!("{guess}crossscale train --help lists the tables")
}

/// The first of `sets` after which `table` is no run any more, with the reason.
fn first_wrong(mut table: Table, sets: &[String]) -> Option<(&str, toml::de::Error)> {
    sets.iter().find_map(|assignment| {
        overrides::set(&mut table, assignment).ok()?;
        let reason = table.clone().try_into::<RunConfig>().err()?;
        Some((assignment.as_str(), reason))
    })
}

impl RunConfig {
    /// Training tokens of the whole run.
    pub fn tokens(&self) -> u64 {
        self.train.steps * (self.train.batch * self.data.length) as u64
    }

    /// Training FLOPs of the whole run.
    pub fn training_flops(&self) -> Result<f64> {
        let flops = self.model.forward_flops(self.data.length)?;
        Ok(self.tokens() as f64 * flops.training_per_token(self.data.masking.share))
    }

    /// Resolves layers of tables: `family`'s defaults, then `layers` in order, then `--set`s.
    /// Heads and base width that none of them give are chosen to fit the width.
    pub fn resolve(family: &str, layers: Vec<Table>, sets: &[String]) -> Result<Self> {
        Self::resolve_telling(family, layers, sets).map(|(run, _)| run)
    }

    /// The same, with a line for every choice that was made.
    pub fn resolve_telling(
        family: &str,
        layers: Vec<Table>,
        sets: &[String],
    ) -> Result<(Self, Vec<String>)> {
        let mut table = Table::new();
        let model =
            Value::Table(Table::from_iter([(family.to_owned(), Value::Table(Table::new()))]));
        table.insert("model".to_owned(), model);
        for layer in layers {
            overrides::merge(&mut table, layer);
        }
        let before_sets = table.clone();
        for assignment in sets {
            overrides::set(&mut table, assignment)?;
        }
        let told = fitting::complete(family, &mut table);
        let run =
            Self::from_table(&table).map_err(|error| match first_wrong(before_sets, sets) {
                // Line numbers of a merged table would be those of a text that nobody wrote.
                Some((set, reason)) => HarnessError::config(
                    format!("--set {set}: {}", suggest::plain(reason.message())),
                    keys_hint(&reason),
                ),
                None => error,
            })?;
        Ok((run, told))
    }

    /// Reads a run from a merged table; unknown keys and wrong types are errors.
    pub fn from_table(table: &Table) -> Result<Self> {
        if let Some(key) = overrides::first_not_finite(table) {
            let hint = format!("set {key} to a finite number");
            return Err(HarnessError::config(format!("{key} is NaN or infinite"), hint));
        }
        let text = toml::to_string(table)
            .map_err(|error| HarnessError::config(error.to_string(), "values must be TOML"))?;
        Self::from_toml("resolved configuration", &text)
    }

    /// Reads a run from TOML text; `origin` is named in errors.
    pub fn from_toml(origin: &str, text: &str) -> Result<Self> {
        let run: Self = toml::from_str(text).map_err(|error| {
            HarnessError::config(
                format!("{origin}: {}", suggest::plain(error.to_string().trim_end())),
                keys_hint(&error),
            )
        })?;
        run.validate()?;
        Ok(run)
    }

    /// Cross-field rules.
    pub fn validate(&self) -> Result<()> {
        self.data.validate()?;
        self.train.validate()?;
        self.model.layout()?;
        self.validate_base()?;
        self.compute().validate()
    }

    fn validate_base(&self) -> Result<()> {
        let Err(error) = self.base_model().layout() else { return Ok(()) };
        let HarnessError::Model(ModelError::Shape { model, problem, hint }) = error else {
            return Err(error);
        };
        if self.base.is_some() {
            let problem = format!("[base]: {problem}");
            return Err(ModelError::Shape { model, problem, hint }.into());
        }
        let width = self.parametrization.base_width;
        let problem = format!("as base, parametrization.base_width = {width}: {problem}");
        let hint = match self.model.nearest_width(width) {
            Some(width) => format!("set parametrization.base_width={width}"),
            None => hint,
        };
        Err(ModelError::Shape { model, problem, hint }.into())
    }

    /// The base model of the parametrization.
    pub fn base_model(&self) -> ModelConfig {
        match &self.base {
            Some(base) => base.clone().with_vocab(self.model.vocab()),
            None => self.model.at_width(self.parametrization.base_width),
        }
    }

    /// The model without its parametrization.
    pub fn standard_form(&self) -> Result<StandardForm<ModelConfig>> {
        self.model.standard_form(&self.base_model(), &self.parametrization.table()?)
    }

    /// Builds the model and its engine.
    pub fn build(&self) -> Result<BuiltModel> {
        let table = self.parametrization.table()?;
        self.model.build_as(&self.base_model(), &table, &self.compute(), self.data.length)
    }

    /// How the run is computed.
    pub fn compute(&self) -> Compute {
        let TrainConfig { device, recompute, precision, .. } = self.train;
        Compute { path: self.path, device, recompute, precision }
    }
}
