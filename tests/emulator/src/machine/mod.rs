//! Runs a grid block by block, warp by warp.

mod access;
mod arithmetic;
mod common;
mod convert;
mod execute;
mod matrix;
mod warp;

use crate::fault::{Fault, Kind, Result};
use crate::memory::device::DeviceMemory;
use crate::memory::shared::SharedMemory;
use crate::profile::Profile;
use crate::ptx::{Kernel, Module};
use warp::{LANES, Warp};

/// Shared memory that a block of sm_90 can have (CUDA C++ Programming Guide, table of compute
/// capabilities).
pub const SHARED_BYTES_MAX: usize = 227 * 1024;
/// Threads of a block (same table).
const THREADS_MAX: usize = 1024;
/// Instructions of one warp between barriers after which a launch counts as endless: a hundred
/// times what any launch of the tests takes.
const STEPS_MAX: u64 = 2_000_000;

/// A launch of a kernel.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// Where the kernel comes from.
    pub module: &'a Module,
    /// What runs.
    pub kernel: &'a Kernel,
    /// Blocks by axis.
    pub grid: [u32; 3],
    /// Threads of a block by axis.
    pub block: [u32; 3],
    /// Bytes of shared memory beyond the arrays of fixed size.
    pub dynamic_shared_bytes: usize,
    /// Parameters, each where [`Kernel::parameters`] says.
    pub parameters: &'a [u8],
}

/// The machine while a launch runs.
struct Machine<'a, 'm> {
    launch: &'a Launch<'a>,
    memory: &'m mut DeviceMemory,
    shared: SharedMemory,
    profile: Profile,
    /// The block that runs, by axis and counted from 1.
    block: [u32; 3],
    block_number: u32,
}

/// Runs `launch` to its end, or to its first fault.
pub fn run(launch: &Launch<'_>, memory: &mut DeviceMemory) -> Result<Profile> {
    let (threads, shared_bytes) = check(launch)?;
    memory.begin_launch();
    let shared = SharedMemory::new(shared_bytes);
    let profile = Profile::default();
    let mut machine = Machine { launch, memory, shared, profile, block: [0; 3], block_number: 0 };
    for z in 0..launch.grid[2] {
        for y in 0..launch.grid[1] {
            for x in 0..launch.grid[0] {
                machine.block = [x, y, z];
                machine.block_number += 1;
                machine.run_block(threads).map_err(|fault| {
                    fault.at(&format!("{} block ({x}, {y}, {z})", launch.kernel.name))
                })?;
            }
        }
    }
    Ok(machine.profile)
}

/// Threads of a block and bytes of its shared memory, if there can be so many.
fn check(launch: &Launch<'_>) -> Result<(usize, usize)> {
    let kernel = launch.kernel;
    let refused = |what: String| Fault::new(Kind::LaunchRefused, what).at(&kernel.name);
    let threads = launch.block.iter().map(|&axis| axis as usize).product();
    if threads == 0 || threads > kernel.threads_max.unwrap_or(THREADS_MAX) {
        let most = kernel.threads_max.unwrap_or(THREADS_MAX);
        return Err(refused(format!("{threads} threads in a block of at most {most}")));
    }
    if launch.grid.contains(&0) {
        return Err(refused("a grid without blocks".to_owned()));
    }
    let shared_bytes = kernel.shared_bytes(launch.dynamic_shared_bytes);
    if shared_bytes > SHARED_BYTES_MAX {
        let what = format!("{shared_bytes} bytes of shared memory of at most {SHARED_BYTES_MAX}");
        return Err(refused(what));
    }
    if launch.parameters.len() != kernel.parameter_bytes() {
        let (given, asked) = (launch.parameters.len(), kernel.parameter_bytes());
        return Err(refused(format!("{given} bytes of parameters for {asked}")));
    }
    Ok((threads, shared_bytes))
}

impl Machine<'_, '_> {
    fn run_block(&mut self, threads: usize) -> Result<()> {
        self.shared.clear();
        let registers = self.launch.kernel.registers;
        let mut warps: Vec<Warp> = (0..threads.div_ceil(LANES))
            .map(|index| Warp::new(index, (threads - index * LANES).min(LANES), registers))
            .collect();
        loop {
            for warp in &mut warps {
                self.run_warp(warp)?;
            }
            if warps.iter().all(|warp| warp.alive == 0) {
                break;
            }
            self.pass_barrier(&mut warps)?;
        }
        let under_way = |warp: &Warp| {
            warp.copies.iter().any(|copies| {
                !copies.open.is_empty() || copies.groups.iter().any(|group| !group.is_empty())
            })
        };
        if warps.iter().any(under_way) {
            let what = "a block ends with asynchronous copies under way";
            return Err(Fault::new(Kind::CopyAbandoned, what));
        }
        Ok(())
    }

    /// Until all lanes have returned or wait.
    fn run_warp(&mut self, warp: &mut Warp) -> Result<()> {
        let mut steps = 0u64;
        while warp.runnable() != 0 {
            self.step(warp)?;
            steps += 1;
            if steps > STEPS_MAX {
                let what = format!("warp {} runs on and on", warp.index);
                return Err(Fault::new(Kind::Endless, what));
            }
        }
        Ok(())
    }

    fn pass_barrier(&mut self, warps: &mut [Warp]) -> Result<()> {
        let places: Vec<u32> = warps.iter().flat_map(Warp::waiting_at).collect();
        let first = places.first().copied().unwrap_or(0);
        if places.iter().any(|&place| place != first) {
            let what = "threads of one block wait at different barriers";
            return Err(Fault::new(Kind::BarrierDivergence, what));
        }
        // Threads that have returned are not waited for (CUDA C++ Programming Guide,
        // synchronization functions, compute capability 7 and later), and the others wait here.
        for warp in warps.iter_mut().filter(|warp| warp.alive != 0) {
            warp.release(first);
        }
        self.shared.barrier();
        self.profile.barriers += 1;
        Ok(())
    }
}
