//! Fixed partitions over the rayon pool of the caller.

use rayon::prelude::*;

use super::{rounding, stage};

/// Runs `task(0..count)`; each index once, in any order. On one thread it is a plain loop.
pub fn for_each(count: usize, task: impl Fn(usize) + Send + Sync) {
    if count <= 1 || rayon::current_num_threads() == 1 {
        (0..count).for_each(task);
    } else {
        let (stage, operands) = (stage::current(), rounding::current());
        (0..count).into_par_iter().with_max_len(1).for_each(|index| {
            let _inside = (stage::share(stage), rounding::enter(operands));
            task(index);
        });
    }
}

/// Runs `task(index, block)` on consecutive blocks of `block` entries of `data`.
pub fn for_each_block<T: Send>(
    data: &mut [T],
    block: usize,
    task: impl Fn(usize, &mut [T]) + Send + Sync,
) {
    if data.len() <= block || rayon::current_num_threads() == 1 {
        data.chunks_mut(block).enumerate().for_each(|(index, block)| task(index, block));
    } else {
        let blocks = data.par_chunks_mut(block).with_max_len(1).enumerate();
        let (stage, operands) = (stage::current(), rounding::current());
        blocks.for_each(|(index, block)| {
            let _inside = (stage::share(stage), rounding::enter(operands));
            task(index, block);
        });
    }
}

/// Runs `work` on a thread of the current pool, so that the parallel loops inside it start at
/// once; from outside a pool each loop would wake a worker and wait for it.
pub fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    if rayon::current_num_threads() == 1 || rayon::current_thread_index().is_some() {
        work()
    } else {
        let operands = rounding::current();
        rayon::scope(|_| rounding::with(operands, work))
    }
}

/// A mutable slice of which tasks take disjoint parts that chunks cannot describe.
#[derive(Clone, Copy)]
pub struct Shared<'a, T> {
    start: *mut T,
    length: usize,
    lifetime: std::marker::PhantomData<&'a mut [T]>,
}

#[expect(unsafe_code, reason = "a pointer and a length; access needs the promise of `range`")]
mod shared {
    use super::Shared;
    use std::ops::Range;

    // SAFETY: parts are handed out under the promise that no two tasks overlap.
    unsafe impl<T: Send> Send for Shared<'_, T> {}
    // SAFETY: as above.
    unsafe impl<T: Send> Sync for Shared<'_, T> {}

    impl<'a, T> Shared<'a, T> {
        /// Wraps `data`, which stays borrowed.
        pub fn new(data: &'a mut [T]) -> Self {
            let (start, length) = (data.as_mut_ptr(), data.len());
            Self { start, length, lifetime: std::marker::PhantomData }
        }

        /// The entries in `range`.
        ///
        /// # Safety
        /// No two live parts may overlap.
        pub unsafe fn range(&self, range: Range<usize>) -> &'a mut [T] {
            assert!(range.start <= range.end && range.end <= self.length, "part out of bounds");
            // SAFETY: in bounds by the assertion, exclusive by the caller's promise.
            unsafe {
                std::slice::from_raw_parts_mut(self.start.add(range.start), range.end - range.start)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_blocks_cover_the_data_once_for_any_pool() {
        for threads in 1..4 {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut data = vec![0usize; 103];
            in_pool(|| {
                pool.install(|| {
                    for_each_block(&mut data, 10, |index, block| {
                        for value in block {
                            *value += index + 1;
                        }
                    });
                });
            });
            let expected: Vec<usize> = (0..103).map(|i| i / 10 + 1).collect();
            assert_eq!(data, expected);
        }
    }
}
