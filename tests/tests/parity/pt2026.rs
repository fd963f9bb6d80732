//! The known answers of the Probabilistic Transformer of 2026.

use std::path::PathBuf;

use harness::parity::{self, Precision};

fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../golden/known_answers/pt2026");
    folder.join(format!("{name}.safetensors"))
}

/// Every tensor of the file agrees, in each of `precisions`.
fn agrees(name: &str, precisions: &[Precision]) {
    let report = parity::check(&file(name)).unwrap();
    assert_eq!(report.family, "pt");
    for &precision in precisions {
        let compared = report.tensors.iter().filter(|tensor| tensor.precision == precision);
        assert!(compared.count() > 10, "{name}: too few tensors in {}", precision.name());
    }
    let differing: Vec<_> = report.tensors.iter().filter(|tensor| !tensor.agrees).collect();
    assert!(differing.is_empty(), "{name}: {differing:#?}");
}

#[test]
fn parity_pt2026_default_shape() {
    agrees("default_shape", &Precision::ALL);
}

#[test]
fn parity_pt2026_exact_rope() {
    agrees("exact_rope", &Precision::ALL);
}

#[test]
fn parity_pt2026_published_rope() {
    agrees("published_rope", &Precision::ALL);
}

#[test]
fn parity_pt2026_one_way() {
    agrees("one_way", &Precision::ALL);
}

#[test]
fn parity_pt2026_no_damping() {
    agrees("no_damping", &Precision::ALL);
}

#[test]
fn parity_pt2026_without_width_normalisation() {
    agrees("standard_parametrization", &Precision::ALL);
}

#[test]
fn parity_pt2026_ten_adamw_steps() {
    agrees("training_trace", &[Precision::F64]);
}
