//! Invariants of the parametrization tables on random small models (rules 1 to 8 of the table in
//! `tests/README.md`).

use harness::checks::recorded::cells::FORMS;
use harness::checks::recorded::properties::{self, EQUIVALENT, Tables, Trial, VARIABLE_SHRINKAGE};
use harness::checks::recorded::subject::{Subject, tied, with_depth, zero_readout};
use harness::checks::recorded::{Findings, cells};
use harness::config::model::ModelConfig;
use harness::config::train::{ScheduleConfig, TrainConfig};
use models::batch::{Batch, Target};
use models::parametrization::Parametrization;
use models::random::{Purpose, Stream};
use proptest::prelude::*;

const VOCAB: usize = 11;

fn random_batch(stream: &mut Stream) -> Batch {
    let (sequences, length) = (2, 5);
    let tokens = sequences * length;
    let ids = (0..tokens).map(|_| stream.below(VOCAB as u64) as u32).collect();
    let targets = (0..tokens)
        .filter(|at| at % 3 != 1)
        .map(|at| Target { position: at as u32, label: stream.below(VOCAB as u64) as u32 })
        .collect();
    Batch { ids, attention: None, targets, sequences, length, dropout: None }
}

fn batches(seed: u64, count: u64) -> Vec<Batch> {
    (0..count).map(|step| random_batch(&mut Stream::new(seed, Purpose::Test, step))).collect()
}

/// Everything that a table scales is on; the clip, which tells equivalent forms apart, is off.
fn training(steps: u64) -> TrainConfig {
    TrainConfig {
        steps,
        learning_rate: 0.02,
        epsilon: 1e-3,
        weight_decay: 0.5,
        decay_vectors: true,
        gradient_clip: 0.0,
        schedule: ScheduleConfig { floor_share: 0.1, ..ScheduleConfig::default() },
        ..TrainConfig::default()
    }
}

/// The base of `family` at `width` with `depth` layers, iterations or steps.
fn base(family: &str, width: usize, depth: usize) -> ModelConfig {
    with_depth(cells::base(family, VOCAB).unwrap().at_width(width), depth)
}

/// The same with heads (rank) of one width, so that only their number grows.
fn with_fixed_head_width(mut model: ModelConfig) -> ModelConfig {
    let fixed = |heads: &mut Option<usize>, head_dim: &mut Option<usize>| {
        (*heads, *head_dim) = (None, Some(4));
    };
    match &mut model {
        ModelConfig::Pt(config) => config.rank = Some(4),
        ModelConfig::Pt2023(config) => (config.rank, config.fixed_rank) = (4, true),
        ModelConfig::Bert(config) => fixed(&mut config.heads, &mut config.head_dim),
        ModelConfig::Preln(config) => fixed(&mut config.heads, &mut config.head_dim),
        ModelConfig::Ut(config) => fixed(&mut config.heads, &mut config.head_dim),
    }
    model
}

fn none(findings: &Findings) -> Result<(), TestCaseError> {
    prop_assert!(findings.is_empty(), "{}", findings.join("\n"));
    Ok(())
}

fn family() -> impl Strategy<Value = &'static str> {
    prop::sample::select(FORMS.to_vec())
}

fn table() -> impl Strategy<Value = &'static str> {
    prop::sample::select(Parametrization::names())
}

