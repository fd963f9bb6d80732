//! Text with masks in it.

use crate::corpus::Tokenizer;
use crate::error::{HarnessError, Result};

/// How a mask is written.
pub const MASK: &str = "[MASK]";
const MASK_OPENING: &str = "[MASK";
/// Tokens that one mask may cover.
const COVERED_MAX: usize = 1024;

/// Tokens of a text, some of which are hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskedText {
    /// Ids; the tokenizer's mask where a token is hidden.
    pub ids: Vec<u32>,
    /// Places of the masks in `ids`.
    pub positions: Vec<usize>,
}

impl MaskedText {
    /// Tokenizes `text`, in which `[MASK]` hides one token and `[MASK*3]` three.
    ///
    /// What stands between masks is encoded by itself. Where tokens begin with the space before
    /// a word, that space belongs to what is hidden, as in training, and is left out.
    ///
    /// # Errors
    /// If there is no mask, a mask is none of the two forms, or the tokenizer fails.
    pub fn parse(text: &str, tokenizer: &Tokenizer) -> Result<Self> {
        let (mut ids, mut positions) = (Vec::new(), Vec::new());
        let joined = tokenizer.joins_spaces();
        let mut rest = text;
        while let Some(start) = rest.find(MASK_OPENING) {
            let (before, mask) = rest.split_at(start);
            let (covered, after) = covered(mask)?;
            let before = if joined { before.strip_suffix(' ').unwrap_or(before) } else { before };
            ids.extend(tokenizer.encode(before)?);
            positions.extend(ids.len()..ids.len() + covered);
            ids.resize(ids.len() + covered, tokenizer.vocabulary().mask);
            rest = after;
        }
        if positions.is_empty() {
            return Err(HarnessError::config(
                "the text has no mask",
                format!("write {MASK} for one hidden token, [MASK*3] for three"),
            ));
        }
        ids.extend(tokenizer.encode(rest)?);
        Ok(Self { ids, positions })
    }
}

/// How many tokens the mask at the beginning of `text` covers, and what follows it.
fn covered(text: &str) -> Result<(usize, &str)> {
    let refused = || {
        let shown: String = text.chars().take(16).collect();
        HarnessError::config(
            format!("no mask: {shown}"),
            format!("write {MASK} for one token, [MASK*3] for three, up to {COVERED_MAX}"),
        )
    };
    let (inside, after) = text[MASK_OPENING.len()..].split_once(']').ok_or_else(refused)?;
    let covered = match inside.strip_prefix('*') {
        None if inside.is_empty() => 1,
        Some(count) => count.parse().map_err(|_| refused())?,
        None => return Err(refused()),
    };
    if (1..=COVERED_MAX).contains(&covered) { Ok((covered, after)) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::data::TokenizerKind;
    use crate::corpus::tokenizer::testing::of_the_people as tokenizer;

    fn parsed(text: &str, tokenizer: &Tokenizer) -> (usize, Vec<usize>) {
        let masked = MaskedText::parse(text, tokenizer).unwrap();
        let mask = tokenizer.vocabulary().mask;
        assert!(masked.positions.iter().all(|&position| masked.ids[position] == mask));
        (masked.ids.len(), masked.positions)
    }

    #[test]
    fn golden_masks_cover_tokens_by_hand() {
        let bytes = tokenizer(TokenizerKind::Bpe, 260);
        // Single bytes: the space before a mask is a token of its own and stays.
        assert_eq!(parsed("the [MASK]eople", &bytes), (10, vec![4]));
        assert_eq!(parsed("[MASK*3] of", &bytes), (6, vec![0, 1, 2]));
        assert_eq!(parsed("a[MASK]b[MASK*2]", &bytes), (5, vec![1, 3, 4]));
        let words = tokenizer(TokenizerKind::Words, 20);
        assert_eq!(parsed("the [MASK] of the [MASK*2]", &words), (6, vec![1, 4, 5]));
        // Merged tokens begin with their space, which the mask hides.
        let merged = tokenizer(TokenizerKind::Bpe, 280);
        let whole = merged.encode("the people of").unwrap();
        assert_eq!(whole.len(), 3, "{whole:?}");
        let masked = MaskedText::parse("the [MASK] of", &merged).unwrap();
        assert_eq!(masked.ids, [whole[0], merged.vocabulary().mask, whole[2]]);
    }

    #[test]
    fn invariant_what_is_no_mask_is_refused() {
        let words = tokenizer(TokenizerKind::Words, 20);
        for text in
            ["the people", "[MASK", "[MASK*]", "[MASK*0]", "[MASK*-1]", "[MASK*9999999]", "[MASKS]"]
        {
            let error = MaskedText::parse(text, &words).unwrap_err();
            assert!(matches!(error, HarnessError::Config { .. }), "{text}");
            assert!(error.to_string().contains("hint: "), "{error}");
        }
    }
}
