//! Our BERT against the independent one of candle-transformers, with shared random weights.

use std::collections::HashMap;

use baselines::BertConfig;
use baselines::bert::hugging_face_name;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertForMaskedLM, Config, HiddenAct};
use models::architecture::{Architecture, NoProbe, TensorBatch, Weights};
use models::batch::Batch;
use models::family::FamilyConfig;
use models::parametrization::SiteScales;
use models::random::{Purpose, Stream};

fn random_parameters(model: &impl Architecture, seed: u64) -> Vec<Tensor> {
    let tensor = |spec: &models::parameters::ParameterSpec| {
        let mut stream = Stream::named(seed, Purpose::Test, spec.name(), 0);
        let offset = if spec.name().ends_with("norm.weight") { 1.0 } else { 0.0 };
        let values: Vec<f32> =
            (0..spec.count()).map(|_| (offset + 0.3 * stream.normal()) as f32).collect();
        Tensor::from_vec(values, spec.shape(), &Device::Cpu).unwrap()
    };
    model.layout().specs().iter().map(tensor).collect()
}

/// Their model with our parameters; its decoder is never tied, so a tied one gets a copy.
fn theirs(
    config: &BertConfig,
    model: &impl Architecture,
    parameters: &[Tensor],
) -> BertForMaskedLM {
    let mut tensors = HashMap::new();
    for (spec, tensor) in model.layout().specs().iter().zip(parameters) {
        let name = match spec.name() {
            "head.decoder.bias" => "cls.predictions.decoder.bias".to_owned(),
            name => hugging_face_name(name).unwrap(),
        };
        if config.tied && spec.name() == "embedding.token" {
            tensors.insert("cls.predictions.decoder.weight".to_owned(), tensor.clone());
        }
        tensors.insert(name, tensor.clone());
    }
    let block = config.block().unwrap();
    let settings = Config {
        vocab_size: config.vocab,
        hidden_size: config.width,
        num_hidden_layers: config.layers,
        num_attention_heads: block.heads,
        intermediate_size: block.feed_forward_width,
        hidden_act: HiddenAct::Gelu,
        max_position_embeddings: config.max_length,
        type_vocab_size: config.types,
        layer_norm_eps: config.norm_eps,
        ..Config::default()
    };
    let variables = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    BertForMaskedLM::load(variables, &settings).unwrap()
}

/// Largest difference of a logit, at words.
fn largest_gap(config: &BertConfig, seed: u64) -> f64 {
    let (sequences, length, words) = (3, 10, [10, 7, 4]);
    let mut stream = Stream::new(seed, Purpose::Test, 1);
    let batch = Batch {
        ids: (0..sequences * length).map(|_| stream.below(config.vocab as u64) as u32).collect(),
        attention: Some(words.iter().flat_map(|&w| (0..length).map(move |at| at < w)).collect()),
        targets: Vec::new(),
        sequences,
        length,
        dropout: None,
    };
    let model = config.model(config, &SiteScales::BASE).unwrap();
    let parameters = random_parameters(&model, seed);
    let tensors = TensorBatch::new(&batch, DType::F32, &Device::Cpu).unwrap();
    let weights = Weights::new(model.layout(), &parameters, None);
    let hidden = model.encode(&weights, &tensors, &mut NoProbe).unwrap().hidden;
    let rows = hidden.reshape((sequences * length, config.width)).unwrap();
    let ours = model.head(&weights, &rows, &mut NoProbe).unwrap();
    let types = tensors.ids.zeros_like().unwrap();
    let theirs = theirs(config, &model, &parameters)
        .forward(&tensors.ids, &types, tensors.attention.as_ref())
        .unwrap()
        .reshape(ours.shape())
        .unwrap();
    let gaps = (ours - theirs).unwrap().abs().unwrap().to_vec2::<f32>().unwrap();
    let words = gaps.into_iter().zip(batch.attention.unwrap()).filter(|(_, word)| *word);
    words.flat_map(|(row, _)| row).fold(0.0, |largest, gap| largest.max(f64::from(gap)))
}

#[test]
fn parity_bert_candle_transformers() {
    let shapes = [(24, 3, 3, None, true), (32, 2, 4, Some(40), false), (16, 1, 1, None, false)];
    for (seed, (width, layers, heads, feed_forward_width, tied)) in (0..).zip(shapes) {
        let config = BertConfig {
            vocab: 53,
            width,
            layers,
            heads: Some(heads),
            feed_forward_width,
            max_length: 12,
            tied,
            ..BertConfig::default()
        };
        let gap = largest_gap(&config, seed);
        assert!(gap < 1e-5, "width {width}: logits differ by {gap:e}");
    }
}
