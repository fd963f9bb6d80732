//! Work on several threads: items in a given order, so many at a time, results by item.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::Result;

/// Maps `items` on all cores; results in the order of the items.
///
/// # Errors
/// The first by item that `work` returns; nothing is started after it.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let cores = crate::process::cores();
    let order = (0..items.len()).collect();
    complete(order, cores, Duration::ZERO, |index| work(&items[index]).map(Some))
}

/// Does the items of `order`, which holds every index from 0 once, `jobs` at a time in that order.
///
/// An attempt that gives `None` (somebody else is at it) is made again after the others; when all
/// that is left was so found, the thread waits for `pause`.
///
/// # Errors
/// The first by index that an attempt returns. No attempt starts after an error; those under way
/// finish.
///
/// # Panics
/// If `order` leaves an index out.
pub fn complete<R: Send>(
    order: VecDeque<usize>,
    jobs: usize,
    pause: Duration,
    attempt: impl Fn(usize) -> Result<Option<R>> + Sync,
) -> Result<Vec<R>> {
    let slots: Vec<Mutex<Option<Result<R>>>> = order.iter().map(|_| Mutex::new(None)).collect();
    let workers = jobs.clamp(1, order.len().max(1));
    let queue = Mutex::new(order);
    let locked = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let worker = || {
        let mut taken = 0;
        loop {
            let Some(index) = locked().pop_front() else { break };
            let Some(result) = attempt(index).transpose() else {
                locked().push_back(index);
                taken += 1;
                // After a round in which everything was taken: wait for the others.
                if taken >= locked().len() {
                    std::thread::sleep(pause);
                    taken = 0;
                }
                continue;
            };
            taken = 0;
            if result.is_err() {
                locked().clear();
            }
            *slots[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(worker);
        }
    });
    let results: Vec<Option<Result<R>>> = slots
        .into_iter()
        .map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect();
    let whole = results.iter().all(Option::is_some);
    let results = results.into_iter().flatten().collect::<Result<Vec<_>>>()?;
    assert!(whole, "an item is only skipped after an error, which was returned above");
    Ok(results)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::HarnessError;

    #[test]
    fn invariant_results_are_by_item_and_work_follows_the_order() {
        let started = Mutex::new(Vec::new());
        let order = VecDeque::from([2, 0, 3, 1]);
        let results = complete(order, 1, Duration::ZERO, |index| {
            started.lock().unwrap().push(index);
            Ok(Some(10 * index))
        });
        assert_eq!(results.unwrap(), [0, 10, 20, 30]);
        assert_eq!(started.into_inner().unwrap(), [2, 0, 3, 1]);
        let squares = map(&[1, 2, 3, 4, 5], |value| Ok(value * value)).unwrap();
        assert_eq!(squares, [1, 4, 9, 16, 25]);
        assert_eq!(map(&[0u8; 0], |_| Ok(())).unwrap(), []);
    }

    #[test]
    fn invariant_what_others_are_doing_is_attempted_again() {
        let attempts = AtomicUsize::new(0);
        let results = complete((0..3).collect(), 2, Duration::ZERO, |index| {
            let earlier = attempts.fetch_add(1, Ordering::Relaxed);
            Ok((index != 1 || earlier > 5).then_some(index))
        });
        assert_eq!(results.unwrap(), [0, 1, 2]);
        assert!(attempts.into_inner() > 5);
    }

    #[test]
    fn invariant_nothing_starts_after_an_error() {
        let attempts = AtomicUsize::new(0);
        let result = complete((0..100).collect(), 1, Duration::ZERO, |index| {
            attempts.fetch_add(1, Ordering::Relaxed);
            if index == 3 {
                return Err(HarnessError::Invariant("three".to_owned()));
            }
            Ok(Some(index))
        });
        assert!(result.unwrap_err().to_string().contains("three"));
        assert_eq!(attempts.into_inner(), 4);
    }
}
