//! An experiment from its file: what it is based on, its recipe, its own keys, changes of the
//! command line.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::design::{Design, ladder, pair, perturb, search, transfer, tuned};
use super::rate_search::SearchRule;
use super::setting::{Setting, is_default};
use super::{Deviation, Experiment, registry};
use crate::config::data::DataConfig;
use crate::config::locate::with_places;
use crate::config::model::ComputePath;
use crate::config::names;
use crate::config::overrides;
use crate::config::suggest::{from_message, plain};
use crate::config::text_folder::{TextLayer, text_layer};
use crate::config::train::TrainConfig;
use crate::error::{HarnessError, Result};
use crate::input;
use crate::runs::fetched_text::FetchedText;

/// An experiment as a file has it, once what it is based on is laid below it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Taken out before: here so that a text that has them can be looked at as it stands.
    #[serde(skip_serializing, rename = "based_on")]
    _based_on: Option<String>,
    #[serde(skip_serializing, rename = "recipe")]
    _recipe: Option<String>,
    name: String,
    question: String,
    #[serde(default)]
    scientific: Vec<String>,
    #[serde(default)]
    nuisance: Vec<String>,
    #[serde(default)]
    notes: Vec<String>,
    #[serde(default)]
    analysis: String,
    seeds: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    path: ComputePath,
    search_rule: SearchRule,
    #[serde(default)]
    data: DataConfig,
    #[serde(default)]
    train: TrainConfig,
    text: Option<FetchedText>,
    ladder: Option<ladder::Ladder>,
    tuned: Option<Box<tuned::Tuned>>,
    transfer: Option<transfer::Transfer>,
    perturb: Option<perturb::Perturb>,
    pair: Option<pair::Pair>,
    search: Option<search::Search>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    deviations: Vec<Deviation>,
}

/// What the command line changes.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Text file or folder in place of the experiment's text.
    pub text: Option<PathBuf>,
    /// Seeds in place of the experiment's.
    pub seeds: Option<u64>,
    /// `path.to.key=value`.
    pub sets: Vec<String>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.text.is_none() && self.seeds.is_none() && self.sets.is_empty()
    }

    fn apply(&self, table: &mut Table) -> Result<()> {
        if let Some(text) = &self.text {
            let TextLayer { keys, told } =
                text_layer(std::slice::from_ref(text), &[&*table], &self.sets)?;
            if let Some(line) = told {
                anstream::eprintln!("{line}");
            }
            overrides::merge(table, keys);
            // What was known of the text that this one replaces.
            table.remove("text");
        }
        if let Some(seeds) = self.seeds {
            table.insert("seeds".to_owned(), seeds.min(i64::MAX as u64).cast_signed().into());
        }
        self.sets.iter().try_for_each(|set| overrides::set(table, set))
    }
}

impl Experiment {
    /// The registered experiment or preset called `name`, or that of a TOML file.
    ///
    /// # Errors
    /// A name that is none, a file that cannot be read, an experiment that cannot be.
    pub fn find(name: &str, changes: &Changes) -> Result<Self> {
        let path = Path::new(name);
        if path.extension().is_none_or(|extension| extension != "toml") {
            return Self::changed(name, registry::text(name)?, changes)
                .map_err(|error| with_places(error, None, &changes.sets));
        }
        let text = input::text(path, input::TEXT_BYTES_MAX).map_err(|error| {
            HarnessError::input(path, error.to_string(), "give an existing TOML file")
        })?;
        Self::changed(name, &text, changes)
            .map_err(|error| with_places(error, Some(path), &changes.sets))
    }

    /// The registered experiment or preset called `name`.
    pub fn registered(name: &str) -> Result<Self> {
        Self::parse(name, registry::text(name)?)
    }

    /// Reads an experiment from TOML text; `origin` is named in errors.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        let own: Table = toml::from_str(text).map_err(|error| refused(origin, &error))?;
        let whole = expanded(origin, own.clone())?;
        let written = if whole == own {
            // As it stands, so that an error shows its line.
            toml::from_str::<Written>(text).map_err(|error| refused(origin, &error))?
        } else {
            whole.try_into::<Written>().map_err(|error| {
                // Told with its line where the text alone has the same fault.
                match toml::from_str::<Written>(text) {
                    Err(own) if own.message() == error.message() => refused(origin, &own),
                    _ => refused(origin, &error),
                }
            })?
        };
        written.checked(origin)
    }

    fn changed(origin: &str, text: &str, changes: &Changes) -> Result<Self> {
        // As it stands first: an error then points at the text's own line.
        let experiment = Self::parse(origin, text)?;
        if changes.is_empty() {
            return Ok(experiment);
        }
        let own: Table = toml::from_str(text).map_err(|error| refused(origin, &error))?;
        let mut whole = expanded(origin, own)?;
        changes.apply(&mut whole)?;
        let origin = format!("{origin} with changes");
        let written = whole.try_into::<Written>().map_err(|error| refused(&origin, &error))?;
        written.checked(&origin)
    }

    /// The whole experiment as a file that is based on nothing.
    pub fn to_toml(&self) -> Result<String> {
        let broken = |error: toml::ser::Error| HarnessError::Invariant(error.to_string());
        let table = Table::try_from(Written::from(self.clone())).map_err(broken)?;
        toml::to_string(&table).map_err(broken)
    }
}

fn refused(origin: &str, error: &toml::de::Error) -> HarnessError {
    HarnessError::config(
        format!("{origin}: {}", plain(error.to_string().trim_end())),
        format!(
            "{}crossscale new experiment NAME writes a file with every key; docs/keys.md has \
             them all",
            from_message(error.message())
        ),
    )
}

