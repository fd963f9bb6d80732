//! Instructions as the machine executes them.

use super::types::Type;

/// Numbers that every thread has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Index of the thread in its block, by axis.
    Thread(u8),
    /// Threads of a block.
    Threads(u8),
    /// Index of the block in the grid.
    Block(u8),
    /// Blocks of the grid.
    Blocks(u8),
    Lane,
    Warp,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Register(u32),
    /// A predicate, negated.
    Negated(u32),
    Value(u64),
    Special(Special),
}

/// Register (if any) plus offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub base: Option<u32>,
    pub offset: i64,
}

/// Which memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    Global,
    Shared,
}

/// Where a result goes; nowhere for `_`.
pub type Target = Option<u32>;

/// How a conversion to a whole number rounds; to floats it is to nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    NearestEven,
    Down,
    Up,
    Zero,
}

/// Combination of a comparison with a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logic {
    And,
    Or,
    Xor,
}

/// Comparison; the unordered ones hold for NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    EqualUnordered,
    NotEqualUnordered,
    LessUnordered,
    LessEqualUnordered,
    GreaterUnordered,
    GreaterEqualUnordered,
    Numbers,
    NotANumber,
}

/// Which lane a lane reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

/// What a vote tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vote {
    Ballot,
    All,
    Any,
}

/// Operations on lanes, each on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    MultiplyHigh,
    MultiplyWide,
    MultiplyAdd,
    MultiplyAddWide,
    Divide,
    Remainder,
    Minimum,
    Maximum,
    Negate,
    Absolute,
    /// Sign of the first, size of the second.
    CopySign,
    And,
    Or,
    Xor,
    Not,
    ShiftLeft,
    ShiftRight,
    /// `lop3`: the truth table is the fourth input.
    Logic3,
    InsertBits,
    ExtractBits,
    PermuteBytes,
    /// Funnel shift to the left or right, the amount wrapped.
    FunnelLeft,
    FunnelRight,
    CountOnes,
    LeadingZeros,
    Reciprocal,
    Root,
    ReciprocalRoot,
    Exponential2,
    Logarithm2,
    Tanh,
}

/// What an instruction does.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    Load {
        space: Space,
        kind: Type,
        to: Vec<Target>,
        from: Address,
    },
    LoadParameter {
        kind: Type,
        to: Vec<Target>,
        offset: u32,
    },
    Store {
        space: Space,
        kind: Type,
        from: Vec<Source>,
        to: Address,
    },
    Move {
        to: Target,
        from: Source,
    },
    Unpack {
        to: Vec<Target>,
        from: Source,
        bits: u32,
    },
    Pack {
        to: Target,
        from: Vec<Source>,
        bits: u32,
    },
    Select {
        to: Target,
        yes: Source,
        no: Source,
        predicate: Source,
    },
    Compare {
        to: Target,
        opposite: Target,
        test: Test,
        kind: Type,
        a: Source,
        b: Source,
        with: Option<(Logic, Source)>,
    },
    Convert {
        to: Target,
        into: Type,
        of: Type,
        from: Source,
        rounding: Rounding,
    },
    /// Two f32 to two halves in a word.
    PackHalves {
        to: Target,
        kind: Type,
        high: Source,
        low: Source,
    },
    Arithmetic {
        to: Target,
        what: Arithmetic,
        kind: Type,
        inputs: [Source; 4],
        flush: bool,
    },
    Branch {
        to: u32,
    },
    Return,
    Barrier,
    WarpBarrier {
        members: Source,
    },
    Fence,
    /// `given` bytes of `bytes` are read, the rest are zeros.
    CopyAsync {
        to: Address,
        from: Address,
        bytes: usize,
        given: Source,
    },
    CopyCommit,
    CopyWait {
        pending: usize,
    },
    LoadMatrix {
        to: Vec<Target>,
        from: Address,
        turned: bool,
    },
    /// c (16, 8) in f32 plus a (16, 16) times b (16, 8) in halves.
    MultiplyMatrix {
        kind: Type,
        to: Vec<Target>,
        a: Vec<Source>,
        b: Vec<Source>,
        c: Vec<Source>,
    },
    Shuffle {
        to: Target,
        valid: Target,
        how: Shuffle,
        value: Source,
        lane: Source,
        clamp: Source,
        members: Source,
    },
    Vote {
        to: Target,
        what: Vote,
        predicate: Source,
        members: Source,
    },
    ActiveLanes {
        to: Target,
    },
}

/// One instruction of a kernel.
#[derive(Debug, Clone)]
pub struct Instruction {
    pub operation: Operation,
    /// First word of the mnemonic, for counts.
    pub mnemonic: &'static str,
    /// A predicate, and whether it is negated.
    pub guard: Option<(u32, bool)>,
    /// Line of the text, from 0.
    pub line: u32,
}
