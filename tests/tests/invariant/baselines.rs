//! Properties of the baselines: gradients, padding, configuration tables, parametrization.

use baselines::blocks::Activation;
use baselines::{BertConfig, PreLnConfig, UtConfig};
use candle_core::{DType, Device, Tensor};
use models::architecture::{Architecture, NoProbe, TensorBatch, Weights};
use models::batch::{Batch, DropoutKey, Target};
use models::engine::Engine;
use models::family::{FamilyConfig, parametrise};
use models::gradient_check::{autograd_gradients, difference_gradients, relative_error};
use models::parametrization::{Parametrization, SiteScales};
use models::random::{Purpose, Stream};
use models::reference::ReferenceEngine;

const VOCAB: usize = 5;

/// `sequences` random sequences; the last `padding` tokens of the first one are padding.
pub(super) fn batch(
    stream: &mut Stream,
    (sequences, length): (usize, usize),
    padding: usize,
) -> Batch {
    let tokens = sequences * length;
    let ids = (0..tokens).map(|_| stream.below(VOCAB as u64) as u32).collect();
    let words: Vec<bool> = (0..tokens).map(|at| at >= length || at < length - padding).collect();
    let targets = (0..tokens)
        .filter(|&at| words[at] && at % 2 == 0)
        .map(|at| Target { position: at as u32, label: stream.below(VOCAB as u64) as u32 })
        .collect();
    let attention = (padding > 0).then_some(words);
    Batch { ids, attention, targets, sequences, length, dropout: None }
}

/// Random values of every parameter, large enough that no part of the model is nearly linear.
pub(super) fn random_parameters<A: Architecture>(model: &A, stream: &mut Stream) -> Vec<Tensor> {
    let tensor = |spec: &models::parameters::ParameterSpec, stream: &mut Stream| {
        let offset = if spec.name().ends_with("norm.weight") { 1.0 } else { 0.0 };
        let values: Vec<f64> = (0..spec.count()).map(|_| offset + 0.5 * stream.normal()).collect();
        Tensor::from_vec(values, spec.shape(), &Device::Cpu).unwrap()
    };
    model.layout().specs().iter().map(|spec| tensor(spec, stream)).collect()
}

/// Mean loss plus the auxiliary objective, a scalar.
fn objective<A: Architecture>(model: &A, parameters: &[Tensor], batch: &TensorBatch) -> Tensor {
    let weights = Weights::new(model.layout(), parameters, None);
    let (losses, auxiliary) = model.target_losses(&weights, batch, &mut NoProbe).unwrap();
    let mean = losses.mean_all().unwrap();
    auxiliary.map_or(mean.clone(), |auxiliary| (mean + auxiliary).unwrap())
}

/// Every gradient of a random model agrees with central differences and is not zero, except that
/// of key biases without rotary positions: a softmax ignores what is added to all its logits.
pub(super) fn check_gradients<F: FamilyConfig>(config: &F, key_bias_matters: bool, seed: u64) {
    let model = config.model(config, &SiteScales::BASE).unwrap();
    let mut stream = Stream::new(seed, Purpose::Test, 0);
    let parameters = random_parameters(&model, &mut stream);
    let batch = batch(&mut stream, (2, 3), 1);
    let batch = TensorBatch::new(&batch, DType::F64, &Device::Cpu).unwrap();
    let run = |parameters: &[Tensor]| Ok(objective(&model, parameters, &batch));
    let exact = autograd_gradients(&parameters, run).unwrap();
    let differences = difference_gradients(&parameters, run).unwrap();
    for ((spec, exact), difference) in model.layout().specs().iter().zip(&exact).zip(&differences) {
        let name = spec.name();
        let largest = exact.iter().fold(0f64, |largest, value| largest.max(value.abs()));
        if name.ends_with("key.bias") && !key_bias_matters {
            assert!(largest < 1e-14, "{name}: {largest:e} should be zero");
            continue;
        }
        assert!(largest > 1e-6, "{name} has no gradient");
        let error = relative_error(exact, difference);
        assert!(error < 1e-6, "{name} of seed {seed}: relative error {error:e}");
    }
}

