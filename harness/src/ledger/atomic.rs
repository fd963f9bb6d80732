//! Files that are either whole or absent.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::error::{HarnessError, Result};

/// Replaces `path` with `bytes`: temporary file in the same folder, synced, renamed.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, |file, _| file.write_all(bytes))
}

/// Replaces `path` with what `fill` writes to the temporary file it is given (also by path).
/// After an error the old file, if any, is untouched and nothing is left behind.
pub fn replace(
    path: &Path,
    fill: impl FnOnce(&mut File, &Path) -> std::io::Result<()>,
) -> Result<()> {
    // A bare file name has the empty path as its parent.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = parent.unwrap_or(Path::new("."));
    let attempt = || {
        let mut temporary = temporary_in(folder)?;
        let place = temporary.path().to_owned();
        fill(temporary.as_file_mut(), &place)?;
        temporary.as_file().sync_all()?;
        temporary.persist(path).map_err(|error| error.error)?;
        sync_folder(folder)
    };
    attempt().map_err(HarnessError::io(path))
}

/// Makes sure that `folder` is there and is a folder itself: through a link in its place, files
/// would be written, and old checkpoints deleted, outside the folder that the user chose.
pub fn own_folder(folder: &Path) -> Result<()> {
    if folder.is_symlink() {
        return Err(HarnessError::input(
            folder,
            "is a link, and nothing is written through a link inside a ledger",
            "remove the link, or make the whole --out folder one",
        ));
    }
    std::fs::create_dir_all(folder).map_err(HarnessError::io(folder))
}

/// A temporary file in `folder` whose rights are those of any new file of this user: others who
/// share a ledger can read it as far as the user's mask allows.
fn temporary_in(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.prefix(".writing-").tempfile_in(folder)
}

/// Makes a rename inside `folder` durable.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, b"old").unwrap();
        let full = |file: &mut File, _: &Path| {
            file.write_all(b"ne")?;
            Err(std::io::Error::other("disk full"))
        };
        let error = replace(&path, full).unwrap_err().to_string();
        assert!(error.contains("a.txt") && error.contains("disk full"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    #[cfg(unix)]
    fn invariant_a_replaced_file_has_the_rights_of_a_new_one() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let [written, made] = ["written", "made"].map(|name| folder.path().join(name));
        write(&written, b"x").unwrap();
        File::create(&made).unwrap();
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&written), mode(&made));
    }

    #[test]
    #[cfg(unix)]
    fn invariant_a_link_is_no_folder_to_write_to() {
        let folder = tempfile::tempdir().unwrap();
        let [outside, link] = ["outside", "link"].map(|name| folder.path().join(name));
        own_folder(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        let said = own_folder(&link).unwrap_err().to_string();
        assert!(said.contains("is a link") && said.contains("hint: "), "{said}");
    }
}
