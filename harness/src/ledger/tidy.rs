//! Taking runs out of a ledger: removed, or moved into another one.

use std::path::{Path, PathBuf};

use super::{Ledger, claim};
use crate::error::{HarnessError, Result};

impl Ledger {
    /// Removes the run in `folder`. It disappears under its name at once, so a removal that is
    /// interrupted leaves no half of a run that could be taken for a whole one.
    ///
    /// # Errors
    /// If it is no run folder of this ledger, or a live worker is at it.
    pub fn remove(&self, folder: &Path) -> Result<()> {
        self.take_out(folder, |folder| {
            let aside = tempfile::Builder::new()
                .prefix(".removing-")
                .tempdir_in(&self.runs)
                .map_err(HarnessError::io(&self.runs))?;
            let inside = aside.path().join("run");
            std::fs::rename(folder, &inside).map_err(HarnessError::io(folder))?;
            aside.close().map_err(HarnessError::io(folder))
        })
    }

    /// Moves the run in `folder` into the ledger `archive`, whose run it is from then on; gives
    /// back its new place.
    ///
    /// # Errors
    /// As [`Ledger::remove`]; if `archive` has a run of this name, or lies on another file system.
    pub fn move_to(&self, folder: &Path, archive: &Self) -> Result<PathBuf> {
        let target = archive.runs.join(folder.file_name().unwrap_or_default());
        if target.exists() {
            let hint = "remove one of the two, or give another folder";
            return Err(HarnessError::input(&target, "is there already", hint));
        }
        self.take_out(folder, |folder| {
            std::fs::rename(folder, &target).map_err(|error| {
                let hint = "give a folder on the same file system, or copy the run folder there \
                            and remove it here";
                HarnessError::input(folder, format!("cannot be moved: {error}"), hint)
            })
        })?;
        // The claim under which it was moved; the run itself needs none.
        claim::clear(&target)?;
        Ok(target)
    }

    /// Does `action` to a run folder while nobody else can work on it.
    fn take_out(&self, folder: &Path, action: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        if folder.parent() != Some(&self.runs) || folder.is_symlink() || !folder.is_dir() {
            let hint = "crossscale runs FOLDER lists the runs of a ledger folder";
            return Err(HarnessError::input(folder, "is no run folder of this ledger", hint));
        }
        let Some(hold) = claim::take(folder, self.timing)? else {
            let hint = "wait for it, or stop its process first";
            return Err(HarnessError::input(folder, "is being worked on", hint));
        };
        let result = action(folder);
        drop(hold);
        result
    }

    /// The folder `name` among those of the runs: a whole name or an unambiguous beginning.
    ///
    /// # Errors
    /// If none or several fit.
    pub fn named(&self, name: &str) -> Result<PathBuf> {
        let mut fitting = Vec::new();
        for entry in std::fs::read_dir(&self.runs).map_err(HarnessError::io(&self.runs))? {
            let path = entry.map_err(HarnessError::io(&self.runs))?.path();
            let found = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if found == name {
                return Ok(path);
            }
            if !name.is_empty() && found.starts_with(name) {
                fitting.push(path);
            }
        }
        match <[PathBuf; 1]>::try_from(fitting) {
            Ok([path]) => Ok(path),
            Err(several) => Err(HarnessError::config(
                format!("{} runs of {} begin with '{name}'", several.len(), self.runs.display()),
                "crossscale runs FOLDER lists their names",
            )),
        }
    }
}
