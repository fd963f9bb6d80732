//! Layers of TOML tables: built-in defaults < preset < file < `--set path.to.key=value`.

use toml::{Table, Value};

use crate::error::{HarnessError, Result};

/// Families that may stand under `[model.…]`.
pub const FAMILIES: [&str; 5] = ["pt", "pt2023", "bert", "preln", "ut"];

/// Lays `over` on `base`: tables are merged key by key, every other value is replaced.
pub fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Applies one `path.to.key=value`; the value is TOML, a bare word counts as a string.
///
/// `model.key=value` means the key of whichever family the table holds.
pub fn set(table: &mut Table, assignment: &str) -> Result<()> {
    let (path, text) = assignment.split_once('=').ok_or_else(|| {
        HarnessError::config(
            format!("--set {assignment}: no '=' found"),
            "write --set path.to.key=value, for instance --set train.steps=100",
        )
    })?;
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    if keys.iter().any(|key| key.is_empty()) {
        return Err(HarnessError::config(
            format!("--set {assignment}: empty key in path '{path}'"),
            "write --set path.to.key=value, for instance --set train.steps=100",
        ));
    }
    let family = chosen_family(table);
    if keys[0] == "model"
        && keys.len() > 1
        && !FAMILIES.contains(&keys[1])
        && let Some(family) = &family
    {
        keys.insert(1, family);
    }
    let value = parse_value(text.trim()).map_err(|(problem, hint)| {
        HarnessError::config(format!("--set {assignment}: {problem}"), hint)
    })?;
    put(table, &keys, value).map_err(|key| {
        HarnessError::config(
            format!("--set {assignment}: '{key}' is a value, not a table"),
            "name a key inside a table, for instance train.steps",
        )
    })
}

/// Puts `value` at `path`; tables on the way are made.
///
/// # Errors
/// The key on the way that is a value and no table.
pub fn put<'a>(
    table: &mut Table,
    path: &[&'a str],
    value: Value,
) -> std::result::Result<(), &'a str> {
    let (last, parents) = path.split_last().expect("a path has a last key");
    let mut place = table;
    for &key in parents {
        let next = place.entry(key).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(next) = next else { return Err(key) };
        place = next;
    }
    place.insert((*last).to_owned(), value);
    Ok(())
}

/// The family named under `[model]`, if exactly one is.
pub fn chosen_family(table: &Table) -> Option<String> {
    let Some(Value::Table(model)) = table.get("model") else { return None };
    let mut names = model.keys();
    match (names.next(), names.next()) {
        (Some(name), None) => Some(name.clone()),
        _ => None,
    }
}

/// The value that `text` is, or what is wrong with it and what to do.
fn parse_value(text: &str) -> std::result::Result<Value, (String, String)> {
    let as_toml = format!("value = {text}");
    let value = match toml::from_str::<Table>(&as_toml) {
        Ok(mut table) => table.remove("value").unwrap_or_else(|| Value::String(text.to_owned())),
        Err(_) if is_long_number(text) => {
            let (least, most) = (i64::MIN, i64::MAX);
            return Err(("the number is too large".into(), format!("give {least} to {most}")));
        }
        Err(_) => Value::String(text.to_owned()),
    };
    match value {
        Value::Float(number) if !number.is_finite() => {
            Err((format!("{number} is no number"), "give a finite number".into()))
        }
        value => Ok(value),
    }
}

/// Whether `text` is a sign and digits only, as many as no integer may have.
fn is_long_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()) && digits.len() > 18
}

/// Path of the first value of `table` that is NaN or infinite, which TOML can write and no
/// constant can be.
pub fn first_not_finite(table: &Table) -> Option<String> {
    fn within(value: &Value) -> Option<String> {
        match value {
            Value::Float(number) => (!number.is_finite()).then(String::new),
            Value::Table(table) => first_not_finite(table).map(|path| format!(".{path}")),
            Value::Array(values) => values.iter().find_map(within),
            _ => None,
        }
    }
    table.iter().find_map(|(key, value)| Some(format!("{key}{}", within(value)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn invariant_later_layers_win_and_keep_their_neighbours() {
        let mut base = table("[train]\nsteps = 1\nbatch = 2\n");
        merge(&mut base, table("[train]\nsteps = 5\n"));
        set(&mut base, "train.learning_rate=1e-3").unwrap();
        assert_eq!(base, table("[train]\nsteps = 5\nbatch = 2\nlearning_rate = 1e-3\n"));
    }

    #[test]
    fn invariant_model_keys_reach_the_chosen_family() {
        let mut base = table("[model.pt]\nwidth = 64\n");
        set(&mut base, "model.vocab=32000").unwrap();
        set(&mut base, "model.pt.rope=published").unwrap();
        assert_eq!(base, table("[model.pt]\nwidth = 64\nvocab = 32000\nrope = \"published\"\n"));
    }

    #[test]
    fn invariant_bad_assignments_are_refused() {
        let mut base = table("[train]\nsteps = 1\n");
        assert!(set(&mut base, "train.steps").is_err());
        assert!(set(&mut base, "train..steps=1").is_err());
        assert!(set(&mut base, "train.steps.deeper=1").is_err());
        assert_eq!(base, table("[train]\nsteps = 1\n"));
    }
}
