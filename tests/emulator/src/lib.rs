//! An interpreter of PTX, the text that a GPU driver compiles: it executes the very instructions
//! that `nvcc` wrote for our kernels, without a GPU.
//!
//! It is a sanitizer: accesses outside an allocation, misaligned ones, values nobody wrote, races
//! between threads of a block or between blocks, asynchronous copies nobody waited for, barriers
//! that not all threads reach and warp instructions from which lanes are absent are
//! [faults](Fault), never numbers. It is a profiler: instructions by kind, bytes asked for beside
//! sectors touched, passes over shared memory ([`Profile`]).
//!
//! What it cannot tell: time, the order of sums inside `mma` (here exact sums, rounded once),
//! `ptxas` fusing a product with a sum, and memory order weaker than barriers. So kernels are
//! compared within bounds.

mod fault;
mod machine;
mod memory;
mod profile;
mod ptx;

pub mod half;

pub use fault::{Fault, Kind};
pub use machine::{Launch, SHARED_BYTES_MAX, run};
pub use memory::device::DeviceMemory;
pub use profile::Profile;
pub use ptx::{Kernel, Module, Parameter};