#[test]
fn invariant_every_table_is_standard_at_its_base_width() {
    let tables = Tables::built_in().unwrap();
    for (place, family) in FORMS.into_iter().enumerate() {
        for (rank, table) in Parametrization::names().into_iter().enumerate() {
            let case = place + 3 * rank;
            let plain = base(family, 8 * (1 + case % 3), 1 + case % 2);
            let base = if case % 4 < 2 { tied(plain) } else { plain };
            let seed = case as u64;
            let (batches, train) = (batches(seed, 2), training(2));
            let trial = Trial { model: &base, base: &base, batches: &batches, train: &train, seed };
            let findings = properties::base_is_standard(&tables, table, &trial).unwrap();
            assert!(findings.is_empty(), "{family} under {table}: {}", findings.join("\n"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn invariant_factors_multiply_over_widths(
        (family, table) in (family(), table()),
        first in 1usize..5, second in 1usize..5, third in 1usize..5,
    ) {
        let table = Parametrization::built_in(table).unwrap();
        let widths = [first, second, third].map(|eighths| 8 << eighths);
        let model = base(family, 8, 2);
        none(&properties::multiplier_algebra(&table, &model, widths).unwrap())?;
    }

    #[test]
    fn invariant_declared_roles_are_those_of_the_shapes(
        family in family(), narrow in 1usize..5, growth in 2usize..4, depth in 1usize..3,
    ) {
        let model = base(family, 8 * narrow, depth);
        let wide = model.at_width(8 * narrow * growth);
        none(&properties::roles_by_shape(&model, &wide).unwrap())?;
    }

    #[test]
    fn invariant_decay_per_step_and_rate_floor_do_not_depend_on_width(
        (family, table) in (family(), table()),
        eighths in 1usize..4, rate in 1e-3f64..0.2,
    ) {
        prop_assume!(!VARIABLE_SHRINKAGE.contains(&table));
        let table = Parametrization::built_in(table).unwrap();
        let (base, width) = (base(family, 8 * eighths, 1), 8 * eighths);
        let train = TrainConfig { learning_rate: rate, ..training(20) };
        let widths = [width, 2 * width, 4 * width];
        none(&properties::shrinkage(&table, &base, &widths, &train).unwrap())?;
    }

    #[test]
    fn invariant_initial_deviation_is_that_of_the_rule(
        (family, table) in (family(), table()),
        eighths in 1usize..6, seed in 0u64..1000,
    ) {
        let base = base(family, 16, 2);
        let model = base.at_width(8 * eighths);
        let table = Parametrization::built_in(table).unwrap();
        let subject = Subject::new(&model, &base, &table).unwrap();
        none(&properties::initial_deviation(&subject, seed).unwrap())?;
    }

    #[test]
    fn invariant_first_loss_of_a_zero_readout_is_uniform_at_every_width(
        family in prop::sample::select(vec!["pt", "bert", "preln", "ut"]),
        table in table(), eighths in 1usize..6, seed in 0u64..1000,
    ) {
        let base = zero_readout(base(family, 16, 2));
        let table = Parametrization::built_in(table).unwrap();
        let batch = random_batch(&mut Stream::new(seed, Purpose::Test, 0));
        let models = (&base.at_width(8 * eighths), &base);
        let loss = properties::first_loss(&table, models, &batch, seed).unwrap();
        prop_assert!((loss - (VOCAB as f64).ln()).abs() < 1e-12, "{}", loss);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn invariant_equivalent_tables_train_alike(
        family in family(), width in prop::sample::select(vec![8usize, 24, 32, 64]),
        (tie, seed) in (any::<bool>(), 0u64..100),
    ) {
        let tables = Tables::built_in().unwrap();
        let (batches, train) = (batches(seed, 5), training(5));
        for (names, fixed_heads) in EQUIVALENT {
            let mut base = base(family, 16, 2);
            if fixed_heads {
                base = with_fixed_head_width(base);
            }
            let base = if tie { tied(base) } else { base };
            let model = base.at_width(width);
            let trial =
                Trial { model: &model, base: &base, batches: &batches, train: &train, seed };
            for other in &names[1..] {
                none(&properties::equivalent(&tables, (names[0], other), &trial).unwrap())?;
            }
        }
    }
}

#[test]
fn invariant_the_classes_of_equivalent_tables_are_not_one() {
    // The trace must be able to tell tables apart: across the classes, and deep from shallow.
    let tables = Tables::built_in().unwrap();
    let (batches, train) = (batches(1, 5), training(5));
    for family in FORMS {
        let base = with_fixed_head_width(base(family, 16, 2));
        let differ = |names, model: &ModelConfig| {
            let trial = Trial { model, base: &base, batches: &batches, train: &train, seed: 1 };
            !properties::equivalent(&tables, names, &trial).unwrap().is_empty()
        };
        let wide = base.at_width(64);
        assert!(differ(("mup-table8", "standard-full-align"), &wide), "{family}");
        assert!(differ(("mup-table8", "pt-2026"), &wide), "{family}");
        assert!(differ(("mup-table8", "standard"), &wide), "{family}");
        // The looped control scales its branches itself and refuses a table that does.
        let deep = with_depth(base.clone(), 4);
        assert!(family == "ut-looped" || differ(("mup-table8", "completep"), &deep), "{family}");
    }
}

#[test]
fn invariant_the_published_table_gives_the_published_rules() {
    let tables = Tables::built_in().unwrap();
    let findings = properties::published_rules(tables.get("pt-2026").unwrap()).unwrap();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    assert!(!properties::published_rules(tables.get("standard").unwrap()).unwrap().is_empty());
}

#[test]
fn invariant_the_published_table_alone_has_a_decay_that_depends_on_width() {
    for name in Parametrization::names() {
        let table = Parametrization::built_in(name).unwrap();
        let base = base("pt", 16, 1);
        let found = properties::shrinkage(&table, &base, &[16, 64], &training(5)).unwrap();
        assert_eq!(found.is_empty(), !VARIABLE_SHRINKAGE.contains(&name), "{name}");
    }
}

#[test]
fn invariant_a_zero_readout_cannot_be_tied() {
    for family in ["pt", "bert", "preln", "ut"] {
        let model = base(family, 16, 1);
        zero_readout(model.clone()).layout().unwrap();
        tied(model.clone()).layout().unwrap();
        let message = tied(zero_readout(model)).layout().unwrap_err().to_string();
        assert!(message.contains("tied") && message.contains("hint:"), "{family}: {message}");
    }
}
