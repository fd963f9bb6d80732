//! Tokenizer files, token folders, weights.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use harness::config::data::{DataConfig, Packing, Source, TokenizerConfig, TokenizerKind};
use harness::config::model::ModelConfig;
use harness::config::train::TrainConfig;
use harness::corpus::{Corpus, CorpusSource, Document, DocumentSplits, Split, token_folder};
use harness::train::BatchSource;
use harness::weights::{self, Origin, StandardWeights};
use models::pt2026::Pt2026Config;
use proptest::prelude::*;

use super::cases;
use super::mutation::{border, changes, damaged, damaged_safetensors};

/// A name and the bytes of a file of it.
type File = (&'static str, Vec<u8>);

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
            let folder = tempfile::tempdir().unwrap();
            let corpus = Corpus::from_documents(&splits(), &config(kind), None).unwrap();
            let terms = token_folder::Terms { name: "n", source: "s", licence: "l" };
            token_folder::write(folder.path(), &corpus, (Packing::Documents, kind), terms).unwrap();
            let tokens = ["train.tokens", "validation.tokens", "test.tokens"];
            let names = ["corpus.toml", definition].into_iter().chain(tokens);
            names.map(|name| (name, fs::read(folder.path().join(name)).unwrap())).collect()
        })
    })
}

fn from_file(path: PathBuf) -> DataConfig {
    let (kind, path) = (TokenizerKind::File, Some(path));
    let tokenizer = TokenizerConfig { kind, path, ..TokenizerConfig::default() };
    DataConfig { length: 4, tokenizer, ..DataConfig::default() }
}

fn in_folder(tokens: Option<PathBuf>) -> DataConfig {
    DataConfig { source: Source::Tokens, tokens, length: 4, ..DataConfig::default() }
}

/// Takes everything out of `corpus` that a training would.
fn use_up(corpus: Corpus, config: &DataConfig) {
    let train = TrainConfig { batch: 2, ..TrainConfig::default() };
    if let Ok(source) = CorpusSource::new(Arc::new(corpus), config, &train, 1, Split::Validation) {
        let _ = (source.training_batch(0, 0), source.evaluation().len());
        let _ = source.unigram_loss_nats();
    }
}

/// The bytes of a small exported file.
fn exported() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let config = Pt2026Config { vocab: 8, width: 8, channels: 1, ..Pt2026Config::default() };
        let model = ModelConfig::Pt(config);
        let parameters = vec![0.25; model.layout().unwrap().total()];
        let weights = StandardWeights { model, parameters, origin: Origin::default() };
        weights::export(&path, &weights).unwrap();
        fs::read(path).unwrap()
    })
}

fn write(folder: &Path, files: &[File]) {
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_hostile_tokenizers_are_values_or_errors(changes in changes()) {
        let (_, whole) = &folder_files()[1][1];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        fs::write(&path, damaged(whole, &changes)).unwrap();
        let config = from_file(path);
        if let Ok(corpus) = Corpus::from_documents(&splits(), &config, None) {
            use_up(corpus, &config);
        }
    }

    #[test]
    fn invariant_hostile_token_folders_are_values_or_errors(
        changes in changes(), pieces in any::<bool>(), file in 0usize..5,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut files = folder_files()[usize::from(pieces)].clone();
        let whole = std::mem::take(&mut files[file].1);
        let bytes = damaged(&whole, &changes);
        let same = bytes == whole;
        files[file].1 = bytes;
        write(folder.path(), &files);
        let tokens = Some(folder.path().to_owned());
        let config = in_folder(tokens);
        let loaded = Corpus::load(&config, None);
        // The bytes of the text that tokens were made of decide nothing, and are not hashed.
        let text_bytes = |file: &[u8]| file.get(48..56).map(<[u8]>::to_vec);
        let hashed = text_bytes(&files[file].1) == text_bytes(&whole);
        let is_tokens = files[file].0.ends_with(".tokens") && hashed;
        prop_assert!(!is_tokens || loaded.is_ok() == same, "changed tokens were accepted");
        if let Ok(corpus) = loaded {
            use_up(corpus, &config);
        }
    }

    #[test]
    fn invariant_hostile_weights_are_refused(
        changes in changes(), in_header in any::<bool>(),
    ) {
        let whole = exported();
        let bytes = damaged_safetensors(whole, &changes, in_header);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        fs::write(&path, &bytes).unwrap();
        let loaded = weights::load(&path);
        let numbers_changed = !bytes.ends_with(&whole[border(whole)..]);
        let unsigned = !bytes.windows(17).any(|window| window == b"crossscale_blake3");
        let refused = loaded.is_err() || !numbers_changed || unsigned;
        prop_assert!(refused, "changed weights were accepted");
    }
}

#[test]
fn invariant_hostile_samples_are_whole() {
    for (files, kind) in folder_files().iter().zip([TokenizerKind::Words, TokenizerKind::Bpe]) {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), files);
        let tokens = Some(folder.path().to_owned());
        let config = in_folder(tokens);
        let corpus = Corpus::load(&config, None).unwrap();
        assert!(corpus.vocabulary().size > 8, "{kind:?}");
        use_up(corpus, &config);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    fs::write(&path, &folder_files()[1][1].1).unwrap();
    Corpus::from_documents(&splits(), &from_file(path), None).unwrap();
    let path = folder.path().join("w.safetensors");
    fs::write(&path, exported()).unwrap();
    weights::load(&path).unwrap();
}
