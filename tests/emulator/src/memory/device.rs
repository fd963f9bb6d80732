//! Global memory: allocations with bounds, written bytes, and the block that wrote last.

use crate::fault::{Fault, Kind, Result};

/// Bytes between allocations, so that running over an end meets nothing.
const GAP: u64 = 4096;
/// Alignment of allocations, as a driver gives it.
const ALIGNMENT: u64 = 256;
/// First address.
const FIRST: u64 = 0x7000_0000_0000;
/// Bits of an owner that hold the block; the others hold the launch.
const BLOCK_BITS: u32 = 20;

#[derive(Debug, Clone)]
struct Allocation {
    base: u64,
    data: Vec<u8>,
    written: Vec<bool>,
    /// Launch and block of the last write by a kernel.
    owner: Vec<u32>,
}

/// All allocations of a device.
#[derive(Debug, Clone, Default)]
pub struct DeviceMemory {
    /// In order of addresses.
    allocations: Vec<Allocation>,
    next: u64,
    launch: u32,
    /// Index of the allocation used last.
    last: usize,
}

impl DeviceMemory {
    /// Allocates `bytes` that nothing wrote yet; gives their address.
    pub fn allocate(&mut self, bytes: usize) -> u64 {
        let base = self.next.max(FIRST).next_multiple_of(ALIGNMENT);
        self.next = base + bytes as u64 + GAP;
        let (data, written, owner) = (vec![0xa5; bytes], vec![false; bytes], vec![0; bytes]);
        self.allocations.push(Allocation { base, data, written, owner });
        base
    }

    pub(crate) fn begin_launch(&mut self) {
        self.launch = self.launch.wrapping_add(1) & ((1 << (32 - BLOCK_BITS)) - 1);
        if self.launch == 0 {
            // The tags have gone round: what older launches wrote must not look like this one's.
            self.allocations.iter_mut().for_each(|allocation| allocation.owner.fill(0));
            self.launch = 1;
        }
    }

    fn find(&mut self, address: u64, bytes: usize) -> Result<(usize, usize)> {
        let inside = |allocation: &Allocation| {
            address >= allocation.base
                && address + bytes as u64 <= allocation.base + allocation.data.len() as u64
        };
        if !self.allocations.get(self.last).is_some_and(inside) {
            let after = self.allocations.partition_point(|allocation| allocation.base <= address);
            self.last = after.saturating_sub(1);
        }
        match self.allocations.get(self.last) {
            Some(allocation) if inside(allocation) => {
                Ok((self.last, (address - allocation.base) as usize))
            }
            _ => Err(Fault::new(
                Kind::OutOfBounds,
                format!("global access of {bytes} bytes at {address:#x} outside all allocations"),
            )),
        }
    }

    fn tag(&self, block: u32) -> u32 {
        self.launch << BLOCK_BITS | block & ((1 << BLOCK_BITS) - 1)
    }

    /// Whether `owner` is another block of this launch.
    fn foreign(owner: u32, tag: u32) -> bool {
        owner >> BLOCK_BITS == tag >> BLOCK_BITS && owner != tag
    }

    /// Reads for `block` (from 1) of the launch under way, or for the host (0).
    pub(crate) fn read(&mut self, address: u64, out: &mut [u8], block: u32) -> Result<()> {
        let tag = self.tag(block);
        let (index, at) = self.find(address, out.len())?;
        let (allocation, range) = (&self.allocations[index], at..at + out.len());
        if !allocation.written[range.clone()].iter().all(|&written| written) {
            let what = format!("global memory at {address:#x} is read, but nothing wrote it");
            return Err(Fault::new(Kind::Unwritten, what));
        }
        if block != 0 && allocation.owner[range.clone()].iter().any(|&o| Self::foreign(o, tag)) {
            let what = format!("a block reads what another block wrote, at {address:#x}");
            return Err(Fault::new(Kind::BlockRace, what));
        }
        out.copy_from_slice(&allocation.data[range]);
        Ok(())
    }

    /// Writes for `block` (from 1) of the launch under way, or for the host (0).
    pub(crate) fn write(&mut self, address: u64, bytes: &[u8], block: u32) -> Result<()> {
        let tag = self.tag(block);
        let (index, at) = self.find(address, bytes.len())?;
        let (allocation, range) = (&mut self.allocations[index], at..at + bytes.len());
        if block != 0 {
            if allocation.owner[range.clone()].iter().any(|&owner| Self::foreign(owner, tag)) {
                let what = format!("a block writes what another block wrote, at {address:#x}");
                return Err(Fault::new(Kind::BlockRace, what));
            }
            allocation.owner[range.clone()].fill(tag);
        }
        allocation.data[range.clone()].copy_from_slice(bytes);
        allocation.written[range].fill(true);
        Ok(())
    }

    /// Copies from the host.
    pub fn write_bytes(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        self.write(address, bytes, 0)
    }

    /// Copies to the host.
    pub fn read_bytes(&mut self, address: u64, bytes: &mut [u8]) -> Result<()> {
        self.read(address, bytes, 0)
    }
}
