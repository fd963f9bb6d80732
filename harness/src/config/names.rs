//! Names that files and folders are made from.

use crate::error::{HarnessError, Result};

/// Longest name; report files add a word of their own, and file systems end at 255 bytes.
const LONGEST: usize = 100;

/// That `name`, given in `origin`, is safe to make file and folder names from.
///
/// # Errors
/// [`HarnessError::Config`] unless it is made of letters, digits, `-`, `_` and `.`, and begins with
/// a letter or a digit: a path would be written outside the chosen folder, and other characters
/// are read as syntax by shells, Slurm and spreadsheets.
pub fn check(origin: &str, name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.chars().all(plain) && name.len() <= LONGEST {
        return Ok(());
    }
    Err(HarnessError::config(
        format!("{origin}: name = {name:?} cannot name files"),
        format!(
            "use letters, digits, '-', '_' and '.', a letter or digit first, at most {LONGEST} \
             of them, e.g. name = \"mine-2\""
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_names_that_are_paths_or_syntax_are_refused() {
        for name in ["quick", "ladder-tuned-long", "mine_2", "v1.5", "7"] {
            check("x.toml", name).unwrap();
        }
        let long = "a".repeat(101);
        let bad = [
            "",
            ".",
            "..",
            "../up",
            "a/b",
            "/abs",
            "a\\b",
            "-dash",
            ".hidden",
            "a b",
            "a#b",
            "a\nb",
            "a\"b",
            "=1+1",
            "é",
            long.as_str(),
        ];
        for name in bad {
            let error = check("x.toml", name).unwrap_err().to_string();
            assert!(error.starts_with("x.toml: name = ") && error.contains("\nhint: "), "{error}");
        }
    }
}
