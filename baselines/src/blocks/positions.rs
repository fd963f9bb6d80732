//! Where positions come from, and how their table starts.

use candle_core::Tensor;
use models::error::{ModelError, Result};
use models::layers::RotaryTable;
use models::parameters::{Init, ParameterSpec};
use serde::{Deserialize, Serialize};

use super::BlockShape;

/// Base of the rotary angles where a configuration has none of its own (Su et al. 2021).
pub const ROPE_THETA: f64 = 10_000.0;

/// How a model learns where a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Positions {
    /// A learned table, added to the token's embedding once.
    #[default]
    Learned,
    /// No table: queries and keys are rotated in every application (Su et al. 2021).
    Rotary,
}

impl Positions {
    /// Whether it is the default, which no configuration names.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Rotary positions of the tokens of `x` `(B, n, D)`.
pub(crate) fn rotary(shape: &BlockShape, theta: f64, x: &Tensor) -> Result<RotaryTable> {
    RotaryTable::new(x.dim(1)?, shape.head_dim, theta, x.dtype(), x.device())
}

/// Refuses heads that have no pairs to rotate.
pub(crate) fn check_rotary(model: &'static str, shape: &BlockShape) -> Result<()> {
    if shape.head_dim.is_multiple_of(2) {
        return Ok(());
    }
    Err(ModelError::Shape {
        model,
        problem: format!("rotary positions turn pairs, head_dim is {}", shape.head_dim),
        hint: "choose width and heads so that head_dim is even".to_owned(),
    })
}

/// Initial values of a position table; it is learned either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PositionStart {
    /// Normal variates, as BERT's (Devlin et al. 2019).
    #[default]
    Random,
    /// The sinusoids of Vaswani et al. (2017, section 3.5), scaled to the deviation that the normal
    /// variates would have.
    Sinusoids,
}

impl PositionStart {
    /// Whether it is the default, which no configuration names.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The table `embedding.position` `(rows, width)` of root mean square `std` at the base width.
    pub fn table(self, rows: usize, width: usize, std: f64) -> ParameterSpec {
        let table = ParameterSpec::input("embedding.position", rows, width, std);
        match self {
            Self::Random => table,
            Self::Sinusoids => table.with_init(Init::Sinusoids(std)),
        }
    }
}
