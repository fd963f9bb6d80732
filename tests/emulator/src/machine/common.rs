//! Instructions in which lanes of a warp meet: shuffles, votes, barriers of the warp.

use super::Machine;
use super::warp::{LANES, Lanes, Warp, lanes};
use crate::fault::{Fault, Kind, Result};
use crate::ptx::instruction::{Operation, Shuffle, Source, Vote};

impl Machine<'_, '_> {
    pub(super) fn common(
        &mut self,
        operation: &Operation,
        warp: &mut Warp,
        active: u32,
    ) -> Result<()> {
        match operation {
            Operation::WarpBarrier { members } => {
                self.present(warp, *members, active)?;
                warp.epoch += 1;
            }
            Operation::ActiveLanes { to } => warp.set(*to, active, &[active.into(); LANES]),
            Operation::Vote { to, what, predicate, members } => {
                self.present(warp, *members, active)?;
                let bits = self.fetch(warp, *predicate);
                let yes = lanes(active)
                    .filter(|&lane| bits[lane] & 1 == 1)
                    .fold(0u32, |yes, lane| yes | 1 << lane);
                let value = match what {
                    Vote::Ballot => yes,
                    Vote::All => u32::from(yes == active),
                    Vote::Any => u32::from(yes != 0),
                };
                warp.set(*to, active, &[value.into(); LANES]);
            }
            Operation::Shuffle { to, valid, how, value, lane, clamp, members } => {
                let members = self.present(warp, *members, active)?;
                let [value, lane, clamp] = [value, lane, clamp].map(|s| self.fetch(warp, *s));
                let (mut out, mut found) = ([0; LANES], [0; LANES]);
                for at in lanes(active) {
                    let asked = asked(*how, at, lane[at], clamp[at]);
                    let from = asked.unwrap_or(at);
                    if members >> from & 1 == 0 {
                        let what = format!("lane {at} asks lane {from}, which takes no part");
                        return Err(Fault::new(Kind::AbsentLanes, what));
                    }
                    out[at] = value[from] & 0xffff_ffff;
                    found[at] = u64::from(asked.is_some());
                }
                warp.set(*to, active, &out);
                warp.set(*valid, active, &found);
            }
            _ => (),
        }
        Ok(())
    }

    /// The lanes that an instruction names, all of which must be there.
    fn present(&self, warp: &Warp, members: Source, active: u32) -> Result<u32> {
        let members: Lanes = self.fetch(warp, members);
        let named = members[active.trailing_zeros() as usize] as u32;
        let absent = named & warp.alive & !active;
        if absent != 0 {
            let what = format!("lanes {absent:#x} are absent from a warp's instruction");
            return Err(Fault::new(Kind::AbsentLanes, what));
        }
        Ok(named)
    }
}

/// The lane that lane `at` reads, if it is in its segment (PTX ISA, shfl.sync).
fn asked(how: Shuffle, at: usize, lane: u64, clamp: u64) -> Option<usize> {
    let (at, lane) = (at as i64, (lane & 31) as i64);
    let (clamp, segment) = ((clamp & 31) as i64, (clamp >> 8 & 31) as i64);
    let most = at & segment | clamp & !segment;
    let from = match how {
        Shuffle::Up => at - lane,
        Shuffle::Down => at + lane,
        Shuffle::Butterfly => at ^ lane,
        Shuffle::Index => at & segment | lane & !segment,
    };
    let inside = if how == Shuffle::Up { from >= most } else { from <= most };
    inside.then_some(from as usize)
}
