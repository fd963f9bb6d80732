//! Gradient truth and invariants of the whole model, in f64.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;
use crate::architecture::{Architecture, NoProbe, TensorBatch, Weights};
use crate::batch::{Batch, Target};
use crate::error::Result;
use crate::family::{FamilyConfig, parametrise};
use crate::gradient_check::{
    autograd_gradients, difference_gradients, random_tensor, relative_error,
};
use crate::parametrization::{Parametrization, SiteScales};
use crate::random::{Purpose, Stream};

/// Sequences of 1 to `length` words, the rest padding, with a target at every third word.
fn batch(vocab: usize, sequences: usize, length: usize) -> Batch {
    let mut stream = Stream::new(11, Purpose::Test, 0);
    let mut token = || stream.below(vocab as u64) as u32;
    let ids = (0..sequences * length).map(|_| token()).collect();
    let words = |row: usize| length - (row % length.min(3));
    let attention = (0..sequences).flat_map(|row| (0..length).map(move |i| i < words(row)));
    let targets = (0..sequences)
        .flat_map(|row| (0..words(row)).step_by(3).map(move |i| row * length + i))
        .map(|position| Target { position: position as u32, label: token() })
        .collect();
    Batch { ids, attention: Some(attention.collect()), targets, sequences, length, dropout: None }
}

fn small() -> Pt2026Config {
    Pt2026Config {
        vocab: 7,
        width: 6,
        iterations: 3,
        channels: 2,
        rank: Some(2),
        topics: Some(5),
        ..Pt2026Config::default()
    }
}

/// Weights of order one in every tensor, so that no gradient is small for want of scale.
fn weights(config: &Pt2026Config) -> Vec<Tensor> {
    let layout = config.layout().unwrap();
    layout.specs().iter().map(|spec| random_tensor(spec.name(), spec.shape()).unwrap()).collect()
}

fn loss(model: &Pt2026, batch: &Batch, tensors: &[Tensor]) -> Result<Tensor> {
    let weights = Weights::new(model.layout(), tensors, None);
    let batch = TensorBatch::new(batch, DType::F64, &Device::Cpu)?;
    let (losses, _) = model.target_losses(&weights, &batch, &mut NoProbe)?;
    Ok(losses.mean_all()?)
}

/// Every gradient of `config` against central differences.
fn check_gradients(config: &Pt2026Config, batch: &Batch) -> std::result::Result<(), TestCaseError> {
    let model = config.model(config, &SiteScales::BASE).unwrap();
    let weights = weights(config);
    let exact = autograd_gradients(&weights, |w| loss(&model, batch, w)).unwrap();
    let difference = difference_gradients(&weights, |w| loss(&model, batch, w)).unwrap();
    for (spec, (a, b)) in model.layout().specs().iter().zip(exact.iter().zip(&difference)) {
        let gap = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let size = b.iter().map(|b| b * b).sum::<f64>().sqrt();
        // Central differences of a loss of order one carry about 1e-11 / 1e-5 of rounding.
        let allowed = 1e-6 * size + 1e-9;
        prop_assert!(gap <= allowed, "{}: {gap:e} > {allowed:e} of {config:?}", spec.name());
    }
    Ok(())
}

fn configs() -> impl Strategy<Value = Pt2026Config> {
    let potential =
        || prop_oneof![Just(Potential::Square), Just(Potential::Abs), Just(Potential::Exp)];
    let rope = prop_oneof![Just(Rope::Exact), Just(Rope::Published), Just(Rope::None)];
    let sizes = (2..5usize, 3..6usize, 1..4usize, 1..3usize, 1..3usize, 1..6usize);
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), 0.0..0.9);
    (sizes, potential(), potential(), rope, switches).prop_map(
        |(sizes, label_potential, topic_potential, rope, (dependent, wide, tied, damping))| {
            let (vocab, width, iterations, channels, half_rank, topics) = sizes;
            Pt2026Config {
                vocab,
                width,
                iterations,
                channels,
                rank: Some(2 * half_rank),
                topics: Some(topics),
                rope,
                label_potential,
                topic_potential,
                damping,
                dependent_message: dependent,
                width_normalisation: wide,
                tied,
                ..Pt2026Config::default()
            }
        },
    )
}

#[test]
fn invariant_gradients_of_random_models_match_finite_differences() {
    let config = Config { cases: 5, failure_persistence: None, ..Config::default() };
    let generator = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let shapes = (configs(), 1..4usize, 1..6usize);
    TestRunner::new_with_rng(config, generator)
        .run(&shapes, |(config, sequences, length)| {
            check_gradients(&config, &batch(config.vocab, sequences, length))
        })
        .unwrap();
}

