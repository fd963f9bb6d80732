//! The fused path against the reference path in f64, and the same bits for any pool.

use candle_core::{DType, Device};
use proptest::prelude::*;

use crate::batch::{Batch, Target};
use crate::engine::Engine;
use crate::family::{FamilyConfig, Parametrised, parametrise};
use crate::parametrization::Parametrization;
use crate::pt2026::{FusedPt2026, Potential, Pt2026, Pt2026Config, Rope};
use crate::random::{Purpose, Stream};
use crate::reference::ReferenceEngine;

/// L2 error of a gradient tensor that is always allowed, relative to its norm plus a hundredth of
/// the norm of all gradients: about a hundred f32 roundings.
const GRADIENT_BOUND: f64 = 1e-5;
/// Error of a loss that is always allowed, in nats.
const LOSS_BOUND: f64 = 3e-6;
/// Beyond those bounds an ill-conditioned case may err this many times as much as the reference
/// path in f32 does.
const WORSE_THAN_REFERENCE: f64 = 8.0;

fn batch(vocab: usize, sequences: usize, length: usize, padding: bool, share: f64) -> Batch {
    let mut stream = Stream::new(5, Purpose::Test, (sequences * 1000 + length) as u64);
    let tokens = sequences * length;
    let ids = (0..tokens).map(|_| stream.below(vocab as u64) as u32).collect();
    let words = |row: usize| length - (row * 2 % length);
    let mut targets = Vec::new();
    for position in 0..tokens {
        let (row, column) = (position / length, position % length);
        if stream.unit() < share && (!padding || column < words(row)) {
            let label = stream.below(vocab as u64) as u32;
            targets.push(Target { position: position as u32, label });
        }
    }
    let flags = (0..tokens).map(|p| p % length < words(p / length)).collect();
    let attention = padding.then_some(flags);
    Batch { ids, attention, targets, sequences, length, dropout: None }
}

/// The model relative to a base of another width, so that no multiplier is one by accident, with
/// initial values to which every bias and gain adds some noise.
fn built(config: &Pt2026Config, table: &str) -> (Parametrised<Pt2026>, Vec<f32>) {
    let base = Pt2026Config {
        width: 24,
        rank: Some(6),
        topics: Some(20),
        initial: config.initial,
        ..config.clone()
    };
    let built = parametrise(config, &base, &Parametrization::built_in(table).unwrap()).unwrap();
    let layout = config.layout().unwrap();
    let mut parameters = built.resolved.initialise(&layout, &built.base_layout, 3).unwrap();
    let mut stream = Stream::new(9, Purpose::Test, 0);
    for name in ["head.dense.bias", "head.norm.weight", "head.norm.bias", "head.decoder.bias"] {
        for value in &mut parameters[layout.range_of(name).unwrap()] {
            *value += stream.unit() as f32 - 0.5;
        }
    }
    (built, parameters)
}

type Outcome = (f64, Vec<f32>, Vec<f32>);

