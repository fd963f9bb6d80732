//! Several processes that train one model together, each on a part of every step.
//!
//! A step of `train.micro_batches * train.ranks` parts is dealt out among the R ranks: rank r
//! computes parts r, r + R, r + 2R, … weighted by their share of the step's targets, and the sum
//! over ranks is the gradient of the whole batch. Every rank then makes the same update, so that
//! parameters and moments never travel after the start.

use crate::error::Result;

mod environment;
mod join;
#[cfg(any(test, feature = "cuda"))]
mod meeting;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "cuda")]
mod nccl;
#[cfg(test)]
pub mod threads;

pub use environment::local_rank;
pub use join::{Library, join};

/// What data-parallel training asks of a communication library. All ranks make the same calls in
/// the same order, one at a time.
pub trait Collective: Send + Sync {
    /// This process, from 0.
    fn rank(&self) -> usize;

    /// Number of processes R.
    fn ranks(&self) -> usize;

    /// Replaces `values` on every rank by their sum over ranks: the same bits on every rank.
    fn sum_f32(&self, values: &mut [f32]) -> Result<()>;

    /// As [`sum_f32`](Self::sum_f32).
    fn sum_f64(&self, values: &mut [f64]) -> Result<()>;

    /// Replaces `values` on every rank by those of rank 0.
    fn broadcast_f32(&self, values: &mut [f32]) -> Result<()>;

    /// As [`broadcast_f32`](Self::broadcast_f32).
    fn broadcast_f64(&self, values: &mut [f64]) -> Result<()>;

    /// Returns when every rank has come here.
    fn barrier(&self) -> Result<()> {
        self.sum_f64(&mut [0.0])
    }

    /// Ends all processes with exit code `code`, because this one cannot go on.
    fn abort(&self, code: u8) -> !;
}

/// One process by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn ranks(&self) -> usize {
        1
    }

    fn sum_f32(&self, _: &mut [f32]) -> Result<()> {
        Ok(())
    }

    fn sum_f64(&self, _: &mut [f64]) -> Result<()> {
        Ok(())
    }

    fn broadcast_f32(&self, _: &mut [f32]) -> Result<()> {
        Ok(())
    }

    fn broadcast_f64(&self, _: &mut [f64]) -> Result<()> {
        Ok(())
    }

    fn abort(&self, code: u8) -> ! {
        std::process::exit(i32::from(code))
    }
}
