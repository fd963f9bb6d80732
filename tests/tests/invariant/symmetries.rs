//! Symmetries of the models on random shapes, in f64: what a change of scale, order or place must
//! not change, and what it must.

use candle_core::{D, DType, Device, Tensor};
use harness::checks::recorded::cells;
use harness::checks::recorded::subject::{architecture, with_depth};
use harness::config::model::{ComputePath, ModelConfig};
use models::architecture::{Architecture, NoProbe, Probe, TensorBatch, Weights};
use models::batch::{Batch, DropoutKey, Target};
use models::family::FamilyConfig;
use models::parametrization::{Parametrization, SiteScales};
use models::pt2026::{Potential, Pt2026Config, Rope};
use models::random::{Purpose, Stream};
use proptest::prelude::*;

const VOCAB: usize = 7;

fn random_batch(stream: &mut Stream, sequences: usize, length: usize) -> Batch {
    let tokens = sequences * length;
    let ids = (0..tokens).map(|_| stream.below(VOCAB as u64) as u32).collect();
    let label = |stream: &mut Stream| stream.below(VOCAB as u64) as u32;
    let targets =
        (0..tokens).map(|at| Target { position: at as u32, label: label(stream) }).collect();
    Batch { ids, attention: None, targets, sequences, length, dropout: None }
}

fn random_parameters<A: Architecture + ?Sized>(model: &A, stream: &mut Stream) -> Vec<Tensor> {
    let tensor = |spec: &models::parameters::ParameterSpec, stream: &mut Stream| {
        let offset = if spec.name().ends_with("norm.weight") { 1.0 } else { 0.0 };
        let values: Vec<f64> = (0..spec.count()).map(|_| offset + 0.5 * stream.normal()).collect();
        Tensor::from_vec(values, spec.shape(), &Device::Cpu).unwrap()
    };
    model.layout().specs().iter().map(|spec| tensor(spec, stream)).collect()
}

/// Loss of every position, `sequences` rows of `length`.
fn losses<A: Architecture + ?Sized>(model: &A, parameters: &[Tensor], batch: &Batch) -> Vec<f64> {
    let weights = Weights::new(model.layout(), parameters, None);
    let tensors = TensorBatch::new(batch, DType::F64, &Device::Cpu).unwrap();
    let (losses, _) = model.target_losses(&weights, &tensors, &mut NoProbe).unwrap();
    losses.to_vec1().unwrap()
}

fn gap(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |gap, (a, b)| gap.max((a - b).abs()))
}

fn permutation(stream: &mut Stream, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    stream.shuffle(&mut order);
    // Never the identity: a test with nothing moved shows nothing.
    if order.windows(2).all(|pair| pair[0] < pair[1]) {
        order.rotate_left(1);
    }
    order
}

/// `batch` with its rows of `width` tokens in another order; targets follow.
fn reordered(batch: &Batch, order: &[usize], width: usize) -> Batch {
    let pick = |values: &[u32]| -> Vec<u32> {
        order.iter().flat_map(|&row| values[row * width..(row + 1) * width].to_vec()).collect()
    };
    let labels: Vec<u32> = batch.targets.iter().map(|target| target.label).collect();
    let labels = pick(&labels);
    let target = |(at, &label): (usize, &u32)| Target { position: at as u32, label };
    Batch {
        ids: pick(&batch.ids),
        targets: labels.iter().enumerate().map(target).collect(),
        sequences: batch.sequences * order.len() * width / batch.ids.len(),
        ..batch.clone()
    }
}

fn taken(values: &[f64], order: &[usize], width: usize) -> Vec<f64> {
    order.iter().flat_map(|&row| values[row * width..(row + 1) * width].to_vec()).collect()
}

fn pt() -> impl Strategy<Value = Pt2026Config> {
    let sizes = (1usize..4, 1usize..4, 1usize..4, 1usize..4);
    let rope = prop::sample::select(vec![Rope::Exact, Rope::Published, Rope::None]);
    let potential = prop::sample::select(vec![Potential::Square, Potential::Abs, Potential::Exp]);
    (sizes, rope, potential, any::<bool>()).prop_map(|(sizes, rope, potential, both)| {
        let (quarter, iterations, channels, half) = sizes;
        Pt2026Config {
            vocab: VOCAB,
            width: 4 * quarter,
            rank: Some(2 * half),
            iterations,
            channels,
            rope,
            label_potential: potential,
            dependent_message: both,
            lambda_h: 1.0,
            ..Pt2026Config::default()
        }
    })
}

