//! The five roles a parameter can have under width scaling.

use serde::{Deserialize, Serialize};

/// How a parameter's fan-in and fan-out grow with width (Tensor Programs V, table 3 and 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Finite to infinite: token, position and segment embeddings.
    Input,
    /// Infinite to infinite: attention, feed-forward, ternary and binary factors.
    Hidden,
    /// Infinite to finite: the decoder.
    Output,
    /// Added vector.
    Bias,
    /// Multiplied vector (layer-norm gain).
    Gain,
}

impl Role {
    /// Every role, in table order.
    pub const ALL: [Self; 5] = [Self::Input, Self::Hidden, Self::Output, Self::Bias, Self::Gain];

    /// Name used in tables and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Hidden => "hidden",
            Self::Output => "output",
            Self::Bias => "bias",
            Self::Gain => "gain",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
