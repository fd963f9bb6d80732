//! Opening a computing device without surprises.
//!
//! candle asks for CUDA through libraries that it loads when a device is opened, and panics if
//! they are missing. So the libraries are looked for first, and what is missing is named.

use candle_core::Device;

use crate::config::compute::DeviceKind;
use crate::error::{HarnessError, Result};

/// Opens the device of `kind`.
///
/// # Errors
/// [`HarnessError::Unavailable`] (exit code 6) with the reason and the remedy.
pub fn open(kind: DeviceKind) -> Result<Device> {
    match kind {
        DeviceKind::Cpu => Ok(Device::Cpu),
        DeviceKind::Cuda => open_cuda(),
    }
}

/// Why CUDA cannot be used in this process; `None` if its libraries are there.
pub fn cuda_problem() -> Option<CudaProblem> {
    #[cfg(not(feature = "cuda"))]
    return Some(CudaProblem::NotBuilt);
    #[cfg(feature = "cuda")]
    return cuda::missing_library().map(CudaProblem::Missing);
}

/// Why NCCL cannot be used in this process; `None` if its library is there.
#[cfg(feature = "nccl")]
pub fn nccl_problem() -> Option<CudaProblem> {
    cuda::first_missing(&[cuda::NCCL]).map(CudaProblem::Missing)
}

/// What stands between this process and a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CudaProblem {
    /// The program was built without the feature.
    NotBuilt,
    /// This library was not found.
    Missing(&'static str),
}

impl std::fmt::Display for CudaProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotBuilt => write!(f, "this program was built without the feature cuda"),
            Self::Missing(library) => write!(f, "{library} was not found"),
        }
    }
}

impl CudaProblem {
    /// What a user can do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotBuilt => "build with: cargo build --release --features cuda (needs nvcc), or \
                               leave --device out"
                .to_owned(),
            Self::Missing(library) => format!(
                "install the NVIDIA driver and the CUDA libraries, put {library} on \
                 LD_LIBRARY_PATH, or leave --device out"
            ),
        }
    }

    fn error(self) -> HarnessError {
        HarnessError::Unavailable { what: format!("CUDA ({self})"), hint: self.remedy() }
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda() -> Result<Device> {
    Err(CudaProblem::NotBuilt.error())
}

#[cfg(feature = "cuda")]
fn open_cuda() -> Result<Device> {
    if let Some(problem) = cuda_problem() {
        return Err(problem.error());
    }
    let ordinal = ordinal(gpus().len());
    Device::new_cuda(ordinal).map_err(|error| HarnessError::Unavailable {
        what: format!("CUDA device {ordinal} ({error})"),
        hint: "nvidia-smi shows whether a GPU is visible; leave --device out to use the CPU"
            .to_owned(),
    })
}

/// Which of `count` GPUs this process uses: ranks that share a machine take one each; a launcher
/// may also show each its own alone.
fn ordinal(count: usize) -> usize {
    crate::collective::local_rank() % count.max(1)
}

/// The driver's name of the GPU that [`open`] opens; `None` for the CPU, or where there is none.
pub fn gpu_name(kind: DeviceKind) -> Option<String> {
    let gpus = if kind == DeviceKind::Cuda { gpus() } else { return None };
    let ordinal = ordinal(gpus.len());
    gpus.into_iter().find(|gpu| gpu.index == ordinal).map(|gpu| gpu.name)
}

/// One GPU as the driver describes it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Gpu {
    /// Place in the driver's list.
    pub index: usize,
    /// Product name.
    pub name: String,
    /// Compute capability.
    pub compute_capability: String,
    /// All memory in bytes.
    pub memory_bytes: u64,
    /// Memory not in use now in bytes.
    pub free_bytes: u64,
}

/// GPUs that the driver sees; an empty list without driver or feature.
pub fn gpus() -> Vec<Gpu> {
    #[cfg(not(feature = "cuda"))]
    return Vec::new();
    #[cfg(feature = "cuda")]
    return if cuda_problem().is_none() { cuda::list() } else { Vec::new() };
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::ffi::CStr;

    use candle_core::cuda_backend::cudarc;
    use cudarc::driver::{CudaContext, sys::CUdevice_attribute_enum as Attribute};

    /// A library, with the file names that the bindings try.
    pub type Library = (&'static str, &'static [&'static CStr]);

    #[cfg(feature = "nccl")]
    pub const NCCL: Library = ("libnccl", &[c"libnccl.so", c"libnccl.so.2"]);

    /// Libraries that candle calls.
    const LIBRARIES: [Library; 3] = [
        ("libcuda (the driver)", &[c"libcuda.so.1", c"libcuda.so"]),
        (
            "libcublas",
            &[c"libcublas.so", c"libcublas.so.13", c"libcublas.so.12", c"libcublas.so.11"],
        ),
        ("libcurand", &[c"libcurand.so", c"libcurand.so.10"]),
    ];

    /// The first library of candle's that cannot be loaded.
    pub fn missing_library() -> Option<&'static str> {
        first_missing(&LIBRARIES)
    }

    /// The first of `libraries` that cannot be loaded. The bindings' own check exists only where
    /// they load libraries at run time, and this must build where they link them as well.
    pub fn first_missing(libraries: &[Library]) -> Option<&'static str> {
        let present = |name: &&CStr| {
            #[expect(unsafe_code, reason = "the system's loader is a C function")]
            // SAFETY: the name ends with a zero byte; nothing in the library is looked at.
            let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY) };
            !handle.is_null()
        };
        let missing = |(_, names): &&Library| !names.iter().any(present);
        libraries.iter().find(missing).map(|(name, _)| *name)
    }

    /// Every device that can be opened.
    pub fn list() -> Vec<super::Gpu> {
        let count = CudaContext::device_count().unwrap_or(0).max(0) as usize;
        (0..count).filter_map(|index| describe(index).ok()).collect()
    }

    fn describe(index: usize) -> Result<super::Gpu, cudarc::driver::DriverError> {
        let context = CudaContext::new(index)?;
        let (free, total) = context.mem_get_info()?;
        let major = Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
        let minor = Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR;
        let capability = (context.attribute(major)?, context.attribute(minor)?);
        Ok(super::Gpu {
            index,
            name: context.name()?,
            compute_capability: format!("{}.{}", capability.0, capability.1),
            memory_bytes: total as u64,
            free_bytes: free as u64,
        })
    }
}
