// Shared by the build script and the library, which both include this file: what a program was
// built from, so that it names a commit only if its own sources are those of the commit.

use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::process::Command;

/// What the program is built from, below the workspace's folder.
pub const SOURCES: [&str; 12] = [
    "Cargo.lock",
    "Cargo.toml",
    "baselines/Cargo.toml",
    "baselines/src",
    "harness/Cargo.toml",
    "harness/build.rs",
    "harness/experiments",
    "harness/src",
    "models/Cargo.toml",
    "models/src",
    "reports/Cargo.toml",
    "reports/src",
];

/// Hash of names and bytes of all [`SOURCES`] below `workspace`; `None` if one cannot be read.
///
/// The hash of the standard library: both sides are built by one compiler, nobody attacks it,
/// and a build script needs no other crate for it.
pub fn digest(workspace: &Path) -> Option<String> {
    let mut hasher = DefaultHasher::new();
    for name in SOURCES {
        add(&workspace.join(name), &mut hasher)?;
    }
    Some(format!("{:016x}", hasher.finish()))
}

fn add(path: &Path, hasher: &mut DefaultHasher) -> Option<()> {
    hasher.write(path.file_name()?.as_encoded_bytes());
    if !path.is_dir() {
        let bytes = std::fs::read(path).ok()?;
        hasher.write_usize(bytes.len());
        hasher.write(&bytes);
        return Some(());
    }
    let entries = std::fs::read_dir(path).ok()?.map(|entry| entry.map(|entry| entry.path()));
    let mut names = entries.collect::<Result<Vec<_>, _>>().ok()?;
    names.sort();
    hasher.write_usize(names.len());
    names.iter().try_for_each(|name| add(name, hasher))
}

/// Commit of `workspace`, with `-modified` if [`SOURCES`] differ from it; `None` without git, or
/// if the folder is not part of a repository (a copy inside somebody else's is none).
pub fn revision(workspace: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(workspace).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    git(&["ls-files", "--error-unmatch", "harness/build.rs"])?;
    let commit = git(&["rev-parse", "HEAD"])?;
    let status = [&["status", "--porcelain", "--"], &SOURCES[..]].concat();
    Some(if git(&status)?.is_empty() { commit } else { format!("{commit}-modified") })
}