/// One or two heads and their width, a multiple of `step`; together at least four wide, for a
/// layer norm of two values is a constant.
fn heads(stream: &mut Stream, step: usize) -> (usize, usize) {
    let heads = 1 + stream.below(2) as usize;
    (heads, 4 / heads + step * stream.below(2) as usize)
}

fn bert(stream: &mut Stream) -> BertConfig {
    let (heads, head_dim) = heads(stream, 1);
    BertConfig {
        vocab: VOCAB,
        width: heads * head_dim,
        layers: 1 + stream.below(2) as usize,
        heads: Some(heads),
        feed_forward_width: Some(3 + stream.below(4) as usize),
        max_length: 8,
        tied: stream.below(2) == 0,
        ..BertConfig::default()
    }
}

#[test]
fn invariant_bert_gradients_match_finite_differences() {
    for seed in 0..2 {
        let config = bert(&mut Stream::new(seed, Purpose::Test, 1));
        check_gradients(&config, false, seed);
    }
}

pub(super) fn preln(stream: &mut Stream) -> PreLnConfig {
    let (heads, head_dim) = heads(stream, 2);
    PreLnConfig {
        vocab: VOCAB,
        width: heads * head_dim,
        layers: 1 + stream.below(2) as usize,
        heads: Some(heads),
        feed_forward_width: Some(3 + stream.below(4) as usize),
        tied: stream.below(2) == 0,
        ..PreLnConfig::default()
    }
}

#[test]
fn invariant_preln_gradients_match_finite_differences() {
    let options = [(Activation::Gelu, false), (Activation::Swiglu, true)];
    for (seed, (activation, biases)) in (0..).zip(options) {
        let config = preln(&mut Stream::new(seed, Purpose::Test, 2));
        check_gradients(&PreLnConfig { activation, biases, ..config }, true, seed);
    }
}

pub(super) fn ut(stream: &mut Stream, halting: bool) -> UtConfig {
    let (heads, head_dim) = heads(stream, 1);
    UtConfig {
        vocab: VOCAB,
        width: heads * head_dim,
        steps: 2 + stream.below(2) as usize,
        heads: Some(heads),
        feed_forward_width: Some(3 + stream.below(4) as usize),
        max_length: 8,
        tied: stream.below(2) == 0,
        halting,
        ponder_cost: 0.1,
        ..UtConfig::default()
    }
}

#[test]
fn invariant_universal_transformer_gradients_match_finite_differences() {
    for (seed, halting) in (0..).zip([false, true, true]) {
        let config = ut(&mut Stream::new(seed, Purpose::Test, 3), halting);
        check_gradients(&config, false, seed);
    }
}

/// Losses and gradients of one sequence are those it has among padded and longer ones.
pub(super) fn check_padding<F: FamilyConfig>(config: &F, seed: u64) {
    let model = config.model(config, &SiteScales::BASE).unwrap();
    let mut stream = Stream::new(seed, Purpose::Test, 4);
    let parameters = random_parameters(&model, &mut stream);
    let short = batch(&mut stream, (1, 5), 0);
    // The same sequence, padded with arbitrary ids, in a batch with a longer one.
    let mut padded = batch(&mut stream, (2, 8), 3);
    padded.ids[..5].copy_from_slice(&short.ids);
    padded.targets.clone_from(&short.targets);
    let run = |batch: &Batch| {
        let tensors = TensorBatch::new(batch, DType::F64, &Device::Cpu).unwrap();
        let loss = |parameters: &[Tensor]| {
            let weights = Weights::new(model.layout(), parameters, None);
            let (losses, _) = model.target_losses(&weights, &tensors, &mut NoProbe)?;
            Ok(losses.sum_all()?)
        };
        let value = loss(&parameters).unwrap().to_scalar::<f64>().unwrap();
        (value, autograd_gradients(&parameters, loss).unwrap())
    };
    let ((alone, alone_gradients), (together, together_gradients)) = (run(&short), run(&padded));
    assert!((alone - together).abs() < 1e-12, "{alone} alone, {together} in a padded batch");
    for (spec, (a, b)) in
        model.layout().specs().iter().zip(alone_gradients.iter().zip(&together_gradients))
    {
        let gap = a.iter().zip(b).fold(0f64, |gap, (a, b)| gap.max((a - b).abs()));
        assert!(gap < 1e-12, "gradient of {} changes by {gap:e} with padding", spec.name());
    }
}

