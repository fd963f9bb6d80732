//! One instruction of one warp.

use super::Machine;
use super::arithmetic::arithmetic;
use super::convert::{compare, convert, pack_halves};
use super::warp::{LANES, Lanes, Warp, lanes};
use crate::fault::{Fault, Kind, Result};
use crate::ptx::instruction::{Logic, Operation, Source, Special, Target};

impl Machine<'_, '_> {
    /// Executes the next instruction of `warp`.
    pub(super) fn step(&mut self, warp: &mut Warp) -> Result<()> {
        let (place, mask) = warp.current();
        let launch = self.launch;
        let Some(instruction) = launch.kernel.code.get(place as usize) else {
            return Err(Fault::new(Kind::NotUnderstood, "a kernel runs over its end"));
        };
        let mut active = mask;
        if let Some((register, negated)) = instruction.guard {
            let bits = warp.register(register);
            active = lanes(mask)
                .filter(|&lane| (bits[lane] & 1 == 1) != negated)
                .fold(0, |active, lane| active | 1 << lane);
        }
        self.profile.warp_instructions += 1;
        *self.profile.by_mnemonic.entry(instruction.mnemonic).or_default() += 1;
        let next = place + 1;
        let operation = &instruction.operation;
        let index = warp.index;
        let problem = |fault: Fault| {
            let text = launch.module.lines[instruction.line as usize].trim();
            fault.at(&format!("warp {index}: line {}: {text}", instruction.line + 1))
        };
        match *operation {
            Operation::Branch { to } if active == mask => warp.go(mask, to),
            Operation::Branch { to } => warp.part(mask, active, to, next),
            Operation::Return => warp.leave(mask, active, next),
            Operation::Barrier if active == mask => warp.wait(mask, next),
            Operation::Barrier => {
                let what = "a barrier that only some lanes take";
                return Err(problem(Fault::new(Kind::BarrierDivergence, what)));
            }
            _ => {
                if active != 0 {
                    self.execute(operation, warp, active).map_err(problem)?;
                }
                warp.go(mask, next);
            }
        }
        Ok(())
    }

    fn execute(&mut self, operation: &Operation, warp: &mut Warp, active: u32) -> Result<()> {
        match operation {
            Operation::Load { .. }
            | Operation::LoadParameter { .. }
            | Operation::Store { .. }
            | Operation::CopyAsync { .. }
            | Operation::CopyCommit
            | Operation::CopyWait { .. } => self.access(operation, warp, active),
            Operation::LoadMatrix { .. } | Operation::MultiplyMatrix { .. } => {
                self.matrix(operation, warp, active)
            }
            Operation::WarpBarrier { .. }
            | Operation::Shuffle { .. }
            | Operation::Vote { .. }
            | Operation::ActiveLanes { .. } => self.common(operation, warp, active),
            _ => self.lanes(operation, warp, active),
        }
    }

    /// Operations in which every lane is alone.
    fn lanes(&self, operation: &Operation, warp: &mut Warp, active: u32) -> Result<()> {
        match operation {
            Operation::Move { to, from } => {
                let value = self.fetch(warp, *from);
                warp.set(*to, active, &value);
            }
            Operation::Unpack { to, from, bits } => {
                let value = self.fetch(warp, *from);
                for (at, part) in to.iter().enumerate() {
                    let shift = at as u32 * bits;
                    warp.set(*part, active, &value.map(|v| v >> shift & ones(*bits)));
                }
            }
            Operation::Pack { to, from, bits } => {
                let mut value = [0; LANES];
                for (at, part) in from.iter().enumerate() {
                    let column = self.fetch(warp, *part);
                    for lane in 0..LANES {
                        value[lane] |= (column[lane] & ones(*bits)) << (at as u32 * bits);
                    }
                }
                warp.set(*to, active, &value);
            }
            Operation::Select { to, yes, no, predicate } => {
                let (yes, no) = (self.fetch(warp, *yes), self.fetch(warp, *no));
                let bits = self.fetch(warp, *predicate);
                let chosen = |lane: usize| if bits[lane] & 1 == 1 { yes[lane] } else { no[lane] };
                warp.set(*to, active, &std::array::from_fn(chosen));
            }
            Operation::Compare { .. } => return self.compare(operation, warp, active),
            Operation::Convert { to, into, of, from, rounding } => {
                let value = self.fetch(warp, *from);
                let mut out = [0; LANES];
                for lane in lanes(active) {
                    out[lane] = convert(*into, *of, value[lane], *rounding)?;
                }
                warp.set(*to, active, &out);
            }
            Operation::PackHalves { to, kind, high, low } => {
                let (high, low) = (self.fetch(warp, *high), self.fetch(warp, *low));
                let word = |lane: usize| pack_halves(*kind, high[lane], low[lane]);
                warp.set(*to, active, &std::array::from_fn(word));
            }
            Operation::Arithmetic { to, what, kind, inputs, flush } => {
                let inputs = inputs.map(|input| self.fetch(warp, input));
                let out = arithmetic(*what, *kind, &inputs, *flush)?;
                warp.set(*to, active, &out);
            }
            // A fence orders what a launch in order has ordered already.
            _ => (),
        }
        Ok(())
    }

    fn compare(&self, operation: &Operation, warp: &mut Warp, active: u32) -> Result<()> {
        let Operation::Compare { to, opposite, test, kind, a, b, with } = operation else {
            return Ok(());
        };
        let (a, b) = (self.fetch(warp, *a), self.fetch(warp, *b));
        let with = with.map(|(logic, source)| (logic, self.fetch(warp, source)));
        let (mut holds, mut fails) = ([0; LANES], [0; LANES]);
        for lane in lanes(active) {
            let bit = compare(*test, *kind, a[lane], b[lane])?;
            let combined = |bit: bool| match &with {
                None => bit,
                Some((Logic::And, with)) => bit && with[lane] & 1 == 1,
                Some((Logic::Or, with)) => bit || with[lane] & 1 == 1,
                Some((Logic::Xor, with)) => bit != (with[lane] & 1 == 1),
            };
            holds[lane] = u64::from(combined(bit));
            fails[lane] = u64::from(combined(!bit));
        }
        warp.set(*to, active, &holds);
        warp.set(*opposite, active, &fails);
        Ok(())
    }

    /// Values of a source in all lanes.
    pub(super) fn fetch(&self, warp: &Warp, source: Source) -> Lanes {
        match source {
            Source::Register(register) => *warp.register(register),
            Source::Negated(register) => warp.register(register).map(|bit| bit & 1 ^ 1),
            Source::Value(value) => [value; LANES],
            Source::Special(special) => self.special(warp, special),
        }
    }

    fn special(&self, warp: &Warp, special: Special) -> Lanes {
        let [x, y, _] = self.launch.block;
        std::array::from_fn(|lane| {
            let thread = (warp.index * LANES + lane) as u32;
            u64::from(match special {
                Special::Thread(0) => thread % x,
                Special::Thread(1) => thread / x % y,
                Special::Thread(_) => thread / x / y,
                Special::Threads(axis) => self.launch.block[usize::from(axis)],
                Special::Block(axis) => self.block[usize::from(axis)],
                Special::Blocks(axis) => self.launch.grid[usize::from(axis)],
                Special::Lane => lane as u32,
                Special::Warp => warp.index as u32,
            })
        })
    }

    /// Sets several registers from columns of values.
    pub(super) fn set_all(warp: &mut Warp, to: &[Target], active: u32, columns: &[Lanes]) {
        for (target, column) in to.iter().zip(columns) {
            warp.set(*target, active, column);
        }
    }
}

/// A number of `bits` ones.
fn ones(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}
