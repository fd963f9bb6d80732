//! What all tasks of one step read.

use std::ops::Range;

use models::batch::{Batch, Target};
use models::fused::panel::{Left, Right, Store, product};
use models::fused::rows;

use super::memory::{Chunk, Division};
use super::plan::{Matrix, Norm, Plan};

#[cfg(test)]
thread_local! {
    /// Matrices that this thread multiplied by, forward (0) or backward (1).
    pub(super) static MET: std::cell::RefCell<Vec<(usize, usize)>> = const {
        std::cell::RefCell::new(Vec::new())
    };
}

/// Parameters, batch and what was derived from them, shared by all tasks of one step.
pub(super) struct Pass<'a> {
    pub plan: &'a Plan,
    pub parameters: &'a [f32],
    /// Packed matrices and packed effective transposes.
    pub packed: &'a [f32],
    /// Effective vectors.
    pub vectors: &'a [f32],
    pub batch: &'a Batch,
    pub division: Division,
    /// Cosines and sines `(n, head_dim / 2)`; empty without rotary positions.
    pub rotary: [&'a [f32]; 2],
}

impl<'a> Pass<'a> {
    /// The effective vector at `place`.
    pub fn vector(&self, place: &Range<usize>) -> &'a [f32] {
        &self.vectors[place.clone()]
    }

    /// Targets before chunk `index`.
    pub fn first_target(&self, index: usize) -> usize {
        let row = self.division.first_row(index);
        self.batch.targets.partition_point(|target| (target.position as usize) < row)
    }

    /// Targets of chunk `index`.
    pub fn targets(&self, index: usize) -> &'a [Target] {
        &self.batch.targets[self.first_target(index)..self.first_target(index + 1)]
    }

    /// Chunk `index`.
    pub fn chunk(&self, index: usize) -> Chunk {
        self.division.chunk(index, self.targets(index).len())
    }

    /// `y[.., column..] = x W^T` for matrix `which`; rows of `y` are `stride` apart.
    pub fn forward(&self, which: usize, x: &[f32], y: &mut [f32], column: usize, stride: usize) {
        #[cfg(test)]
        MET.with_borrow_mut(|met| met.push((which, 0)));
        let matrix = &self.plan.matrices[which];
        let sizes = (x.len() / matrix.inputs, matrix.outputs, matrix.inputs);
        let next = &self.packed[matrix.next[0].clone()];
        let right = Right::Packed(&self.packed[matrix.packed.clone()], next);
        let left = Left::rows(x, matrix.inputs);
        product(sizes, 1.0, left, right, Store::Set, &mut y[column..], stride);
    }

    /// `d_x (+)= d_y[.., column..] W` for matrix `which`; rows of `d_y` are `stride` apart.
    pub fn backward(
        &self,
        which: usize,
        (d_y, column, stride): (&[f32], usize, usize),
        store: Store,
        d_x: &mut [f32],
    ) {
        #[cfg(test)]
        MET.with_borrow_mut(|met| met.push((which, 1)));
        let matrix: &Matrix = &self.plan.matrices[which];
        let sizes = (d_x.len() / matrix.inputs, matrix.inputs, matrix.outputs);
        let next = &self.packed[matrix.next[1].clone()];
        let right = Right::Packed(&self.packed[matrix.packed_rows.clone()], next);
        let left = Left::rows(&d_y[column..], stride);
        product(sizes, matrix.factor, left, right, store, d_x, matrix.inputs);
    }

    /// `y = gain * normal + bias`.
    pub fn affine(&self, norm: &Norm, normal: &[f32], y: &mut [f32]) {
        rows::affine(normal, self.vector(&norm.gain), self.vector(&norm.bias), y);
    }

    /// [`affine`](Self::affine) over its argument.
    pub fn affine_in_place(&self, norm: &Norm, normal: &mut [f32]) {
        rows::affine_in_place(normal, self.vector(&norm.gain), self.vector(&norm.bias));
    }

    /// Adds the gradients of gain and bias to `sums`, then passes `gradient` through the norm.
    pub fn norm_backward(
        &self,
        norm: &Norm,
        (normal, inverse_deviations): (&[f32], &[f32]),
        gradient: &[f32],
        (add, result): (bool, &mut [f32]),
        sums: &mut [f32],
    ) {
        let [gain, bias] = sums
            .get_disjoint_mut([norm.gain.clone(), norm.bias.clone()])
            .expect("gain and bias lie apart");
        rows::affine_gradients(normal, gradient, gain, bias);
        let gain = self.vector(&norm.gain);
        let normalised = rows::Normalised { normal, inverse_deviations, gain };
        rows::norm_backward(normalised, gradient, add, result);
    }
}
