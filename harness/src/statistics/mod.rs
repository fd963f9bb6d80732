//! Intervals and tests on losses.
//!
//! Small pure functions over `f64`: every estimate carries its number of observations, and an
//! interval is absent rather than invented when there are too few of them. All resampling draws
//! from [`models::random::Stream`] with purpose `Bootstrap`, so results never change between
//! runs, machines or thread counts.
//!
//! Loss differences are always `candidate − baseline` in nats: negative means the candidate is
//! better.

mod bootstrap;
mod collapse;
mod describe;
mod documents;
mod evaluation;
mod grouped_slope;
mod hypothesis;
mod perplexity;
mod rank;
mod scaling;
mod scaling_bootstrap;
mod scaling_residuals;
#[cfg(test)]
mod simulation;
mod transfer;
mod transfer_rule;
mod unpaired;
mod verdict;
mod vertex;

pub use bootstrap::{Bootstrap, bootstrap, bootstrap_groups};
pub use collapse::{
    COLLAPSE_RULE, Collapse, CollapseAt, CollapseVerdict, RunCurve, SizeCurves, interpolated,
    judge_collapse,
};
pub use describe::{
    CONFIDENCE_LEVEL, Estimate, Interval, estimate, mean, median, pooled_standard_deviation,
    quantile, standard_deviation, student_quantile, student_tail,
};
pub use documents::document_differences;
pub use evaluation::{
    DocumentLoss, EvaluationEstimate, hierarchical_bootstrap, hierarchical_difference,
};
pub use grouped_slope::{GroupedSlope, grouped_slope};
pub use hypothesis::{
    Pairing, TTest, equivalence_test, holm, pair_by_seed, pair_common_seeds, paired_t_test,
    welch_t_test,
};
pub use perplexity::{perplexity, perplexity_words};
pub use rank::{RankCorrelation, rank_correlation};
pub use scaling::{PowerLaw, fit_power_law};
pub use scaling_bootstrap::{PowerLawEstimate, SizeLosses, bootstrap_power_law};
pub use scaling_residuals::{PowerLawResiduals, residual_power_law};
pub use transfer::{
    LearningRateCurve, LearningRatePoint, ShiftSlope, TransferRegret, basin_distance,
    learning_rate_sensitivity, shift_slope, transfer_regret,
};
pub use transfer_rule::{
    SLOPE_BOUND, TransferRule, TransferShift, TransferVerdict, transfer_shift,
};
pub use unpaired::{Sample, compare_samples};
pub use verdict::{
    Comparison, EQUIVALENCE_MARGIN_NATS, VERDICT_RULE, Verdict, compare_family, seeds_to_resolve,
};
pub use vertex::{Vertex, VertexProblem, quadratic_vertex};

/// Resamplings behind every interval of a report that is not Student's.
pub const REPLICATES: usize = 2000;
/// Seed of the resampling.
pub const BOOTSTRAP_SEED: u64 = 1;
