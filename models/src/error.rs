//! The one error type of this crate.

/// Everything that can go wrong while describing, building or running a model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A configuration that no model can have.
    #[error("{model}: {problem}\nhint: {hint}")]
    Shape {
        /// Family name, e.g. `pt`.
        model: &'static str,
        /// What is impossible, with the values.
        problem: String,
        /// How to repair it.
        hint: String,
    },
    /// A parameter name that the layout does not hold.
    #[error("no parameter named '{name}' in the layout of {count} parameters")]
    UnknownParameter {
        /// The name asked for.
        name: String,
        /// How many parameters there are.
        count: usize,
    },
    /// A buffer or tensor whose shape does not fit the layout.
    #[error("parameter '{name}': expected shape {expected:?}, found {found:?}")]
    WrongShape {
        /// The parameter.
        name: String,
        /// Shape in the layout.
        expected: Vec<usize>,
        /// Shape that was given.
        found: Vec<usize>,
    },
    /// A batch that the model cannot run.
    #[error("batch: {0}")]
    Batch(String),
    /// A parametrization table that cannot be read or resolved.
    #[error("parametrization '{name}': {problem}\nhint: {hint}")]
    Parametrization {
        /// Table name or file.
        name: String,
        /// What is wrong.
        problem: String,
        /// How to repair it.
        hint: String,
    },
    /// An operation that this engine does not offer.
    #[error("{what} is not supported by {by}\nhint: {hint}")]
    Unsupported {
        /// The operation or option.
        what: String,
        /// The engine or model.
        by: String,
        /// What to use instead.
        hint: String,
    },
    /// A candle operation failed.
    #[error("tensor operation failed: {0}")]
    Candle(#[from] candle_core::Error),
}

/// Result with [`ModelError`].
pub type Result<T> = std::result::Result<T, ModelError>;
