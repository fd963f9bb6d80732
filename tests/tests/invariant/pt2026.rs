//! The 2026 model: the reference path against its equations written a second time.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use crossscale_tests::pt2026_by_hand::ByHand;
use models::architecture::{Architecture, NoProbe, TensorBatch, Weights};
use models::batch::{Batch, Target};
use models::family::FamilyConfig;
use models::parametrization::SiteScales;
use models::pt2026::{Potential, Pt2026Config, Rope};
use models::random::{Purpose, Stream};

fn pick<T: Copy>(stream: &mut Stream, choices: &[T]) -> T {
    choices[stream.below(choices.len() as u64) as usize]
}

fn between(stream: &mut Stream, low: u64, high: u64) -> usize {
    (low + stream.below(high - low + 1)) as usize
}

fn random_config(stream: &mut Stream) -> Pt2026Config {
    let potentials = [Potential::Square, Potential::Abs, Potential::Exp];
    Pt2026Config {
        vocab: between(stream, 1, 9),
        width: between(stream, 1, 12),
        iterations: between(stream, 1, 4),
        channels: between(stream, 1, 3),
        rank: Some(2 * between(stream, 1, 3)),
        topics: Some(between(stream, 1, 9)),
        rope: pick(stream, &[Rope::Exact, Rope::Published, Rope::None]),
        rope_theta: pick(stream, &[1e4, 50.0]),
        label_potential: pick(stream, &potentials),
        topic_potential: pick(stream, &potentials),
        damping: 0.9 * stream.unit(),
        dependent_message: stream.below(3) > 0,
        width_normalisation: stream.below(3) > 0,
        lambda_z: 0.5 + stream.unit(),
        lambda_h: 0.5 + stream.unit(),
        lambda_g: 0.5 + stream.unit(),
        ternary_weight: 0.5 + stream.unit(),
        binary_weight: 0.5 + stream.unit(),
        logit_multiplier: 0.5 + stream.unit(),
        // The large bound is above many sums, so the clamp acts.
        epsilon: pick(stream, &[1e-6, 4.0]),
        tied: stream.below(3) == 0,
        ..Pt2026Config::default()
    }
}

fn random_batch(stream: &mut Stream, vocab: usize) -> Batch {
    let (sequences, length) = (between(stream, 1, 3), between(stream, 1, 7));
    let tokens = sequences * length;
    let mut token = || stream.below(vocab as u64) as u32;
    let ids = (0..tokens).map(|_| token()).collect();
    let labels: Vec<u32> = (0..tokens).map(|_| token()).collect();
    let mut words: Vec<bool> = (0..tokens).map(|_| stream.below(4) > 0).collect();
    words[0] = true;
    let padded = stream.below(2) == 0;
    let targets = (0..tokens).filter(|&at| !padded || words[at]);
    Batch {
        ids,
        targets: targets.map(|at| Target { position: at as u32, label: labels[at] }).collect(),
        attention: padded.then_some(words),
        sequences,
        length,
        dropout: None,
    }
}

#[test]
fn invariant_reference_agrees_with_the_equations_by_hand() {
    for seed in 0..80 {
        let mut stream = Stream::new(seed, Purpose::Test, 26);
        let config = random_config(&mut stream);
        let batch = random_batch(&mut stream, config.vocab);
        let mut scale = || 0.5 + stream.unit();
        let sites = SiteScales {
            attention_logits: scale(),
            belief: scale(),
            topic: scale(),
            message: scale(),
            residual: 1.0,
            tied_logits: scale(),
        };
        let model = config.model(&config, &sites).unwrap();
        let mut weights = BTreeMap::new();
        let mut tensors = Vec::new();
        for spec in model.layout().specs() {
            let values: Vec<f64> = (0..spec.count()).map(|_| 0.5 * stream.normal()).collect();
            tensors.push(Tensor::from_slice(&values, spec.shape(), &Device::Cpu).unwrap());
            weights.insert(spec.name().to_owned(), values);
        }
        let by_hand = ByHand { config: &config, constants: model.constants(), weights: &weights };
        let expected = by_hand.target_losses(&batch);

        let wrapped = Weights::new(model.layout(), &tensors, None);
        let on_device = TensorBatch::new(&batch, DType::F64, &Device::Cpu).unwrap();
        let (losses, _) = model.target_losses(&wrapped, &on_device, &mut NoProbe).unwrap();
        let found = losses.to_vec1::<f64>().unwrap();
        assert_eq!(found.len(), expected.len());
        for (target, (a, b)) in found.iter().zip(&expected).enumerate() {
            let gap = (a - b).abs();
            assert!(gap < 1e-10 * b.abs().max(1.0), "seed {seed}, {target}: {a} {b} {config:?}");
        }
    }
}
