//! `crossscale explain`: what a parametrization says about every tensor of a model, and why.

use models::ModelError;
use models::parameters::Role;
use models::parametrization::{Parametrization, RoleExponents, SiteScales};
use reports::{Cell, Column, Table};
use serde::Serialize;

use super::{print, print_table};
use crate::config::model::ModelConfig;
use crate::config::run::{BASE_WIDTH, ParametrizationConfig};
use crate::error::{HarnessError, Result};

mod shapes;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale explain --model pt --width 512 --parametrization pt-2026
  crossscale explain --model bert --width 1024 --diff standard mup-table8 --csv
  crossscale explain --shapes shapes.csv --as torch > groups.py")]
pub struct Args {
    /// Model family: pt, bert, preln, ut
    #[arg(long, required_unless_present = "shapes")]
    model: Option<String>,
    /// Model width
    #[arg(long, value_name = "N", required_unless_present = "shapes")]
    width: Option<usize>,
    #[command(flatten)]
    shapes: shapes::Shapes,
    /// Width at which every parametrization is the standard one
    #[arg(long, value_name = "N", default_value_t = BASE_WIDTH)]
    base_width: usize,
    /// Built-in table or TOML file
    #[arg(long, value_name = "TABLE", default_value = "mup-table8", conflicts_with = "diff")]
    parametrization: String,
    /// Show only the tensors on which two parametrizations differ
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    diff: Option<Vec<String>>,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV
    #[arg(long)]
    csv: bool,
}

/// One tensor under one parametrization.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    parametrization: String,
    name: String,
    role: Role,
    why: String,
    shape: Vec<usize>,
    width_ratio: f64,
    init_std: f64,
    forward_multiplier: f64,
    lr_multiplier: f64,
    weight_decay_multiplier: f64,
    shrinkage_multiplier: f64,
    eps_multiplier: f64,
    exponents: RoleExponents,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    if let Some(list) = &args.shapes.list {
        let form = shapes::Form { json: args.json, csv: args.csv };
        return args.shapes.print(list, &args.parametrization, &form);
    }
    let (Some(family), Some(width)) = (&args.model, args.width) else {
        return Err(HarnessError::config("no model is named", "give --model and --width"));
    };
    let template = ModelConfig::of_family(family)?.at_width(width).with_fitting_heads();
    let model = at_width(&template, "width", width)?;
    let base = at_width(&template, "base-width", args.base_width)?;
    let names = match &args.diff {
        Some(names) => names.clone(),
        None => vec![args.parametrization.clone()],
    };
    let (mut tables, mut constants) = (Vec::new(), Vec::new());
    for name in names {
        let config = ParametrizationConfig { name, base_width: args.base_width };
        let table = config.table()?;
        tables.push(rows(&table, &model, &base)?);
        constants.push(forward_constants(&table, &model, &base)?);
    }
    let rows = match <[Vec<Row>; 2]>::try_from(tables) {
        Ok([left, right]) => differing(left, right),
        Err(mut single) => single.pop().unwrap_or_default(),
    };
    if args.json {
        let text = serde_json::to_string_pretty(&rows)
            .map_err(|error| HarnessError::Invariant(error.to_string()))?;
        return print(&text);
    }
    if args.csv {
        return print(table(&rows)?.to_csv()?.trim_end());
    }
    if rows.is_empty() {
        print(&format!("no tensor has other rules at width {width}, base {}", args.base_width))?;
    } else {
        print_table(&table(&rows)?)?;
    }
    print(&format!("\nFactors that belong to no tensor:\n{}", constants.join("\n")))
}

/// `template` at the width that `--option` gives, if a model of this family can have it.
fn at_width(template: &ModelConfig, option: &str, width: usize) -> Result<ModelConfig> {
    /// Widths above the one asked for among which one that works is looked for.
    const LOOKED_AT: usize = 1024;
    let model = template.at_width(width);
    let works = |width: &usize| template.at_width(*width).layout().is_ok();
    let nearest = template
        .nearest_width(width)
        .or_else(|| (width..width.saturating_add(LOOKED_AT)).find(works));
    match (model.layout(), nearest) {
        (Err(HarnessError::Model(ModelError::Shape { model, problem, .. })), Some(nearest)) => {
            let (problem, hint) =
                (format!("--{option} {width}: {problem}"), format!("use --{option} {nearest}"));
            Err(ModelError::Shape { model, problem, hint }.into())
        }
        (Err(error), _) => Err(error),
        (Ok(_), _) => Ok(model),
    }
}

