//! Shared memory of a block: who touched each byte since the last barrier.

use super::super::ptx::SHARED_BASE;
use crate::fault::{Fault, Kind, Result};

/// Bits of an address inside the shared window.
const WINDOW: u64 = 0xff_ffff;
/// Lanes of a warp.
const LANES: u16 = 32;
/// In place of a thread: several.
const SEVERAL: u16 = u16::MAX;

/// Which thread, after how many barriers of its warp.
#[derive(Debug, Clone, Copy)]
pub struct Thread {
    pub index: u16,
    pub warp_epoch: u32,
}

/// Last write to and reads of a byte.
#[derive(Debug, Clone, Copy, Default)]
struct Touch {
    writer: u16,
    reader: u16,
    write_epoch: u32,
    write_warp_epoch: u32,
    read_epoch: u32,
    read_warp_epoch: u32,
    written: bool,
    under_way: bool,
}

/// Shared memory of the block that runs.
#[derive(Debug)]
pub struct SharedMemory {
    data: Vec<u8>,
    touches: Vec<Touch>,
    epoch: u32,
}

impl SharedMemory {
    /// Memory of `bytes` that nothing wrote.
    pub fn new(bytes: usize) -> Self {
        Self { data: vec![0xff; bytes], touches: vec![Touch::default(); bytes], epoch: 1 }
    }

    /// Forgets everything, for the next block.
    pub fn clear(&mut self) {
        self.data.fill(0xff);
        self.touches.fill(Touch::default());
        self.epoch = 1;
    }

    /// All threads of the block have met.
    pub fn barrier(&mut self) {
        self.epoch += 1;
    }

    fn place(&self, address: u64, bytes: usize) -> Result<usize> {
        let at = (address & WINDOW).checked_sub(SHARED_BASE).map(|at| at as usize);
        match at {
            Some(at) if at + bytes <= self.data.len() => Ok(at),
            _ => Err(Fault::new(
                Kind::OutOfBounds,
                format!(
                    "shared access of {bytes} bytes at {:#x} outside {} bytes",
                    address & WINDOW,
                    self.data.len()
                ),
            )),
        }
    }

    /// Whether what `other` did happens before what `thread` does.
    fn ordered(&self, thread: Thread, other: u16, epoch: u32, warp_epoch: u32) -> bool {
        let one_warp = other != SEVERAL && other / LANES == thread.index / LANES;
        other == thread.index
            || epoch != self.epoch
            || (one_warp && warp_epoch != thread.warp_epoch)
    }

    /// Reads `out.len()` bytes for `thread`.
    pub fn read(&mut self, address: u64, out: &mut [u8], thread: Thread) -> Result<()> {
        let at = self.place(address, out.len())?;
        for place in at..at + out.len() {
            let touch = self.touches[place];
            if touch.under_way {
                let what = format!("shared byte {place} is read before its copy was waited for");
                return Err(Fault::new(Kind::CopyUnderWay, what));
            }
            if !touch.written {
                let what = format!("shared byte {place} is read, but nothing wrote it");
                return Err(Fault::new(Kind::Unwritten, what));
            }
            let (writer, epoch) = (touch.writer, touch.write_epoch);
            if !self.ordered(thread, writer, epoch, touch.write_warp_epoch) {
                let reader = thread.index;
                let what = format!(
                    "thread {reader} reads shared byte {place}, which thread {writer} wrote \
                     since the last barrier"
                );
                return Err(Fault::new(Kind::SharedRace, what));
            }
            let others = touch.read_epoch == self.epoch && touch.reader != thread.index;
            let touch = &mut self.touches[place];
            touch.reader = if others { SEVERAL } else { thread.index };
            (touch.read_epoch, touch.read_warp_epoch) = (self.epoch, thread.warp_epoch);
        }
        out.copy_from_slice(&self.data[at..at + out.len()]);
        Ok(())
    }

    fn note_write(&mut self, at: usize, bytes: usize, thread: Thread) -> Result<()> {
        for place in at..at + bytes {
            let touch = self.touches[place];
            if touch.under_way && touch.writer != thread.index {
                let what = format!("shared byte {place} is written while a copy to it runs");
                return Err(Fault::new(Kind::CopyUnderWay, what));
            }
            let written = touch.written
                && !self.ordered(thread, touch.writer, touch.write_epoch, touch.write_warp_epoch);
            let read = !self.ordered(thread, touch.reader, touch.read_epoch, touch.read_warp_epoch);
            if written || read {
                let (writer, did) = (thread.index, if written { "wrote" } else { "read" });
                let what = format!(
                    "thread {writer} writes shared byte {place}, which another thread {did} \
                     since the last barrier"
                );
                return Err(Fault::new(Kind::SharedRace, what));
            }
            let epoch = self.epoch;
            let touch = &mut self.touches[place];
            (touch.writer, touch.write_epoch) = (thread.index, epoch);
            (touch.write_warp_epoch, touch.written) = (thread.warp_epoch, true);
        }
        Ok(())
    }

    /// Writes `bytes` for `thread`.
    pub fn write(&mut self, address: u64, bytes: &[u8], thread: Thread) -> Result<()> {
        let at = self.place(address, bytes.len())?;
        self.note_write(at, bytes.len(), thread)?;
        self.data[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    /// An asynchronous copy of `bytes` to `address` begins; until it is waited for the bytes are
    /// poison.
    pub fn begin_copy(&mut self, address: u64, bytes: usize, thread: Thread) -> Result<()> {
        let at = self.place(address, bytes)?;
        self.note_write(at, bytes, thread)?;
        self.data[at..at + bytes].fill(0xff);
        self.touches[at..at + bytes].iter_mut().for_each(|touch| touch.under_way = true);
        Ok(())
    }

    /// The copy has arrived.
    pub fn end_copy(&mut self, address: u64, bytes: &[u8], thread: Thread) -> Result<()> {
        let at = self.place(address, bytes.len())?;
        self.touches[at..at + bytes.len()].iter_mut().for_each(|touch| touch.under_way = false);
        self.note_write(at, bytes.len(), thread)?;
        self.data[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}
