//! Head selection when messages are read at some words only: the last iteration's target rows.
//!
//! What stays is computed as in the full task, term by term in the same order, so results have
//! the same bits; what is left out is zero or never read.

use super::super::rotary::{Move, Turn, move_rows_at};
use super::{Half, Scratch, Task, turns};
use crate::fused::gemm::{Matrix, MatrixMut, Update, chains, multiply};
use crate::fused::softmax;
use crate::fused::stage::{Stage, enter};

/// `C (+)= A^T B` with one row of A `(R, m)` and of B `(R, n)` for each of `rows`; rows of A are
/// `stride` apart. The same bits as the product over all rows, the others being zero.
pub(in super::super) fn multiply_rows(
    ((a, stride), m): ((&[f32], usize), usize),
    (b, n): (&[f32], usize),
    rows: &[u32],
    add: bool,
    c: &mut [f32],
) {
    let mut update = if add { Update::Add } else { Update::Replace };
    for run in chains(rows.len(), |term| rows[term] as usize) {
        let a = Matrix::strided(&a[run.start * stride..], (run.len(), m), (stride, 1));
        let b = Matrix::new(&b[run.start * n..], run.len(), n);
        multiply(1.0, a.transposed(), b, update, MatrixMut::new(c, m, n));
        update = Update::Add;
    }
}