/// One line with what `table` multiplies forward constants and the clip threshold by.
fn forward_constants(
    table: &Parametrization,
    model: &ModelConfig,
    base: &ModelConfig,
) -> Result<String> {
    let resolved = table
        .resolve((&model.layout()?, model.dimensions()), (&base.layout()?, base.dimensions()))?;
    let SiteScales { attention_logits, belief, topic, message, residual, tied_logits } =
        resolved.sites;
    Ok(format!(
        "{}: attention logits {attention_logits:.4}, beliefs {belief:.4}, topics {topic:.4}, \
         messages {message:.4}, residual branches {residual:.4}, logits if tied {tied_logits:.4}, \
         gradient clip {:.4}",
        table.name, resolved.gradient_clip_multiplier
    ))
}

fn rows(table: &Parametrization, model: &ModelConfig, base: &ModelConfig) -> Result<Vec<Row>> {
    let (layout, base_layout) = (model.layout()?, base.layout()?);
    let resolved =
        table.resolve((&layout, model.dimensions()), (&base_layout, base.dimensions()))?;
    let mut rows = Vec::new();
    for (spec, rule) in layout.specs().iter().zip(&resolved.rules) {
        let base_spec = &base_layout.specs()[base_layout.counterpart(spec.name())?];
        rows.push(Row {
            parametrization: table.name.clone(),
            name: spec.name().to_owned(),
            role: spec.role(),
            why: why(spec.role(), base_spec.scaling_fan(), spec.scaling_fan()),
            shape: spec.shape().to_vec(),
            width_ratio: spec.scaling_fan() as f64 / base_spec.scaling_fan() as f64,
            init_std: rule.init_std,
            forward_multiplier: rule.forward_multiplier,
            lr_multiplier: rule.lr_multiplier,
            weight_decay_multiplier: rule.weight_decay_multiplier,
            shrinkage_multiplier: rule.lr_multiplier * rule.weight_decay_multiplier,
            eps_multiplier: rule.eps_multiplier,
            exponents: *table.role(spec.role()),
        });
    }
    Ok(rows)
}

fn why(role: Role, base: usize, now: usize) -> String {
    let growth = format!("{base} at the base, {now} here");
    match role {
        Role::Input => format!("looked up by a finite index, fan-out {growth}"),
        Role::Hidden => format!("both axes grow, fan-in {growth}"),
        Role::Output => format!("read out to finitely many classes, fan-in {growth}"),
        Role::Bias => format!("added vector, size {growth}"),
        Role::Gain => format!("multiplied vector, size {growth}"),
    }
}

/// The rows of both tables on tensors for which the tables say different things.
fn differing(left: Vec<Row>, right: Vec<Row>) -> Vec<Row> {
    let numbers = |row: &Row| {
        [
            row.init_std,
            row.forward_multiplier,
            row.lr_multiplier,
            row.weight_decay_multiplier,
            row.eps_multiplier,
        ]
    };
    let differ = |left: &Row, right: &Row| {
        numbers(left).iter().zip(numbers(right)).any(|(a, b)| a.to_bits() != b.to_bits())
    };
    left.into_iter()
        .zip(right)
        .filter(|(left, right)| differ(left, right))
        .flat_map(|(left, right)| [left, right])
        .collect()
}

fn symbolic(exponents: &RoleExponents) -> String {
    let power =
        |label: &str, exponent: f64| (exponent != 0.0).then(|| format!("{label} ~ m^{exponent}"));
    let parts: Vec<String> = [
        power("init", exponents.init_std),
        power("forward", exponents.forward),
        power("lr", exponents.learning_rate),
        power("decay", exponents.weight_decay),
        power("eps", exponents.epsilon),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() { "constant in m".to_owned() } else { parts.join(", ") }
}

fn table(rows: &[Row]) -> Result<Table> {
    let number = |name: &str, title: &str| Column::number(name, title, "");
    let columns = vec![
        Column::text("name", "tensor"),
        Column::text("role", "role"),
        Column::text("shape", "shape"),
        number("width_ratio", "m"),
        number("init_std", "init std"),
        number("forward_multiplier", "forward"),
        number("lr_multiplier", "lr"),
        number("weight_decay_multiplier", "decay"),
        number("shrinkage_multiplier", "lr x decay"),
        number("eps_multiplier", "eps"),
        Column::text("exponents", "rule"),
        Column::text("why", "why"),
        Column::text("parametrization", "table"),
    ];
    let mut table = Table::new("explain", "", columns);
    for row in rows {
        let shape: Vec<String> = row.shape.iter().map(ToString::to_string).collect();
        let mut cells =
            vec![Cell::text(&row.name), Cell::text(row.role.name()), Cell::text(shape.join("x"))];
        cells.extend(
            [
                row.width_ratio,
                row.init_std,
                row.forward_multiplier,
                row.lr_multiplier,
                row.weight_decay_multiplier,
                row.shrinkage_multiplier,
                row.eps_multiplier,
            ]
            .map(|value| Cell::significant(value, 4)),
        );
        cells.extend([
            Cell::text(symbolic(&row.exponents)),
            Cell::text(&row.why),
            Cell::text(&row.parametrization),
        ]);
        table.push(cells)?;
    }
    Ok(table)
}
