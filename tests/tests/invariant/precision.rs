//! A computation in bf16 keeps the digits of f32 where sums need them.

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

#[test]
fn invariant_losses_of_a_bf16_model_have_the_digits_of_f32() {
    let config = Pt2026Config { vocab: VOCAB, width: 64, channels: 2, ..Default::default() };
    let (mut engine, parameters) = engine(&config, DType::BF16);
    let losses = engine.target_losses(&parameters, &batch()).unwrap();
    let coarse = |loss: &&f32| loss.to_bits().trailing_zeros() >= 16;
    let count = losses.iter().filter(coarse).count();
    assert!(count < losses.len() / 4, "{count} of {} losses are bf16 numbers", losses.len());
}
