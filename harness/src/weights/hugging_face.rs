//! `config.json` of Hugging Face's BERT.

use std::path::Path;

use baselines::BertConfig;
use serde_json::{Value as Json, json};
use toml::{Table, Value};

use crate::error::{HarnessError, Result};
use crate::input;

/// Their keys and ours.
const SIZES: [(&str, &str); 7] = [
    ("vocab_size", "vocab"),
    ("hidden_size", "width"),
    ("num_hidden_layers", "layers"),
    ("num_attention_heads", "heads"),
    ("intermediate_size", "feed_forward_width"),
    ("max_position_embeddings", "max_length"),
    ("type_vocab_size", "types"),
];

/// The file of `model`, for weights in standard form.
///
/// # Errors
/// A shape that no model has.
pub fn config_json(model: &BertConfig, padding: u32) -> Result<Json> {
    let shape = model.block()?;
    Ok(json!({
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "vocab_size": model.vocab,
        "hidden_size": shape.width,
        "num_hidden_layers": model.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.feed_forward_width,
        "max_position_embeddings": model.max_length,
        "type_vocab_size": model.types,
        "layer_norm_eps": model.norm_eps,
        "tie_word_embeddings": model.tied,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": model.init_std,
        "pad_token_id": padding,
        "torch_dtype": "float32",
    }))
}

/// `tokenizer_config.json` beside a `tokenizer.json` with these special tokens.
pub fn tokenizer_config(special: &[(&str, String)], length: usize) -> Json {
    let names = special.iter().map(|(key, token)| (format!("{key}_token"), json!(token)));
    let mut keys: serde_json::Map<String, Json> = names.collect();
    keys.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
    keys.insert("model_max_length".to_owned(), json!(length));
    Json::Object(keys)
}

/// The layer `[model.bert]` that the file says.
///
/// # Errors
/// If it is not JSON, or asks for what this BERT does not have.
pub fn config_layer(path: &Path) -> Result<Table> {
    let bad = |problem: String, hint: &str| HarnessError::input(path, problem, hint);
    let damaged = |error: String| bad(error, "expected the config.json of a BERT");
    let text = input::bytes(path, input::TEXT_BYTES_MAX);
    let text = text.map_err(|error| damaged(error.to_string()))?;
    let config: Json = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    for (key, known) in [
        ("hidden_act", &["gelu", "gelu_python"][..]),
        ("position_embedding_type", &["absolute"]),
        ("model_type", &["bert"]),
    ] {
        if let Some(value) = config.get(key).and_then(Json::as_str)
            && !known.contains(&value)
        {
            let problem = format!("{key} is \"{value}\", known here is {}", known.join(", "));
            return Err(bad(problem, "only BERT with exact GELU can be imported"));
        }
    }
    for (key, why) in [
        ("is_decoder", "a decoder sees the words before it only, the BERT here sees both sides"),
        ("add_cross_attention", "attention to another text has no place in the BERT here"),
        ("is_encoder_decoder", "the BERT here has no decoder stack"),
    ] {
        if config.get(key).and_then(Json::as_bool) == Some(true) {
            let problem = format!("{key} is true: {why}");
            return Err(bad(problem, "only bidirectional encoders can be imported"));
        }
    }
    let mut bert = Table::new();
    for (theirs, ours) in SIZES {
        if let Some(size) = config.get(theirs).and_then(Json::as_i64) {
            bert.insert(ours.to_owned(), Value::Integer(size));
        }
    }
    if let Some(epsilon) = config.get("layer_norm_eps").and_then(Json::as_f64) {
        bert.insert("norm_eps".to_owned(), Value::Float(epsilon));
    }
    let tied = config.get("tie_word_embeddings").and_then(Json::as_bool).unwrap_or(true);
    bert.insert("tied".to_owned(), Value::Boolean(tied));
    let model = Table::from_iter([("bert".to_owned(), Value::Table(bert))]);
    Ok(Table::from_iter([("model".to_owned(), Value::Table(model))]))
}
