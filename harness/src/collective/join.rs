//! Choosing a communication library by name.

use super::Collective;
use crate::error::{HarnessError, Result};

/// What the processes of one training speak through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Library {
    /// MPI, started by mpirun or srun; needs a build with the feature mpi
    Mpi,
    /// NCCL between GPUs, feature nccl; not run on a GPU yet
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
        #[cfg(feature = "nccl")]
        Library::Nccl => Ok(Box::new(super::nccl::Group::join()?)),
        #[cfg(not(feature = "mpi"))]
        Library::Mpi => Err(not_built("mpi", "an MPI library with mpicc, as libopenmpi-dev")),
        #[cfg(not(feature = "nccl"))]
        Library::Nccl => Err(not_built("nccl", "a CUDA toolkit")),
    }
}

#[cfg(not(all(feature = "mpi", feature = "nccl")))]
fn not_built(feature: &str, needs: &str) -> HarnessError {
    HarnessError::Unavailable {
        what: format!("--parallel {feature} (built without the feature {feature})"),
        hint: format!("build with: cargo build --release --features {feature} (needs {needs})"),
    }
}
