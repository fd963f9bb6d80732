//! Time and floating-point operations by stage of a step, for the benchmark.
//!
//! Off unless [`record`] switches it on: then every [`enter`] costs two readings of the clock.
//! Time is exclusive (a stage inside a stage is not counted twice) and added over all threads.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// What a training step spends its time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Drawing the batch.
    Batch,
    /// Packing of weights, copies of vectors.
    Pack,
    /// Table lookup.
    Embedding,
    /// Normalisers of labels and layer norms, forward and backward, with residual sums.
    Normalisers,
    /// Topic normaliser (PT) or activation of the feed-forward layer, forward and backward.
    Inner,
    /// Products of the encoder's forward pass.
    ProductsForward,
    /// Products that give gradients of the encoder's activations.
    ProductsInputs,
    /// Products that give gradients of the encoder's weights.
    ProductsWeights,
    /// Head selection or attention: products of one head in one sequence.
    HeadProducts,
    /// Head selection or attention: masks and softmax, forward and backward.
    HeadSoftmax,
    /// Head selection or attention: rotary turns, packing and moving of tiles.
    HeadMoves,
    /// MLM head before the decoder.
    Dense,
    /// Products of the decoder.
    DecoderProducts,
    /// Cross-entropy without its products.
    CrossEntropy,
    /// Sums of gradients over lanes or chunks.
    Sums,
    /// Gradients of tables.
    Scatter,
    /// Global norm of the gradients.
    GradientNorm,
    /// AdamW.
    Optimiser,
}

/// All stages with their names, in the order of a step.
pub const STAGES: [(Stage, &str); 18] = [
    (Stage::Batch, "batch"),
    (Stage::Pack, "packing of weights"),
    (Stage::Embedding, "embedding"),
    (Stage::Normalisers, "normalisers and residuals"),
    (Stage::Inner, "topics or activation"),
    (Stage::ProductsForward, "products, forward"),
    (Stage::ProductsInputs, "products, input gradients"),
    (Stage::ProductsWeights, "products, weight gradients"),
    (Stage::HeadProducts, "heads, products"),
    (Stage::HeadSoftmax, "heads, softmax"),
    (Stage::HeadMoves, "heads, rotary and moves"),
    (Stage::Dense, "MLM head before the decoder"),
    (Stage::DecoderProducts, "decoder, products"),
    (Stage::CrossEntropy, "decoder, cross-entropy"),
    (Stage::Sums, "sums over lanes"),
    (Stage::Scatter, "embedding gradient"),
    (Stage::GradientNorm, "gradient norm"),
    (Stage::Optimiser, "AdamW"),
];

/// What one stage used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Thread time.
    pub nanoseconds: u64,
    /// Operations of matrix products that were carried out, 2 per multiply-add.
    pub product_flops: u64,
}

static ENABLED: AtomicBool = AtomicBool::new(false);
static NANOSECONDS: [AtomicU64; STAGES.len()] = [const { AtomicU64::new(0) }; STAGES.len()];
static FLOPS: [AtomicU64; STAGES.len()] = [const { AtomicU64::new(0) }; STAGES.len()];

thread_local! {
    /// The stage this thread is in, and since when.
    static CURRENT: Cell<Option<(Stage, Instant)>> = const { Cell::new(None) };
}

/// Switches recording on or off for the whole process.
pub fn record(on: bool) {
    ENABLED.store(on, Ordering::Relaxed);
}

/// What each stage used since the last call, in the order of [`STAGES`].
pub fn take() -> [Used; STAGES.len()] {
    std::array::from_fn(|index| Used {
        nanoseconds: NANOSECONDS[index].swap(0, Ordering::Relaxed),
        product_flops: FLOPS[index].swap(0, Ordering::Relaxed),
    })
}

fn charge((stage, since): (Stage, Instant), now: Instant) {
    let spent = now.duration_since(since).as_nanos() as u64;
    NANOSECONDS[stage as usize].fetch_add(spent, Ordering::Relaxed);
}

/// This thread is in `stage` until the result is dropped, or an inner stage begins.
pub fn enter(stage: Stage) -> Inside {
    if !ENABLED.load(Ordering::Relaxed) {
        return Inside { outer: None, active: false };
    }
    let now = Instant::now();
    let outer = CURRENT.replace(Some((stage, now)));
    if let Some(outer) = outer {
        charge(outer, now);
    }
    Inside { outer: outer.map(|(stage, _)| stage), active: true }
}

/// The stage this thread is in, if stages are recorded.
pub(crate) fn current() -> Option<Stage> {
    CURRENT.get().map(|(stage, _)| stage)
}

/// [`enter`] for the part of another thread's stage that this thread does.
pub(crate) fn share(stage: Option<Stage>) -> Option<Inside> {
    stage.map(enter)
}

/// Proof of being in a stage; see [`enter`].
#[derive(Debug)]
#[must_use = "the stage ends when this is dropped"]
pub struct Inside {
    outer: Option<Stage>,
    active: bool,
}

impl Drop for Inside {
    fn drop(&mut self) {
        if !self.active {
            return;
        }
        let now = Instant::now();
        let inner = CURRENT.replace(self.outer.map(|stage| (stage, now)));
        if let Some(inner) = inner {
            charge(inner, now);
        }
    }
}

/// Counts a product of `multiply_adds` terms for the stage this thread is in.
#[inline]
pub(crate) fn count_product(multiply_adds: usize) {
    if ENABLED.load(Ordering::Relaxed)
        && let Some((stage, _)) = CURRENT.get()
    {
        FLOPS[stage as usize].fetch_add(2 * multiply_adds as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_stages_are_listed_in_the_order_of_their_numbers() {
        for (index, (stage, _)) in STAGES.iter().enumerate() {
            assert_eq!(*stage as usize, index);
        }
    }

    #[test]
    fn invariant_time_and_operations_belong_to_the_innermost_stage() {
        // The only test that records stages Batch and Optimiser, so others do not disturb it.
        record(true);
        {
            let _outer = enter(Stage::Batch);
            count_product(3);
            {
                let _inner = enter(Stage::Optimiser);
                count_product(50);
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            count_product(4);
        }
        record(false);
        let _after = enter(Stage::Batch);
        count_product(1000);
        let used = take();
        let [outer, inner] = [Stage::Batch, Stage::Optimiser].map(|stage| used[stage as usize]);
        assert_eq!((outer.product_flops, inner.product_flops), (14, 100));
        assert!(inner.nanoseconds >= 20_000_000 && outer.nanoseconds < inner.nanoseconds);
    }
}
