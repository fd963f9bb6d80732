//! Head selection of one channel in one sequence: a task that stays in cache.

pub(super) mod targets;

use super::plan::Plan;
use super::rotary::{Move, Table, Turn, move_rows};
use crate::fused::buffer::Buffer;
use crate::fused::gemm::{Matrix, MatrixMut, Update, multiply};
use crate::fused::stage::{Stage, enter};
use crate::fused::{rounding, softmax};
use crate::pt2026::Rope;

/// Turns of the tiles of one model.
#[derive(Debug, Clone, Copy)]
struct Turns {
    /// Of u and v before the scores; messages from heads turn back by it.
    scores: Turn,
    /// Of u for the message to heads; that message turns back by it.
    dependents: Turn,
    /// Whether u for that message differs from u for the scores.
    separate: bool,
}

fn turns(plan: &Plan) -> Turns {
    match plan.rope {
        Rope::Exact => Turns { scores: Turn::Forward, dependents: Turn::Forward, separate: false },
        Rope::Published => Turns {
            scores: Turn::Forward,
            dependents: Turn::Back,
            separate: plan.dependent_message,
        },
        Rope::None => Turns { scores: Turn::Not, dependents: Turn::Not, separate: false },
    }
}

/// Tiles `(n, r)` saved per channel: `R u`, `R v` and, for the published message, `R^-1 u`.
pub(super) fn saved_tiles(plan: &Plan) -> usize {
    if turns(plan).separate { 3 } else { 2 }
}

/// One channel of one sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task<'a> {
    pub plan: &'a Plan,
    pub table: &'a Table,
    /// Words (not padding) of this sequence.
    pub words: Option<&'a [bool]>,
    pub length: usize,
    pub channel: usize,
}

/// Which of the two halves of a row of `(n, K)` a tile belongs to.
#[derive(Debug, Clone, Copy)]
enum Half {
    U,
    V,
}