impl Task<'_> {
    fn cut_at(
        &self,
        (turn, scale, half): (Turn, f32, Half),
        rows: &[u32],
        from: &[f32],
        tile: &mut [f32],
    ) {
        let _stage = enter(Stage::HeadMoves);
        let (rank, stride) = (self.plan.rank, self.plan.stacked);
        let how = Move { turn, scale, rank, from_stride: stride, to_stride: rank };
        let from = &from[self.span_of(half, rows.len())];
        move_rows_at(&how, self.table, rows, from, &mut tile[..rows.len() * rank]);
    }

    fn put_at(
        &self,
        (turn, scale, half): (Turn, f32, Half),
        rows: &[u32],
        tile: &[f32],
        to: &mut [f32],
    ) {
        let _stage = enter(Stage::HeadMoves);
        let (rank, stride) = (self.plan.rank, self.plan.stacked);
        let how = Move { turn, scale, rank, from_stride: rank, to_stride: stride };
        let to = &mut to[self.span_of(half, rows.len())];
        move_rows_at(&how, self.table, rows, &tile[..rows.len() * rank], to);
    }

    /// Rows `rows` of `square` `(n, n)`, one after the other.
    fn gather_rows(&self, square: &[f32], rows: &[u32], gathered: &mut [f32]) {
        let _stage = enter(Stage::HeadMoves);
        let n = self.length;
        for (to, &row) in gathered.chunks_exact_mut(n).zip(rows) {
            to.copy_from_slice(&square[row as usize * n..][..n]);
        }
    }

    /// Columns `rows` of `square` `(n, n)`, one after the other.
    fn gather_columns(&self, square: &[f32], rows: &[u32], gathered: &mut [f32]) {
        let _stage = enter(Stage::HeadMoves);
        let n = self.length;
        for (to, &column) in gathered.chunks_exact_mut(n).zip(rows) {
            for (to, from) in to.iter_mut().zip(square.chunks_exact(n)) {
                *to = from[column as usize];
            }
        }
    }

    /// [`forward`](Self::forward) with messages at `rows` only: `h` `(R, K)`.
    pub fn forward_at(
        &self,
        projected: &[f32],
        (tiles, posterior): (&mut [f32], &mut [f32]),
        rows: &[u32],
        scratch: &mut Scratch,
        h: &mut [f32],
    ) {
        if rows.is_empty() {
            return;
        }
        let (plan, turns) = (self.plan, turns(self.plan));
        let (n, rank, count) = (self.length, plan.rank, rows.len());
        let size = n * rank;
        self.select(projected, tiles, posterior);
        let Scratch { messages, gathered, .. } = scratch;
        let (message, gathered) = (&mut messages[..count * rank], &mut gathered[..count * n]);
        let (both, apart) = tiles.split_at_mut(2 * size);
        let (u, v) = (self.tile(&both[..size]), self.tile(&both[size..]));
        self.gather_rows(posterior, rows, gathered);
        let (p, c) = (Matrix::new(gathered, count, n), MatrixMut::new(message, count, rank));
        multiply(1.0, p, v, Update::Replace, c);
        self.put_at((turns.scores.inverse(), plan.send[0], Half::U), rows, message, h);
        if !plan.dependent_message {
            message.fill(0.0);
            self.put_at((Turn::Not, 0.0, Half::V), rows, message, h);
            return;
        }
        let sent = if turns.separate {
            self.cut(turns.dependents, plan.project[0], Half::U, projected, apart);
            self.tile(apart)
        } else {
            u
        };
        self.gather_columns(posterior, rows, gathered);
        let (p, c) = (Matrix::new(gathered, count, n), MatrixMut::new(message, count, rank));
        multiply(1.0, p, sent, Update::Replace, c);
        self.put_at((turns.dependents.inverse(), plan.send[1], Half::V), rows, message, h);
    }

    /// [`backward`](Self::backward) after [`forward_at`](Self::forward_at): `d_h` `(R, K)` holds
    /// the gradients of the messages at `rows`, those of all others are zero.
    pub fn backward_at(
        &self,
        (tiles, posterior): (&[f32], &[f32]),
        rows: &[u32],
        d_h: &[f32],
        scratch: &mut Scratch,
        d_projected: &mut [f32],
    ) {
        let (plan, turns) = (self.plan, turns(self.plan));
        let (n, rank, count) = (self.length, plan.rank, rows.len());
        let size = n * rank;
        let Scratch { messages, square, gathered } = scratch;
        let (a, rest) = messages.split_at_mut(size);
        let (b, rest) = rest.split_at_mut(size);
        let (d_tile, d_apart) = rest.split_at_mut(size);
        if rows.is_empty() {
            d_tile.fill(0.0);
            self.put(Turn::Not, 1.0, Half::U, d_tile, d_projected);
            self.put(Turn::Not, 1.0, Half::V, d_tile, d_projected);
            return;
        }
        let (u, v) = (self.tile(&tiles[..size]), self.tile(&tiles[size..]));
        let again = self.posterior_again(tiles, posterior);
        let posterior = again.as_deref().unwrap_or(posterior);
        let sent = if turns.separate { self.tile(&tiles[2 * size..]) } else { u };
        let (d_logits, gathered) = (&mut square[..n * n], &mut gathered[..count * n]);
        self.cut_at((turns.scores, plan.send[0], Half::U), rows, d_h, a);
        let c = MatrixMut::new(gathered, count, n);
        multiply(1.0, Matrix::new(a, count, rank), v.transposed(), Update::Replace, c);
        d_logits.fill(0.0);
        for (from, &row) in gathered.chunks_exact(n).zip(rows) {
            d_logits[row as usize * n..][..n].copy_from_slice(from);
        }
        if plan.dependent_message {
            self.cut_at((turns.dependents, plan.send[1], Half::V), rows, d_h, b);
            let turned = Matrix::new(b, count, rank).transposed();
            multiply(1.0, sent, turned, Update::Replace, MatrixMut::new(gathered, n, count));
            for (to, from) in d_logits.chunks_exact_mut(n).zip(gathered.chunks_exact(count)) {
                rows.iter().zip(from).for_each(|(&column, from)| to[column as usize] += from);
            }
        }
        let stage = enter(Stage::HeadSoftmax);
        softmax::rows_backward(posterior, d_logits, n, plan.logit_factor);
        drop(stage);
        let d_logits = self.square(d_logits);
        multiply(1.0, d_logits, v, Update::Replace, self.tile_mut(d_tile));
        if plan.dependent_message {
            self.gather_columns(posterior, rows, gathered);
            let p = ((&*gathered, n), n);
            if turns.separate {
                let d_apart = &mut d_apart[..size];
                multiply_rows(p, (b, rank), rows, false, d_apart);
                self.turn_twice(turns, d_apart, b);
                crate::fused::elementwise::add(b, d_tile);
            } else {
                multiply_rows(p, (b, rank), rows, true, d_tile);
            }
        }
        let back = turns.scores.inverse();
        self.put(back, plan.project[0], Half::U, d_tile, d_projected);
        multiply(1.0, d_logits.transposed(), u, Update::Replace, self.tile_mut(d_tile));
        self.gather_rows(posterior, rows, gathered);
        multiply_rows(((gathered, n), n), (a, rank), rows, true, d_tile);
        self.put(back, plan.project[1], Half::V, d_tile, d_projected);
    }
}
