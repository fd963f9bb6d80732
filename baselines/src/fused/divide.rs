//! Work that can be cut in two, run over the caller's thread pool.

use models::fused::rounding;

/// A number of independent pieces of work, each with its own memory.
pub(super) trait Divide: Sized + Send {
    /// Number of pieces.
    fn pieces(&self) -> usize;

    /// Pieces before the place where to cut first: about half of the work.
    fn middle(&self) -> usize {
        self.pieces() / 2
    }

    /// The first `at` pieces and the others.
    fn divide(self, at: usize) -> (Self, Self);
}

/// Runs `task` once for each piece, in any order; on one thread it is a plain loop.
pub(super) fn for_each<D: Divide>(work: D, task: &(impl Fn(D) + Sync)) {
    if work.pieces() <= 1 {
        if work.pieces() == 1 {
            task(work);
        }
        return;
    }
    let middle = work.middle();
    let (first, second) = work.divide(middle);
    if rayon::current_num_threads() == 1 {
        for_each(first, task);
        for_each(second, task);
    } else {
        let operands = rounding::current();
        let half = |work| rounding::with(operands, || for_each(work, task));
        rayon::join(|| half(first), || half(second));
    }
}
