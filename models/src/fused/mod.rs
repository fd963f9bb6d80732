//! Fused CPU kernels in f32 over flat buffers.
//!
//! Two rules hold for every kernel. Results do not depend on the number of threads: work is cut
//! by shape only and partial sums are added in a fixed order. Nothing is allocated but scratch
//! space that the caller owns. Kernels are compiled three times (portable, AVX2, AVX-512) and
//! chosen at run time, so the last bits may differ between machines, never between runs.
#![expect(
    clippy::inline_always,
    reason = "a kernel body must be inlined into each of its versions"
)]

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod buffer;
pub mod cross_entropy;
pub mod dispatch;
pub mod elementwise;
pub mod embedding;
pub mod gemm;
pub mod layer_norm;
pub mod math;
pub mod panel;
pub mod parallel;
pub mod rms_norm;
pub mod rounding;
pub mod rows;
pub mod softmax;
pub mod stage;

/// The same `count` random cases on every run.
#[cfg(test)]
pub(crate) fn cases(count: u32) -> proptest::prelude::ProptestConfig {
    proptest::prelude::ProptestConfig {
        // Miri is some hundred times slower; it looks for undefined behaviour, not for numbers.
        cases: if cfg!(miri) { count.min(2) } else { count },
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(2026),
        ..proptest::prelude::ProptestConfig::default()
    }
}
