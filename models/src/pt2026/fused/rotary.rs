//! Rotary positions applied while a tile is cut out of, or put back into, a wider matrix.

use crate::fused::dispatch::multiversion;
use crate::fused::math::fma;

/// Cosines and sines of `i theta^(-2k/r)`, `(n, r/2)` each; empty without positions.
#[derive(Debug, Default)]
pub(super) struct Table {
    length: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Table {
    /// Makes the table serve `length` positions; angles are computed in f64.
    pub fn extend(&mut self, length: usize, rank: usize, theta: f64) {
        if length <= self.length {
            return;
        }
        let half = rank / 2;
        let frequency = |k: usize| theta.powf(-2.0 * k as f64 / rank as f64);
        let angles = (0..length * half).map(|e| (e / half) as f64 * frequency(e % half));
        let angles: Vec<f64> = angles.collect();
        self.cosines = angles.iter().map(|a| a.cos() as f32).collect();
        self.sines = angles.iter().map(|a| a.sin() as f32).collect();
        self.length = length;
    }
}

/// Which way to turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// By `R_i`.
    Forward,
    /// By `R_i^-1`.
    Back,
    /// Not at all.
    Not,
}

impl Turn {
    /// The inverse.
    pub fn inverse(self) -> Self {
        match self {
            Self::Forward => Self::Back,
            Self::Back => Self::Forward,
            Self::Not => Self::Not,
        }
    }
}

/// What to do with each row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move {
    pub turn: Turn,
    pub scale: f32,
    /// Entries per row.
    pub rank: usize,
    /// Distance of rows in the source.
    pub from_stride: usize,
    /// Distance of rows in the destination.
    pub to_stride: usize,
}

/// Turns `W` planes from `at` on. Everything is read before anything is written, so that the
/// loops vectorise without a look at overlaps.
#[inline(always)]
fn turn_planes<const FMA: bool, const W: usize>(
    at: usize,
    (scale, sign): (f32, f32),
    (cosines, sines): (&[f32], &[f32]),
    from: (&[f32], &[f32]),
    (to_left, to_right): (&mut [f32], &mut [f32]),
) {
    let part = |x: &[f32]| -> [f32; W] {
        let mut values = [0.0; W];
        values.copy_from_slice(&x[at..at + W]);
        values
    };
    let (a, b, c, s) = (part(from.0), part(from.1), part(cosines), part(sines));
    let (mut left, mut right) = ([0.0; W], [0.0; W]);
    for k in 0..W {
        let (c, s) = (scale * c[k], sign * s[k]);
        left[k] = fma::<FMA>(a[k], c, -(b[k] * s));
        right[k] = fma::<FMA>(a[k], s, b[k] * c);
    }
    to_left[at..at + W].copy_from_slice(&left);
    to_right[at..at + W].copy_from_slice(&right);
}

#[inline(always)]
fn turn_row<const FMA: bool>(
    scales: (f32, f32),
    angles: (&[f32], &[f32]),
    from: &[f32],
    to: &mut [f32],
) {
    let half = to.len() / 2;
    let from = from.split_at(half);
    let (left, right) = to.split_at_mut(half);
    let mut at = 0;
    while half - at >= 16 {
        turn_planes::<FMA, 16>(at, scales, angles, from, (&mut *left, &mut *right));
        at += 16;
    }
    while half - at >= 4 {
        turn_planes::<FMA, 4>(at, scales, angles, from, (&mut *left, &mut *right));
        at += 4;
    }
    while half - at >= 1 {
        turn_planes::<FMA, 1>(at, scales, angles, from, (&mut *left, &mut *right));
        at += 1;
    }
}

