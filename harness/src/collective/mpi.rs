//! Ranks of an MPI job, started by `mpirun` or a cluster's own launcher.
//!
//! The shim is C because the handles of MPI (communicators, types, operations) differ between
//! implementations, so that their values cannot be spelled in Rust; bindings made from `mpi.h`
//! would need libclang on every machine that builds this.
#![expect(unsafe_code, reason = "calls into the C shim; each states why it is sound")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Collective;
use crate::error::{HarnessError, Result};

unsafe extern "C" {
    fn crossscale_mpi_start(rank: *mut i32, ranks: *mut i32, threads_ok: *mut i32) -> i32;
    fn crossscale_mpi_sum_f32(values: *mut f32, count: usize) -> i32;
    fn crossscale_mpi_sum_f64(values: *mut f64, count: usize) -> i32;
    fn crossscale_mpi_broadcast(bytes: *mut u8, count: usize) -> i32;
    fn crossscale_mpi_abort(code: i32);
    fn crossscale_mpi_end() -> i32;
}

/// All processes of this MPI job.
#[derive(Debug)]
pub struct World {
    rank: usize,
    ranks: usize,
    /// MPI was asked for calls from any thread, but one at a time.
    calling: Mutex<()>,
}

fn check(what: &str, code: i32) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    Err(HarnessError::Unavailable {
        what: format!("MPI ({what} failed with code {code})"),
        hint: "start with: mpirun -n RANKS crossscale train --parallel mpi …".to_owned(),
    })
}

impl World {
    /// Joins the job; once per process.
    ///
    /// # Errors
    /// If MPI cannot be started, or was before.
    pub fn join() -> Result<Self> {
        static JOINED: AtomicBool = AtomicBool::new(false);
        if JOINED.swap(true, Ordering::SeqCst) {
            return Err(HarnessError::Invariant("MPI was started twice".to_owned()));
        }
        let (mut rank, mut ranks, mut threads_ok) = (0, 1, 0);
        // SAFETY: the pointers are to live integers; the flag above keeps it to one call.
        let code =
            unsafe { crossscale_mpi_start(&raw mut rank, &raw mut ranks, &raw mut threads_ok) };
        check("start", code)?;
        if threads_ok == 0 {
            return Err(HarnessError::Unavailable {
                what: "MPI with calls from more than one thread".to_owned(),
                hint: "use an MPI library built with thread support".to_owned(),
            });
        }
        Ok(Self { rank: rank as usize, ranks: ranks as usize, calling: Mutex::new(()) })
    }

    /// Makes one call of MPI at a time.
    fn call(&self, what: &str, function: impl FnOnce() -> i32) -> Result<()> {
        let _calling = self.calling.lock().unwrap_or_else(PoisonError::into_inner);
        check(what, function())
    }

    fn broadcast<T: bytemuck::Pod>(&self, values: &mut [T]) -> Result<()> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(values);
        let (start, count) = (bytes.as_mut_ptr(), bytes.len());
        // SAFETY: pointer and length are those of an exclusive slice of plain bytes.
        self.call("broadcast", || unsafe { crossscale_mpi_broadcast(start, count) })
    }
}

impl Collective for World {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.ranks
    }

    fn sum_f32(&self, values: &mut [f32]) -> Result<()> {
        let (start, count) = (values.as_mut_ptr(), values.len());
        // SAFETY: pointer and length are those of an exclusive slice.
        self.call("sum", || unsafe { crossscale_mpi_sum_f32(start, count) })
    }

    fn sum_f64(&self, values: &mut [f64]) -> Result<()> {
        let (start, count) = (values.as_mut_ptr(), values.len());
        // SAFETY: pointer and length are those of an exclusive slice.
        self.call("sum", || unsafe { crossscale_mpi_sum_f64(start, count) })
    }

    fn broadcast_f32(&self, values: &mut [f32]) -> Result<()> {
        self.broadcast(values)
    }

    fn broadcast_f64(&self, values: &mut [f64]) -> Result<()> {
        self.broadcast(values)
    }

    fn abort(&self, code: u8) -> ! {
        // SAFETY: MPI was started; the call does not come back.
        unsafe { crossscale_mpi_abort(i32::from(code)) };
        std::process::exit(i32::from(code))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // SAFETY: MPI was started, and nothing calls it after its only handle is gone.
        let code = unsafe { crossscale_mpi_end() };
        if code != 0 {
            tracing::warn!("MPI did not end cleanly: code {code}");
        }
    }
}
