//! Encoded text of one split.

use rayon::prelude::*;

use super::documents::Document;
use super::token_file::{Ids, MappedTokens};
use super::tokenizer::Tokenizer;
use crate::error::Result;

/// Tokens hashed at a time.
const HASH_TOKENS: usize = 1 << 14;

/// Token ids, stored in two bytes each where the vocabulary allows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tokens {
    /// Vocabularies of up to 65 536 entries.
    Short(Vec<u16>),
    /// Larger ones.
    Long(Vec<u32>),
    /// Either, in a memory-mapped file; read only.
    Mapped(MappedTokens),
}

impl Tokens {
    /// Empty storage for ids below `vocab`.
    pub fn new(vocab: usize) -> Self {
        if vocab <= 1 << 16 { Self::Short(Vec::new()) } else { Self::Long(Vec::new()) }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        match self {
            Self::Short(ids) => ids.len(),
            Self::Long(ids) => ids.len(),
            Self::Mapped(mapped) => mapped.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends `ids`, all below the vocabulary size given to [`Tokens::new`].
    pub fn extend(&mut self, ids: &[u32]) {
        match self {
            Self::Short(stored) => {
                let short = |&id| u16::try_from(id).expect("storage follows vocabulary size");
                stored.extend(ids.iter().map(short));
            }
            Self::Long(stored) => stored.extend_from_slice(ids),
            Self::Mapped(_) => unreachable!("a file's tokens are never added to"),
        }
    }

    fn ids(&self) -> Ids<'_> {
        match self {
            Self::Short(ids) => Ids::Short(ids),
            Self::Long(ids) => Ids::Long(ids),
            Self::Mapped(mapped) => mapped.ids(),
        }
    }

    /// Appends the tokens of `range` to `out`.
    pub fn copy_into(&self, range: std::ops::Range<usize>, out: &mut Vec<u32>) {
        match self.ids() {
            Ids::Short(ids) => out.extend(ids[range].iter().map(|&id| u32::from(id))),
            Ids::Long(ids) => out.extend_from_slice(&ids[range]),
        }
    }

    /// Calls `visit` with every id in order.
    pub fn for_each(&self, mut visit: impl FnMut(u32)) {
        match self.ids() {
            Ids::Short(ids) => ids.iter().for_each(|&id| visit(u32::from(id))),
            Ids::Long(ids) => ids.iter().for_each(|&id| visit(id)),
        }
    }
}

/// The tokens of one split with the boundaries of documents and sentences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenStream {
    /// All documents one after the other. Packed streams end each document with the separator;
    /// streams of sentences hold no separators.
    pub tokens: Tokens,
    /// Document d is `document_starts[d]..document_starts[d + 1]`.
    pub document_starts: Vec<u64>,
    /// Sentence s is `sentence_starts[s]..sentence_starts[s + 1]`; empty for packed streams.
    pub sentence_starts: Vec<u64>,
    /// Bytes of text that the tokens stand for.
    pub text_bytes: u64,
}

impl TokenStream {
    /// Encodes `documents` in parallel, in order; `sentences` keeps lines apart.
    pub fn encode(documents: &[Document], tokenizer: &Tokenizer, sentences: bool) -> Result<Self> {
        let vocabulary = tokenizer.vocabulary();
        let encode = |document: &Document| -> Result<Vec<Vec<u32>>> {
            if sentences {
                let lines = document.text.lines().filter(|line| !line.trim().is_empty());
                return lines.map(|line| tokenizer.encode(line)).collect();
            }
            let mut ids = tokenizer.encode(&document.text)?;
            ids.push(vocabulary.separator);
            Ok(vec![ids])
        };
        let encoded: Vec<Vec<Vec<u32>>> =
            documents.par_iter().map(encode).collect::<Result<_>>()?;
        let mut stream = Self {
            tokens: Tokens::new(vocabulary.size),
            document_starts: vec![0],
            sentence_starts: if sentences { vec![0] } else { Vec::new() },
            text_bytes: documents.iter().map(|document| document.text.len() as u64).sum(),
        };
        for document in encoded {
            for part in document.iter().filter(|part| !part.is_empty()) {
                stream.tokens.extend(part);
                if sentences {
                    stream.sentence_starts.push(stream.tokens.len() as u64);
                }
            }
            stream.document_starts.push(stream.tokens.len() as u64);
        }
        Ok(stream)
    }

    /// Number of documents.
    pub fn documents(&self) -> usize {
        self.document_starts.len() - 1
    }

    /// The document that token `position` belongs to.
    pub fn document_at(&self, position: usize) -> u32 {
        assert!(position < self.tokens.len(), "token {position} is outside the stream");
        let after = self.document_starts.partition_point(|&start| start <= position as u64);
        after as u32 - 1
    }

    /// Adds tokens and boundaries to a fingerprint; how tokens are stored does not matter.
    pub fn hash_into(&self, hasher: &mut blake3::Hasher) {
        for starts in [&self.document_starts, &self.sentence_starts] {
            hasher.update(&(starts.len() as u64).to_le_bytes());
            for start in starts {
                hasher.update(&start.to_le_bytes());
            }
        }
        hasher.update(&(self.tokens.len() as u64).to_le_bytes());
        let mut ids = Vec::new();
        for start in (0..self.tokens.len()).step_by(HASH_TOKENS) {
            ids.clear();
            self.tokens.copy_into(start..self.tokens.len().min(start + HASH_TOKENS), &mut ids);
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            hasher.update(&bytes);
        }
    }
}
