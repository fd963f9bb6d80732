//! QK-norm: queries and keys divided by their root mean square, head by head.

use models::fused::rms_norm;

use super::memory::Record;
use super::pass::Pass;

/// Queries and keys of `record.projections`, if the model normalises them.
pub(super) fn forward(pass: &Pass, step: usize, record: &mut Record<&mut [f32]>) {
    let (plan, width) = (pass.plan, pass.plan.width);
    let Some(gains) = &plan.block(step).head_norms else { return };
    let rows = record
        .projections
        .chunks_exact_mut(3 * width)
        .zip(record.head_normal.chunks_exact_mut(2 * width))
        .zip(record.head_deviations.chunks_exact_mut(2 * plan.heads));
    for ((x, normal), inverses) in rows {
        let parts = x.chunks_exact_mut(width).zip(normal.chunks_exact_mut(width));
        for (((x, normal), inverses), gain) in
            parts.zip(inverses.chunks_exact_mut(plan.heads)).zip(gains)
        {
            rms_norm::forward(x, pass.vector(gain), plan.epsilon, normal, inverses);
        }
    }
}

/// From the gradients of normalised queries and keys in `record.projections` to those of the
/// projections; those of the gains are added to `sums`.
pub(super) fn backward(
    pass: &Pass,
    step: usize,
    record: &mut Record<&mut [f32]>,
    sums: &mut [f32],
) {
    let (plan, width) = (pass.plan, pass.plan.width);
    let Some(gains) = &plan.block(step).head_norms else { return };
    let rows = record
        .projections
        .chunks_exact_mut(3 * width)
        .zip(record.head_normal.chunks_exact(2 * width))
        .zip(record.head_deviations.chunks_exact(2 * plan.heads));
    for ((d, normal), inverses) in rows {
        let parts = d.chunks_exact_mut(width).zip(normal.chunks_exact(width));
        for (((d, normal), inverses), gain) in
            parts.zip(inverses.chunks_exact(plan.heads)).zip(gains)
        {
            let d_gain = &mut sums[gain.clone()];
            rms_norm::backward(normal, inverses, pass.vector(gain), d, d_gain);
        }
    }
}
