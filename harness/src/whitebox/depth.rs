//! A trained model at another number of iterations than it was trained with.

use crate::checks::recorded::subject::with_depth;
use crate::config::model::ModelConfig;
use crate::config::run::RunConfig;
use crate::error::{HarnessError, Result};
use crate::weights::{Origin, fold};

/// The table of UT that has a row per step.
const STEP_TABLE: &str = "embedding.step";

/// `run` and its weights at `depth` iterations (PT) or steps (UT), without parametrization: its
/// factors may depend on depth, and those of the training must stay. Steps behind the last one of
/// the training take the last one's embedding. The looped control's own factor 1/T is that of the
/// steps it is run with.
///
/// # Errors
/// If every layer of the family has weights of its own.
pub fn at_depth(
    run: &RunConfig,
    parameters: &[f32],
    depth: usize,
) -> Result<(RunConfig, Vec<f32>)> {
    let (weights, _) = fold(run, parameters, Origin::default())?;
    if matches!(run.model, ModelConfig::Bert(_) | ModelConfig::Preln(_)) {
        let family = run.model.family();
        return Err(HarnessError::config(
            format!("every layer of {family} has weights of its own, so their number is fixed"),
            "give a run of pt, pt2023 or ut, whose iterations share them",
        ));
    }
    let mut plain = weights.plain_run()?;
    plain.data = run.data.clone();
    plain.train = run.train.clone();
    plain.path = run.path;
    let trained = plain.model.layout()?;
    plain.model = with_depth(plain.model, depth);
    plain.base = Some(plain.model.clone());
    plain.validate()?;
    let layout = plain.model.layout()?;
    let mut parameters = Vec::with_capacity(layout.total());
    for (position, spec) in layout.specs().iter().enumerate() {
        let own = &weights.parameters[trained.range(trained.position(spec.name())?)];
        let wanted = layout.range(position).len();
        if spec.name() == STEP_TABLE {
            let width = plain.model.dimensions().width;
            let last = &own[own.len() - width..];
            parameters.extend(own.iter().chain(last.iter().cycle()).take(wanted));
        } else {
            assert_eq!(own.len(), wanted, "{} depends on depth", spec.name());
            parameters.extend(own);
        }
    }
    Ok((plain, parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(family: &str, sets: &[&str]) -> (RunConfig, Vec<f32>) {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        let run = RunConfig::resolve(family, Vec::new(), &sets).unwrap();
        let built = run.build().unwrap();
        let parameters = built.resolved.initialise(&built.layout, &built.base_layout, 5).unwrap();
        (run, parameters)
    }

    #[test]
    fn invariant_the_depth_of_the_training_changes_nothing_but_the_parametrization() {
        for (family, depth) in [("pt", "model.iterations=3"), ("ut", "model.steps=3")] {
            let (run, parameters) = run(family, &["model.width=64", "model.vocab=20", depth]);
            let (plain, same) = at_depth(&run, &parameters, 3).unwrap();
            let (folded, _) = fold(&run, &parameters, Origin::default()).unwrap();
            assert_eq!(same, folded.parameters);
            assert_eq!(plain.model, folded.model);
        }
    }

    #[test]
    fn invariant_the_looped_control_is_run_with_the_factor_of_its_steps() {
        let looped = ["model.positions=rotary", "model.injection=true"];
        let size = ["model.width=32", "model.vocab=20", "model.steps=3"];
        let sets = [&looped[..], &size, &["model.residual_scale=inverse-steps"]].concat();
        let (run, parameters) = run("ut", &sets);
        let (same_run, same) = at_depth(&run, &parameters, 3).unwrap();
        let (folded, _) = fold(&run, &parameters, Origin::default()).unwrap();
        assert!(same == folded.parameters && same_run.model == folded.model);
        let (longer, weights) = at_depth(&run, &parameters, 7).unwrap();
        assert_eq!(weights.len(), same.len() + 4 * 32, "four more rows of the table of steps");
        assert_eq!(longer.model.dimensions().depth, 7);
        let ModelConfig::Ut(config) = &longer.model else { unreachable!() };
        assert_eq!(config.residual_scale, baselines::ResidualScale::InverseSteps);
    }

    #[test]
    fn invariant_later_steps_repeat_the_last_embedding() {
        let (run, parameters) = run("ut", &["model.width=32", "model.vocab=20", "model.steps=2"]);
        let (plain, longer) = at_depth(&run, &parameters, 4).unwrap();
        let layout = plain.model.layout().unwrap();
        let table = &longer[layout.range(layout.position(STEP_TABLE).unwrap())];
        assert_eq!(table.len(), 4 * 32);
        assert_eq!(table[32..64], table[64..96]);
        assert_eq!(table[64..96], table[96..]);
        assert_ne!(table[..32], table[32..64]);
        let (_, shorter) = at_depth(&run, &parameters, 1).unwrap();
        assert_eq!(shorter.len() + 3 * 32, longer.len());
    }

    #[test]
    fn invariant_layers_with_weights_of_their_own_are_not_repeated() {
        let (run, parameters) = run("preln", &["model.width=32", "model.vocab=20"]);
        let refused = at_depth(&run, &parameters, 3).unwrap_err().to_string();
        assert!(refused.contains("weights of its own") && refused.contains("hint: "), "{refused}");
    }
}