/// Mean loss, losses of the targets and gradients.
fn run(engine: &mut dyn Engine, parameters: &[f32], batch: &Batch) -> Outcome {
    let mut gradients = vec![7f32; parameters.len()];
    let loss = engine.loss_and_gradients(parameters, batch, &mut gradients).unwrap();
    let losses = engine.target_losses(parameters, batch).unwrap();
    assert_eq!(losses.len(), batch.targets.len());
    (loss.loss_nats, losses, gradients)
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// L2 norm of `a - b` relative to `floor` plus that of `b`.
fn distance(a: &[f32], b: &[f32], floor: f64) -> f64 {
    let gaps = a.iter().zip(b).map(|(&a, &b)| f64::from(a) - f64::from(b));
    norm(gaps) / (norm(b.iter().map(|&b| f64::from(b))) + floor)
}

fn check(config: &Pt2026Config, batch: &Batch, table: &str) {
    let (built, parameters) = built(config, table);
    let layout = config.layout().unwrap();
    let mut fused = FusedPt2026::new(&built.model, &built.resolved).unwrap();
    let reference = |dtype| {
        let (model, resolved) = (built.model.clone(), built.resolved.clone());
        run(&mut ReferenceEngine::new(model, resolved, dtype, Device::Cpu), &parameters, batch)
    };
    let (got, exact, single) =
        (run(&mut fused, &parameters, batch), reference(DType::F64), reference(DType::F32));
    let bound = (WORSE_THAN_REFERENCE * (single.0 - exact.0).abs()).max(LOSS_BOUND);
    assert!((got.0 - exact.0).abs() < bound, "loss {} for {}", got.0, exact.0);
    let bound = (WORSE_THAN_REFERENCE * distance(&single.1, &exact.1, 1e-7)).max(LOSS_BOUND);
    assert!(distance(&got.1, &exact.1, 1e-7) < bound, "losses {:?} for {:?}", got.1, exact.1);
    let floor = 1e-2 * norm(exact.2.iter().map(|&g| f64::from(g))) + 1e-7;
    for (position, spec) in layout.specs().iter().enumerate() {
        let part = |outcome: &Outcome| outcome.2[layout.range(position)].to_vec();
        let (got, exact, single) = (part(&got), part(&exact), part(&single));
        let bound = (WORSE_THAN_REFERENCE * distance(&single, &exact, floor)).max(GRADIENT_BOUND);
        let error = distance(&got, &exact, floor);
        assert!(error < bound, "{}: error {error:e}, bound {bound:e}", spec.name());
    }
}

fn small(width: usize) -> Pt2026Config {
    Pt2026Config {
        vocab: 29,
        width,
        iterations: 3,
        channels: 3,
        rank: Some(4),
        topics: Some(2 * width + 1),
        // Head logits of order one: those of the published value reach 100 here, and softmax
        // turns their rounding into errors far above the bounds.
        lambda_h: 1.0,
        ..Pt2026Config::default()
    }
}

proptest! {
    #![proptest_config(crate::fused::cases(32))]
    /// Widths and topic counts start where normalisers are well conditioned: with one or two
    /// entries their gradient is a difference of equal numbers.
    #[test]
    fn invariant_fused_loss_and_gradients_are_those_of_the_reference(
        width in 4usize..40,
        half_rank in 1usize..6,
        channels in 1usize..4,
        topics in 8usize..50,
        iterations in 1usize..4,
        (sequences, length) in (1usize..12, 1usize..20),
        rope in prop::sample::select(vec![Rope::Exact, Rope::Published, Rope::None]),
        label in prop::sample::select(vec![Potential::Square, Potential::Abs, Potential::Exp]),
        topic in prop::sample::select(vec![Potential::Square, Potential::Abs, Potential::Exp]),
        (dependent_message, padding, tied) in (any::<bool>(), any::<bool>(), any::<bool>()),
        share in prop::sample::select(vec![0.0, 0.15, 1.0]),
        table in prop::sample::select(Parametrization::names()),
    ) {
        let config = Pt2026Config {
            iterations,
            channels,
            rank: Some(if rope == Rope::None { 2 * half_rank - 1 } else { 2 * half_rank }),
            topics: Some(topics),
            rope,
            label_potential: label,
            topic_potential: topic,
            dependent_message,
            tied,
            ..small(width)
        };
        check(&config, &batch(29, sequences, length, padding, share), table);
    }
}

#[test]
fn invariant_fused_path_agrees_on_edge_shapes() {
    for (width, sequences, length) in [(8, 1, 1), (9, 3, 1), (33, 1, 17), (24, 20, 3)] {
        for padding in [false, true] {
            check(&small(width), &batch(29, sequences, length, padding, 0.4), "mup");
        }
    }
}

#[test]
fn invariant_buffers_of_earlier_batches_leave_no_trace() {
    let config = small(16);
    let (built, parameters) = built(&config, "mup");
    let mut used = FusedPt2026::new(&built.model, &built.resolved).unwrap();
    let mut gradients = vec![0f32; parameters.len()];
    for (sequences, length) in [(9, 12), (3, 5), (12, 2), (9, 12)] {
        let batch = batch(29, sequences, length, sequences == 3, 0.3);
        let mut fresh = FusedPt2026::new(&built.model, &built.resolved).unwrap();
        let mut expected = vec![1f32; parameters.len()];
        let loss = used.loss_and_gradients(&parameters, &batch, &mut gradients).unwrap();
        let alone = fresh.loss_and_gradients(&parameters, &batch, &mut expected).unwrap();
        assert_eq!(loss, alone);
        assert!(gradients == expected);
    }
}

#[test]
fn invariant_fused_path_has_the_same_bits_for_any_number_of_threads() {
    let config = Pt2026Config { vocab: 700, ..small(40) };
    let (built, parameters) = built(&config, "mup");
    let batch = batch(700, 19, 21, true, 0.3);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut engine = FusedPt2026::new(&built.model, &built.resolved).unwrap();
        let mut gradients = vec![0f32; parameters.len()];
        let loss = pool
            .install(|| engine.loss_and_gradients(&parameters, &batch, &mut gradients).unwrap());
        let bits: Vec<u32> = gradients.iter().map(|g| g.to_bits()).collect();
        (loss.loss_nats.to_bits(), bits)
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3));
}

