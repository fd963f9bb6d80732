//! Where positions come from, and how their table starts.

use models::parameters::{Init, ParameterSpec};
use serde::{Deserialize, Serialize};

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
