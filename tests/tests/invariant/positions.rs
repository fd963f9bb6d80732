//! Position tables that start as sinusoids differ from random ones in their first values alone.

use baselines::blocks::PositionStart;
use baselines::{BertConfig, UtConfig};
use harness::checks::recorded::subject::{Subject, resolve};
use harness::checks::recorded::{cells, properties};
use harness::config::model::ModelConfig;
use harness::config::run::RunConfig;
use harness::weights;
use models::parameters::sinusoid;
use models::parametrization::Parametrization;

/// `family` with a random and with a sinusoidal start, otherwise the same.
fn pair(family: &str, width: usize) -> [ModelConfig; 2] {
    let random = cells::base(family, 11).unwrap().at_width(width);
    let mut sinusoids = random.clone();
    match &mut sinusoids {
        ModelConfig::Bert(config) => config.position_start = PositionStart::Sinusoids,
        ModelConfig::Ut(config) => config.position_start = PositionStart::Sinusoids,
        other => panic!("{} has no position table", other.family()),
    }
    [random, sinusoids]
}

#[test]
fn invariant_sinusoids_change_no_rule_no_size_and_no_other_tensor() {
    for family in ["bert", "ut"] {
        for table in Parametrization::names() {
            let table = Parametrization::built_in(table).unwrap();
            let (bases, models) = (pair(family, 16), pair(family, 48));
            let subjects = [0, 1].map(|which| {
                let subject = Subject::new(&models[which], &bases[which], &table).unwrap();
                let values = subject.initial(3).unwrap();
                (subject, values)
            });
            let [(random, random_values), (sinusoids, values)] = &subjects;
            assert_eq!(random.resolved, sinusoids.resolved, "{family} under {}", table.name);
            assert_eq!(random.layout.total(), sinusoids.layout.total());
            let flops = models.clone().map(|model| model.forward_flops(8).unwrap());
            assert_eq!(flops[0], flops[1]);
            for (position, spec) in random.layout.specs().iter().enumerate() {
                let range = random.layout.range(position);
                let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                let same = bits(&random_values[range.clone()]) == bits(&values[range.clone()]);
                let is_table = spec.name() == "embedding.position";
                assert_eq!(same, !is_table, "{family}: {}", spec.name());
                if is_table {
                    let amplitude = 2f64.sqrt() * random.resolved.rules[position].init_std;
                    for (place, &value) in values[range].iter().enumerate() {
                        let expected = amplitude * sinusoid(place / 48, place % 48, 48);
                        assert!((f64::from(value) - expected).abs() < 1e-7 * amplitude.max(1.0));
                    }
                }
            }
            let findings = properties::initial_deviation(sinusoids, 3).unwrap();
            assert!(findings.is_empty(), "{family}: {}", findings.join("\n"));
        }
    }
}

#[test]
fn invariant_the_default_start_is_not_written() {
    let written = toml::to_string(&BertConfig::default()).unwrap();
    assert!(!written.contains("position"), "{written}");
    let written = toml::to_string(&UtConfig::default()).unwrap();
    assert!(!written.contains("position"), "{written}");
    let config: BertConfig = toml::from_str("position_start = \"sinusoids\"").unwrap();
    assert_eq!(config.position_start, PositionStart::Sinusoids);
    let again: BertConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
    assert_eq!(again, config);
    let problem = toml::from_str::<UtConfig>("position_start = \"zero\"").unwrap_err().to_string();
    assert!(problem.contains("`random`") && problem.contains("`sinusoids`"), "{problem}");
}

/// A start is no part of what a trained model computes: weights go from one to the other.
#[test]
fn invariant_weights_of_one_start_serve_the_other() {
    let run = |more: &str| {
        let text = format!("[model.bert]\nvocab = 19\nwidth = 16\nhead_dim = 8\n{more}");
        RunConfig::resolve("bert", vec![toml::from_str(&text).unwrap()], &[]).unwrap()
    };
    let (random, sinusoids) = (run(""), run("position_start = \"sinusoids\""));
    assert_ne!(random, sinusoids);
    let base = random.base_model();
    let table = random.parametrization.table().unwrap();
    let resolved = resolve(&random.model, &base, &table).unwrap();
    let layouts = (random.model.layout().unwrap(), base.layout().unwrap());
    let values = resolved.initialise(&layouts.0, &layouts.1, 1).unwrap();
    let (standard, _) = weights::fold(&random, &values, weights::Origin::default()).unwrap();
    let path = std::path::Path::new("weights");
    assert_eq!(weights::unfold(&sinusoids, &standard, path).unwrap(), {
        weights::unfold(&random, &standard, path).unwrap()
    });
}
