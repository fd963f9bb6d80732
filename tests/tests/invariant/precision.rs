//! bf16 products over f32 weights follow f32, on the reference path of every family.

use baselines::{BertConfig, PreLnConfig, UtConfig};
use candle_core::{DType, Device};
use models::architecture::Architecture;
use models::batch::{Batch, Target};
use models::engine::Engine;
use models::family::{FamilyConfig, parametrise};
use models::parametrization::Parametrization;
use models::pt2026::Pt2026Config;
use models::random::{Purpose, Stream};
use models::reference::ReferenceEngine;

const VOCAB: usize = 500;
/// bf16 keeps eight bits: a product errs by 2^-9 of its size, a loss of ln V nats by far less.
const LOSS_NATS: f64 = 2e-2;
/// Length of the difference of all gradients over their length.
const GRADIENT: f64 = 6e-2;

fn batch() -> Batch {
    let (sequences, length) = (4, 48);
    let mut stream = Stream::new(4, Purpose::Test, 0);
    let mut token = || stream.below(VOCAB as u64) as u32;
    let ids = (0..sequences * length).map(|_| token()).collect();
    let target = |place: usize| Target { position: place as u32, label: token() };
    let targets = (0..sequences * length).step_by(3).map(target).collect();
    Batch { ids, attention: None, targets, sequences, length, dropout: None }
}

fn engine<F: FamilyConfig>(config: &F, dtype: DType) -> (ReferenceEngine<F::Model>, Vec<f32>) {
    let table = Parametrization::built_in("standard").unwrap();
    let built = parametrise(config, config, &table).unwrap();
    let layout = built.model.layout().clone();
    let parameters = built.resolved.initialise(&layout, &built.base_layout, 7).unwrap();
    (ReferenceEngine::new(built.model, built.resolved, dtype, Device::Cpu), parameters)
}

/// Loss error in nats and relative error of all gradients.
fn errors<F: FamilyConfig>(config: &F) -> (f64, f64) {
    let batch = batch();
    let run = |dtype: DType| {
        let (mut engine, parameters) = engine(config, dtype);
        let mut gradients = vec![0f32; parameters.len()];
        let loss = engine.loss_and_gradients(&parameters, &batch, &mut gradients).unwrap();
        (loss.loss_nats, gradients)
    };
    let ((loss, gradients), (exact_loss, exact)) = (run(DType::BF16), run(DType::F32));
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let mut differences = gradients.iter().zip(&exact).map(|(a, b)| f64::from(*a) - f64::from(*b));
    for spec in engine(config, DType::F32).0.architecture().layout().specs() {
        let range =
            engine(config, DType::F32).0.architecture().layout().range_of(spec.name()).unwrap();
        let d = norm(&mut range.clone().map(|i| f64::from(gradients[i]) - f64::from(exact[i])));
        let w = norm(&mut range.map(|i| f64::from(exact[i])));
        println!("   {} {:.2e} of {:.2e}", spec.name(), d / w, w);
    }
    let difference = norm(&mut differences);
    let whole = norm(&mut exact.iter().map(|&value| f64::from(value)));
    ((loss - exact_loss).abs(), difference / whole)
}

fn check<F: FamilyConfig>(family: &str, config: &F) {
    let (loss, gradient) = errors(config);
    println!("{family}: loss off by {loss:.1e} nats, gradients by {gradient:.1e}");
    assert!(loss < LOSS_NATS, "{family}: loss off by {loss:e} nats");
    assert!(gradient < GRADIENT, "{family}: gradients off by {gradient:e}");
    // The same f32 values come out of a computation that is really narrower.
    assert!(loss > 0.0 && gradient > 1e-5, "{family}: nothing was computed in bf16");
}

#[test]
fn invariant_bf16_follows_f32_in_every_family() {
    let vocab = VOCAB;
    check("pt", &Pt2026Config { vocab, width: 256, channels: 4, ..Default::default() });
    let (width, heads) = (128, Some(4));
    check("bert", &BertConfig { vocab, width, heads, layers: 3, ..Default::default() });
    check("preln", &PreLnConfig { vocab, width, heads, layers: 3, ..Default::default() });
    check("ut", &UtConfig { vocab, width, heads, steps: 3, ..Default::default() });
}

#[test]
fn invariant_losses_of_a_bf16_model_have_the_digits_of_f32() {
    let config = Pt2026Config { vocab: VOCAB, width: 64, channels: 2, ..Default::default() };
    let (mut engine, parameters) = engine(&config, DType::BF16);
    let losses = engine.target_losses(&parameters, &batch()).unwrap();
    let coarse = |loss: &&f32| loss.to_bits() & 0xffff == 0;
    let count = losses.iter().filter(coarse).count();
    assert!(count < losses.len() / 4, "{count} of {} losses are bf16 numbers", losses.len());
}