#[test]
fn invariant_padding_changes_no_loss_and_no_gradient() {
    for seed in 0..3 {
        let mut stream = Stream::new(seed, Purpose::Test, 5);
        check_padding(&bert(&mut stream), seed);
        check_padding(&preln(&mut stream), seed);
        check_padding(&ut(&mut stream, false), seed);
        check_padding(&ut(&mut stream, true), seed);
    }
}

/// Logits at every position, in f64.
pub(super) fn logits<A: Architecture>(
    model: &A,
    weights: &Weights,
    batch: &Batch,
) -> Vec<Vec<f64>> {
    let tensors = TensorBatch::new(batch, DType::F64, &Device::Cpu).unwrap();
    let hidden = model.encode(weights, &tensors, &mut NoProbe).unwrap().hidden;
    let rows = hidden.reshape((batch.ids.len(), hidden.dim(2).unwrap())).unwrap();
    model.head(weights, &rows, &mut NoProbe).unwrap().to_vec2().unwrap()
}

pub(super) fn largest_gap(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.fold(0.0, |gap, (a, b)| gap.max((a - b).abs()))
}

/// Moving the words changes no logits, turning their order does.
pub(super) fn check_relative_positions<F: FamilyConfig>(config: &F, stream: &mut Stream) {
    let model = config.model(config, &SiteScales::BASE).unwrap();
    let parameters = random_parameters(&model, stream);
    let weights = Weights::new(model.layout(), &parameters, None);
    let plain = batch(stream, (1, 5), 0);
    let words = logits(&model, &weights, &plain);
    let mut moved = batch(stream, (1, 8), 0);
    moved.ids[3..].copy_from_slice(&plain.ids);
    moved.attention = Some((0..8).map(|at| at >= 3).collect());
    let gap = largest_gap(&words, &logits(&model, &weights, &moved)[3..]);
    assert!(gap < 1e-12, "moving the words by three changes logits by {gap:e}");
    let mut turned = plain.clone();
    turned.ids = vec![0, 1, 2, 3, 4];
    let forward = logits(&model, &weights, &turned);
    turned.ids.reverse();
    let mut backward = logits(&model, &weights, &turned);
    backward.reverse();
    assert!(largest_gap(&forward, &backward) > 1e-3, "the order of words must matter");
}

#[test]
fn invariant_preln_sees_relative_positions_only() {
    for seed in 0..3 {
        let mut stream = Stream::new(seed, Purpose::Test, 10);
        let config = preln(&mut stream);
        check_relative_positions(&config, &mut stream);
    }
}

