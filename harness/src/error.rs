//! The one error type of this crate, with the process exit code of each kind.

use std::path::{Path, PathBuf};

/// Everything that can go wrong in the harness.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// Wrong usage or an invalid configuration.
    #[error("{problem}\nhint: {hint}")]
    Config {
        /// What is wrong, with file, line and values.
        problem: String,
        /// How to repair it.
        hint: String,
    },
    /// A required input is missing, unreadable or not what it should be.
    #[error("{}: {problem}\nhint: {hint}", path.display())]
    Input {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// How to repair it.
        hint: String,
    },
    /// Nothing matches a filter.
    #[error("{0}")]
    NothingSelected(String),
    /// A loss, gradient or parameter stopped being a number.
    #[error("{tensor} is not finite at step {step}\nhint: {hint}")]
    Numerical {
        /// First tensor found to be NaN or infinite (`loss` for the loss itself).
        tensor: String,
        /// Optimiser step, counted from 1 as in `metrics.csv`.
        step: u64,
        /// How to look closer.
        hint: String,
    },
    /// Weights or a result that are no numbers.
    #[error("{what}\nhint: {hint}")]
    NotFinite {
        /// File or run, tensor or quantity, and what it is.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A run ended with finite but useless losses.
    #[error("{problem}\nhint: {hint}")]
    Diverged {
        /// The loss and what it was compared with.
        problem: String,
        /// How to repair it.
        hint: String,
    },
    /// A device or feature that this build or machine lacks.
    #[error("{what} is not available\nhint: {hint}")]
    Unavailable {
        /// The device or feature.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A number left the band that a gate allows.
    #[error("regression: {0}")]
    Regression(String),
    /// An invariant does not hold.
    #[error("invariant violated: {0}")]
    Invariant(String),
    /// A check could not decide.
    #[error("inconclusive: {0}")]
    Inconclusive(String),
    /// Writing or reading a file of ours failed.
    #[error("{}: {source}{}", path.display(), remedy(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Stopped by a signal with the state saved.
    #[error("stopped by a signal; the state is saved\nhint: run the same command again to resume")]
    Interrupted,
    /// A table, figure or report could not be made.
    #[error("{}{}", .0, report_remedy(.0))]
    Report(#[from] reports::ReportError),
    /// A model could not be built or run.
    #[error(transparent)]
    Model(#[from] models::ModelError),
}

/// What to do about a system error, as a line of its own; empty where nothing is known.
fn remedy(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => {
            "\nhint: free some space and run the same command again; what is finished is kept"
        }
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
            "\nhint: give a folder that can be written, for instance with --out"
        }
        Kind::NotADirectory | Kind::AlreadyExists => {
            "\nhint: a file stands where a folder is needed; move it or give another folder"
        }
        Kind::NotFound => "\nhint: create the folder or file, or give one that exists",
        _ => "",
    }
}

fn report_remedy(error: &reports::ReportError) -> &'static str {
    match error {
        reports::ReportError::Io { source, .. } => remedy(source),
        _ => "",
    }
}

/// Result with [`HarnessError`].
pub type Result<T> = std::result::Result<T, HarnessError>;

impl HarnessError {
    /// An invalid configuration.
    pub fn config(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Config { problem: problem.into(), hint: hint.into() }
    }

    /// A bad input file.
    pub fn input(path: &Path, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Input { path: path.to_owned(), problem: problem.into(), hint: hint.into() }
    }

    /// Wraps a system error with the file it concerns.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// Process exit code, as `crossscale --help` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Io { .. } | Self::Report(_) | Self::Model(models::ModelError::Candle(_)) => 1,
            Self::Config { .. } | Self::Model(_) => 2,
            Self::Input { .. } => 3,
            Self::NothingSelected(_) => 4,
            Self::Numerical { .. } | Self::NotFinite { .. } | Self::Diverged { .. } => 5,
            Self::Unavailable { .. } => 6,
            Self::Invariant(_) => 10,
            Self::Regression(_) => 11,
            Self::Inconclusive(_) => 12,
            Self::Interrupted => 130,
        }
    }
}
