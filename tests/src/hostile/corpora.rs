//! Texts, tokenizer files, token folders.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use harness::config::data::{
    DataConfig, Packing, PathsConfig, Source, TextDocument, TokenizerConfig, TokenizerKind,
};
use harness::config::train::TrainConfig;
use harness::corpus::{Corpus, CorpusSource, Document, DocumentSplits, Split, token_folder};
use harness::train::BatchSource;

/// A name and the bytes of a file of it.
type File = (&'static str, Vec<u8>);

/// What a name of a text says about its bytes.
const EXTENSIONS: [&str; 4] = ["txt", "jsonl", "txt.gz", "jsonl.zst"];
/// Documents of a text; each is its own, for they are held out by their content.
const DOCUMENTS: usize = 30;
/// Documents of a text of at most 255 bytes.
const FEW_DOCUMENTS: usize = 4;
/// Files of a token folder.
const FOLDER_FILES: usize = 5;

fn documents(count: usize) -> Vec<u8> {
    let document = |n| format!("{{\"text\": \"{n} words of a text that is long enough\"}}\n\n");
    (0..count).map(document).collect::<String>().into_bytes()
}

pub(super) fn text_samples() -> &'static [Vec<u8>] {
    static SAMPLES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let text = documents(DOCUMENTS);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&text).expect("memory takes all");
        let packed = encoder.finish().expect("memory takes all");
        vec![text.clone(), text, packed, zstandard(&documents(FEW_DOCUMENTS))]
    })
}

/// A Zstandard frame of one raw block: its magic, one byte of size, the block's header.
fn zstandard(text: &[u8]) -> Vec<u8> {
    let size = u8::try_from(text.len()).expect("a size of one byte");
    let block = ((u32::from(size) << 3) | 1).to_le_bytes();
    [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, size], &block[..3], text].concat()
}

pub(super) fn text(sample: usize, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(format!("text.{}", EXTENSIONS[sample]));
    fs::write(&path, bytes).expect("a file of it");
    let paths = PathsConfig {
        train: vec![path],
        bytes_max: 1 << 20,
        text_document: TextDocument::Paragraph,
        validation_share: 0.5,
        ..PathsConfig::default()
    };
    let kind = TokenizerKind::Words;
    let tokenizer = TokenizerConfig { kind, vocab: 300, ..TokenizerConfig::default() };
    let source = Source::Paths;
    let data = DataConfig { source, paths, tokenizer, length: 8, ..DataConfig::default() };
    let loaded = Corpus::load(&data, None);
    let same = bytes == text_samples()[sample];
    assert!(!same || loaded.is_ok(), "the sample is whole: {:?}", loaded.err());
}

fn splits() -> DocumentSplits {
    let document = |text: &str| vec![Document { name: "d".into(), text: text.repeat(4) }];
    DocumentSplits {
        train: document("the cat sat on the mat, a dog ran and ate.\n"),
        validation: document("the dog sat on a cat.\n"),
        test: Vec::new(),
    }
}

fn config(kind: TokenizerKind) -> DataConfig {
    let vocab = if kind == TokenizerKind::Words { 12 } else { 270 };
    let tokenizer = TokenizerConfig { kind, vocab, ..TokenizerConfig::default() };
    DataConfig { length: 4, tokenizer, ..DataConfig::default() }
}

/// The files of a whole token folder with words (0) or pieces of words (1).
fn folder_files() -> &'static [Vec<File>; 2] {
    static FILES: OnceLock<[Vec<File>; 2]> = OnceLock::new();
    FILES.get_or_init(|| {
        let kinds = [(TokenizerKind::Words, "words.txt"), (TokenizerKind::Bpe, "tokenizer.json")];
        kinds.map(|(kind, definition)| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let corpus = Corpus::from_documents(&splits(), &config(kind), None).expect("a corpus");
            let terms = token_folder::Terms { name: "n", source: "s", licence: "l" };
            token_folder::write(folder.path(), &corpus, (Packing::Documents, kind), terms)
                .expect("a folder of tokens");
            let tokens = ["train.tokens", "validation.tokens", "test.tokens"];
            let names = ["corpus.toml", definition].into_iter().chain(tokens);
            let bytes = |name| fs::read(folder.path().join(name)).expect("a file of it");
            names.map(|name| (name, bytes(name))).collect()
        })
    })
}

/// Takes everything out of `corpus` that a training would.
fn use_up(corpus: Corpus, config: &DataConfig) {
    let train = TrainConfig { batch: 2, ..TrainConfig::default() };
    if let Ok(source) = CorpusSource::new(Arc::new(corpus), config, &train, 1, Split::Validation) {
        let _ = (source.training_batch(0, 0), source.evaluation().len());
        let _ = source.unigram_loss_nats();
    }
}

pub(super) fn tokenizer_samples() -> &'static [Vec<u8>] {
    static SAMPLES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SAMPLES.get_or_init(|| vec![folder_files()[1][1].1.clone()])
}

pub(super) fn tokenizer(sample: usize, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path: PathBuf = folder.path().join("tokenizer.json");
    fs::write(&path, bytes).expect("a file of it");
    let (kind, path) = (TokenizerKind::File, Some(path));
    let tokenizer = TokenizerConfig { kind, path, ..TokenizerConfig::default() };
    let config = DataConfig { length: 4, tokenizer, ..DataConfig::default() };
    let made = Corpus::from_documents(&splits(), &config, None);
    assert!(bytes != tokenizer_samples()[sample] || made.is_ok(), "the sample is whole");
    if let Ok(corpus) = made {
        use_up(corpus, &config);
    }
}

pub(super) fn token_folder_samples() -> &'static [Vec<u8>] {
    static SAMPLES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SAMPLES.get_or_init(|| folder_files().iter().flatten().map(|(_, b)| b.clone()).collect())
}

pub(super) fn token_folder(sample: usize, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = &folder_files()[sample / FOLDER_FILES];
    let damaged = sample % FOLDER_FILES;
    for (index, (name, whole)) in files.iter().enumerate() {
        let bytes = if index == damaged { bytes } else { whole };
        fs::write(folder.path().join(name), bytes).expect("a file of it");
    }
    let tokens = Some(folder.path().to_owned());
    let config = DataConfig { source: Source::Tokens, tokens, length: 4, ..DataConfig::default() };
    let loaded = Corpus::load(&config, None);
    let (name, whole) = &files[damaged];
    let same = bytes == whole;
    // The bytes of the text that tokens were made of decide nothing, and are not hashed.
    let text_bytes = |file: &[u8]| file.get(48..56).map(<[u8]>::to_vec);
    let hashed = text_bytes(bytes) == text_bytes(whole);
    let is_tokens = name.ends_with(".tokens") && hashed;
    assert!(!(is_tokens || same) || loaded.is_ok() == same, "changed tokens were accepted");
    if let Ok(corpus) = loaded {
        use_up(corpus, &config);
    }
}