#[test]
fn invariant_a_tied_decoder_is_an_untied_one_that_holds_the_table() {
    let mut stream = Stream::new(2, Purpose::Test, 11);
    let base = BertConfig { tied: true, ..bert(&mut stream) };
    let untied_base = BertConfig { tied: false, ..base.clone() };
    let batch = batch(&mut stream, (2, 5), 1);
    for name in ["standard", "mup"] {
        let table = Parametrization::built_in(name).unwrap();
        let wide = 4 * base.width;
        let tied = parametrise(&base.at_width(wide), &base, &table).unwrap();
        let untied = parametrise(&untied_base.at_width(wide), &untied_base, &table).unwrap();
        let parameters = random_parameters(&tied.model, &mut stream);
        let copies = untied.model.layout().specs().iter().map(|spec| {
            let name = spec.name().replace("head.decoder.weight", "embedding.token");
            parameters[tied.model.layout().position(&name).unwrap()].clone()
        });
        let copies: Vec<Tensor> = copies.collect();
        let resolved = Some(&tied.resolved);
        let weights = Weights::new(tied.model.layout(), &parameters, resolved);
        let tied_logits = logits(&tied.model, &weights, &batch);
        let weights = Weights::new(untied.model.layout(), &copies, Some(&untied.resolved));
        let gap = largest_gap(&tied_logits, &logits(&untied.model, &weights, &batch));
        assert!(gap < 1e-12, "{name}: logits differ by {gap:e}");
    }
}

#[test]
fn invariant_tokens_that_never_halt_take_every_step() {
    let mut stream = Stream::new(4, Purpose::Test, 12);
    let config = ut(&mut stream, true);
    let model = config.model(&config, &SiteScales::BASE).unwrap();
    let mut parameters = random_parameters(&model, &mut stream);
    let bias = model.layout().position("halting.bias").unwrap();
    parameters[bias] = Tensor::new(&[-1e4f64], &Device::Cpu).unwrap();
    let batch = batch(&mut stream, (2, 5), 1);
    let weights = Weights::new(model.layout(), &parameters, None);
    let halting = logits(&model, &weights, &batch);

    let plain_config = UtConfig { halting: false, ..config };
    let plain = plain_config.model(&plain_config, &SiteScales::BASE).unwrap();
    let kept = model.layout().specs().iter().zip(&parameters);
    let kept: Vec<Tensor> = kept
        .filter(|(spec, _)| !spec.name().starts_with("halting."))
        .map(|(_, tensor)| tensor.clone())
        .collect();
    let weights = Weights::new(plain.layout(), &kept, None);
    let gap = largest_gap(&halting, &logits(&plain, &weights, &batch));
    assert!(gap < 1e-14, "logits differ by {gap:e}");
}

#[test]
fn invariant_ponder_cost_counts_words_only() {
    let mut stream = Stream::new(1, Purpose::Test, 6);
    let config = ut(&mut stream, true);
    let model = config.model(&config, &SiteScales::BASE).unwrap();
    let parameters = random_parameters(&model, &mut stream);
    let short = batch(&mut stream, (1, 5), 0);
    let mut padded = batch(&mut stream, (1, 8), 3);
    padded.ids[..5].copy_from_slice(&short.ids);
    let cost = |batch: &Batch| {
        let tensors = TensorBatch::new(batch, DType::F64, &Device::Cpu).unwrap();
        let weights = Weights::new(model.layout(), &parameters, None);
        let encoded = model.encode(&weights, &tensors, &mut NoProbe).unwrap();
        encoded.auxiliary.unwrap().to_scalar::<f64>().unwrap()
    };
    let (alone, together) = (cost(&short), cost(&padded));
    assert!((alone - together).abs() < 1e-14, "{alone} alone, {together} with padding");
    let steps = alone / config.ponder_cost;
    assert!(1.0 < steps && steps <= config.steps as f64 + 1.0, "{steps} steps");
}

/// The loss that is trained is the loss that is evaluated, whatever the dropout key.
fn check_training_equals_evaluation<F: FamilyConfig>(config: &F, base: &F) {
    let table = Parametrization::built_in("mup").unwrap();
    let built = parametrise(config, base, &table).unwrap();
    let layout = built.model.layout().clone();
    let parameters = built.resolved.initialise(&layout, &built.base_layout, 1).unwrap();
    let mut stream = Stream::new(0, Purpose::Test, 7);
    let evaluated = batch(&mut stream, (2, 6), 2);
    let trained = Batch { dropout: Some(DropoutKey { seed: 1, step: 2 }), ..evaluated.clone() };
    let mut engine = ReferenceEngine::new(built.model, built.resolved, DType::F32, Device::Cpu);
    let mut gradients = vec![f32::NAN; layout.total()];
    let loss = engine.loss_and_gradients(&parameters, &trained, &mut gradients).unwrap();
    let losses = engine.target_losses(&parameters, &evaluated).unwrap();
    let mean = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64;
    assert!((loss.loss_nats - mean).abs() < 1e-6, "{} trained, {mean}", loss.loss_nats);
    assert!(gradients.iter().all(|gradient| gradient.is_finite()));
}

