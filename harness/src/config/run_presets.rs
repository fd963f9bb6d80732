//! Complete runs by name, for `crossscale train --preset`.

use toml::Table;

use crate::error::{HarnessError, Result};

const PRESETS: &[(&str, &str)] = &[
    ("pt2023-ptb", include_str!("presets/runs/pt2023-ptb.toml")),
    ("pt2023-ptb-small", include_str!("presets/runs/pt2023-ptb-small.toml")),
    ("transformer-ptb-small", include_str!("presets/runs/transformer-ptb-small.toml")),
];

/// Names of all presets of runs.
pub fn names() -> Vec<&'static str> {
    PRESETS.iter().map(|(name, _)| *name).collect()
}

/// The preset `name` as a configuration layer.
pub fn layer(name: &str) -> Result<Table> {
    let Some((_, text)) = PRESETS.iter().find(|(known, _)| *known == name) else {
        let guess = super::suggest::did_you_mean(name, names());
        return Err(HarnessError::config(
            format!("no run preset '{name}'"),
            format!("{guess}run presets are {}", names().join(", ")),
        ));
    };
    text.parse().map_err(|error: toml::de::Error| HarnessError::Invariant(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::overrides::chosen_family;
    use crate::config::run::RunConfig;
    use crate::config::train::{AnnealingConfig, DecayKind, PartGradients};

    #[test]
    fn invariant_every_run_preset_resolves_to_a_run_that_can_be_built() {
        for name in names() {
            let layer = layer(name).unwrap();
            let family = chosen_family(&layer).unwrap();
            let run = RunConfig::resolve(&family, vec![layer], &[]).unwrap();
            run.validate().unwrap();
            run.parametrization.table().unwrap();
        }
        assert!(layer("pt2023-ptp").unwrap_err().to_string().contains("did you mean pt2023-ptb"));
    }

    #[test]
    fn golden_the_published_recipe_of_2023() {
        let run = RunConfig::resolve("pt2023", vec![layer("pt2023-ptb").unwrap()], &[]).unwrap();
        let train = &run.train;
        assert_eq!((train.batch, train.micro_batches), (64, 4));
        assert_eq!(train.part_gradients, PartGradients::Sum);
        assert_eq!(train.decay_kind, DecayKind::Coupled);
        assert_eq!(train.annealing, Some(AnnealingConfig::default()));
        assert_eq!(run.data.masking, crate::config::data::MaskingConfig::published_2023());
        assert!((run.model.dropout() - 0.15).abs() < 1e-15);
        assert_eq!(run.base_model(), run.model, "one rate for every tensor");
    }
}
