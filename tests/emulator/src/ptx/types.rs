//! Types of PTX.

/// How an instruction reads the bits of its operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Predicate,
    /// Bits, or an unsigned number, of so many bytes.
    Unsigned(u8),
    Signed(u8),
    F16,
    Bf16,
    F32,
    F64,
    /// Two halves in a word, the second operand of a conversion below.
    F16x2,
    Bf16x2,
}

impl Type {
    /// The type that a word of a mnemonic names, if it names one.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "pred" => Self::Predicate,
            "b8" | "u8" => Self::Unsigned(1),
            "b16" | "u16" => Self::Unsigned(2),
            "b32" | "u32" => Self::Unsigned(4),
            "b64" | "u64" => Self::Unsigned(8),
            "s8" => Self::Signed(1),
            "s16" => Self::Signed(2),
            "s32" => Self::Signed(4),
            "s64" => Self::Signed(8),
            "f16" => Self::F16,
            "bf16" => Self::Bf16,
            "f32" => Self::F32,
            "f64" => Self::F64,
            "f16x2" => Self::F16x2,
            "bf16x2" => Self::Bf16x2,
            _ => return None,
        })
    }

    /// Bytes of a value in memory.
    pub fn bytes(self) -> usize {
        match self {
            Self::Predicate => 1,
            Self::Unsigned(bytes) | Self::Signed(bytes) => bytes.into(),
            Self::F16 | Self::Bf16 => 2,
            Self::F32 | Self::F16x2 | Self::Bf16x2 => 4,
            Self::F64 => 8,
        }
    }

    /// Bits of a value.
    pub fn bits(self) -> u32 {
        8 * self.bytes() as u32
    }

    /// Whether it is a signed whole number.
    pub fn signed(self) -> bool {
        matches!(self, Self::Signed(_))
    }

    /// The low bits of `value` that this type has, extended by its sign to 64 bits.
    pub fn cut(self, value: u64) -> u64 {
        let unused = 64 - self.bits();
        if self.signed() {
            ((value << unused) as i64 >> unused) as u64
        } else {
            value << unused >> unused
        }
    }
}
