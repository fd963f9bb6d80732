//! `crossscale explain --shapes`: the rules for any model, given as a list of shapes.

use std::path::{Path, PathBuf};

use super::{print, print_table};
use crate::config::run::ParametrizationConfig;
use crate::error::{HarnessError, Result};
use crate::ledger::provenance;
use crate::shapes::{self, Axes};

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Emitted {
    /// Parameter groups for PyTorch, as Python.
    Torch,
    /// Labels and an optimiser for Optax, as Python.
    Optax,
    /// A table.
    Table,
}

/// Options of a list of shapes.
#[derive(Debug, clap::Args)]
pub struct Shapes {
    /// CSV with name, shape, base_shape (and role where shapes do not tell it) of any model
    #[arg(id = "shapes", long = "shapes", value_name = "CSV")]
    #[arg(conflicts_with_all = ["model", "width", "base_width", "diff"])]
    pub list: Option<PathBuf>,
    /// What is printed for --shapes
    #[arg(long = "as", value_enum, requires = "shapes", default_value_t = Emitted::Table)]
    #[arg(value_name = "FORM")]
    emitted: Emitted,
    /// Where matrices have their outputs [default: in-out for optax, out-in otherwise]
    #[arg(long, value_enum, requires = "shapes")]
    axes: Option<Axes>,
    /// Layers over layers of the base model
    #[arg(long, value_name = "N", requires = "shapes", default_value_t = 1.0)]
    depth_ratio: f64,
}

/// Forms of the table.
pub struct Form {
    /// JSON.
    pub json: bool,
    /// CSV.
    pub csv: bool,
}

impl Shapes {
    /// Prints the rules of `parametrization` for the tensors listed in `list`.
    pub fn print(&self, list: &Path, parametrization: &str, form: &Form) -> Result<()> {
        let name = parametrization.to_owned();
        let config = ParametrizationConfig { name, ..ParametrizationConfig::default() };
        let table = config.table()?;
        let default = if self.emitted == Emitted::Optax { Axes::InOut } else { Axes::OutIn };
        let tensors = shapes::read(list, self.axes.unwrap_or(default), &table)?;
        let rows = shapes::resolve(&table, &tensors, self.depth_ratio)?;
        let questions = shapes::questions(&rows);
        let command = provenance::this_command();
        match (self.emitted, questions) {
            (Emitted::Torch | Emitted::Optax, Some(questions)) => Err(questions),
            (Emitted::Torch, None) => print(shapes::torch(&rows, &table, &command).trim_end()),
            (Emitted::Optax, None) => print(shapes::optax(&rows, &table, &command).trim_end()),
            (Emitted::Table, _) if form.json => {
                let text = serde_json::to_string_pretty(&shapes::json(&rows));
                print(&text.map_err(|error| HarnessError::Invariant(error.to_string()))?)
            }
            (Emitted::Table, _) if form.csv => {
                print(shapes::csv_table(&rows)?.to_csv()?.trim_end())
            }
            (Emitted::Table, questions) => {
                print_table(&shapes::csv_table(&rows)?)?;
                let sites = shapes::sites(&table).join("\n");
                print(&format!("\nFactors that belong to no tensor:\n{sites}"))?;
                match questions {
                    Some(questions) => print(&format!("\nnote: {questions}")),
                    None => Ok(()),
                }
            }
        }
    }
}