/// `own` with what it is based on below it, and tables in place of the names it refers to.
fn expanded(origin: &str, mut own: Table) -> Result<Table> {
    let mut whole = Table::new();
    if let Some(base) = taken(origin, &mut own, "based_on")? {
        if !own.contains_key("name") {
            return Err(HarnessError::config(
                format!("{origin}: based on {base}, without a name of its own"),
                "give it a name = \"…\"",
            ));
        }
        whole = registered_table(&base)?;
        // One experiment has one design: another one takes its place.
        if Design::NAMES.iter().any(|name| own.contains_key(*name)) {
            whole.retain(|key, _| !Design::NAMES.contains(&key) || own.contains_key(key));
        }
    }
    if let Some(recipe) = taken(origin, &mut own, "recipe")? {
        overrides::merge(&mut whole, read(&recipe, registry::recipe(&recipe)?)?);
    }
    overrides::merge(&mut whole, own);
    for design in ["search", "tuned"] {
        let Some(Value::Table(table)) = whole.get_mut(design) else { continue };
        if let Some(Value::String(name)) = table.get("ladder") {
            let ladder = part(&registered_table(name)?, "ladder", name)?;
            table.insert("ladder".to_owned(), ladder);
        }
        if let Some(Value::String(name)) = table.get("by") {
            let of = registered_table(name)?;
            let search = part(&of, "search", name)?;
            let keys = ["seeds", "search_rule", "data", "train", "path"];
            let setting =
                keys.iter().filter_map(|key| Some(((*key).to_owned(), of.get(*key)?.clone())));
            let by = Table::from_iter([
                ("setting".to_owned(), Value::Table(setting.collect())),
                ("search".to_owned(), search),
            ]);
            table.insert("by".to_owned(), Value::Table(by));
        }
    }
    Ok(whole)
}

fn read(origin: &str, text: &str) -> Result<Table> {
    toml::from_str(text).map_err(|error| refused(origin, &error))
}

fn registered_table(name: &str) -> Result<Table> {
    expanded(name, read(name, registry::text(name)?)?)
}

/// The design `key` of the experiment called `name`.
fn part(table: &Table, key: &str, name: &str) -> Result<Value> {
    table.get(key).cloned().ok_or_else(|| {
        HarnessError::config(
            format!("experiment '{name}' has no [{key}]"),
            "crossscale ls shows the design of every experiment",
        )
    })
}

/// The name under `key`, taken out of `table`.
fn taken(origin: &str, table: &mut Table, key: &str) -> Result<Option<String>> {
    match table.remove(key) {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(name)),
        Some(other) => Err(HarnessError::config(
            format!("{origin}: {key} = {other}"),
            format!("{key} is the name of a registered one, in quotes"),
        )),
    }
}

impl Written {
    fn checked(self, origin: &str) -> Result<Experiment> {
        let named = |error| match error {
            HarnessError::Config { problem, hint } => {
                HarnessError::config(format!("{origin}: {problem}"), hint)
            }
            other => other,
        };
        names::check(origin, &self.name)?;
        let experiment = self.experiment().map_err(named)?;
        experiment.setting.validate()?;
        experiment.design.protocol().check(&experiment.setting).map_err(named)?;
        Ok(experiment)
    }

    fn experiment(self) -> Result<Experiment> {
        let designs = [
            self.ladder.map(Design::Ladder),
            self.tuned.map(Design::Tuned),
            self.transfer.map(Design::Transfer),
            self.perturb.map(Design::Perturb),
            self.pair.map(Design::Pair),
            self.search.map(Design::Search),
        ];
        let mut designs = designs.into_iter().flatten();
        let (Some(design), None) = (designs.next(), designs.next()) else {
            let names: Vec<String> = Design::NAMES.iter().map(|name| format!("[{name}]")).collect();
            return Err(HarnessError::config(
                format!("exactly one of {}", names.join(", ")),
                "one experiment asks one question",
            ));
        };
        Ok(Experiment {
            name: self.name,
            question: self.question,
            scientific: self.scientific,
            nuisance: self.nuisance,
            notes: self.notes,
            analysis: self.analysis,
            deviations: self.deviations,
            setting: Setting {
                seeds: self.seeds,
                search_rule: self.search_rule,
                data: self.data,
                train: self.train,
                path: self.path,
                text: self.text,
            },
            design,
        })
    }
}

impl From<Experiment> for Written {
    fn from(experiment: Experiment) -> Self {
        let Experiment { setting, design, .. } = experiment;
        let mut written = Self {
            _based_on: None,
            _recipe: None,
            name: experiment.name,
            question: experiment.question,
            scientific: experiment.scientific,
            nuisance: experiment.nuisance,
            notes: experiment.notes,
            analysis: experiment.analysis,
            seeds: setting.seeds,
            path: setting.path,
            search_rule: setting.search_rule,
            data: setting.data,
            train: setting.train,
            text: setting.text,
            deviations: experiment.deviations,
            ladder: None,
            tuned: None,
            transfer: None,
            perturb: None,
            pair: None,
            search: None,
        };
        match design {
            Design::Ladder(design) => written.ladder = Some(design),
            Design::Tuned(design) => written.tuned = Some(design),
            Design::Transfer(design) => written.transfer = Some(design),
            Design::Perturb(design) => written.perturb = Some(design),
            Design::Pair(design) => written.pair = Some(design),
            Design::Search(design) => written.search = Some(design),
        }
        written
    }
}
