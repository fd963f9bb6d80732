//! Where a text may be cut so that its parts encode to what the whole does.

use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

/// Whether `tokenizer` always begins a new word at a line end that something other than white space
/// follows and looks no further, so that texts may be cut before such line ends.
///
/// Known of byte-level encodings that add no space in front, split as GPT-2 does and normalise
/// nothing, and of BERT's, whose normaliser changes single characters. Others may add a prefix to
/// every text (Llama, T5, RoBERTa), join punctuation with line ends (Llama 3, GPT-4), or know no
/// words at all: they encode texts whole.
pub(super) fn cuts_at_line_ends(tokenizer: &Tokenizer) -> bool {
    let by_words = match (tokenizer.get_normalizer(), tokenizer.get_pre_tokenizer()) {
        (None, Some(PreTokenizerWrapper::ByteLevel(bytes))) => {
            bytes.use_regex && !bytes.add_prefix_space
        }
        (
            None | Some(NormalizerWrapper::BertNormalizer(_)),
            Some(PreTokenizerWrapper::BertPreTokenizer(_)),
        )
        | (None, Some(PreTokenizerWrapper::WhitespaceSplit(_))) => true,
        _ => false,
    };
    // Added tokens are looked for before the text is split. Those that are special are not.
    let mut added = tokenizer.get_added_tokens_decoder().into_values();
    by_words
        && added.all(|token| {
            let at_a_border = token.content.contains('\n') || token.lstrip || token.rstrip;
            token.special || !at_a_border
        })
}
