//! The embedded input that joins the stream again before every step but the first.

use models::fused::rows;

use super::memory::Memory;
use super::pass::Pass;

/// Adds the embedded input to the stream of step `step`. It is computed again from what the
/// embedding norm left, with the same bits; `memory.input` holds it meanwhile.
pub(super) fn forward(pass: &Pass, step: usize, memory: &mut Memory<&mut [f32]>) {
    let plan = pass.plan;
    if let (Some(factor), Some(norm), 1..) = (plan.injection, &plan.embedding_norm, step) {
        pass.affine(norm, memory.embedding_normal, memory.input);
        rows::add_scaled(memory.stream, memory.input, factor);
    }
}

/// Collects the embedded input's gradient from that of the stream of step `step`, from the last
/// step to the first.
pub(super) fn backward(pass: &Pass, step: usize, memory: &mut Memory<&mut [f32]>) {
    let plan = pass.plan;
    let Some(factor) = plan.injection else { return };
    if step + 1 == plan.family.depth {
        memory.d_injected.fill(0.0);
    }
    if step > 0 {
        rows::add_scaled(memory.d_injected, memory.stream, factor);
    } else {
        rows::add_scaled(memory.stream, memory.d_injected, 1.0);
    }
}
