//! Names of parameters in exported files.
//!
//! | family | names in files |
//! |---|---|
//! | `bert` | those of Hugging Face's `BertForMaskedLM` ([`baselines::bert::hugging_face_name`]) |
//! | `pt` | those of the published 2026 tensors, which are the names here |
//! | `pt2023` | encoder as published ([`models::pt2023::published_name`]), others as here |
//! | `preln`, `ut` | their own |

use baselines::bert::hugging_face_name;
use models::pt2023::published_name;

use crate::config::model::ModelConfig;

/// Hugging Face's token table and decoder of BERT.
pub(super) const BERT_TOKENS: &str = "bert.embeddings.word_embeddings.weight";
pub(super) const BERT_DECODER: &str = "cls.predictions.decoder.weight";
pub(super) const BERT_BIAS: &str = "cls.predictions.bias";
pub(super) const BERT_DECODER_BIAS: &str = "cls.predictions.decoder.bias";

/// Tensors of pre-training checkpoints that masked language modelling does not read.
const BERT_UNREAD: [&str; 3] = ["bert.pooler.", "cls.seq_relationship.", "position_ids"];

/// Name of the parameter `name` of `model` in an exported file.
pub fn file_name(model: &ModelConfig, name: &str) -> String {
    match model {
        ModelConfig::Bert(_) => {
            hugging_face_name(name).expect("every parameter of BERT has a name there")
        }
        ModelConfig::Pt2023(_) => published_name(name).unwrap_or(name).to_owned(),
        ModelConfig::Pt(_) | ModelConfig::Preln(_) | ModelConfig::Ut(_) => name.to_owned(),
    }
}

/// Further names of `model`'s tensors in a file: `(copy, original)` in the file's names. Some
/// programs tie or share parameters by reading them under a second name.
pub fn copies(model: &ModelConfig) -> Vec<(&'static str, &'static str)> {
    let ModelConfig::Bert(config) = model else { return Vec::new() };
    let mut copies = vec![(BERT_DECODER_BIAS, BERT_BIAS)];
    if config.tied {
        copies.push((BERT_DECODER, BERT_TOKENS));
    }
    copies
}

/// Whether a file of `model` may hold `name` without anything reading it.
pub fn is_unread(model: &ModelConfig, name: &str) -> bool {
    matches!(model, ModelConfig::Bert(_)) && BERT_UNREAD.iter().any(|part| name.contains(part))
}

/// Older spelling of `name` in Hugging Face files.
pub fn old_spelling(name: &str) -> Option<String> {
    let stem = name.strip_suffix("LayerNorm.weight").map(|stem| (stem, "gamma"));
    let (stem, ending) =
        stem.or_else(|| name.strip_suffix("LayerNorm.bias").map(|stem| (stem, "beta")))?;
    Some(format!("{stem}LayerNorm.{ending}"))
}
