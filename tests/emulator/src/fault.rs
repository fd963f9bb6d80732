//! What a kernel or a launch did wrong.

/// What kind of thing went wrong; tests of planted faults ask for it by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The text is not PTX that this interpreter knows.
    NotUnderstood,
    /// The launch itself is impossible: too many threads, too much shared memory, too few
    /// parameters.
    LaunchRefused,
    /// An access outside every allocation, or outside the block's shared memory.
    OutOfBounds,
    /// An address that is no multiple of the access.
    Misaligned,
    /// A read of memory that nothing wrote.
    Unwritten,
    /// Two threads of a block meet in shared memory without a barrier between.
    SharedRace,
    /// Two blocks of a launch meet in global memory.
    BlockRace,
    /// Shared memory is used while an asynchronous copy to it is under way.
    CopyUnderWay,
    /// A block ends before its asynchronous copies.
    CopyAbandoned,
    /// Threads of a block wait at different barriers, or a barrier is under a guard.
    BarrierDivergence,
    /// A warp's common instruction runs without lanes that it names.
    AbsentLanes,
    /// More steps than any launch of a test needs.
    Endless,
}

/// A fault with its place.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{place}{what}")]
pub struct Fault {
    /// What kind of fault.
    pub kind: Kind,
    /// What happened, in words.
    pub what: String,
    /// Kernel, block, warp and line of the PTX, as far as known.
    pub place: String,
}

impl Fault {
    pub(crate) fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), place: String::new() }
    }

    /// The same fault inside `place`.
    #[must_use]
    pub(crate) fn at(mut self, place: &str) -> Self {
        self.place = format!("{place}: {}", self.place);
        self
    }
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Fault>;
