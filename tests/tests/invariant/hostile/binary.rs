//! Known answers, checkpoints, texts, tokenizers.

use std::fs;
use std::path::Path;

use harness::config::data::{DataConfig, PathsConfig, Source, TokenizerConfig, TokenizerKind};
use harness::corpus::Corpus;
use harness::parity;
use harness::train::checkpoint::{self, SnapshotView};
use models::family::FamilyConfig;
use models::pt2026::Pt2026Config;
use proptest::prelude::*;
use proptest::sample::select;

use super::cases;
use super::mutation::{changes, damaged, damaged_safetensors};

/// A safetensors file that claims one tensor of `shape` with `end` bytes.
fn claiming(shape: &str, end: &str, header_length: Option<u64>) -> Vec<u8> {
    let metadata = r#""__metadata__":{"family":"pt2026"}"#;
    let tensor =
        format!(r#""param.unary":{{"dtype":"F64","shape":{shape},"data_offsets":[0,{end}]}}"#);
    let header = format!("{{{metadata},{tensor}}}");
    let length = header_length.unwrap_or(header.len() as u64);
    [&length.to_le_bytes(), header.as_bytes(), &[0; 64]].concat()
}

#[test]
fn invariant_hostile_sizes_are_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Pt2026Config { vocab: 8, width: 8, ..Pt2026Config::default() }.layout().unwrap();
    let huge = "1152921504606846976";
    for bytes in [
        claiming(&format!("[{huge}]"), "9223372036854775808", None),
        claiming(&format!("[{huge},{huge}]"), "64", None),
        claiming("[4294967296,4294967296]", "18446744073709551615", None),
        claiming("[8]", "64", Some(u64::MAX)),
        claiming("[8]", "64", Some(1 << 60)),
        claiming("[8]", "64", Some(90 << 20)),
    ] {
        let path = folder.path().join("claims.safetensors");
        fs::write(&path, &bytes).unwrap();
        assert!(parity::check(&path).is_err(), "a known answer of an impossible size was read");
        assert!(checkpoint::load(&path, &layout, "hash").is_err(), "so was a checkpoint");
    }
}

/// The bytes of a small checkpoint, its layout and configuration hash.
fn small_checkpoint(folder: &Path) -> (Vec<u8>, models::parameters::Layout) {
    let config = Pt2026Config { vocab: 8, width: 8, channels: 1, ..Pt2026Config::default() };
    let layout = config.layout().unwrap();
    let buffer: Vec<f32> = (0..layout.total()).map(|index| index as f32).collect();
    let view = SnapshotView { step: 7, tokens: 70, buffers: [&buffer, &buffer, &buffer] };
    let path = checkpoint::save(folder, &layout, &view, "hash").unwrap();
    (fs::read(path).unwrap(), layout)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_hostile_checkpoints_are_refused(changes in changes()) {
        let folder = tempfile::tempdir().unwrap();
        let (whole, layout) = small_checkpoint(folder.path());
        let bytes = damaged(&whole, &changes);
        let path = folder.path().join("damaged.safetensors");
        fs::write(&path, &bytes).unwrap();
        let loaded = checkpoint::load(&path, &layout, "hash");
        prop_assert_eq!(loaded.is_ok(), bytes == whole, "a changed checkpoint was accepted");
    }

    #[test]
    fn invariant_hostile_known_answers_are_values_or_errors(
        changes in changes(), in_header in any::<bool>(),
    ) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/known_answers");
        let whole = fs::read(root.join(super::SMALL_KNOWN_ANSWER)).unwrap();
        let bytes = damaged_safetensors(&whole, &changes, in_header);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.safetensors");
        fs::write(&path, bytes).unwrap();
        let _ = parity::check(&path);
    }

    #[test]
    fn invariant_hostile_texts_are_values_or_errors(
        changes in changes(), extension in select(&["txt", "jsonl", "txt.gz", "jsonl.zst"][..]),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("text.{extension}"));
        let line = "{\"text\": \"some words of a document that is long enough\"}\n\n";
        fs::write(&path, damaged(line.repeat(30).as_bytes(), &changes)).unwrap();
        let paths = PathsConfig {
            train: vec![path],
            bytes_max: 1 << 20,
            text_document: harness::config::data::TextDocument::Paragraph,
            ..PathsConfig::default()
        };
        let kind = TokenizerKind::Words;
        let tokenizer = TokenizerConfig { kind, vocab: 300, ..TokenizerConfig::default() };
        let source = Source::Paths;
        let data = DataConfig { source, paths, tokenizer, length: 8, ..DataConfig::default() };
        let _ = Corpus::load(&data, None);
    }
}

#[test]
fn invariant_hostile_compressed_text_stops_at_its_limit() {
    // 64 MiB of one letter in a few kilobytes.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.txt.gz");
    let mut encoder = flate2::write::GzEncoder::new(
        fs::File::create(&path).unwrap(),
        flate2::Compression::best(),
    );
    let block = vec![b'a'; 1 << 20];
    for _ in 0..64 {
        std::io::Write::write_all(&mut encoder, &block).unwrap();
    }
    encoder.finish().unwrap();
    let paths =
        PathsConfig { train: vec![path.clone()], bytes_max: 1 << 20, ..PathsConfig::default() };
    let data = DataConfig { source: Source::Paths, paths, ..DataConfig::default() };
    let message = Corpus::load(&data, None).expect_err("beyond the limit").to_string();
    assert!(message.contains("bomb.txt.gz"), "the message names the file: {message}");
}