/// A floor that cuts away real shares, at all words and at targets only.
#[test]
fn invariant_a_floor_of_head_posteriors_is_that_of_the_reference() {
    let config = Pt2026Config { posterior_floor: Some(0.2), lambda_h: 0.3, ..small(24) };
    let batch = batch(29, 6, 15, true, 0.3);
    check(&config, &batch, "mup");
    same_bits_as_in_full(&config, &batch);
    let loss = |floor| {
        let config = Pt2026Config { posterior_floor: floor, ..config.clone() };
        let (built, parameters) = built(&config, "mup");
        let mut engine = FusedPt2026::new(&built.model, &built.resolved).unwrap();
        run(&mut engine, &parameters, &batch).0
    };
    assert!((loss(Some(0.2)) - loss(None)).abs() > 1e-4, "the floor cuts nothing");
    let rounding = (loss(Some(Pt2026Config::POSTERIOR_FLOOR)) - loss(None)).abs();
    assert!(rounding < LOSS_BOUND, "2^-64 changes the loss by {rounding:e}");
}

/// Signs of topic scores decide the gradient of a square; enough targets to compute the last
/// iteration at every row, and few.
#[test]
fn invariant_squared_topics_agree_however_their_scores_are_kept() {
    for share in [0.1, 0.9] {
        let config = Pt2026Config { topic_potential: Potential::Square, ..small(24) };
        let batch = batch(29, 6, 15, true, share);
        check(&config, &batch, "mup");
        same_bits_as_in_full(&config, &batch);
    }
}

fn same_bits_as_in_full(config: &Pt2026Config, batch: &Batch) {
    let (built, parameters) = built(config, "mup");
    let mut restricted = FusedPt2026::new(&built.model, &built.resolved).unwrap();
    let mut full = FusedPt2026::new(&built.model, &built.resolved).unwrap();
    assert!(restricted.plan.restrict_last, "the restriction is on by default");
    full.plan.restrict_last = false;
    let mut recomputing =
        FusedPt2026::new(&built.model, &built.resolved).unwrap().with_recomputation(true);
    let bits = |engine: &mut FusedPt2026| {
        let (loss, losses, gradients) = run(engine, &parameters, batch);
        let bits = |values: Vec<f32>| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        (loss.to_bits(), bits(losses), bits(gradients))
    };
    let expected = bits(&mut full);
    assert!(bits(&mut restricted) == expected, "{config:?}");
    assert!(bits(&mut recomputing) == expected, "{config:?}, recomputing");
}

proptest! {
    #![proptest_config(crate::fused::cases(48))]
    #[test]
    fn invariant_the_last_iteration_at_targets_has_the_bits_of_the_full_one(
        width in 4usize..70,
        half_rank in 1usize..6,
        channels in 1usize..4,
        topics in 8usize..50,
        iterations in 1usize..4,
        (sequences, length) in (1usize..12, 1usize..24),
        rope in prop::sample::select(vec![Rope::Exact, Rope::Published, Rope::None]),
        label in prop::sample::select(vec![Potential::Square, Potential::Abs, Potential::Exp]),
        topic in prop::sample::select(vec![Potential::Square, Potential::Abs, Potential::Exp]),
        (dependent_message, padding, tied) in (any::<bool>(), any::<bool>(), any::<bool>()),
        share in prop::sample::select(vec![0.03, 0.15, 0.5, 1.0]),
    ) {
        let config = Pt2026Config {
            iterations,
            channels,
            rank: Some(if rope == Rope::None { 2 * half_rank - 1 } else { 2 * half_rank }),
            topics: Some(topics),
            rope,
            label_potential: label,
            topic_potential: topic,
            dependent_message,
            tied,
            ..small(width)
        };
        same_bits_as_in_full(&config, &batch(29, sequences, length, padding, share));
    }
}

/// Sums over more rows than one chain of a product are cut at the same places.
#[test]
fn invariant_the_last_iteration_at_targets_has_the_bits_of_the_full_one_in_long_sequences() {
    for (sequences, length) in [(1, 1100), (40, 130)] {
        let config = Pt2026Config { topics: Some(70), ..small(12) };
        same_bits_as_in_full(&config, &batch(29, sequences, length, false, 0.1));
    }
}