impl Task<'_> {
    /// Entries of a `(n, K)` matrix from the tile's first to its last.
    fn span(&self, half: Half) -> std::ops::Range<usize> {
        self.span_of(half, self.length)
    }

    /// The same in a matrix `(rows, K)`.
    fn span_of(&self, half: Half, rows: usize) -> std::ops::Range<usize> {
        let start = self.channel * self.plan.rank
            + if matches!(half, Half::V) { self.plan.pairs } else { 0 };
        start..start + (rows - 1) * self.plan.stacked + self.plan.rank
    }

    /// Cuts a tile out of `(n, K)`.
    fn cut(&self, turn: Turn, scale: f32, half: Half, from: &[f32], tile: &mut [f32]) {
        let _stage = enter(Stage::HeadMoves);
        let Plan { rank, stacked, .. } = *self.plan;
        let how = Move { turn, scale, rank, from_stride: stacked, to_stride: rank };
        move_rows(&how, self.table, &from[self.span(half)], tile);
    }

    /// Puts a tile into `(n, K)`.
    fn put(&self, turn: Turn, scale: f32, half: Half, tile: &[f32], to: &mut [f32]) {
        let _stage = enter(Stage::HeadMoves);
        let Plan { rank, stacked, .. } = *self.plan;
        let how = Move { turn, scale, rank, from_stride: rank, to_stride: stacked };
        move_rows(&how, self.table, tile, &mut to[self.span(half)]);
    }

    fn tile<'b>(&self, data: &'b [f32]) -> Matrix<'b> {
        Matrix::new(data, self.length, self.plan.rank)
    }

    fn tile_mut<'b>(&self, data: &'b mut [f32]) -> MatrixMut<'b> {
        MatrixMut::new(data, self.length, self.plan.rank)
    }

    fn square<'b>(&self, data: &'b [f32]) -> Matrix<'b> {
        Matrix::new(data, self.length, self.length)
    }

    fn square_mut<'b>(&self, data: &'b mut [f32]) -> MatrixMut<'b> {
        MatrixMut::new(data, self.length, self.length)
    }

    /// Forbids the word itself and everything that is or meets padding.
    fn forbid(&self, logits: &mut [f32]) {
        for (i, row) in logits.chunks_exact_mut(self.length).enumerate() {
            row[i] = f32::NEG_INFINITY;
            let Some(words) = self.words else { continue };
            if words[i] {
                for (logit, &word) in row.iter_mut().zip(words) {
                    if !word {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            } else {
                row.fill(f32::NEG_INFINITY);
            }
        }
    }

    /// Posterior `p = softmax(k u v^T)` and both messages: `projected` `(n, K)` are the scores
    /// `x W^T`; writes the saved tiles, `posterior` `(n, n)` and this channel's part of `h`.
    pub fn forward(
        &self,
        projected: &[f32],
        tiles: &mut [f32],
        posterior: &mut [f32],
        scratch: &mut Scratch,
        h: &mut [f32],
    ) {
        let (plan, turns) = (self.plan, turns(self.plan));
        let size = self.length * plan.rank;
        let message = &mut scratch.messages[..size];
        self.select(projected, tiles, posterior);
        let (both, apart) = tiles.split_at_mut(2 * size);
        let (u, v) = (self.tile(&both[..size]), self.tile(&both[size..]));
        let p = self.square(posterior);
        multiply(1.0, p, v, Update::Replace, self.tile_mut(message));
        self.put(turns.scores.inverse(), plan.send[0], Half::U, message, h);
        if !plan.dependent_message {
            message.fill(0.0);
            self.put(Turn::Not, 0.0, Half::V, message, h);
            return;
        }
        let sent = if turns.separate {
            self.cut(turns.dependents, plan.project[0], Half::U, projected, apart);
            self.tile(apart)
        } else {
            u
        };
        multiply(1.0, p.transposed(), sent, Update::Replace, self.tile_mut(message));
        self.put(turns.dependents.inverse(), plan.send[1], Half::V, message, h);
    }

    /// Tiles and posterior from the scores.
    fn select(&self, projected: &[f32], tiles: &mut [f32], posterior: &mut [f32]) {
        let (plan, turns) = (self.plan, turns(self.plan));
        let (u, rest) = tiles.split_at_mut(self.length * plan.rank);
        self.cut(turns.scores, plan.project[0], Half::U, projected, u);
        let v = &mut rest[..u.len()];
        self.cut(turns.scores, plan.project[1], Half::V, projected, v);
        let (u, v) = (self.tile(u), self.tile(v));
        multiply(plan.logit_factor, u, v.transposed(), Update::Replace, self.square_mut(posterior));
        let _stage = enter(Stage::HeadSoftmax);
        self.forbid(posterior);
        softmax::rows(posterior, self.length, plan.posterior_floor_ln);
    }

    /// The posterior as a backward pass computes it again where it reads the tiles less precisely
    /// than the forward pass did: `exp(k u v^T - L)` with the L of the forward pass.
    fn posterior_again(&self, tiles: &[f32], posterior: &[f32]) -> Option<Vec<f32>> {
        let precision = self.plan.precision;
        if precision.scores_again() == precision.forward() {
            return None;
        }
        let (k, size) = (self.plan.logit_factor, self.length * self.plan.rank);
        let (u, v) = (self.tile(&tiles[..size]), self.tile(&tiles[size..]).transposed());
        let mut again = vec![0f32; posterior.len()];
        for (operands, k, update) in
            [(precision.forward(), -k, Update::Replace), (precision.scores_again(), k, Update::Add)]
        {
            rounding::with(operands, || multiply(k, u, v, update, self.square_mut(&mut again)));
        }
        for (again, &p) in again.iter_mut().zip(posterior) {
            *again = if p > 0.0 { p * again.exp() } else { 0.0 };
        }
        Some(again)
    }

    /// Gradient of `projected`'s part of this channel from the gradient of `h`'s part.
    ///
    /// With `a`, `b` the gradients of the two messages and `s` the tile sent to heads:
    /// `dp = a v^T + s b^T`, `dl = k p (dp - sum p dp)`, `du = dl v`, `dv = dl^T u + p^T a`,
    /// `ds = p b`.
    pub fn backward(
        &self,
        (tiles, posterior): (&[f32], &[f32]),
        d_h: &[f32],
        scratch: &mut Scratch,
        d_projected: &mut [f32],
    ) {
        let (plan, turns) = (self.plan, turns(self.plan));
        let size = self.length * plan.rank;
        let (u, v) = (self.tile(&tiles[..size]), self.tile(&tiles[size..]));
        let again = self.posterior_again(tiles, posterior);
        let posterior = again.as_deref().unwrap_or(posterior);
        let p = self.square(posterior);
        let (from_head, rest) = scratch.messages.split_at_mut(size);
        let (from_dependents, rest) = rest.split_at_mut(size);
        let (d_tile, d_apart) = rest.split_at_mut(size);
        let d_logits = &mut scratch.square[..self.length * self.length];
        self.cut(turns.scores, plan.send[0], Half::U, d_h, from_head);
        let a = self.tile(from_head);
        multiply(1.0, a, v.transposed(), Update::Replace, self.square_mut(d_logits));
        if plan.dependent_message {
            self.cut(turns.dependents, plan.send[1], Half::V, d_h, from_dependents);
            let sent = if turns.separate { self.tile(&tiles[2 * size..]) } else { u };
            let b = self.tile(from_dependents).transposed();
            multiply(1.0, sent, b, Update::Add, self.square_mut(d_logits));
        }
        let stage = enter(Stage::HeadSoftmax);
        softmax::rows_backward(posterior, d_logits, self.length, plan.logit_factor);
        drop(stage);
        let d_logits = self.square(d_logits);
        multiply(1.0, d_logits, v, Update::Replace, self.tile_mut(d_tile));
        if plan.dependent_message {
            let b = self.tile(from_dependents);
            if turns.separate {
                let d_apart = &mut d_apart[..size];
                multiply(1.0, p, b, Update::Replace, self.tile_mut(d_apart));
                // Both rotations are linear: bring this gradient to u's own turn and add.
                self.turn_twice(turns, d_apart, from_dependents);
                crate::fused::elementwise::add(from_dependents, d_tile);
            } else {
                multiply(1.0, p, b, Update::Add, self.tile_mut(d_tile));
            }
        }
        let back = turns.scores.inverse();
        self.put(back, plan.project[0], Half::U, d_tile, d_projected);
        multiply(1.0, d_logits.transposed(), u, Update::Replace, self.tile_mut(d_tile));
        multiply(1.0, p.transposed(), a, Update::Add, self.tile_mut(d_tile));
        self.put(back, plan.project[1], Half::V, d_tile, d_projected);
    }

    /// From the frame of the separately turned u to that of the u in the scores.
    fn turn_twice(&self, turns: Turns, data: &mut [f32], out: &mut [f32]) {
        let rank = self.plan.rank;
        let how = |turn| Move { turn, scale: 1.0, rank, from_stride: rank, to_stride: rank };
        move_rows(&how(turns.dependents.inverse()), self.table, data, out);
        data.copy_from_slice(out);
        move_rows(&how(turns.scores), self.table, data, out);
    }
}

/// Space for one task at a time.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Four tiles.
    messages: Buffer,
    /// `(n, n)`.
    square: Buffer,
    /// `(R, n)`: rows or columns of target positions.
    gathered: Buffer,
}

impl Scratch {
    /// Makes room for sequences of `length` words.
    pub fn reserve(&mut self, plan: &Plan, length: usize) {
        self.messages.reserve(4 * length * plan.rank);
        self.square.reserve(length * length);
        self.gathered.reserve(length * length);
    }

    /// Floats of all buffers.
    #[cfg(test)]
    pub fn floats(&self) -> usize {
        self.messages.len() + self.square.len() + self.gathered.len()
    }
}
