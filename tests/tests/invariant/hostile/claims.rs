//! Files made to do harm: sizes that are claims, text that unpacks without end.

use std::fs;

use harness::checks::known_answers;
use harness::config::data::{DataConfig, PathsConfig, Source};
use harness::corpus::Corpus;
use harness::train::checkpoint;
use models::family::FamilyConfig;
use models::pt2026::Pt2026Config;

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
        assert!(
            known_answers::check(&path).is_err(),
            "a known answer of an impossible size was read"
        );
        assert!(checkpoint::load(&path, &layout, "hash").is_err(), "so was a checkpoint");
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