#[test]
fn invariant_gradients_of_the_published_form_match_finite_differences() {
    check_gradients(&small(), &batch(7, 3, 5)).unwrap();
}

/// Relative distance between the messages and d/dx sum p F with p held fixed.
fn distance_from_gradient(config: &Pt2026Config) -> f64 {
    let (sequences, length) = (2, 6);
    let x = random_tensor("x", &[sequences, length, config.width]).unwrap().sqr().unwrap();
    let tensors = weights(config);
    let weights = Weights::new(&config.layout().unwrap(), &tensors, None).get("ternary_u");
    let u = weights.unwrap();
    let v = random_tensor("v", u.dims()).unwrap();
    let batch = batch(config.vocab, sequences, length);
    let batch = TensorBatch::new(&batch, DType::F64, &Device::Cpu).unwrap();
    // With this factor the head logits are the expected scores F themselves.
    let ternary = TernaryFactor::new(config, config.lambda_h, &batch, &x).unwrap();
    let heads = ternary.heads(&x, &u, &v).unwrap();
    let fixed = heads.posterior.detach();
    let expected_score = |x: &[Tensor]| {
        let scores = ternary.heads(&x[0], &u, &v)?.logits;
        Ok((scores * &fixed)?.sum_all()?)
    };
    let gradient = autograd_gradients(std::slice::from_ref(&x), expected_score).unwrap();
    let messages = ternary.messages(&heads, &u, &v).unwrap().flatten_all().unwrap();
    relative_error(&messages.to_vec1::<f64>().unwrap(), &gradient[0])
}

#[test]
fn invariant_messages_are_the_gradient_of_the_expected_score() {
    for rope in [Rope::Exact, Rope::None] {
        let distance = distance_from_gradient(&Pt2026Config { rope, rank: Some(4), ..small() });
        assert!(distance < 1e-13, "{rope:?}: {distance:e}");
    }
}

#[test]
fn invariant_published_rotation_and_one_way_messages_are_not_that_gradient() {
    let published = Pt2026Config { rope: Rope::Published, rank: Some(4), ..small() };
    assert!(distance_from_gradient(&published) > 0.1, "the published turn breaks the identity");
    let one_way = Pt2026Config { dependent_message: false, ..small() };
    assert!(distance_from_gradient(&one_way) > 0.1, "half of the gradient is missing");
}

#[test]
fn invariant_every_parameter_receives_a_gradient_at_initialisation() {
    let base = Pt2026Config { vocab: 11, width: 16, topics: Some(24), ..Pt2026Config::default() };
    let table = Parametrization::built_in("mup").unwrap();
    for tied in [false, true] {
        let config = Pt2026Config { tied, ..base.clone() };
        let built = parametrise(&config, &config, &table).unwrap();
        let layout = config.layout().unwrap();
        let values = built.resolved.initialise(&layout, &built.base_layout, 1).unwrap();
        let tensors: Vec<Tensor> = layout
            .specs()
            .iter()
            .enumerate()
            .map(|(position, spec)| {
                let part = &values[layout.range(position)];
                let tensor = Tensor::from_slice(part, spec.shape(), &Device::Cpu).unwrap();
                tensor.to_dtype(DType::F64).unwrap()
            })
            .collect();
        let batch = batch(config.vocab, 3, 9);
        let gradients = autograd_gradients(&tensors, |w| loss(&built.model, &batch, w)).unwrap();
        for (spec, gradient) in layout.specs().iter().zip(gradients) {
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            assert!(norm > 1e-6, "{} has gradient {norm:e}", spec.name());
        }
    }
}

#[test]
fn invariant_padding_changes_nothing_for_the_words() {
    let config = small();
    let model = config.model(&config, &SiteScales::BASE).unwrap();
    let weights = weights(&config);
    let short = Batch { attention: None, ..batch(config.vocab, 1, 4) };
    let (mut ids, mut words) = (short.ids.clone(), vec![true; 4]);
    ids.extend([3, 0, 5]);
    words.extend([false; 3]);
    let padded = Batch { ids, attention: Some(words), length: 7, ..short.clone() };
    let alone = loss(&model, &short, &weights).unwrap().to_scalar::<f64>().unwrap();
    let together = loss(&model, &padded, &weights).unwrap().to_scalar::<f64>().unwrap();
    assert!((alone - together).abs() < 1e-14, "{alone} {together}");
}

#[test]
fn invariant_a_lone_word_has_no_head_and_a_finite_loss() {
    let config = small();
    let model = config.model(&config, &SiteScales::BASE).unwrap();
    let value = loss(&model, &batch(config.vocab, 1, 1), &weights(&config)).unwrap();
    assert!(value.to_scalar::<f64>().unwrap().is_finite());
}
