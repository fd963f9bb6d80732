//! Thirty-two lanes that share their instructions, and where each of them is.

use std::collections::VecDeque;

use crate::ptx::instruction::{Address, Target};

/// Lanes of a warp.
pub const LANES: usize = 32;
/// One value a lane.
pub type Lanes = [u64; LANES];

/// What a register holds that nothing wrote: a value that shows.
const POISON: u64 = 0xdead_beef_dead_beef;

/// An asynchronous copy under way.
#[derive(Debug, Clone, Copy)]
pub struct Copy {
    pub to: u64,
    pub from: u64,
    pub bytes: usize,
    /// Bytes read; the rest are zeros.
    pub given: usize,
}

/// Copies of one lane: those not yet committed, and groups in order.
#[derive(Debug, Clone, Default)]
pub struct Copies {
    pub open: Vec<Copy>,
    pub groups: VecDeque<Vec<Copy>>,
}

/// State of a warp.
#[derive(Debug)]
pub struct Warp {
    pub index: usize,
    registers: Vec<Lanes>,
    /// Next instruction of each lane, unless `common` says it for all that run.
    next: [u32; LANES],
    common: Option<u32>,
    /// Lanes that have not returned.
    pub alive: u32,
    /// Lanes that wait at a barrier of the block.
    pub waiting: u32,
    /// Barriers of the warp or the block passed.
    pub epoch: u32,
    pub copies: Vec<Copies>,
}

/// The lanes of `mask`.
pub fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    (0..LANES).filter(move |lane| mask >> lane & 1 == 1)
}

impl Warp {
    /// A warp of `count` lanes at its first instruction.
    pub fn new(index: usize, count: usize, registers: usize) -> Self {
        Self {
            index,
            registers: vec![[POISON; LANES]; registers],
            next: [0; LANES],
            common: Some(0),
            alive: if count == LANES { u32::MAX } else { (1 << count) - 1 },
            waiting: 0,
            epoch: 0,
            copies: vec![Copies::default(); LANES],
        }
    }

    /// Lanes that can go on.
    pub fn runnable(&self) -> u32 {
        self.alive & !self.waiting
    }

    /// The next instruction, and the lanes that take it: of several the earliest, so that lanes
    /// that went apart meet again.
    pub fn current(&self) -> (u32, u32) {
        let runnable = self.runnable();
        if let Some(next) = self.common {
            return (next, runnable);
        }
        let first = lanes(runnable).map(|lane| self.next[lane]).min().unwrap_or(0);
        let mask = lanes(runnable)
            .filter(|&lane| self.next[lane] == first)
            .fold(0, |mask, lane| mask | 1 << lane);
        (first, mask)
    }

    /// The lanes of `mask` go on at `next`.
    pub fn go(&mut self, mask: u32, next: u32) {
        if self.common.is_some() && mask == self.runnable() {
            self.common = Some(next);
            return;
        }
        self.spread();
        for lane in lanes(mask) {
            self.next[lane] = next;
        }
        self.gather();
    }

    /// The lanes of `mask` go on at `next`; those in `taken` at `target`.
    pub fn part(&mut self, mask: u32, taken: u32, target: u32, next: u32) {
        self.spread();
        for lane in lanes(mask) {
            self.next[lane] = if taken >> lane & 1 == 1 { target } else { next };
        }
        self.gather();
    }

    /// The lanes of `done` return, the others of `mask` go on at `next`.
    pub fn leave(&mut self, mask: u32, done: u32, next: u32) {
        self.part(mask, 0, 0, next);
        self.alive &= !done;
        self.gather();
    }

    /// The lanes of `mask` wait at a barrier behind which `next` stands.
    pub fn wait(&mut self, mask: u32, next: u32) {
        self.part(mask, 0, 0, next);
        self.waiting |= mask;
        self.gather();
    }

    /// Places behind the barriers at which lanes wait.
    pub fn waiting_at(&self) -> impl Iterator<Item = u32> {
        lanes(self.waiting).map(|lane| self.next[lane])
    }

    /// Everybody came to the barrier: on at `next`.
    pub fn release(&mut self, next: u32) {
        self.waiting = 0;
        self.common = Some(next);
        self.epoch += 1;
    }

    fn spread(&mut self) {
        if let Some(next) = self.common.take() {
            for lane in lanes(self.runnable()) {
                self.next[lane] = next;
            }
        }
    }

    fn gather(&mut self) {
        let mut places = lanes(self.runnable()).map(|lane| self.next[lane]);
        if let Some(first) = places.next() {
            self.common = places.all(|place| place == first).then_some(first);
        }
    }

    /// Values of a register.
    pub fn register(&self, register: u32) -> &Lanes {
        &self.registers[register as usize]
    }

    /// Addresses in all lanes.
    pub fn addresses(&self, address: Address) -> Lanes {
        match address.base {
            Some(base) => self.register(base).map(|at| at.wrapping_add(address.offset as u64)),
            None => [address.offset as u64; LANES],
        }
    }

    /// Sets a register in the lanes of `mask`.
    pub fn set(&mut self, target: Target, mask: u32, values: &Lanes) {
        let Some(register) = target else { return };
        let register = &mut self.registers[register as usize];
        if mask == u32::MAX {
            *register = *values;
        } else {
            for lane in lanes(mask) {
                register[lane] = values[lane];
            }
        }
    }
}