#[test]
fn invariant_training_loss_is_evaluation_loss() {
    let mut stream = Stream::new(3, Purpose::Test, 8);
    for tied in [false, true] {
        let base = BertConfig { tied, ..bert(&mut stream) };
        check_training_equals_evaluation(&base.at_width(4 * base.width), &base);
        let base = PreLnConfig { tied, ..preln(&mut stream) };
        check_training_equals_evaluation(&base.at_width(4 * base.width), &base);
        let base = UtConfig { tied, ..ut(&mut stream, tied) };
        check_training_equals_evaluation(&base.at_width(4 * base.width), &base);
    }
}

#[test]
fn invariant_attention_scale_is_a_root_at_the_base_and_follows_the_table() {
    let base = BertConfig { width: 64, heads: Some(4), ..BertConfig::default() };
    let scale = |name: &str, width: usize| {
        let table = Parametrization::built_in(name).unwrap();
        parametrise(&base.at_width(width), &base, &table).unwrap().model.scales().attention
    };
    for (name, width, expected) in [
        ("standard", 64, 0.25),
        ("mup", 64, 0.25),
        ("standard", 256, 0.125),
        ("mup", 256, 0.25 / 4.0),
    ] {
        let found = scale(name, width);
        assert!((found - expected).abs() < 1e-15, "{name} at {width}: {found}");
    }
    // With a fixed head width the number of heads grows and the scale stays.
    let base = BertConfig { heads: None, head_dim: Some(16), ..base };
    let wide = base.at_width(256).block().unwrap();
    assert_eq!((wide.heads, wide.head_dim), (16, 16));
}

#[test]
fn invariant_configuration_tables_have_defaults_and_refuse_unknown_keys() {
    assert_eq!(toml::from_str::<BertConfig>("").unwrap(), BertConfig::default());
    assert_eq!(toml::from_str::<PreLnConfig>("").unwrap(), PreLnConfig::default());
    assert_eq!(toml::from_str::<UtConfig>("").unwrap(), UtConfig::default());
    let config: PreLnConfig = toml::from_str("activation = \"swiglu\"\nwidth = 96").unwrap();
    assert_eq!((config.activation, config.width), (Activation::Swiglu, 96));
    let written = toml::to_string(&config).unwrap();
    assert_eq!(toml::from_str::<PreLnConfig>(&written).unwrap(), config);
    assert!(toml::from_str::<BertConfig>("hidden_size = 3").is_err());
    assert!(toml::from_str::<PreLnConfig>("max_length = 3").is_err());
    assert!(toml::from_str::<UtConfig>("layers = 3").is_err());
}

#[test]
fn invariant_sequences_longer_than_the_position_table_are_refused() {
    let mut stream = Stream::new(0, Purpose::Test, 9);
    let config = BertConfig { max_length: 4, ..bert(&mut stream) };
    let model = config.model(&config, &SiteScales::BASE).unwrap();
    let parameters = random_parameters(&model, &mut stream);
    let batch = batch(&mut stream, (1, 5), 0);
    let batch = TensorBatch::new(&batch, DType::F64, &Device::Cpu).unwrap();
    let weights = Weights::new(model.layout(), &parameters, None);
    let error = model.target_losses(&weights, &batch, &mut NoProbe).unwrap_err().to_string();
    assert!(error.contains("position table has 4 rows") && error.contains("hint:"), "{error}");
}
