//! Rules of a list of shapes as a table or JSON.

use reports::{Cell, Column, Table};
use serde_json::{Value, json};

use super::{Kind, Row};
use crate::error::Result;

/// The word for what a tensor is.
pub fn role_word(row: &Row) -> String {
    match &row.tensor.kind {
        Kind::Scaled { role, .. } => role.name().to_owned(),
        Kind::Fixed => "fixed".to_owned(),
        Kind::Asked(roles) => {
            let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
            format!("{}?", names.join(" or "))
        }
    }
}

/// Deviation of the initial values where the list gives that of the base, otherwise the factor on
/// it; nothing for a vector, which starts as a constant.
fn deviation(row: &Row) -> Option<f64> {
    let rule = row.rule?;
    let vector = row.tensor.shape.len() < 2;
    let base = row.tensor.base_deviation;
    (!vector || base.is_some()).then(|| base.unwrap_or(1.0) * rule.init_std_factor)
}

/// A row per tensor; factors are relative to the base model.
///
/// # Errors
/// A table that cannot be made: a bug.
pub fn csv_table(rows: &[Row]) -> Result<Table> {
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
        number("eps_multiplier", "eps"),
        Column::text("why", "why").left_out(1),
    ];
    let mut table = Table::new("explain", "", columns);
    for row in rows {
        let shape: Vec<String> = row.tensor.shape.iter().map(ToString::to_string).collect();
        let cell = |value: Option<f64>| Cell::or_missing(value, |v| Cell::significant(v, 4));
        let rule = row.rule;
        table.push(vec![
            Cell::text(&row.tensor.name),
            Cell::text(role_word(row)),
            Cell::text(shape.join("x")),
            cell(row.width_ratio),
            cell(deviation(row)),
            cell(rule.map(|rule| rule.forward_multiplier)),
            cell(rule.map(|rule| rule.lr_multiplier)),
            cell(rule.map(|rule| rule.weight_decay_multiplier)),
            cell(rule.map(|rule| rule.eps_multiplier)),
            Cell::text(&row.tensor.why),
        ])?;
    }
    Ok(table)
}

/// As [`csv_table`], for scripts.
pub fn json(rows: &[Row]) -> Value {
    let object = |row: &Row| {
        json!({
            "name": row.tensor.name,
            "role": role_word(row),
            "shape": row.tensor.shape,
            "base_shape": row.tensor.base_shape,
            "width_ratio": row.width_ratio,
            "init_std": deviation(row),
            "init_std_factor": row.rule.map(|rule| rule.init_std_factor),
            "forward_multiplier": row.rule.map(|rule| rule.forward_multiplier),
            "lr_multiplier": row.rule.map(|rule| rule.lr_multiplier),
            "weight_decay_multiplier": row.rule.map(|rule| rule.weight_decay_multiplier),
            "eps_multiplier": row.rule.map(|rule| rule.eps_multiplier),
            "why": row.tensor.why,
        })
    };
    rows.iter().map(object).collect()
}
