//! Loads, stores and asynchronous copies.

use super::Machine;
use super::warp::{Copy, LANES, Lanes, Warp, lanes};
use crate::fault::{Fault, Kind, Result};
use crate::memory::shared::Thread;
use crate::ptx::instruction::{Operation, Source, Space, Target};
use crate::ptx::types::Type;

/// Bytes of shared memory that one pass serves.
const PASS_BYTES: usize = 128;
/// Banks of shared memory, four bytes wide each.
const BANKS: u64 = 32;
/// Bytes of a sector of global memory.
const SECTOR_BYTES: u64 = 32;
/// Widest access of a lane.
const WIDEST: usize = 16;

/// The low half of an address of shared memory.
pub(super) fn in_window(addresses: Lanes) -> Lanes {
    addresses.map(|address| address & 0xffff_ffff)
}

/// The thread in `lane`.
pub(super) fn thread(warp: &Warp, lane: usize) -> Thread {
    Thread { index: (warp.index * LANES + lane) as u16, warp_epoch: warp.epoch }
}

fn aligned(address: u64, bytes: usize) -> Result<()> {
    if address.is_multiple_of(bytes as u64) {
        return Ok(());
    }
    let what = format!("an access of {bytes} bytes at {address:#x} is misaligned");
    Err(Fault::new(Kind::Misaligned, what))
}

impl Machine<'_, '_> {
    pub(super) fn access(
        &mut self,
        operation: &Operation,
        warp: &mut Warp,
        active: u32,
    ) -> Result<()> {
        match operation {
            Operation::LoadParameter { kind, to, offset } => {
                self.load_parameter(*kind, to, *offset as usize, warp, active)
            }
            Operation::Load { space, kind, to, from } => {
                let addresses = warp.addresses(*from);
                self.load((*space, *kind), to, addresses, warp, active)
            }
            Operation::Store { space, kind, from, to } => {
                let addresses = warp.addresses(*to);
                self.store((*space, *kind), from, addresses, warp, active)
            }
            Operation::CopyAsync { to, from, bytes, given } => {
                let to = in_window(warp.addresses(*to));
                let from = warp.addresses(*from);
                self.copy((to, from), *bytes, *given, warp, active)
            }
            Operation::CopyCommit => {
                for lane in lanes(active) {
                    let copies = &mut warp.copies[lane];
                    let group = std::mem::take(&mut copies.open);
                    copies.groups.push_back(group);
                }
                Ok(())
            }
            Operation::CopyWait { pending } => self.wait(*pending, warp, active),
            _ => Ok(()),
        }
    }

    fn load_parameter(
        &self,
        kind: Type,
        to: &[Target],
        offset: usize,
        warp: &mut Warp,
        active: u32,
    ) -> Result<()> {
        for (part, target) in to.iter().enumerate() {
            let at = offset + part * kind.bytes();
            let Some(bytes) = self.launch.parameters.get(at..at + kind.bytes()) else {
                return Err(Fault::new(Kind::OutOfBounds, "a parameter beyond the last"));
            };
            warp.set(*target, active, &[kind.cut(number(bytes)); LANES]);
        }
        Ok(())
    }

    fn load(
        &mut self,
        (space, kind): (Space, Type),
        to: &[Target],
        addresses: Lanes,
        warp: &mut Warp,
        active: u32,
    ) -> Result<()> {
        let (size, bytes) = (kind.bytes(), kind.bytes() * to.len());
        let addresses = self.count(space, addresses, active, bytes);
        let mut columns = vec![[0; LANES]; to.len()];
        for lane in lanes(active) {
            let mut buffer = [0u8; WIDEST];
            let buffer = &mut buffer[..bytes];
            aligned(addresses[lane], bytes)?;
            match space {
                Space::Shared => {
                    self.shared.read(addresses[lane], buffer, thread(warp, lane))?;
                }
                Space::Global => self.memory.read(addresses[lane], buffer, self.block_number)?,
            }
            for (column, bytes) in columns.iter_mut().zip(buffer.chunks_exact(size)) {
                column[lane] = kind.cut(number(bytes));
            }
        }
        Self::set_all(warp, to, active, &columns);
        Ok(())
    }

