//! Any model as a list of shapes: roles, and the rules of a parametrization for them.
//!
//! A tensor's role follows from which of its axes grow between `base_shape` and `shape`. Where it
//! does not (a table of fixed entries by width may be looked up or read out), the role is asked
//! for, never guessed.

mod emit;
mod python;
mod read;

pub use emit::{csv_table, json};
pub use python::{optax, torch};
pub use read::read;

use models::parameters::{Layout, ParameterSpec, Role};
use models::parametrization::{Dimensions, Parametrization, Rule};

use crate::error::{HarnessError, Result};

/// Which axes of a matrix are summed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Axes {
    /// Outputs first, as `torch.nn.Linear` and convolutions.
    OutIn,
    /// Outputs last, as Flax kernels and `Conv1D` of GPT-2.
    InOut,
}

/// A tensor of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its name in the model.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its shape in the model that was tuned.
    pub base_shape: Vec<usize>,
    /// Deviation of its initial values in the base model, if the list says so.
    pub base_deviation: Option<f64>,
    /// What it is.
    pub kind: Kind,
    /// Why.
    pub why: String,
}

/// What a tensor is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// It grows and has a role; inputs summed over and outputs, here and in the base model.
    Scaled {
        /// Its role.
        role: Role,
        /// Inputs and outputs.
        fans: (usize, usize),
        /// The same in the base model.
        base_fans: (usize, usize),
    },
    /// No axis grows.
    Fixed,
    /// Roles that its shapes allow.
    Asked(Vec<Role>),
}

/// A tensor with its rule; none if its role is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The tensor.
    pub tensor: Tensor,
    /// Ratio of the dimension that its rule goes by.
    pub width_ratio: Option<f64>,
    /// Factors relative to the base model.
    pub rule: Option<Rule>,
}

/// Factors of a tensor that does not grow.
const UNCHANGED: Rule = Rule {
    init_std: 0.0,
    init_std_factor: 1.0,
    forward_multiplier: 1.0,
    lr_multiplier: 1.0,
    weight_decay_multiplier: 1.0,
    eps_multiplier: 1.0,
};

/// The rules of `table` for `tensors`; `depth_ratio` is layers over layers of the base model.
///
/// # Errors
/// A depth ratio that no whole number of layers has.
pub fn resolve(table: &Parametrization, tensors: &[Tensor], depth_ratio: f64) -> Result<Vec<Row>> {
    // A ratio as a quotient of whole numbers of layers.
    const LAYERS: usize = 1000;
    let depth = (depth_ratio * LAYERS as f64).round();
    if !(1.0..1e9).contains(&depth) {
        return Err(HarnessError::config(
            format!("--depth-ratio {depth_ratio} is no positive number"),
            "give the number of layers over that of the base model",
        ));
    }
    let dimensions = |depth| Dimensions { width: 1, head_dim: 1, topics: 1, depth };
    let of = |tensor: &Tensor| -> Result<(Option<f64>, Option<Rule>)> {
        let (role, fans, base_fans) = match &tensor.kind {
            Kind::Asked(_) => return Ok((None, None)),
            Kind::Fixed => return Ok((Some(1.0), Some(UNCHANGED))),
            Kind::Scaled { role, fans, base_fans } => (*role, *fans, *base_fans),
        };
        let std = tensor.base_deviation.unwrap_or(1.0);
        let (now, base) = (spec(role, fans, std), spec(role, base_fans, std));
        let ratio = now.scaling_fan() as f64 / base.scaling_fan() as f64;
        let (now, base) = (Layout::new(vec![now]), Layout::new(vec![base]));
        let resolved =
            table.resolve((&now, dimensions(depth as usize)), (&base, dimensions(LAYERS)))?;
        Ok((Some(ratio), resolved.rules.first().copied()))
    };
    tensors
        .iter()
        .map(|tensor| {
            let (width_ratio, rule) = of(tensor)?;
            Ok(Row { tensor: tensor.clone(), width_ratio, rule })
        })
        .collect()
}

