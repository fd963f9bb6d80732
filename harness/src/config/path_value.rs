//! Paths as values of a configuration, which is text.

use std::path::Path;

use toml::Value;

use crate::error::{HarnessError, Result};

/// `path` as a string of a table.
///
/// # Errors
/// If its name is not UTF-8, which neither TOML nor JSON can hold.
pub fn path_value(path: &Path) -> Result<Value> {
    let text = path.to_str().ok_or_else(|| {
        HarnessError::config(
            format!("{}: the name is not UTF-8, so no configuration can hold it", path.display()),
            "rename it, or give a folder that holds it under a name that is: names inside a folder \
             of text may be anything",
        )
    })?;
    Ok(Value::String(text.to_owned()))
}
