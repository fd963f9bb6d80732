//! BERT's uncased WordPiece (Devlin et al. 2019) from its list of pieces.

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use crate::error::{HarnessError, Result};

const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// The text of a `tokenizer.json`: `entries` in order of their ids.
pub(super) fn definition(entries: &[String]) -> Result<String> {
    let invalid = |problem: String| {
        HarnessError::config(
            format!("no WordPiece tokenizer from {} pieces: {problem}", entries.len()),
            "give the vocabulary of an uncased BERT",
        )
    };
    let ids: Map<String, Value> = entries.iter().cloned().zip((0..).map(Value::from)).collect();
    let special = |token: &str| -> Result<Value> {
        let id = ids.get(token).ok_or_else(|| invalid(format!("{token} is missing")))?;
        Ok(json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }))
    };
    let added = SPECIAL.into_iter().map(special).collect::<Result<Vec<_>>>()?;
    let definition = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": null,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": ids,
        },
    });
    let tokenizer = Tokenizer::from_bytes(definition.to_string())
        .map_err(|problem| invalid(problem.to_string()))?;
    super::serialise(&tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_pieces_of_words_by_hand() {
        let entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "."];
        let text = definition(&entries.map(str::to_owned)).unwrap();
        let tokenizer = Tokenizer::from_bytes(&text).unwrap();
        let ids = tokenizer.encode("The cats. dog", false).unwrap().get_ids().to_vec();
        assert_eq!(ids, [5, 6, 7, 8, 1]);
        assert!(definition(&["a".to_owned()]).unwrap_err().to_string().contains("[PAD]"));
    }
}
