//! Which computing devices this process can use, and why not the others.

use candle_core::Device;

use crate::config::compute::DeviceKind;
use crate::error::{HarnessError, Result};

#[cfg(feature = "cuda")]
mod cuda;

/// Opens the device of `kind`.
///
/// # Errors
/// [`HarnessError::Unavailable`] (exit code 6) with the reason and the remedy.
pub fn open(kind: DeviceKind) -> Result<Device> {
    match (kind, cuda_problem()) {
        (DeviceKind::Cpu, _) => Ok(Device::Cpu),
        (DeviceKind::Cuda, problem) => Err(problem.error()),
    }
}

/// Why no GPU can train a model in this process: there is always a reason, as long as no engine
/// launches the kernels.
pub fn cuda_problem() -> CudaProblem {
    #[cfg(not(feature = "cuda"))]
    return CudaProblem::NotBuilt;
    #[cfg(feature = "cuda")]
    return cuda::found().problem.clone().unwrap_or(CudaProblem::NoEngine);
}

/// Why NCCL cannot join GPUs in this process.
#[cfg(feature = "cuda")]
pub fn nccl_problem() -> Option<CudaProblem> {
    match cuda_problem() {
        CudaProblem::NoEngine if !cuda::nccl_present() => Some(CudaProblem::Missing("libnccl")),
        problem => Some(problem),
    }
}

/// What stands between this process and training on a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CudaProblem {
    /// The program was built without the feature.
    NotBuilt,
    /// This library was not found.
    Missing(&'static str),
    /// The driver is there and sees no GPU.
    NoGpu,
    /// The driver knows CUDA up to this version only.
    OldDriver(i32),
    /// A call of the driver failed.
    Failed(String),
    /// A GPU is there, and nothing in this program trains on it.
    NoEngine,
}

impl std::fmt::Display for CudaProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotBuilt => write!(f, "this program was built without the feature cuda"),
            Self::Missing(library) => write!(f, "{library} was not found"),
            Self::NoGpu => write!(f, "the driver lists no GPU"),
            Self::OldDriver(version) => {
                let (major, minor) = (version / 1000, version % 1000 / 10);
                write!(f, "the driver knows CUDA up to {major}.{minor}, the kernels need 13.0")
            }
            Self::Failed(call) => write!(f, "the driver refuses: {call}"),
            Self::NoEngine => {
                write!(f, "this version has GPU kernels and no engine yet that trains with them")
            }
        }
    }
}

impl CudaProblem {
    /// What a user can do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotBuilt => "leave --device out to use the CPU; a build with --features cuda \
                               finds GPUs, but no version trains on one yet"
                .to_owned(),
            Self::Missing(library) => {
                format!("install {library} or put it on LD_LIBRARY_PATH, or leave --device out")
            }
            Self::NoGpu => "nvidia-smi shows whether a GPU is visible, CUDA_VISIBLE_DEVICES \
                            hides some; leave --device out to use the CPU"
                .to_owned(),
            Self::OldDriver(_) => {
                "install an NVIDIA driver of version 580 or newer, or leave --device out".to_owned()
            }
            Self::Failed(_) => {
                "nvidia-smi shows what the driver sees; leave --device out to use the CPU"
                    .to_owned()
            }
            Self::NoEngine => "leave --device out to use the CPU; crossscale plan --device cuda \
                               estimates what a GPU would take"
                .to_owned(),
        }
    }

    fn error(&self) -> HarnessError {
        HarnessError::Unavailable { what: format!("CUDA ({self})"), hint: self.remedy() }
    }
}

/// One GPU as the driver describes it without a context, which would cost half a gigabyte of its
/// memory. Memory in use is not told without one.
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
}

/// GPUs that the driver sees; an empty list without driver or feature.
pub fn gpus() -> Vec<Gpu> {
    #[cfg(not(feature = "cuda"))]
    return Vec::new();
    #[cfg(feature = "cuda")]
    return cuda::found().gpus.clone();
}

/// The driver's name of the GPU that this process would use, ranks that share a machine one each;
/// `None` for the CPU, or where there is none.
pub fn gpu_name(kind: DeviceKind) -> Option<String> {
    let gpus = if kind == DeviceKind::Cuda { gpus() } else { return None };
    let ordinal = crate::collective::local_rank() % gpus.len().max(1);
    gpus.into_iter().find(|gpu| gpu.index == ordinal).map(|gpu| gpu.name)
}
