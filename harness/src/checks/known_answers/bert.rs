//! Known answers of BERT with its MLM head, under Hugging Face's names.

use baselines::BertConfig;
use baselines::bert::hugging_face_name;
use candle_core::DType;
use models::ModelError;
use models::architecture::Architecture;
use models::family::FamilyConfig;
use models::parametrization::SiteScales;

use super::mlm::{self, MlmCase, MlmRun};
use super::{Computed, KnownAnswer, KnownFamily};
use crate::error::Result;

const TOKEN_TABLE: &str = "bert.embeddings.word_embeddings.weight";
const DECODER_WEIGHT: &str = "cls.predictions.decoder.weight";
const HEAD_BIAS: &str = "cls.predictions.bias";
const DECODER_BIAS: &str = "cls.predictions.decoder.bias";

/// The family `bert`.
pub struct Bert;

fn has_parameter(file: &KnownAnswer, name: &str) -> bool {
    file.has_tensor(&format!("param.{name}"))
}

fn same_values(file: &KnownAnswer, a: &str, b: &str) -> Result<bool> {
    Ok(file.floats(&format!("param.{a}"))? == file.floats(&format!("param.{b}"))?)
}

/// Refuses what this BERT does not have.
fn refuse_variants(file: &KnownAnswer) -> Result<()> {
    for (key, known) in [
        ("hidden_act", &["gelu", "gelu_python"][..]),
        ("position_embedding_type", &["absolute"]),
        ("is_decoder", &["False"]),
        ("add_cross_attention", &["False"]),
    ] {
        if file.has_key(key) && !known.contains(&file.text(key)?) {
            let problem = format!("metadata '{key}' is '{}'", file.text(key)?);
            return Err(file.error(&problem, &format!("known here is {}", known.join(", "))));
        }
    }
    if file.has_tensor("token_type_ids") {
        let (_, types) = file.integers("token_type_ids")?;
        if types.iter().any(|&kind| kind != 0) {
            let hint = "record the file without sentence pairs";
            return Err(file.error("'token_type_ids' has entries other than 0", hint));
        }
    }
    Ok(())
}

fn config(file: &KnownAnswer) -> Result<BertConfig> {
    refuse_variants(file)?;
    Ok(BertConfig {
        vocab: file.number("vocab_size")?,
        width: file.number("hidden_size")?,
        layers: file.number("num_hidden_layers")?,
        heads: Some(file.number("num_attention_heads")?),
        head_dim: None,
        feed_forward_width: Some(file.number("intermediate_size")?),
        max_length: file.number("max_position_embeddings")?,
        types: file.number_or("type_vocab_size", 2)?,
        tied: file.flag_or("tie_word_embeddings", !has_parameter(file, DECODER_WEIGHT))?,
        norm_eps: file.number_or("layer_norm_eps", 1e-12)?,
        ..BertConfig::default()
    })
}

/// Checkpoints hold some parameters under two names, and an untied decoder has a bias of its own
/// beside the one of the head, which is then out of use.
struct Names {
    /// Name of the bias that is added to the logits.
    decoder_bias: &'static str,
    /// Further names with the name whose values and gradients they share.
    copies: Vec<(&'static str, &'static str)>,
    /// A parameter that nothing reads.
    unread: Option<&'static str>,
}

impl Names {
    fn new(file: &KnownAnswer, config: &BertConfig) -> Result<Self> {
        let mut names = Self { decoder_bias: HEAD_BIAS, copies: Vec::new(), unread: None };
        if config.tied && has_parameter(file, DECODER_WEIGHT) {
            if !same_values(file, DECODER_WEIGHT, TOKEN_TABLE)? {
                let problem = "the tied decoder differs from the token table";
                return Err(file.error(problem, "set tie_word_embeddings to False"));
            }
            names.copies.push((DECODER_WEIGHT, TOKEN_TABLE));
        }
        if has_parameter(file, DECODER_BIAS) {
            if !has_parameter(file, HEAD_BIAS) {
                names.decoder_bias = DECODER_BIAS;
            } else if same_values(file, DECODER_BIAS, HEAD_BIAS)? {
                names.copies.push((DECODER_BIAS, HEAD_BIAS));
            } else {
                names.decoder_bias = DECODER_BIAS;
                names.unread = Some(HEAD_BIAS);
            }
        }
        Ok(names)
    }

    fn of(&self, name: &str) -> String {
        let known = hugging_face_name(name).expect("every parameter of BERT has a name there");
        if known == HEAD_BIAS { self.decoder_bias.to_owned() } else { known }
    }

    fn beside(&self) -> Vec<&'static str> {
        self.copies.iter().map(|&(copy, _)| copy).chain(self.unread).collect()
    }
}

impl KnownFamily for Bert {
    fn name(&self) -> &'static str {
        "bert"
    }

    fn recognises(&self, file: &KnownAnswer) -> bool {
        has_parameter(file, TOKEN_TABLE)
    }

    fn compute(&self, file: &KnownAnswer, dtype: DType) -> Result<Vec<Computed>> {
        let config = config(file)?;
        let model = config.model(&config, &SiteScales::BASE)?;
        let names = Names::new(file, &config)?;
        let file_name = |name: &str| names.of(name);
        let beside = names.beside();
        let parameters = mlm::parameters_beside(file, &model, dtype, file_name, &beside)?;
        let case = MlmCase::read(file, config.vocab)?;
        let run = MlmRun::new(&model, &case, &parameters)?;
        let mut computed = run.computed(&model, &case, file_name)?;
        let words = case.words();
        computed.push(Computed::at("hidden.0", run.probe("embedding", 0), &words)?);
        for layer in 0..config.layers {
            let hidden = run.probe("residual_stream", layer);
            computed.push(Computed::at(format!("hidden.{}", layer + 1), hidden, &words)?);
        }
        let specs = model.layout().specs();
        for &(copy, original) in &names.copies {
            let position = specs.iter().position(|spec| names.of(spec.name()) == original);
            let gradient = &run.gradients[position.expect("copies are of parameters")];
            computed.push(Computed::new(format!("grad.{copy}"), gradient)?);
        }
        if let Some(unread) = names.unread {
            let zeros = run.gradients[model.layout().position("head.decoder.bias")?].zeros_like();
            let zeros = zeros.map_err(ModelError::from)?;
            computed.push(Computed::new(format!("grad.{unread}"), &zeros)?);
        }
        Ok(computed)
    }
}