fn spec(role: Role, (fan_in, fan_out): (usize, usize), std: f64) -> ParameterSpec {
    match role {
        Role::Input => ParameterSpec::input("tensor", fan_in, fan_out, std),
        Role::Hidden => ParameterSpec::hidden("tensor", fan_out, fan_in, std),
        Role::Output => ParameterSpec::output("tensor", fan_out, fan_in, std),
        Role::Bias => ParameterSpec::bias("tensor", fan_out),
        Role::Gain => ParameterSpec::gain("tensor", fan_out),
    }
}

/// An error that lists every tensor whose role is asked for; `None` if there is none.
pub fn questions(rows: &[Row]) -> Option<HarnessError> {
    let asked: Vec<String> = rows
        .iter()
        .filter(|row| matches!(row.tensor.kind, Kind::Asked(_)))
        .map(|row| format!("  {}: {}", row.tensor.name, row.tensor.why))
        .collect();
    (!asked.is_empty()).then(|| {
        HarnessError::config(
            format!("shapes alone do not tell the role of\n{}", asked.join("\n")),
            "add a column role to the list: input (looked up), hidden, output (read out), bias or \
             gain",
        )
    })
}

/// Everything that a table multiplies and that belongs to no tensor, in words.
pub fn sites(table: &Parametrization) -> Vec<String> {
    let power = |what: &str, ratio: &str, exponent: f64| {
        (exponent != 0.0).then(|| format!("{what}: times ({ratio} over its base value)^{exponent}"))
    };
    [
        power("attention logits", "head width", table.sites.attention_logits),
        power("residual branches", "depth", table.sites.residual),
        power("gradient clip", "width", table.training.gradient_clip),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::cells;

    #[test]
    fn golden_rules_are_those_of_mup_on_its_own_examples() {
        // Recorded from microsoft/mup by ci/mup_multipliers, see golden/README.md.
        let golden = include_str!("../../../golden/mup/multipliers.csv");
        let table = Parametrization::built_in("mup-table8").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut compared = 0;
        for model in ["mlp", "transformer"] {
            let own = |row: &csv::StringRecord| row[0] == *model;
            let mut reader = csv::Reader::from_reader(golden.as_bytes());
            let rows: Vec<csv::StringRecord> =
                reader.records().map(std::result::Result::unwrap).filter(own).collect();
            let mut list = "name,shape,base_shape,role\n".to_owned();
            for row in &rows {
                let fields = [&row[1], &row[2], &row[3], &row[4]];
                list = list + &fields.join(",") + "\n";
            }
            let path = folder.path().join("shapes.csv");
            std::fs::write(&path, list).unwrap();
            let tensors = read(&path, Axes::OutIn, &table).unwrap();
            let found = resolve(&table, &tensors, 1.0).unwrap();
            assert!(questions(&found).is_none());
            for (row, found) in rows.iter().zip(&found) {
                let rule = found.rule.unwrap();
                let own =
                    [rule.lr_multiplier, rule.weight_decay_multiplier, rule.forward_multiplier];
                for (place, own) in own.into_iter().enumerate() {
                    let expected = cells::number(&row[5 + place]).unwrap();
                    assert!((own - expected).abs() < 1e-12, "{row:?}: {own}");
                    compared += 1;
                }
            }
        }
        assert!(compared > 90, "{compared}");
    }

    #[test]
    fn invariant_depth_enters_where_the_table_has_exponents_of_it() {
        let tensor = Tensor {
            name: "w".to_owned(),
            shape: vec![256, 256],
            base_shape: vec![64, 64],
            base_deviation: None,
            kind: Kind::Scaled { role: Role::Hidden, fans: (256, 256), base_fans: (64, 64) },
            why: String::new(),
        };
        let rule = |name: &str, depth: f64| {
            let table = Parametrization::built_in(name).unwrap();
            resolve(&table, std::slice::from_ref(&tensor), depth).unwrap()[0].rule.unwrap()
        };
        assert!((rule("completep", 4.0).eps_multiplier - 1.0 / 16.0).abs() < 1e-12);
        assert!((rule("mup-table8", 4.0).eps_multiplier - 0.25).abs() < 1e-12);
        let table = Parametrization::built_in("completep").unwrap();
        assert!(resolve(&table, &[tensor], f64::NAN).is_err());
    }
}
