//! Choosing a communication library by name.

use super::Collective;
use crate::error::{HarnessError, Result};

/// What the processes of one training speak through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Library {
    /// MPI, started by mpirun or srun; needs a build with the feature mpi
    Mpi,
    /// NCCL between GPUs; refused until an engine trains on them
    Nccl,
}

/// Joins the group of processes that this one was started in; once per process.
///
/// # Errors
/// [`HarnessError::Unavailable`] (exit code 6) if this build or machine lacks `library`.
pub fn join(library: Library) -> Result<Box<dyn Collective>> {
    match library {
        #[cfg(feature = "mpi")]
        Library::Mpi => Ok(Box::new(super::mpi::World::join()?)),
        #[cfg(feature = "cuda")]
        Library::Nccl => Ok(Box::new(super::nccl::Group::join()?)),
        #[cfg(not(feature = "mpi"))]
        Library::Mpi => Err(HarnessError::Unavailable {
            what: "--parallel mpi (built without the feature mpi)".to_owned(),
            hint: "build with: cargo build --release --features mpi (needs an MPI library with \
                   mpicc, as libopenmpi-dev)"
                .to_owned(),
        }),
        #[cfg(not(feature = "cuda"))]
        Library::Nccl => Err(HarnessError::Unavailable {
            what: format!("--parallel nccl ({})", crate::device::cuda_problem()),
            hint: "start the ranks with --parallel mpi, which trains on processors; no version \
                   trains on GPUs yet"
                .to_owned(),
        }),
    }
}
