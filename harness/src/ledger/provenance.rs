//! Where numbers come from, without paths, users or hosts.

use std::path::Path;
use std::sync::OnceLock;

use super::source;

/// Version of the compiler that built this program.
pub const RUSTC: &str = env!("CROSSSCALE_RUSTC");

/// The command line of this process as it may be recorded, see [`portable_command`].
pub fn this_command() -> String {
    let word = |argument: std::ffi::OsString| argument.to_string_lossy().into_owned();
    portable_command(std::env::args_os().map(word))
}

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

/// Commit that this program was built from, with `-modified` if its sources differ from that
/// commit; `None` if they were built outside a repository.
///
/// A commit does not change the sources, so the program is not built anew after one. While the
/// folder that it was built in holds exactly its sources, what git says of that folder now is
/// true of the program; where the folder has moved on or is gone (an old program, a copied one),
/// what git said at build time is.
pub fn git_revision() -> Option<String> {
    static REVISION: OnceLock<Option<String>> = OnceLock::new();
    let workspace = || Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let now =
        || now_or_built(&workspace(), env!("CROSSSCALE_SOURCES"), env!("CROSSSCALE_REVISION"));
    REVISION.get_or_init(now).clone()
}

/// Revision of `workspace` if its sources have the hash `sources`, else `built` if there is one.
fn now_or_built(workspace: &Path, sources: &str, built: &str) -> Option<String> {
    let same = !sources.is_empty() && source::digest(workspace).as_deref() == Some(sources);
    let now = if same { source::revision(workspace) } else { None };
    now.or_else(|| (!built.is_empty()).then(|| built.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

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
    fn invariant_a_program_names_the_commit_of_its_own_sources() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let git = |arguments: &str| {
            let identity =
                ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"];
            let mut command = Command::new("git");
            command.arg("-C").arg(root).args(identity).args(arguments.split(' '));
            assert!(command.output().unwrap().status.success(), "git {arguments}");
        };
        for name in source::SOURCES {
            let file = if name.ends_with("src") { format!("{name}/a.rs") } else { name.to_owned() };
            write(&file, "first");
        }
        let sources = source::digest(root).unwrap();
        // A folder that no repository holds has no revision; the program knows its own.
        assert_eq!(now_or_built(root, &sources, ""), None);
        assert_eq!(now_or_built(root, &sources, "old").as_deref(), Some("old"));
        git("init -q");
        assert_eq!(now_or_built(root, &sources, ""), None, "a repository that does not hold it");
        git("add -A");
        git("commit -q -m first");
        let first = now_or_built(root, &sources, "old-modified").unwrap();
        assert!(first.len() == 40, "the commit that holds what was built: {first}");
        // Other files are no sources.
        write("README.md", "text");
        assert_eq!(now_or_built(root, &sources, "old"), Some(first.clone()));
        // The folder moves on: the program does not.
        for (name, text) in [("models/src/a.rs", "second"), ("harness/src/claims/new.toml", "")] {
            write(name, text);
            assert_eq!(now_or_built(root, &sources, &first), Some(first.clone()));
            let built_now = source::digest(root).unwrap();
            let modified = Some(format!("{first}-modified"));
            assert_eq!(now_or_built(root, &built_now, "old"), modified);
            git("add -A");
            git("commit -q -m next");
            assert_eq!(now_or_built(root, &sources, &first), Some(first.clone()));
            git("reset -q --hard HEAD~1");
        }
    }

    #[test]
    fn invariant_the_build_recorded_its_sources() {
        assert_eq!(env!("CROSSSCALE_SOURCES").len(), 16);
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        if source::revision(&workspace).is_some() {
            assert!(env!("CROSSSCALE_REVISION").len() >= 40 && git_revision().is_some());
        }
    }
}
