//! The known answers of BERT with its MLM head.

use std::collections::BTreeMap;
use std::path::PathBuf;

use harness::checks::known_answers::{self, FileReport, Precision};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

fn recorded() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../golden/known_answers/bert");
    folder.join("bert_mlm_gelu.safetensors")
}

#[test]
fn parity_bert_hidden_states_logits_loss_and_gradients() {
    let report = known_answers::check(&recorded()).unwrap();
    assert_eq!(report.family, "bert");
    for precision in Precision::ALL {
        let of_precision = report.tensors.iter().filter(|tensor| tensor.precision == precision);
        let names: Vec<_> = of_precision.map(|tensor| tensor.name.as_str()).collect();
        for name in ["hidden.0", "hidden.3", "logits", "loss"] {
            assert!(names.contains(&name), "{name} was not compared in {}", precision.name());
        }
        let gradients = names.iter().filter(|name| name.starts_with("grad.")).count();
        assert_eq!(gradients, 5 + 3 * 16 + 5, "gradients compared in {}", precision.name());
    }
    let differing: Vec<_> = report.tensors.iter().filter(|tensor| !tensor.agrees).collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

/// The recorded file, to be written again with some entries changed.
struct Edited {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl Edited {
    fn new() -> Self {
        let bytes = std::fs::read(recorded()).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap().into_iter().collect();
        let content = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = content.iter().map(|(name, view)| {
            (name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        });
        Self { metadata, tensors: tensors.collect() }
    }

    fn set(&mut self, key: &str, value: &str) {
        self.metadata.insert(key.to_owned(), value.to_owned());
    }

    fn copy(&mut self, from: &str, to: &str) {
        let tensor = self.tensors[from].clone();
        self.tensors.insert(to.to_owned(), tensor);
    }

    /// Adds `amount` to entry 0 of the float tensor `name`.
    fn shift(&mut self, name: &str, amount: f64) {
        let bytes = &mut self.tensors.get_mut(name).unwrap().2;
        let value = f64::from_le_bytes(bytes[..8].try_into().unwrap()) + amount;
        bytes[..8].copy_from_slice(&value.to_le_bytes());
    }

    fn check(&self) -> harness::Result<FileReport> {
        let views = self.tensors.iter().map(|(name, (dtype, shape, bytes))| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        let metadata = self.metadata.clone().into_iter().collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes = safetensors::serialize(views, Some(metadata)).unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        known_answers::check(file.path())
    }
}

const TABLE: &str = "bert.embeddings.word_embeddings.weight";
const DECODER: &str = "cls.predictions.decoder.weight";
const BIAS: &str = "cls.predictions.bias";
const DECODER_BIAS: &str = "cls.predictions.decoder.bias";

#[test]
fn parity_bert_untied_file_with_two_biases() {
    let mut file = Edited::new();
    file.set("tie_word_embeddings", "False");
    file.copy(&format!("param.{TABLE}"), &format!("param.{DECODER}"));
    // The table's gradient now lacks the decoder's share; everything else stays.
    file.tensors.remove(&format!("grad.{TABLE}"));
    file.copy(&format!("param.{BIAS}"), &format!("param.{DECODER_BIAS}"));
    file.copy(&format!("grad.{BIAS}"), &format!("grad.{DECODER_BIAS}"));
    assert!(file.check().unwrap().agrees(), "one bias under two names");
    // A head bias of its own is out of use and has no gradient.
    file.shift(&format!("param.{BIAS}"), 0.5);
    let zeros = vec![0; file.tensors[&format!("grad.{BIAS}")].2.len()];
    file.tensors.get_mut(&format!("grad.{BIAS}")).unwrap().2 = zeros;
    assert!(file.check().unwrap().agrees(), "two different biases");
    file.tensors.remove(&format!("param.{BIAS}"));
    file.tensors.remove(&format!("grad.{BIAS}"));
    assert!(file.check().unwrap().agrees(), "only the decoder's bias");
}

#[test]
fn parity_bert_tied_file_that_repeats_the_table() {
    let mut file = Edited::new();
    file.copy(&format!("param.{TABLE}"), &format!("param.{DECODER}"));
    file.copy(&format!("grad.{TABLE}"), &format!("grad.{DECODER}"));
    assert!(file.check().unwrap().agrees());
    file.shift(&format!("param.{DECODER}"), 1.0);
    let message = file.check().unwrap_err().to_string();
    assert!(message.contains("differs from the token table"), "{message}");
}

#[test]
fn parity_bert_notices_a_weight_that_is_off_by_a_millionth() {
    let mut file = Edited::new();
    file.shift("param.bert.encoder.layer.1.output.dense.weight", 1e-6);
    let report = file.check().unwrap();
    let differing: Vec<_> = report.tensors.iter().filter(|tensor| !tensor.agrees).collect();
    assert!(differing.iter().any(|tensor| tensor.name == "hidden.2"), "{differing:#?}");
    assert!(differing.iter().all(|tensor| tensor.name != "hidden.1"), "{differing:#?}");
}

#[test]
fn parity_bert_refuses_what_it_does_not_compute() {
    let cases = [
        ("hidden_act", "relu"),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", "True"),
    ];
    for (key, value) in cases {
        let mut file = Edited::new();
        file.set(key, value);
        let message = file.check().unwrap_err().to_string();
        assert!(message.contains(key) && message.contains(value), "{message}");
    }
    let mut file = Edited::new();
    file.copy("param.cls.predictions.bias", "param.bert.pooler.dense.bias");
    let message = file.check().unwrap_err().to_string();
    assert!(message.contains("pooler"), "{message}");
}