/// Keeps sums along the last axis of one site.
struct Sums(&'static str, Vec<f64>);

impl Probe for Sums {
    fn record(&mut self, site: &str, _: usize, value: &Tensor) -> models::Result<()> {
        if site == self.0 {
            self.1.extend(value.sum(D::Minus1)?.flatten_all()?.to_vec1::<f64>()?);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn invariant_beliefs_and_posteriors_sum_to_one_in_every_iteration(
        config in pt(), seed in 0u64..1000, length in 2usize..6,
    ) {
        let model = config.model(&config, &SiteScales::BASE).unwrap();
        let mut stream = Stream::new(seed, Purpose::Test, 0);
        let parameters = random_parameters(&model, &mut stream);
        let weights = Weights::new(model.layout(), &parameters, None);
        let batch = random_batch(&mut stream, 2, length);
        let tensors = TensorBatch::new(&batch, DType::F64, &Device::Cpu).unwrap();
        let constants = model.constants();
        for (site, total) in [("belief", constants.belief), ("head_posterior", 1.0)] {
            let mut sums = Sums(site, Vec::new());
            model.target_losses(&weights, &tensors, &mut sums).unwrap();
            prop_assert!(sums.1.len() >= config.iterations * 2 * length);
            for sum in &sums.1 {
                prop_assert!((sum / total - 1.0).abs() < 1e-12, "{} sums to {}", site, sum);
            }
        }
        // Topic activations are zero where no score is positive.
        let mut sums = Sums("topic_belief", Vec::new());
        model.target_losses(&weights, &tensors, &mut sums).unwrap();
        let whole = |sum: &f64| (sum / constants.topic - 1.0).abs() < 1e-12 || *sum == 0.0;
        prop_assert!(sums.1.iter().all(whole));
    }

    #[test]
    fn invariant_the_head_sees_directions_of_scores_only(
        config in pt(), seed in 0u64..1000, scale in 0.1f64..50.0,
    ) {
        let model = config.model(&config, &SiteScales::BASE).unwrap();
        let mut stream = Stream::new(seed, Purpose::Test, 1);
        let parameters = random_parameters(&model, &mut stream);
        let weights = Weights::new(model.layout(), &parameters, None);
        let rows: Vec<f64> = (0..3 * config.width).map(|_| 1.0 + stream.unit()).collect();
        let rows = Tensor::from_vec(rows, (3, config.width), &Device::Cpu).unwrap();
        let logits = |rows: &Tensor| -> Vec<f64> {
            let logits = model.head(&weights, rows, &mut NoProbe).unwrap();
            logits.flatten_all().unwrap().to_vec1().unwrap()
        };
        let gap = gap(&logits(&rows), &logits(&(&rows * scale).unwrap()));
        if config.label_potential == Potential::Exp {
            // Softmax is the one that sees the scale: the control of this test.
            prop_assert!(gap > 1e-6 || (scale - 1.0).abs() < 0.1, "softmax ignores {}", scale);
        } else {
            prop_assert!(gap < 1e-9, "scaling scores by {} moves logits by {}", scale, gap);
        }
    }

    #[test]
    fn invariant_pt_sees_relative_positions_only(
        config in pt(), seed in 0u64..1000, shift in 1usize..5, length in 2usize..6,
    ) {
        let model = config.model(&config, &SiteScales::BASE).unwrap();
        let mut stream = Stream::new(seed, Purpose::Test, 2);
        let parameters = random_parameters(&model, &mut stream);
        let plain = random_batch(&mut stream, 1, length);
        let mut moved = random_batch(&mut stream, 1, length + shift);
        moved.ids[shift..].copy_from_slice(&plain.ids);
        moved.attention = Some((0..length + shift).map(|at| at >= shift).collect());
        let at = |target: &Target| Target { position: target.position + shift as u32, ..*target };
        moved.targets = plain.targets.iter().map(at).collect();
        let gap = gap(&losses(&model, &parameters, &plain), &losses(&model, &parameters, &moved));
        prop_assert!(gap < 1e-9, "{:?}: moving the words changes losses by {}", config, gap);
    }

    #[test]
    fn invariant_pt_without_positions_permutes_with_its_words(
        config in pt(), seed in 0u64..1000, length in 3usize..6,
    ) {
        let model = config.model(&config, &SiteScales::BASE).unwrap();
        let mut stream = Stream::new(seed, Purpose::Test, 3);
        let parameters = random_parameters(&model, &mut stream);
        let mut batch = random_batch(&mut stream, 1, length);
        batch.ids = (0..length as u32).collect();
        let order = permutation(&mut stream, length);
        let plain = taken(&losses(&model, &parameters, &batch), &order, 1);
        let permuted = losses(&model, &parameters, &reordered(&batch, &order, 1));
        if config.rope == Rope::None {
            prop_assert!(gap(&plain, &permuted) < 1e-9);
        } else {
            prop_assert!(gap(&plain, &permuted) > 1e-12, "rotary positions change nothing");
        }
    }

    #[test]
    fn invariant_pt_does_not_know_the_order_of_its_channels(
        config in pt(), seed in 0u64..1000,
    ) {
        let config = Pt2026Config { channels: config.channels + 1, ..config };
        let model = config.model(&config, &SiteScales::BASE).unwrap();
        let mut stream = Stream::new(seed, Purpose::Test, 4);
        let mut parameters = random_parameters(&model, &mut stream);
        let batch = random_batch(&mut stream, 2, 4);
        let before = losses(&model, &parameters, &batch);
        let order: Vec<u32> = permutation(&mut stream, config.channels)
            .iter()
            .flat_map(|channel| {
                let rank = config.rank();
                (channel * rank..(channel + 1) * rank).map(|row| row as u32)
            })
            .collect();
        let rows = Tensor::new(order, &Device::Cpu).unwrap();
        for name in ["ternary_u", "ternary_v"] {
            let at = model.layout().position(name).unwrap();
            parameters[at] = parameters[at].index_select(&rows, 0).unwrap();
        }
        prop_assert!(gap(&before, &losses(&model, &parameters, &batch)) < 1e-9);
        // U alone in another order is another model.
        let at = model.layout().position("ternary_u").unwrap();
        parameters[at] = parameters[at].index_select(&rows, 0).unwrap();
        let other = losses(&model, &parameters, &batch);
        prop_assert!(config.channels > 2 || gap(&before, &other) > 1e-12);
    }

    #[test]
    fn invariant_sequences_of_a_batch_do_not_see_each_other(
        family in prop::sample::select(cells::FORMS.to_vec()),
        seed in 0u64..1000, depth in 1usize..3,
    ) {
        let base = with_depth(cells::base(family, VOCAB).unwrap().at_width(16), depth);
        let model = architecture(&base, &base, &SiteScales::BASE).unwrap();
        let mut stream = Stream::new(seed, Purpose::Test, 5);
        let parameters = random_parameters(model.as_ref(), &mut stream);
        let batch = random_batch(&mut stream, 3, 4);
        let order = permutation(&mut stream, 3);
        let plain = taken(&losses(model.as_ref(), &parameters, &batch), &order, 4);
        let permuted = losses(model.as_ref(), &parameters, &reordered(&batch, &order, 4));
        prop_assert!(gap(&plain, &permuted) < 1e-12);
        let alone = losses(model.as_ref(), &parameters, &reordered(&batch, &order[..1], 4));
        prop_assert!(gap(&plain[..4], &alone) < 1e-12, "{alone:?} alone, {plain:?} together");
    }

    #[test]
    fn invariant_both_paths_train_on_the_loss_they_evaluate(
        family in prop::sample::select(cells::FORMS.to_vec()),
        table in prop::sample::select(Parametrization::names()),
        seed in 0u64..1000,
    ) {
        let base = cells::base(family, VOCAB).unwrap().at_width(16);
        let model = base.at_width(48);
        let table = Parametrization::built_in(table).unwrap();
        let mut stream = Stream::new(seed, Purpose::Test, 6);
        let evaluated = random_batch(&mut stream, 2, 6);
        let dropout = Some(DropoutKey { seed: 1, step: 2 });
        let trained = Batch { dropout, ..evaluated.clone() };
        for path in [ComputePath::Reference, ComputePath::Fused] {
            if path == ComputePath::Fused && matches!(model, ModelConfig::Pt2023(_)) {
                continue;
            }
            let mut built = model.build(&base, &table, path, 6).unwrap();
            let (layout, rules) = (&built.layout, &built.resolved);
            let parameters = rules.initialise(layout, &built.base_layout, seed).unwrap();
            let mut gradients = vec![f32::NAN; layout.total()];
            let engine = &mut built.engine;
            let loss = engine.loss_and_gradients(&parameters, &trained, &mut gradients).unwrap();
            let losses = engine.target_losses(&parameters, &evaluated).unwrap();
            let mean = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            let mean = mean / losses.len() as f64;
            // One rounding to f32 of each loss and of their mean.
            let bound = 1e-6 * mean.max(1.0);
            prop_assert!((loss.loss_nats - mean).abs() < bound, "{} {}", loss.loss_nats, mean);
        }
    }
}