#[inline(always)]
fn turned_body<const FMA: bool>(how: &Move, table: &Table, from: &[f32], to: &mut [f32]) {
    let half = how.rank / 2;
    let scales = (how.scale, if how.turn == Turn::Back { -how.scale } else { how.scale });
    let angles = table.cosines.chunks_exact(half).zip(table.sines.chunks_exact(half));
    let rows = from.chunks(how.from_stride).zip(to.chunks_mut(how.to_stride));
    for ((from, to), angles) in rows.zip(angles) {
        turn_row::<FMA>(scales, angles, &from[..how.rank], &mut to[..how.rank]);
    }
}
multiversion! {
    fn turned(how: &Move, table: &Table, from: &[f32], to: &mut [f32]) = turned_body
}

#[inline(always)]
fn turned_at_body<const FMA: bool>(
    how: &Move,
    table: &Table,
    positions: &[u32],
    from: &[f32],
    to: &mut [f32],
) {
    let half = how.rank / 2;
    let scales = (how.scale, if how.turn == Turn::Back { -how.scale } else { how.scale });
    let rows = from.chunks(how.from_stride).zip(to.chunks_mut(how.to_stride));
    for ((from, to), &position) in rows.zip(positions) {
        let angles = position as usize * half..(position as usize + 1) * half;
        let angles = (&table.cosines[angles.clone()], &table.sines[angles]);
        turn_row::<FMA>(scales, angles, &from[..how.rank], &mut to[..how.rank]);
    }
}
multiversion! {
    fn turned_at(how: &Move, table: &Table, positions: &[u32], from: &[f32], to: &mut [f32])
        = turned_at_body
}

#[inline(always)]
fn copied_body<const FMA: bool>(how: &Move, from: &[f32], to: &mut [f32]) {
    for (from, to) in from.chunks(how.from_stride).zip(to.chunks_mut(how.to_stride)) {
        for (to, &from) in to[..how.rank].iter_mut().zip(&from[..how.rank]) {
            *to = how.scale * from;
        }
    }
}
multiversion! {
    fn copied(how: &Move, from: &[f32], to: &mut [f32]) = copied_body
}

/// Row i of `to` becomes `scale` times the turned row i of `from`, for every row of `to`.
/// Both slices start at the first entry to move and end with the last row's last entry.
pub(super) fn move_rows(how: &Move, table: &Table, from: &[f32], to: &mut [f32]) {
    match how.turn {
        Turn::Not => copied(how, from, to),
        Turn::Forward | Turn::Back => turned(how, table, from, to),
    }
}

/// [`move_rows`] for rows that stand at `positions` of the sequence.
pub(super) fn move_rows_at(
    how: &Move,
    table: &Table,
    positions: &[u32],
    from: &[f32],
    to: &mut [f32],
) {
    match how.turn {
        Turn::Not => copied(how, from, to),
        Turn::Forward | Turn::Back => turned_at(how, table, positions, from, to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_turning_forward_and_back_restores_strided_rows() {
        let (length, rank) = (9, 6);
        let mut table = Table::default();
        table.extend(length, rank, 1e4);
        let from: Vec<f32> = (0..length * 10).map(|i| (i * 7 % 13) as f32 - 6.0).collect();
        for turn in [Turn::Forward, Turn::Back, Turn::Not] {
            let mut tile = vec![0f32; length * rank];
            let there = Move { turn, scale: 2.0, rank, from_stride: 10, to_stride: rank };
            move_rows(&there, &table, &from[3..9 * 10 - 1], &mut tile);
            let mut back = vec![0f32; length * 10];
            let home =
                Move { turn: turn.inverse(), scale: 0.5, rank, from_stride: rank, to_stride: 10 };
            move_rows(&home, &table, &tile, &mut back[3..9 * 10 - 1]);
            for i in 0..length {
                for k in 0..10 {
                    let want = if (3..9).contains(&k) { from[i * 10 + k] } else { 0.0 };
                    assert!((back[i * 10 + k] - want).abs() < 2e-6);
                }
            }
            let second = 2.0 * (from[13] * 1f32.cos() - from[16] * 1f32.sin());
            if turn == Turn::Forward {
                assert!((tile[rank] - second).abs() < 1e-5);
            }
        }
    }
}
