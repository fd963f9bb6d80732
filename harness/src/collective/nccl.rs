//! Ranks that speak over NCCL, one GPU each. Not run on a GPU yet, and refused until an engine
//! trains on one.
//!
//! Engines give gradients in the memory of the processor, so a sum copies them to the GPU and
//! back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DeviceRepr};
use cudarc::nccl::result::NcclError;
use cudarc::nccl::{Comm, Id, NcclType, ReduceOp};

use super::Collective;
use super::environment::{local_rank, number};
use super::meeting::Meeting;
use crate::error::{HarnessError, Result};

/// Longest wait for the other ranks: a cluster may start them minutes apart.
const PATIENCE: Duration = Duration::from_mins(5);
/// Where ranks meet unless `CROSSSCALE_MEETING` says otherwise.
const ADDRESS: &str = "127.0.0.1:29571";
/// Bytes of the identifier that all ranks must share.
const ID_BYTES: usize = 128;
/// Variables in which OpenMPI, Slurm and torchrun number their processes, and count them.
const RANK: [&str; 3] = ["OMPI_COMM_WORLD_RANK", "SLURM_PROCID", "RANK"];
const RANKS: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS", "WORLD_SIZE"];

/// A group of ranks on NCCL.
pub struct Group {
    rank: usize,
    ranks: usize,
    stream: Arc<CudaStream>,
    comm: Mutex<Communicator>,
}

struct Communicator(Comm);

#[expect(unsafe_code, reason = "the bindings do not say that a communicator may change threads")]
// SAFETY: NCCL lets any thread use a communicator, one at a time: it stands behind a mutex.
unsafe impl Send for Communicator {}

fn unavailable(what: &str, error: impl std::fmt::Debug) -> HarnessError {
    HarnessError::Unavailable {
        what: format!("NCCL ({what}: {error:?})"),
        hint: "crossscale doctor shows the GPUs; NCCL_DEBUG=INFO shows why ranks do not meet"
            .to_owned(),
    }
}

/// A number that the launcher gave this process.
fn given(names: &[&str]) -> Result<usize> {
    number(names, |name| std::env::var(name).ok()).ok_or_else(|| {
        HarnessError::config(
            format!("none of {} is set", names.join(", ")),
            "start the ranks with mpirun, srun or torchrun, which number their processes",
        )
    })
}

impl Group {
    /// Joins the processes of one launch, on the GPU of this one's place on its machine.
    ///
    /// # Errors
    /// If a library is missing, the ranks do not meet, or a GPU cannot be opened.
    pub fn join() -> Result<Self> {
        if let Some(problem) = crate::device::nccl_problem() {
            return Err(HarnessError::Unavailable {
                what: format!("--parallel nccl ({problem})"),
                hint: problem.remedy(),
            });
        }
        let (rank, ranks) = (given(&RANK)?, given(&RANKS)?);
        let id = shared_id(rank, ranks)?;
        let devices = CudaContext::device_count().map_or(1, |count| count.max(1) as usize);
        let ordinal = local_rank() % devices;
        let context = CudaContext::new(ordinal).map_err(|error| unavailable("device", error))?;
        let stream = context.default_stream();
        let comm = Comm::from_rank(stream.clone(), rank, ranks, id)
            .map_err(|error| unavailable("group", error))?;
        Ok(Self { rank, ranks, stream, comm: Mutex::new(Communicator(comm)) })
    }

    fn comm(&self) -> MutexGuard<'_, Communicator> {
        self.comm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `change` work on a copy of `values` on the GPU.
    fn on_device<T: DeviceRepr + Copy>(
        &self,
        values: &mut [T],
        change: impl FnOnce(&Comm, &mut CudaSlice<T>) -> std::result::Result<(), NcclError>,
    ) -> Result<()> {
        let comm = self.comm();
        let driver = |error| unavailable("copy", error);
        let mut buffer = self.stream.clone_htod(&*values).map_err(driver)?;
        change(&comm.0, &mut buffer).map_err(|error| unavailable("call", error))?;
        self.stream.memcpy_dtoh(&buffer, values).map_err(driver)?;
        self.stream.synchronize().map_err(driver)
    }

    fn sum<T: DeviceRepr + NcclType + Copy>(&self, values: &mut [T]) -> Result<()> {
        self.on_device(values, |comm, buffer| {
            comm.all_reduce_in_place(buffer, &ReduceOp::Sum).map(drop)
        })
    }

    fn broadcast<T: DeviceRepr + NcclType + Copy>(&self, values: &mut [T]) -> Result<()> {
        self.on_device(values, |comm, buffer| comm.broadcast_in_place(buffer, 0).map(drop))
    }
}

/// The identifier of the group, made by rank 0.
fn shared_id(rank: usize, ranks: usize) -> Result<Id> {
    let address = std::env::var("CROSSSCALE_MEETING").unwrap_or_else(|_| ADDRESS.to_owned());
    let meeting = Meeting { address, patience: PATIENCE };
    if rank == 0 {
        let id = Id::new().map_err(|error| unavailable("identifier", error))?;
        let bytes = id.internal().map(|byte| byte as u8);
        meeting.give(ranks, &bytes)?;
        return Ok(id);
    }
    let mut bytes = [0; ID_BYTES];
    meeting.take(rank, ranks, &mut bytes)?;
    Ok(Id::uninit(bytes.map(|byte| byte as std::ffi::c_char)))
}

impl Collective for Group {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.ranks
    }

    fn sum_f32(&self, values: &mut [f32]) -> Result<()> {
        self.sum(values)
    }

    fn sum_f64(&self, values: &mut [f64]) -> Result<()> {
        self.sum(values)
    }

    fn broadcast_f32(&self, values: &mut [f32]) -> Result<()> {
        self.broadcast(values)
    }

    fn broadcast_f64(&self, values: &mut [f64]) -> Result<()> {
        self.broadcast(values)
    }

    /// NCCL has no call for it: mpirun and torchrun end the others when one fails, and srun does
    /// with `--kill-on-bad-exit`.
    fn abort(&self, code: u8) -> ! {
        std::process::exit(i32::from(code))
    }
}
