//! Questions to the NVIDIA driver that open no context on any GPU.
//!
//! The bindings load a library when its first function is called, and panic if it is not there. So
//! libraries are looked for first, and what is missing is named.

use std::sync::OnceLock;

use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult};
use cudarc::driver::{DriverError, result};

use super::{CudaProblem, Gpu};

/// First version of CUDA whose drivers read the instructions that the kernels are committed in
/// (PTX ISA 9.0): 13.0, as the driver counts.
const CUDA_MIN: i32 = 13_000;

/// What the driver says of this machine.
pub struct Found {
    /// GPUs in the driver's order.
    pub gpus: Vec<Gpu>,
    /// What is missing for their use.
    pub problem: Option<CudaProblem>,
}

/// Asks the driver, once per process.
pub fn found() -> &'static Found {
    static FOUND: OnceLock<Found> = OnceLock::new();
    FOUND.get_or_init(|| match list() {
        Ok(gpus) if gpus.is_empty() => Found { gpus, problem: Some(CudaProblem::NoGpu) },
        Ok(gpus) => Found { gpus, problem: missing_library() },
        Err(problem) => Found { gpus: Vec::new(), problem: Some(problem) },
    })
}

fn missing_library() -> Option<CudaProblem> {
    #[expect(unsafe_code, reason = "loading a library runs its own initialisation")]
    // SAFETY: as in `list`.
    let present = unsafe { cudarc::cublaslt::sys::is_culib_present() };
    (!present).then_some(CudaProblem::Missing("libcublasLt (of CUDA 13)"))
}

fn list() -> Result<Vec<Gpu>, CudaProblem> {
    #[expect(unsafe_code, reason = "loading a library runs its own initialisation")]
    // SAFETY: libraries of these names are NVIDIA's, whose initialisation asks nothing of the
    // process; another one would be an administrator's doing, who can replace this program too.
    let present = unsafe { sys::is_culib_present() };
    if !present {
        return Err(CudaProblem::Missing("libcuda (the NVIDIA driver)"));
    }
    result::init().map_err(|error| refused("cuInit", error))?;
    let version = driver_version().map_err(|error| refused("cuDriverGetVersion", error))?;
    if version < CUDA_MIN {
        return Err(CudaProblem::OldDriver(version));
    }
    let count = result::device::get_count().map_err(|error| refused("cuDeviceGetCount", error))?;
    let gpus = (0..count).map(describe).collect::<Result<Vec<_>, _>>();
    gpus.map_err(|error| refused("cuDeviceGet", error))
}

fn refused(call: &str, DriverError(code): DriverError) -> CudaProblem {
    match code {
        CUresult::CUDA_ERROR_NO_DEVICE => CudaProblem::NoGpu,
        code => CudaProblem::Failed(format!("{call} gives {code:?}")),
    }
}

/// The newest CUDA that the driver knows: 1000 times its version plus ten times the minor one.
fn driver_version() -> Result<i32, DriverError> {
    let mut version = 0;
    #[expect(unsafe_code, reason = "the bindings have no safe form of this call")]
    // SAFETY: the driver writes one number to a place that outlives the call.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result()?;
    Ok(version)
}

fn describe(index: i32) -> Result<Gpu, DriverError> {
    let device = result::device::get(index)?;
    #[expect(unsafe_code, reason = "the bindings cannot know that a device number is the driver's")]
    // SAFETY: the driver has just given this number.
    let (memory, major, minor) = unsafe {
        (
            result::device::total_mem(device)?,
            result::device::get_attribute(
                device,
                Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            )?,
            result::device::get_attribute(
                device,
                Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )?,
        )
    };
    Ok(Gpu {
        index: index.unsigned_abs() as usize,
        name: result::device::get_name(device)?,
        compute_capability: format!("{major}.{minor}"),
        memory_bytes: memory as u64,
    })
}

/// Whether NCCL can be loaded.
pub fn nccl_present() -> bool {
    #[expect(unsafe_code, reason = "loading a library runs its own initialisation")]
    // SAFETY: as in `list`.
    unsafe {
        cudarc::nccl::sys::is_culib_present()
    }
}
