//! Where numbers come from, without paths, users or hosts.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// Version of the compiler that built this program.
pub const RUSTC: &str = env!("CROSSSCALE_RUSTC");

/// The command line with every absolute or home path reduced to its last component.
pub fn portable_command(arguments: impl IntoIterator<Item = String>) -> String {
    let words: Vec<String> = arguments.into_iter().map(|word| portable_word(&word)).collect();
    words.join(" ")
}

fn portable_word(word: &str) -> String {
    if let Some((key, value)) = word.split_once('=') {
        return format!("{key}={}", portable_word(value));
    }
    let home = word.starts_with('~');
    if home || Path::new(word).is_absolute() {
        let last = Path::new(word).file_name();
        last.map_or_else(|| ".".to_owned(), |name| name.to_string_lossy().into_owned())
    } else {
        word.to_owned()
    }
}

/// Commit of the source folder this program was built from, with `-modified` if files differ
/// from it; `None` without git or without that folder.
pub fn git_revision() -> Option<String> {
    static REVISION: OnceLock<Option<String>> = OnceLock::new();
    REVISION.get_or_init(|| revision_of(Path::new(env!("CARGO_MANIFEST_DIR")))).clone()
}

fn revision_of(folder: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"])?;
    let modified = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if modified.is_empty() { commit } else { format!("{commit}-modified") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_recorded_commands_hold_no_absolute_path() {
        let words = ["/opt/bin/crossscale", "train", "--text=/data/me/a.txt", "--out", "~/runs"];
        let words = words.map(str::to_owned);
        assert_eq!(portable_command(words), "crossscale train --text=a.txt --out runs");
        let words = ["--set".to_owned(), "train.batch=2".to_owned(), "data/a.txt".to_owned()];
        assert_eq!(portable_command(words), "--set train.batch=2 data/a.txt");
    }

    #[test]
    fn invariant_a_folder_without_git_has_no_revision() {
        assert_eq!(revision_of(Path::new("/nonexistent")), None);
    }
}
