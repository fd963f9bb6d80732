//! Finds the shape of a family that meets a budget.

use serde::{Deserialize, Serialize};

use crate::config::model::ModelConfig;
use crate::error::{HarnessError, Result};

/// A shape must come this close to its budget.
pub const TOLERANCE: f64 = 0.01;
/// The inner width (feed-forward, topics) may leave its usual ratio to width by this share.
const INNER_SLACK: f64 = 0.25;
/// No search goes beyond this width.
const WIDTH_MAX: usize = 1 << 14;

/// What a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Axis {
    /// All parameters.
    #[default]
    Total,
    /// Parameters without embedding tables and decoder.
    NonEmbedding,
    /// Training floating-point operations per token.
    TrainingFlops,
}

impl Axis {
    /// What is counted, in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Total => "total parameters",
            Self::NonEmbedding => "parameters without embeddings and decoder",
            Self::TrainingFlops => "training FLOPs per token",
        }
    }
}

/// What else a FLOPs budget depends on.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// Sequence length n.
    pub length: usize,
    /// Share of positions that are predicted.
    pub target_share: f64,
}

/// The value of `model` on `axis`.
pub fn measure(model: &ModelConfig, axis: Axis, workload: Workload) -> Result<f64> {
    Ok(match axis {
        Axis::Total => model.layout()?.total() as f64,
        Axis::NonEmbedding => model.layout()?.non_embedding() as f64,
        Axis::TrainingFlops => {
            model.forward_flops(workload.length)?.training_per_token(workload.target_share)
        }
    })
}

/// A candidate shape with how far it is from the budget and from its usual inner ratio.
struct Candidate {
    model: ModelConfig,
    deviation: f64,
    inner_change: f64,
}

/// The shape of `template`'s family whose value on `axis` is within 1 % of `budget`.
///
/// Among the shapes within tolerance the one closest to the family's usual inner width (four
/// times the width) wins, then the one closest to the budget; so no family gets an unusual shape
/// when a usual one fits.
pub fn solve(
    template: &ModelConfig,
    budget: f64,
    axis: Axis,
    workload: Workload,
) -> Result<ModelConfig> {
    let mut best: Option<Candidate> = None;
    let mut nearest = f64::INFINITY;
    let mut width = template.width_step();
    while width <= WIDTH_MAX {
        let Some(usual) = template.with_shape(width, None) else {
            width += template.width_step();
            continue;
        };
        let value = measure(&usual, axis, workload)?;
        nearest = nearest.min((value / budget - 1.0).abs());
        if value > budget * 2.0 {
            break;
        }
        for candidate in [
            Some(Candidate { deviation: value / budget - 1.0, inner_change: 0.0, model: usual }),
            adjusted(template, width, budget, axis, workload)?,
        ]
        .into_iter()
        .flatten()
        {
            nearest = nearest.min(candidate.deviation.abs());
            if candidate.deviation.abs() <= TOLERANCE
                && best.as_ref().is_none_or(|best| preferred(&candidate, best))
            {
                best = Some(candidate);
            }
        }
        width += template.width_step();
    }
    best.map(|candidate| candidate.model).ok_or_else(|| {
        HarnessError::config(
            format!(
                "no {} shape within 1 % of {budget} {} (nearest is {:.1} % off)",
                template.family(),
                axis.words(),
                100.0 * nearest
            ),
            "choose another budget, fewer layers or a smaller vocabulary",
        )
    })
}

fn preferred(candidate: &Candidate, best: &Candidate) -> bool {
    (candidate.inner_change, candidate.deviation.abs()) < (best.inner_change, best.deviation.abs())
}

/// The shape of `width` whose inner width brings it closest to the budget: every axis is affine
/// in the inner width, so two measurements give the slope.
fn adjusted(
    template: &ModelConfig,
    width: usize,
    budget: f64,
    axis: Axis,
    workload: Workload,
) -> Result<Option<Candidate>> {
    let usual_inner = 4 * width;
    let probe = |inner: usize| -> Result<Option<(ModelConfig, f64)>> {
        let Some(model) = template.with_shape(width, Some(inner)) else { return Ok(None) };
        let value = measure(&model, axis, workload)?;
        Ok(Some((model, value)))
    };
    let (Some((_, low)), Some((_, high))) = (probe(usual_inner)?, probe(usual_inner + 64)?) else {
        return Ok(None);
    };
    let slope = (high - low) / 64.0;
    let wanted = (usual_inner as f64 + (budget - low) / slope).round();
    let inner_change = (wanted / usual_inner as f64 - 1.0).abs();
    if !wanted.is_finite() || inner_change > INNER_SLACK {
        return Ok(None);
    }
    Ok(probe(wanted as usize)?.map(|(model, value)| Candidate {
        model,
        deviation: value / budget - 1.0,
        inner_change,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WORKLOAD: Workload = Workload { length: 32, target_share: 0.15 };

    fn axis() -> impl Strategy<Value = Axis> {
        prop_oneof![Just(Axis::Total), Just(Axis::NonEmbedding), Just(Axis::TrainingFlops)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// The value of any usual shape is a budget that the solver meets within its tolerance,
        /// with a shape that can be built and an inner width within its slack.
        #[test]
        fn invariant_a_budget_that_some_shape_meets_is_met(
            family in prop::sample::select(vec!["pt", "bert", "preln", "ut"]),
            place in 3usize..12,
            vocab in 300usize..3000,
            off in 0.995f64..1.005,
            axis in axis(),
        ) {
            let template = ModelConfig::of_family(family).unwrap().with_vocab(vocab);
            let width = 16 * place;
            let Some(shape) = template.with_shape(width, None) else { return Ok(()) };
            let budget = off * measure(&shape, axis, WORKLOAD).unwrap();
            let solved = solve(&template, budget, axis, WORKLOAD).unwrap();
            let value = measure(&solved, axis, WORKLOAD).unwrap();
            prop_assert!((value / budget - 1.0).abs() <= TOLERANCE, "{value} for {budget}");
            prop_assert!(solved.layout().is_ok());
            let dimensions = solved.dimensions();
            let usual = 4.0 * dimensions.width as f64;
            let change = (dimensions.topics as f64 / usual - 1.0).abs();
            prop_assert!(change <= INNER_SLACK + 1e-9, "{dimensions:?}");
            // Rotary positions turn pairs; attention heads divide the width.
            let rotary = family == "pt" || family == "preln";
            prop_assert!(!rotary || dimensions.head_dim.is_multiple_of(2));
            prop_assert!(family == "pt" || dimensions.width.is_multiple_of(dimensions.head_dim));
        }
    }

    #[test]
    fn invariant_an_impossible_budget_names_the_nearest() {
        let template = ModelConfig::of_family("pt").unwrap().with_vocab(512);
        let problem = solve(&template, 100.0, Axis::Total, WORKLOAD).unwrap_err().to_string();
        assert!(problem.contains("nearest is") && problem.contains("hint:"), "{problem}");
        assert!(problem.contains("of 100 total parameters"), "words, not names: {problem}");
    }
}
