//! Ranks that are threads of one test.

use std::sync::{Arc, Barrier, Mutex};

use super::Collective;
use crate::error::Result;

/// What the ranks of one group share.
struct Shared {
    barrier: Barrier,
    /// What every rank brought to the current call.
    brought: Mutex<Vec<Vec<f64>>>,
}

/// One rank; sums run in rank order.
pub struct Thread {
    rank: usize,
    ranks: usize,
    shared: Arc<Shared>,
}

/// The ranks of a group of `ranks`.
pub fn group(ranks: usize) -> Vec<Thread> {
    let brought = Mutex::new(vec![Vec::new(); ranks]);
    let shared = Arc::new(Shared { barrier: Barrier::new(ranks), brought });
    (0..ranks).map(|rank| Thread { rank, ranks, shared: shared.clone() }).collect()
}

impl Thread {
    /// Gives every rank what `answer` makes of the values of all.
    fn exchange(&self, values: Vec<f64>, answer: impl Fn(&[Vec<f64>]) -> Vec<f64>) -> Vec<f64> {
        self.shared.brought.lock().unwrap()[self.rank] = values;
        self.shared.barrier.wait();
        let result = answer(&self.shared.brought.lock().unwrap());
        self.shared.barrier.wait();
        result
    }

    fn widened(values: &[f32]) -> Vec<f64> {
        values.iter().map(|&value| f64::from(value)).collect()
    }
}

fn narrow(values: &mut [f32], from: &[f64]) {
    values.iter_mut().zip(from).for_each(|(value, &from)| *value = from as f32);
}

fn sum(brought: &[Vec<f64>]) -> Vec<f64> {
    let lengths = brought.iter().all(|values| values.len() == brought[0].len());
    assert!(lengths, "ranks make the same calls");
    (0..brought[0].len()).map(|place| brought.iter().map(|values| values[place]).sum()).collect()
}

impl Collective for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.ranks
    }

    fn sum_f32(&self, values: &mut [f32]) -> Result<()> {
        narrow(values, &self.exchange(Self::widened(values), sum));
        Ok(())
    }

    fn sum_f64(&self, values: &mut [f64]) -> Result<()> {
        values.copy_from_slice(&self.exchange(values.to_vec(), sum));
        Ok(())
    }

    fn broadcast_f32(&self, values: &mut [f32]) -> Result<()> {
        narrow(values, &self.exchange(Self::widened(values), |brought| brought[0].clone()));
        Ok(())
    }

    fn broadcast_f64(&self, values: &mut [f64]) -> Result<()> {
        values.copy_from_slice(&self.exchange(values.to_vec(), |brought| brought[0].clone()));
        Ok(())
    }

    fn abort(&self, code: u8) -> ! {
        panic!("rank {} ends all with code {code}", self.rank)
    }
}
