//! Instructions of tensor cores: `ldmatrix` and `mma`.

use super::Machine;
use super::access::{in_window, number, thread};
use super::warp::{LANES, Lanes, Warp};
use crate::fault::{Fault, Kind, Result};
use crate::half::{bf16_to_f32, f16_to_f32};
use crate::ptx::instruction::{Operation, Source, Target};
use crate::ptx::types::Type;

/// Operations of one m16n8k16.
const OPERATIONS: u64 = 2 * 16 * 8 * 16;

impl Machine<'_, '_> {
    pub(super) fn matrix(
        &mut self,
        operation: &Operation,
        warp: &mut Warp,
        active: u32,
    ) -> Result<()> {
        if active != u32::MAX {
            let what = format!("lanes {:#x} are absent from a warp's instruction", !active);
            return Err(Fault::new(Kind::AbsentLanes, what));
        }
        match operation {
            Operation::LoadMatrix { to, from, turned } => {
                let addresses = in_window(warp.addresses(*from));
                self.load_matrix(to, &addresses, *turned, warp)
            }
            Operation::MultiplyMatrix { kind, to, a, b, c } => {
                self.multiply(*kind, to, [a, b, c], warp);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Matrices of eight rows of sixteen bytes; lanes 8 i to 8 i + 7 name the rows of matrix i.
    fn load_matrix(
        &mut self,
        to: &[Target],
        addresses: &Lanes,
        turned: bool,
        warp: &mut Warp,
    ) -> Result<()> {
        for (matrix, target) in to.iter().enumerate() {
            let mut named = [0; LANES];
            named[..8].copy_from_slice(&addresses[8 * matrix..8 * matrix + 8]);
            self.count_shared(&named, 0xff, 16);
            let mut data = [[0u64; 8]; 8];
            for (row, entries) in data.iter_mut().enumerate() {
                let address = named[row];
                if !address.is_multiple_of(16) {
                    let what = format!("a row of ldmatrix at {address:#x} is misaligned");
                    return Err(Fault::new(Kind::Misaligned, what));
                }
                let mut bytes = [0u8; 16];
                // Four lanes receive the row; the one that names it stands for them.
                self.shared.read(address, &mut bytes, thread(warp, 8 * matrix + row))?;
                for (entry, pair) in entries.iter_mut().zip(bytes.chunks_exact(2)) {
                    *entry = number(pair);
                }
            }
            let values: Lanes = std::array::from_fn(|lane| {
                let (row, column) = (lane / 4, 2 * (lane % 4));
                if turned {
                    data[column][row] | data[column + 1][row] << 16
                } else {
                    data[row][column] | data[row][column + 1] << 16
                }
            });
            warp.set(*target, u32::MAX, &values);
        }
        Ok(())
    }

    /// c + a b with exact products, summed in f64 and rounded once: the hardware's order and the
    /// digits it cuts are not documented.
    fn multiply(
        &mut self,
        kind: Type,
        to: &[Target],
        operands: [&Vec<Source>; 3],
        warp: &mut Warp,
    ) {
        let [a, b, c] = operands
            .map(|parts| parts.iter().map(|part| self.fetch(warp, *part)).collect::<Vec<_>>());
        let half = |word: u64, at: usize| {
            let bits = (word >> (16 * at)) as u16;
            f64::from(if kind == Type::Bf16 { bf16_to_f32(bits) } else { f16_to_f32(bits) })
        };
        let (mut left, mut right) = ([[0f64; 16]; 16], [[0f64; 8]; 16]);
        for lane in 0..LANES {
            let (group, place) = (lane / 4, 2 * (lane % 4));
            for at in 0..2 {
                left[group][place + at] = half(a[0][lane], at);
                left[group + 8][place + at] = half(a[1][lane], at);
                left[group][place + 8 + at] = half(a[2][lane], at);
                left[group + 8][place + 8 + at] = half(a[3][lane], at);
                right[place + at][group] = half(b[0][lane], at);
                right[place + 8 + at][group] = half(b[1][lane], at);
            }
        }
        for (part, target) in to.iter().enumerate() {
            let values: Lanes = std::array::from_fn(|lane| {
                let (row, column) = (lane / 4 + 8 * (part / 2), 2 * (lane % 4) + part % 2);
                let start = f64::from(f32::from_bits(c[part][lane] as u32));
                let sum = (0..16).fold(start, |sum, k| sum + left[row][k] * right[k][column]);
                u64::from((sum as f32).to_bits())
            });
            warp.set(*target, u32::MAX, &values);
        }
        self.profile.tensor_operations += OPERATIONS;
    }
}
