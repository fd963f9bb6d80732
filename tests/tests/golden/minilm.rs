//! Our BERT encoder with the weights of a published model. They are too large to keep here, so
//! the test needs `ci/fetch_minilm` or `CROSSSCALE_MINILM=<path to model.safetensors>`.

use std::path::{Path, PathBuf};

use baselines::BertConfig;
use baselines::bert::hugging_face_name;
use candle_core::{DType, Device, Tensor};
use models::architecture::{Architecture, Probe, TensorBatch, Weights};
use models::batch::Batch;
use models::family::FamilyConfig;
use models::parametrization::SiteScales;
use serde::Deserialize;

/// Rounding of an entry and of a sum in the recorded file.
const ENTRY_TOLERANCE: f64 = 6e-8;
const SUM_TOLERANCE: f64 = 6e-6;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    sentence: Vec<Sentence>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sentence {
    text: String,
    ids: Vec<u32>,
    embedding_absolute_sum: Option<f64>,
    hidden_absolute_sum: f64,
    #[serde(default)]
    pooled_first: Vec<f64>,
    #[serde(default)]
    embedding: Vec<Row>,
    hidden: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    token: usize,
    first: Vec<f64>,
}

struct EmbeddingProbe(Option<Tensor>);

impl Probe for EmbeddingProbe {
    fn record(&mut self, site: &str, _: usize, value: &Tensor) -> models::Result<()> {
        if site == "embedding" {
            self.0 = Some(value.clone());
        }
        Ok(())
    }
}

fn weights_file() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CROSSSCALE_MINILM") {
        return Some(PathBuf::from(path));
    }
    let fetched =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/external/minilm/model.safetensors");
    fetched.exists().then_some(fetched)
}

fn config() -> BertConfig {
    BertConfig {
        vocab: 30_522,
        width: 384,
        layers: 6,
        heads: Some(12),
        max_length: 512,
        tied: true,
        ..BertConfig::default()
    }
}

/// The file's tensors in layout order, f64; the model has no MLM head, which stays zero.
fn load(path: &Path, model: &impl Architecture) -> Vec<Tensor> {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |spec: &models::parameters::ParameterSpec| {
        if spec.name().starts_with("head.") {
            return Tensor::zeros(spec.shape(), DType::F64, &Device::Cpu).unwrap();
        }
        let name = hugging_face_name(spec.name()).unwrap();
        let view = file.tensor(name.strip_prefix("bert.").unwrap()).unwrap();
        assert_eq!((view.dtype(), view.shape()), (safetensors::Dtype::F32, spec.shape()));
        let values = view.data().chunks_exact(4);
        let values: Vec<f64> =
            values.map(|word| f64::from(f32::from_le_bytes(word.try_into().unwrap()))).collect();
        Tensor::from_vec(values, spec.shape(), &Device::Cpu).unwrap()
    };
    model.layout().specs().iter().map(tensor).collect()
}

fn check_rows(what: &str, rows: &[Vec<f64>], expected: &[Row], absolute_sum: Option<f64>) {
    for row in expected {
        for (entry, (found, expected)) in rows[row.token].iter().zip(&row.first).enumerate() {
            let gap = (found - expected).abs();
            assert!(
                gap < ENTRY_TOLERANCE,
                "{what}, token {}, entry {entry}: {found}, recorded {expected}",
                row.token
            );
        }
    }
    if let Some(expected) = absolute_sum {
        let found: f64 = rows.iter().flatten().map(|value| value.abs()).sum();
        assert!((found - expected).abs() < SUM_TOLERANCE, "{what}: sum {found}, not {expected}");
    }
}

#[test]
fn golden_minilm_encoder() {
    let Some(path) = weights_file() else {
        eprintln!("skipped: no MiniLM weights; run ci/fetch_minilm or set CROSSSCALE_MINILM");
        return;
    };
    let expected: Expected =
        toml::from_str(include_str!("../../../golden/minilm/expected.toml")).unwrap();
    let model = config().model(&config(), &SiteScales::BASE).unwrap();
    let parameters = load(&path, &model);
    let weights = Weights::new(model.layout(), &parameters, None);
    for sentence in expected.sentence {
        let length = sentence.ids.len();
        let batch = Batch {
            ids: sentence.ids,
            attention: None,
            targets: Vec::new(),
            sequences: 1,
            length,
            dropout: None,
        };
        let batch = TensorBatch::new(&batch, DType::F64, &Device::Cpu).unwrap();
        let mut probe = EmbeddingProbe(None);
        let hidden = model.encode(&weights, &batch, &mut probe).unwrap().hidden;
        let rows = |x: &Tensor| x.squeeze(0).unwrap().to_vec2::<f64>().unwrap();
        let (embedding, hidden) = (rows(&probe.0.unwrap()), rows(&hidden));
        let text = &sentence.text;
        let sums = (sentence.embedding_absolute_sum, Some(sentence.hidden_absolute_sum));
        check_rows(&format!("embedding of '{text}'"), &embedding, &sentence.embedding, sums.0);
        check_rows(&format!("hidden states of '{text}'"), &hidden, &sentence.hidden, sums.1);
        let mean: Vec<f64> =
            (0..384).map(|at| hidden.iter().map(|row| row[at]).sum::<f64>()).collect();
        let norm = mean.iter().map(|value| value * value).sum::<f64>().sqrt();
        let pooled = vec![mean.iter().map(|value| value / norm).collect()];
        let first = Row { token: 0, first: sentence.pooled_first };
        check_rows(&format!("pooled vector of '{text}'"), &pooled, &[first], None);
    }
}
