//! Checkpoints, known answers, weights.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use harness::checks::known_answers;
use harness::config::model::ModelConfig;
use harness::train::checkpoint::{self, SnapshotView};
use harness::weights::{self, Origin, StandardWeights};
use models::family::FamilyConfig;
use models::parameters::Layout;
use models::pt2026::Pt2026Config;

use super::border;

/// The smallest known answer, so that a case takes milliseconds.
const SMALL_KNOWN_ANSWER: &str = "pt2023/distance_shared.safetensors";
/// Hash of the configuration that the small checkpoint is of.
const HASH: &str = "hash";

fn small_model() -> Pt2026Config {
    Pt2026Config { vocab: 8, width: 8, channels: 1, ..Pt2026Config::default() }
}

fn small_layout() -> &'static Layout {
    static LAYOUT: OnceLock<Layout> = OnceLock::new();
    LAYOUT.get_or_init(|| small_model().layout().expect("a valid shape"))
}

pub(super) fn checkpoint_samples() -> &'static [Vec<u8>] {
    static SAMPLES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let buffer: Vec<f32> = (0..small_layout().total()).map(|index| index as f32).collect();
        let view = SnapshotView { step: 7, tokens: 70, buffers: [&buffer, &buffer, &buffer] };
        let saved = checkpoint::save(folder.path(), small_layout(), &view, HASH);
        vec![fs::read(saved.expect("a checkpoint")).expect("its bytes")]
    })
}

pub(super) fn checkpoint(sample: usize, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("damaged.safetensors");
    fs::write(&path, bytes).expect("a file of it");
    let loaded = checkpoint::load(&path, small_layout(), HASH);
    let same = bytes == checkpoint_samples()[sample];
    assert_eq!(loaded.is_ok(), same, "a changed checkpoint was accepted");
}

pub(super) fn known_answer_samples() -> &'static [Vec<u8>] {
    static SAMPLES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/known_answers");
        vec![fs::read(root.join(SMALL_KNOWN_ANSWER)).expect("the committed file")]
    })
}

pub(super) fn known_answer(_: usize, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("damaged.safetensors");
    fs::write(&path, bytes).expect("a file of it");
    let _ = known_answers::check(&path);
}

pub(super) fn weight_samples() -> &'static [Vec<u8>] {
    static SAMPLES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("w.safetensors");
        let model = ModelConfig::Pt(small_model());
        let parameters = vec![0.25; small_layout().total()];
        let weights = StandardWeights { model, parameters, origin: Origin::default() };
        weights::export(&path, &weights).expect("a file of weights");
        vec![fs::read(path).expect("its bytes")]
    })
}

pub(super) fn weights(sample: usize, bytes: &[u8]) {
    let whole = &weight_samples()[sample];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("w.safetensors");
    fs::write(&path, bytes).expect("a file of it");
    let loaded = weights::load(&path);
    assert!(bytes != whole || loaded.is_ok(), "the sample is whole");
    let numbers_changed = !bytes.ends_with(&whole[border(whole)..]);
    let accepted = loaded.is_ok() && numbers_changed && says_its_hash(bytes);
    assert!(!accepted, "changed weights were accepted");
}

/// Whether the header of `bytes`, which could be read, says what the hash of the numbers is.
fn says_its_hash(bytes: &[u8]) -> bool {
    let header: serde_json::Value =
        serde_json::from_slice(&bytes[8..border(bytes)]).expect("a header that was read");
    header["__metadata__"]["crossscale_blake3"].is_string()
}
