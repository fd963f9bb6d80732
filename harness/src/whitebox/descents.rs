//! The objective over many sequences, under every form of the updates.

use models::pt2026::Rope;
use rayon::prelude::*;

use super::energy::{Descent, Energy};
use crate::config::run::RunConfig;
use crate::error::Result;

/// Dampings that are compared, besides that of the training.
const DAMPINGS: [f64; 2] = [0.5, 0.0];

/// One iteration over all sequences.
#[derive(Debug, Clone, serde::Serialize)]
pub struct MeanIteration {
    /// From 1.
    pub iteration: usize,
    /// Mean objective after it, in nats per word.
    pub objective_nats: f64,
    /// Share of sequences whose objective it lowered.
    pub share_falling: f64,
    /// Mean change by the new head posteriors.
    pub change_by_heads: f64,
    /// Mean change by the new topic activations.
    pub change_by_topics: f64,
    /// Mean change by the new label beliefs.
    pub change_by_labels: f64,
    /// Mean distance of beliefs from those before, from 0 to 1.
    pub moved: f64,
    /// Mean distance from those two iterations before.
    pub moved_in_two: f64,
}

/// The objective under one form of the updates.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Form {
    /// How messages to heads turn.
    pub rope: Rope,
    /// Share of the old scores that an update keeps.
    pub damping: f64,
    /// Whether the model was trained in this form.
    pub trained: bool,
    /// Sequences.
    pub sequences: usize,
    /// Mean objective before the first iteration.
    pub initial_nats: f64,
    /// Share of sequences whose objective every iteration lowers.
    pub share_falling_throughout: f64,
    /// The mean over iterations.
    pub iterations: Vec<MeanIteration>,
}

/// The objective of `run` on `sequences` over `iterations` iterations: exact and published
/// rotation, damped and not; a model without positions has one rotation only. The form of the
/// training is always among them.
///
/// # Errors
/// If the run is of another family than `pt`.
pub fn forms(
    run: &RunConfig,
    parameters: &[f32],
    sequences: &[Vec<u32>],
    iterations: usize,
) -> Result<Vec<Form>> {
    let trained = match &run.model {
        crate::config::model::ModelConfig::Pt(config) => (config.rope, config.damping),
        // Refused below, where the objective is defined.
        _ => (Rope::None, 0.0),
    };
    let rotations = match trained.0 {
        Rope::None => vec![Rope::None],
        Rope::Exact | Rope::Published => vec![Rope::Exact, Rope::Published],
    };
    let same = |a: f64, b: f64| (a - b).abs() < 1e-12;
    let mut dampings = DAMPINGS.to_vec();
    if !dampings.iter().any(|&damping| same(damping, trained.1)) {
        dampings.push(trained.1);
    }
    let mut forms = Vec::new();
    for &rope in &rotations {
        for &damping in &dampings {
            let energy = Energy::new(run, parameters, (rope, damping), iterations)?;
            let descents: Vec<Descent> =
                sequences.par_iter().map(|ids| energy.of(ids)).collect::<Result<_>>()?;
            let as_trained = trained.0 == rope && same(trained.1, damping);
            forms.push(mean((rope, damping, as_trained), &descents));
        }
    }
    Ok(forms)
}

fn mean((rope, damping, trained): (Rope, f64, bool), descents: &[Descent]) -> Form {
    let share = 1.0 / descents.len().max(1) as f64;
    let iterations = descents.first().map_or(0, |descent| descent.iterations.len());
    let of = |iteration: usize| {
        let mean = |value: fn(&super::energy::Iteration) -> f64| {
            descents.iter().map(|descent| value(&descent.iterations[iteration])).sum::<f64>()
                * share
        };
        MeanIteration {
            iteration: iteration + 1,
            objective_nats: mean(|step| step.objective_nats),
            share_falling: descents.iter().filter(|d| d.falls_at(iteration)).count() as f64 * share,
            change_by_heads: mean(|step| step.change_by_heads),
            change_by_topics: mean(|step| step.change_by_topics),
            change_by_labels: mean(|step| step.change_by_labels),
            moved: mean(|step| step.moved),
            moved_in_two: mean(|step| step.moved_in_two),
        }
    };
    Form {
        rope,
        damping,
        trained,
        sequences: descents.len(),
        initial_nats: descents.iter().map(|descent| descent.initial_nats).sum::<f64>() * share,
        share_falling_throughout: descents.iter().filter(|d| d.falls()).count() as f64 * share,
        iterations: (0..iterations).map(of).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_one_form_is_that_of_the_training() {
        for (rope, damping, count) in
            [("exact", 0.5, 4), ("published", 0.0, 4), ("exact", 0.3, 6), ("none", 0.3, 3)]
        {
            let sets = [
                "model.width=64".to_owned(),
                "model.vocab=20".to_owned(),
                format!("model.rope={rope}"),
                format!("model.damping={damping:?}"),
            ];
            let run = RunConfig::resolve("pt", Vec::new(), &sets).unwrap();
            let built = run.build().unwrap();
            let parameters =
                built.resolved.initialise(&built.layout, &built.base_layout, 5).unwrap();
            let forms = forms(&run, &parameters, &[vec![1, 2, 3]], 1).unwrap();
            let trained: Vec<&Form> = forms.iter().filter(|form| form.trained).collect();
            assert_eq!((forms.len(), trained.len()), (count, 1), "{rope} {damping}");
            assert!((trained[0].damping - damping).abs() < 1e-12);
        }
    }
}
