//! Token files: one split of an encoded corpus, read through a memory map.
//!
//! Little-endian throughout. A header of 96 bytes: magic `XSTOKENS`, u32 version (1), u32 bytes
//! per token (2 or 4), u64 each: vocabulary size, tokens, document boundaries (documents + 1),
//! sentence boundaries (sentences + 1, or 0 for packed streams), bytes of text; 32 bytes blake3 of
//! the tokenizer; 8 bytes of zeros. Then the document boundaries and the sentence boundaries as
//! u64 and the tokens as u16 or u32.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use super::tokens::{TokenStream, Tokens};
use crate::error::{HarnessError, Result};
use crate::ledger::atomic;

const MAGIC: &[u8; 8] = b"XSTOKENS";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 96;
/// Tokens converted at a time when writing.
const CHUNK: usize = 1 << 16;

/// Tokens of a memory-mapped file.
#[derive(Debug, Clone)]
pub struct MappedTokens {
    map: Arc<Mmap>,
    start: usize,
    short: bool,
}

/// A view of the ids in the width they are stored in.
#[derive(Debug, Clone, Copy)]
pub enum Ids<'a> {
    /// Two bytes each.
    Short(&'a [u16]),
    /// Four bytes each.
    Long(&'a [u32]),
}

impl MappedTokens {
    /// The ids.
    pub fn ids(&self) -> Ids<'_> {
        let bytes = &self.map[self.start..];
        // The map begins at a page and `start` is a multiple of 8.
        if self.short {
            Ids::Short(bytemuck::cast_slice(bytes))
        } else {
            Ids::Long(bytemuck::cast_slice(bytes))
        }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        match self.ids() {
            Ids::Short(ids) => ids.len(),
            Ids::Long(ids) => ids.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl PartialEq for MappedTokens {
    fn eq(&self, other: &Self) -> bool {
        match (self.ids(), other.ids()) {
            (Ids::Short(a), Ids::Short(b)) => a == b,
            (Ids::Long(a), Ids::Long(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for MappedTokens {}

/// The numbers of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    token_bytes: u32,
    vocab: u64,
    tokens: u64,
    documents: u64,
    sentences: u64,
    text_bytes: u64,
    tokenizer: [u8; 32],
}

impl Header {
    fn bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0u8; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.token_bytes.to_le_bytes());
        let numbers = [self.vocab, self.tokens, self.documents, self.sentences, self.text_bytes];
        for (place, number) in numbers.into_iter().enumerate() {
            bytes[16 + 8 * place..24 + 8 * place].copy_from_slice(&number.to_le_bytes());
        }
        bytes[56..88].copy_from_slice(&self.tokenizer);
        bytes
    }

    /// Reads a header and checks every claim against `size`, the bytes of the whole file.
    fn read(bytes: &[u8], size: u64) -> std::result::Result<Self, String> {
        let Some(bytes) = bytes.get(..HEADER_BYTES) else {
            return Err(format!("holds {} bytes, a header has {HEADER_BYTES}", bytes.len()));
        };
        if &bytes[..8] != MAGIC {
            return Err("does not begin like a token file".to_owned());
        }
        let short = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        if short(8) != VERSION {
            return Err(format!("is of version {}, this program reads {VERSION}", short(8)));
        }
        let header = Self {
            token_bytes: short(12),
            vocab: long(16),
            tokens: long(24),
            documents: long(32),
            sentences: long(40),
            text_bytes: long(48),
            tokenizer: std::array::from_fn(|i| bytes[56 + i]),
        };
        if bytes[88..].iter().any(|&byte| byte != 0) {
            return Err("has something where its header is empty".to_owned());
        }
        if !matches!(header.token_bytes, 2 | 4) {
            return Err(format!("claims {} bytes per token", header.token_bytes));
        }
        let claimed = header.file_bytes();
        if claimed != Some(size) {
            let claimed =
                claimed.map_or("more bytes than a file has".to_owned(), |b| b.to_string());
            return Err(format!("its header claims {claimed}, the file has {size}"));
        }
        Ok(header)
    }

    fn file_bytes(&self) -> Option<u64> {
        let starts = self.documents.checked_add(self.sentences)?.checked_mul(8)?;
        let tokens = self.tokens.checked_mul(u64::from(self.token_bytes))?;
        starts.checked_add(tokens)?.checked_add(HEADER_BYTES as u64)
    }
}

/// Writes `stream`, whole or not at all; `vocab` is the number of ids of `tokenizer`.
pub fn write(
    path: &Path,
    stream: &TokenStream,
    (vocab, tokenizer): (usize, &blake3::Hash),
) -> Result<()> {
    let short = vocab <= 1 << 16;
    let header = Header {
        token_bytes: if short { 2 } else { 4 },
        vocab: vocab as u64,
        tokens: stream.tokens.len() as u64,
        documents: stream.document_starts.len() as u64,
        sentences: stream.sentence_starts.len() as u64,
        text_bytes: stream.text_bytes,
        tokenizer: *tokenizer.as_bytes(),
    };
    atomic::replace(path, |file, _| {
        let mut file = BufWriter::new(file);
        file.write_all(&header.bytes())?;
        for start in stream.document_starts.iter().chain(&stream.sentence_starts) {
            file.write_all(&start.to_le_bytes())?;
        }
        let mut ids = Vec::new();
        for start in (0..stream.tokens.len()).step_by(CHUNK) {
            ids.clear();
            let end = (start + CHUNK).min(stream.tokens.len());
            stream.tokens.copy_into(start..end, &mut ids);
            for id in &ids {
                file.write_all(&id.to_le_bytes()[..header.token_bytes as usize])?;
            }
        }
        file.flush()
    })
}

/// Maps the token file at `path`, made with a tokenizer of `vocab` ids and this blake3.
///
/// # Errors
/// If it is no whole token file of that tokenizer.
pub fn read(path: &Path, (vocab, tokenizer): (usize, &blake3::Hash)) -> Result<TokenStream> {
    let bad = |problem: String| {
        HarnessError::input(path, problem, "make the folder again: crossscale data fetch …")
    };
    if cfg!(target_endian = "big") {
        return Err(HarnessError::Unavailable {
            what: "reading token files on a big-endian machine".to_owned(),
            hint: "read the text itself: --text".to_owned(),
        });
    }
    let file = File::open(path).map_err(|error| bad(error.to_string()))?;
    let size = file.metadata().map_err(HarnessError::io(path))?.len();
    if size < HEADER_BYTES as u64 {
        return Err(bad(format!("holds {size} bytes, a header has {HEADER_BYTES}")));
    }
    let map = map(&file).map_err(HarnessError::io(path))?;
    let header = Header::read(&map, size).map_err(bad)?;
    if (header.vocab, &header.tokenizer) != (vocab as u64, tokenizer.as_bytes()) {
        return Err(bad("was made with another tokenizer than the folder's".to_owned()));
    }
    let starts = |from: usize, count: u64| -> Vec<u64> {
        let bytes = &map[from..from + 8 * count as usize];
        bytemuck::cast_slice::<u8, u64>(bytes).to_vec()
    };
    let sentences_from = HEADER_BYTES + 8 * header.documents as usize;
    let document_starts = starts(HEADER_BYTES, header.documents);
    let sentence_starts = starts(sentences_from, header.sentences);
    for (what, starts) in [("document", &document_starts), ("sentence", &sentence_starts)] {
        let rising = starts.windows(2).all(|pair| pair[0] <= pair[1]);
        let ends = starts.first().is_none_or(|&first| first == 0)
            && starts.last().is_none_or(|&last| last == header.tokens);
        if !(rising && ends) || (what == "document" && starts.is_empty()) {
            return Err(bad(format!("its {what} boundaries do not divide its tokens")));
        }
    }
    let start = sentences_from + 8 * header.sentences as usize;
    let mapped = MappedTokens { map: Arc::new(map), start, short: header.token_bytes == 2 };
    let largest = match mapped.ids() {
        Ids::Short(ids) => ids.iter().max().map(|&id| u64::from(id)),
        Ids::Long(ids) => ids.iter().max().map(|&id| u64::from(id)),
    };
    if largest.is_some_and(|id| id >= header.vocab) {
        return Err(bad(format!("holds ids outside its vocabulary of {vocab}")));
    }
    let tokens = Tokens::Mapped(mapped);
    Ok(TokenStream { tokens, document_starts, sentence_starts, text_bytes: header.text_bytes })
}

#[expect(unsafe_code, reason = "a memory map has no safe form; the files are only ever replaced")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: this program writes token files under another name and renames them, never in
    // place, so the mapped bytes stay as they are while the file is open. That holds as long as
    // no other program writes into the file: one that cuts it off ends this process (SIGBUS);
    // one that changes ids makes other numbers or a bounds check fail, for all later uses of
    // ids are indices that are checked.
    unsafe { Mmap::map(file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(ids: &[u32], vocab: usize) -> TokenStream {
        let mut tokens = Tokens::new(vocab);
        tokens.extend(ids);
        let (document_starts, sentence_starts) = (vec![0, 2, 5], vec![0, 2, 4, 5]);
        TokenStream { tokens, document_starts, sentence_starts, text_bytes: 17 }
    }

    #[test]
    fn invariant_a_token_file_reads_back_in_both_widths() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tokens");
        for (vocab, size) in [(10, 2), (1 << 16, 2), ((1 << 16) + 1, 4)] {
            let written = stream(&[0, 9, 3, 4, vocab as u32 - 1], vocab);
            let key = (vocab, &blake3::hash(b"t"));
            write(&path, &written, key).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(bytes.len(), HEADER_BYTES + 8 * 7 + 5 * size);
            let read = read(&path, key).unwrap();
            let ids = |stream: &TokenStream| {
                let mut ids = Vec::new();
                stream.tokens.copy_into(1..5, &mut ids);
                stream.tokens.for_each(|id| ids.push(id));
                ids
            };
            assert_eq!(ids(&read), ids(&written));
            assert_eq!(read.document_starts, written.document_starts);
            assert_eq!(read.sentence_starts, written.sentence_starts);
            let hash = |stream: &TokenStream| {
                let mut hasher = blake3::Hasher::new();
                stream.hash_into(&mut hasher);
                hasher.finalize()
            };
            assert_eq!(hash(&read), hash(&written), "storage must not show in the fingerprint");
            assert!(super::read(&path, (vocab + 1, key.1)).is_err());
            assert!(super::read(&path, (vocab, &blake3::hash(b"u"))).is_err());
        }
    }

    #[test]
    fn invariant_damaged_token_files_are_refused_before_they_are_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tokens");
        let key = (10, &blake3::hash(b"t"));
        write(&path, &stream(&[0, 9, 3, 4, 5], 10), key).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let problem = |at: usize, bytes: &[u8]| {
            let mut damaged = whole.clone();
            damaged[at..at + bytes.len()].copy_from_slice(bytes);
            std::fs::write(&path, damaged).unwrap();
            read(&path, key).unwrap_err().to_string()
        };
        let huge = u64::MAX.to_le_bytes();
        for (at, bytes, part) in [
            (0, &b"x"[..], "begin"),
            (8, &[2], "version 2"),
            (12, &[3], "3 bytes per token"),
            (24, &huge, "more bytes than a file has"),
            (90, &[1], "where its header is empty"),
            (32, &[200], "claims"),
            (HEADER_BYTES + 8, &[9], "document boundaries"),
            (HEADER_BYTES + 24, &[1], "sentence boundaries"),
            (whole.len() - 2, &[10, 0], "outside its vocabulary"),
        ] {
            let message = problem(at, bytes);
            assert!(message.contains(part) && message.contains("hint:"), "{part}: {message}");
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(read(&path, key).is_err());
        std::fs::write(&path, b"").unwrap();
        assert!(read(&path, key).is_err());
    }
}
