//! The content address of a run.

use serde::Serialize;
use serde_json::Value;

use crate::error::{HarnessError, Result};

/// Version of everything that decides numbers but is not in the configuration: kernels, random
/// streams, data preparation, the optimiser. Raise it whenever the same configuration gives
/// other numbers; runs of older versions are then done again instead of being mixed in.
pub const RESULTS_VERSION: u32 = 1;

/// Hexadecimal digits of a key (64 bits).
const DIGITS: usize = 16;

/// What names a run: the hash of its resolved configuration, data and results version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunKey {
    family: String,
    width: usize,
    hash: String,
}

impl RunKey {
    /// The key of a run of `config` (everything that decides its numbers: model, training, data,
    /// seeds; nothing else, e.g. no thread count) on data with this fingerprint.
    ///
    /// # Errors
    /// If `config` has no JSON form.
    pub fn new(
        family: &str,
        width: usize,
        config: &impl Serialize,
        data_fingerprint: &str,
    ) -> Result<Self> {
        Self::at_version(RESULTS_VERSION, (family, width), config, data_fingerprint)
    }

    fn at_version(
        version: u32,
        (family, width): (&str, usize),
        config: &impl Serialize,
        data_fingerprint: &str,
    ) -> Result<Self> {
        let config = serde_json::to_value(config).map_err(|error| {
            HarnessError::config(
                format!("the configuration of a run has no JSON form: {error}"),
                "use plain numbers, strings, lists and tables",
            )
        })?;
        let described = serde_json::json!({
            "config": config,
            "data": data_fingerprint,
            "family": family,
            "results_version": version,
            "width": width,
        });
        let hash = blake3::hash(canonical(&described).as_bytes()).to_hex();
        Ok(Self { family: family.to_owned(), width, hash: hash[..DIGITS].to_owned() })
    }

    /// The 16 hexadecimal digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Family name.
    pub fn family(&self) -> &str {
        &self.family
    }

    /// Model width.
    pub fn width(&self) -> usize {
        self.width
    }
}

/// Folder name: `<family>-<width>-<hash>`.
impl std::fmt::Display for RunKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.family, self.width, self.hash)
    }
}

/// JSON without spaces and with sorted keys: equal values have equal text.
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            let text = entries
                .iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)));
            format!("{{{}}}", text.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        leaf => leaf.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn invariant_equal_configurations_have_equal_keys_whatever_their_order() {
        let key = |config: Value| RunKey::new("pt", 64, &config, "data").unwrap();
        let one = key(json!({"a": 1, "b": {"c": 0.1, "d": [1, 2]}}));
        assert_eq!(one, key(json!({"b": {"d": [1, 2], "c": 0.1}, "a": 1})));
        assert_eq!(one.hash().len(), 16);
        assert!(one.to_string().starts_with("pt-64-"));
    }

    #[test]
    fn invariant_every_part_counts() {
        let config = json!({"a": 1});
        let key = |version, family, width, config: &Value, data| {
            RunKey::at_version(version, (family, width), config, data).unwrap().hash
        };
        let base = key(1, "pt", 64, &config, "x");
        assert_ne!(base, key(2, "pt", 64, &config, "x"));
        assert_ne!(base, key(1, "ut", 64, &config, "x"));
        assert_ne!(base, key(1, "pt", 65, &config, "x"));
        assert_ne!(base, key(1, "pt", 64, &json!({"a": 2}), "x"));
        assert_ne!(base, key(1, "pt", 64, &json!({"a": "1"}), "x"));
        assert_ne!(base, key(1, "pt", 64, &config, "y"));
    }
}
