//! Which head width a width can have.

/// Head width for `width`, a multiple of `step` (2 where rotary positions turn pairs):
/// `Some(None)` keeps a fixed number of heads, `None` = impossible.
#[expect(clippy::option_option, reason = "the outer option is failure, the inner the config key")]
pub(super) fn head_dim(
    (heads, wanted): (Option<usize>, Option<usize>),
    width: usize,
    step: usize,
) -> Option<Option<usize>> {
    /// A head may be this many times wider or narrower than the template's.
    const RATIO_MAX: f64 = 1.5;
    if heads.is_some() {
        return Some(None);
    }
    let wanted = wanted.unwrap_or(baselines::DEFAULT_HEAD_DIM) as f64;
    let distance = |size: usize| (size as f64 / wanted).ln().abs();
    (step..=width)
        .step_by(step)
        .filter(|size| width.is_multiple_of(*size) && distance(*size) <= RATIO_MAX.ln())
        .min_by(|a, b| distance(*a).total_cmp(&distance(*b)))
        .map(Some)
}
