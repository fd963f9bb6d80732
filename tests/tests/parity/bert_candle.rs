//! Our BERT against the independent one of candle-transformers, with shared random weights.

use std::collections::HashMap;

use baselines::BertConfig;
use baselines::bert::hugging_face_name;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertForMaskedLM, Config, HiddenAct};
use harness::config::model::ModelConfig;
use harness::config::run::RunConfig;
use harness::weights::{self, Origin};
use models::architecture::{Architecture, NoProbe, TensorBatch, Weights};
use models::batch::Batch;
use models::family::{FamilyConfig, parametrise};
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
    let variables = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    BertForMaskedLM::load(variables, &settings(config)).unwrap()
}

fn settings(config: &BertConfig) -> Config {
    let block = config.block().unwrap();
    Config {
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
    }
}

fn batch(config: &BertConfig, seed: u64) -> Batch {
    let (sequences, length, words) = (3, 10, [10, 7, 4]);
    let mut stream = Stream::new(seed, Purpose::Test, 1);
    Batch {
        ids: (0..sequences * length).map(|_| stream.below(config.vocab as u64) as u32).collect(),
        attention: Some(words.iter().flat_map(|&w| (0..length).map(move |at| at < w)).collect()),
        targets: Vec::new(),
        sequences,
        length,
        dropout: None,
    }
}

/// Largest difference of a logit `(tokens, V)`, at words.
fn gap_at_words(ours: &Tensor, theirs: &Tensor, batch: &Batch) -> f64 {
    let gaps = (ours - theirs).unwrap().abs().unwrap().to_vec2::<f32>().unwrap();
    let flags = batch.attention.as_ref().unwrap();
    let words = gaps.into_iter().zip(flags).filter(|(_, word)| **word);
    words.flat_map(|(row, _)| row).fold(0.0, |largest, gap| largest.max(f64::from(gap)))
}

/// Largest difference of a logit, at words.
fn largest_gap(config: &BertConfig, seed: u64) -> f64 {
    let batch = batch(config, seed);
    let model = config.model(config, &SiteScales::BASE).unwrap();
    let parameters = random_parameters(&model, seed);
    let tensors = TensorBatch::new(&batch, DType::F32, &Device::Cpu).unwrap();
    let weights = Weights::new(model.layout(), &parameters, None);
    let hidden = model.encode(&weights, &tensors, &mut NoProbe).unwrap().hidden;
    let rows = hidden.reshape(((), config.width)).unwrap();
    let ours = model.head(&weights, &rows, &mut NoProbe).unwrap();
    let types = tensors.ids.zeros_like().unwrap();
    let theirs = theirs(config, &model, &parameters)
        .forward(&tensors.ids, &types, tensors.attention.as_ref())
        .unwrap()
        .reshape(ours.shape())
        .unwrap();
    gap_at_words(&ours, &theirs, &batch)
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

/// An exported file, loaded by the other program, gives the logits of the run it came from
/// although that run trains under a parametrization.
#[test]
fn parity_exported_bert_runs_in_candle_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bert.safetensors");
    for (seed, tied) in [(0, false), (1, true)] {
        let text = format!(
            "[model.bert]\nvocab = 53\nwidth = 24\nheads = 3\nlayers = 2\nmax_length = 12\n\
             tied = {tied}\n[parametrization]\nname = \"completep\"\n\
             [base.bert]\nwidth = 12\nheads = 3\nlayers = 1\nmax_length = 12\ntied = {tied}"
        );
        let run = RunConfig::resolve("bert", vec![toml::from_str(&text).unwrap()], &[]).unwrap();
        let ModelConfig::Bert(config) = &run.model else { panic!("a bert was asked for") };
        let layout = config.layout().unwrap();
        let model = config.model(config, &SiteScales::BASE).unwrap();
        let trained = random_parameters(&model, seed);
        let flat: Vec<f32> = trained
            .iter()
            .flat_map(|tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            .collect();
        assert_eq!(flat.len(), layout.total());
        let (standard, changes) = weights::fold(&run, &flat, Origin::default()).unwrap();
        assert!(changes.iter().any(|change| change.name.contains("attention.output")));
        weights::export(&path, &standard).unwrap();

        let tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        let variables = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let theirs = BertForMaskedLM::load(variables, &settings(config)).unwrap();
        let batch = batch(config, seed);
        let tensors = TensorBatch::new(&batch, DType::F32, &Device::Cpu).unwrap();
        let types = tensors.ids.zeros_like().unwrap();
        let logits = theirs.forward(&tensors.ids, &types, tensors.attention.as_ref()).unwrap();

        let ModelConfig::Bert(base) = run.base_model() else { panic!("a bert was asked for") };
        let table = run.parametrization.table().unwrap();
        let built = parametrise(config, &base, &table).unwrap();
        let weights = Weights::new(&layout, &trained, Some(&built.resolved));
        let hidden = built.model.encode(&weights, &tensors, &mut NoProbe).unwrap().hidden;
        let rows = hidden.reshape(((), config.width)).unwrap();
        let ours = built.model.head(&weights, &rows, &mut NoProbe).unwrap();
        let gap = gap_at_words(&ours, &logits.reshape(ours.shape()).unwrap(), &batch);
        assert!(gap < 1e-5, "tied {tied}: logits differ by {gap:e}");
    }
}