    fn store(
        &mut self,
        (space, kind): (Space, Type),
        from: &[Source],
        addresses: Lanes,
        warp: &Warp,
        active: u32,
    ) -> Result<()> {
        let (size, bytes) = (kind.bytes(), kind.bytes() * from.len());
        let addresses = self.count(space, addresses, active, bytes);
        let columns: Vec<Lanes> = from.iter().map(|part| self.fetch(warp, *part)).collect();
        for lane in lanes(active) {
            let mut buffer = [0u8; WIDEST];
            let buffer = &mut buffer[..bytes];
            for (column, bytes) in columns.iter().zip(buffer.chunks_exact_mut(size)) {
                bytes.copy_from_slice(&column[lane].to_le_bytes()[..size]);
            }
            aligned(addresses[lane], bytes)?;
            match space {
                Space::Shared => {
                    self.shared.write(addresses[lane], buffer, thread(warp, lane))?;
                }
                Space::Global => self.memory.write(addresses[lane], buffer, self.block_number)?,
            }
        }
        Ok(())
    }

    fn copy(
        &mut self,
        (to, from): (Lanes, Lanes),
        bytes: usize,
        given: Source,
        warp: &mut Warp,
        active: u32,
    ) -> Result<()> {
        self.count_shared(&to, active, bytes);
        self.count_global(&from, active, bytes);
        let given = self.fetch(warp, given);
        for lane in lanes(active) {
            aligned(to[lane], bytes)?;
            aligned(from[lane], bytes)?;
            self.shared.begin_copy(to[lane], bytes, thread(warp, lane))?;
            let given = ((given[lane] & 0xffff_ffff) as usize).min(bytes);
            let copy = Copy { to: to[lane], from: from[lane], bytes, given };
            warp.copies[lane].open.push(copy);
        }
        Ok(())
    }

    fn wait(&mut self, pending: usize, warp: &mut Warp, active: u32) -> Result<()> {
        for lane in lanes(active) {
            let thread = thread(warp, lane);
            while warp.copies[lane].groups.len() > pending {
                for copy in warp.copies[lane].groups.pop_front().into_iter().flatten() {
                    let mut buffer = [0u8; WIDEST];
                    if copy.given > 0 {
                        let read = &mut buffer[..copy.given];
                        self.memory.read(copy.from, read, self.block_number)?;
                    }
                    self.shared.end_copy(copy.to, &buffer[..copy.bytes], thread)?;
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, space: Space, addresses: Lanes, active: u32, bytes: usize) -> Lanes {
        match space {
            Space::Shared => {
                let addresses = in_window(addresses);
                self.count_shared(&addresses, active, bytes);
                addresses
            }
            Space::Global => {
                self.count_global(&addresses, active, bytes);
                addresses
            }
        }
    }

    /// Counts passes over shared memory: lanes in groups of 128 bytes, as the hardware serves them;
    /// in a group as many passes as different words of one bank.
    pub(super) fn count_shared(&mut self, addresses: &Lanes, active: u32, bytes: usize) {
        let group = (PASS_BYTES / bytes.max(4)).min(LANES);
        for first in (0..LANES).step_by(group) {
            let mut words: Vec<u64> = (first..first + group)
                .filter(|lane| active >> lane & 1 == 1)
                .flat_map(|lane| {
                    let word = (addresses[lane] & 0xff_ffff) / 4;
                    word..word + bytes.div_ceil(4) as u64
                })
                .collect();
            if words.is_empty() {
                continue;
            }
            words.sort_unstable();
            words.dedup();
            let mut banks = [0u64; BANKS as usize];
            for word in &words {
                banks[(word % BANKS) as usize] += 1;
            }
            self.profile.shared_passes += banks.iter().copied().max().unwrap_or(1);
            self.profile.shared_passes_least += (words.len() as u64).div_ceil(BANKS);
        }
    }

    fn count_global(&mut self, addresses: &Lanes, active: u32, bytes: usize) {
        let mut sectors: Vec<u64> = lanes(active)
            .flat_map(|lane| {
                let last = addresses[lane].saturating_add(bytes as u64 - 1);
                addresses[lane] / SECTOR_BYTES..=last / SECTOR_BYTES
            })
            .collect();
        self.profile.global_bytes += u64::from(active.count_ones()) * bytes as u64;
        sectors.sort_unstable();
        sectors.dedup();
        self.profile.global_sectors += sectors.len() as u64;
    }
}

/// Bytes in memory, lowest first, as a number.
pub(super) fn number(bytes: &[u8]) -> u64 {
    let mut value = [0u8; 8];
    value[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(value)
}
