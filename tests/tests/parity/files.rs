//! What the comparison says about files that are wrong, changed or merely different.

use crossscale_tests::known_answer::{Edited, shipped};
use harness::checks::known_answers::{FileReport, Precision, check};
use harness::{HarnessError, Result};

const SHIPPED: &str = "pt2026/exact_rope";

/// Checks the shipped file after `change`.
fn check_changed(name: &str, change: impl FnOnce(&mut Edited)) -> Result<FileReport> {
    let mut file = Edited::from_shipped(name);
    change(&mut file);
    let folder = tempfile::tempdir().unwrap();
    check(&file.write(folder.path()))
}

fn exit_code(outcome: Result<FileReport>) -> (u8, String) {
    let error = outcome.unwrap_err();
    (error.exit_code(), error.to_string())
}

#[test]
fn parity_a_missing_metadata_key_is_named() {
    let keys = Edited::from_shipped(SHIPPED).metadata.into_keys();
    for key in keys.filter(|key| key != "one_way") {
        let outcome = check_changed(SHIPPED, |file| {
            file.metadata.remove(&key);
        });
        let (code, message) = exit_code(outcome);
        assert!(code == 2 && message.contains(&format!("'{key}' is missing")), "{message}");
    }
}

#[test]
fn parity_an_absent_one_way_key_means_both_messages() {
    let report = check_changed(SHIPPED, |file| {
        file.metadata.remove("one_way");
    });
    assert!(report.unwrap().agrees());
    let report = check_changed(SHIPPED, |file| {
        file.metadata.insert("one_way".to_owned(), "True".to_owned());
    });
    assert!(!report.unwrap().agrees());
}

#[test]
fn parity_values_that_make_no_sense_are_refused() {
    let cases = [("rank", "five"), ("rank", "8"), ("rope", "spiral"), ("mup", "maybe")];
    for (key, value) in cases {
        let outcome = check_changed(SHIPPED, |file| {
            file.metadata.insert(key.to_owned(), value.to_owned());
        });
        let (code, message) = exit_code(outcome);
        assert_eq!(code, 2, "{key} = {value}: {message}");
    }
}

#[test]
fn parity_files_without_a_tensor_or_with_an_unknown_one_are_refused() {
    for name in ["param.binary", "labels", "input_ids"] {
        let outcome = check_changed(SHIPPED, |file| {
            file.tensors.remove(name);
        });
        let (code, message) = exit_code(outcome);
        assert!(code == 2 && message.contains(name), "{message}");
    }
    for name in ["extra", "param.extra"] {
        let outcome = check_changed(SHIPPED, |file| {
            let copy = file.tensors["loss"].clone();
            file.tensors.insert(name.to_owned(), copy);
        });
        let (code, message) = exit_code(outcome);
        assert!(code == 2 && message.contains(name), "{message}");
    }
}

#[test]
fn parity_missing_and_foreign_files_have_their_own_exit_codes() {
    assert_eq!(exit_code(check(&shipped("pt2026/absent"))).0, 3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.safetensors");
    std::fs::write(&path, "not a tensor file").unwrap();
    assert_eq!(exit_code(check(&path)).0, 2);
    let unknown = check_changed(SHIPPED, |file| {
        file.tensors.remove("param.ternary_u");
        file.tensors.remove("param.unary");
    });
    assert!(matches!(unknown, Err(HarnessError::Config { .. })));
}

#[test]
fn parity_one_wrong_entry_is_found_and_located() {
    // Entry (5, 3) of a 12 x 16 gradient moved by 1e-6 of the norm: beyond f64's tolerance only.
    let report = check_changed(SHIPPED, |file| {
        let gradient = file.floats("grad.ternary_v");
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        gradient[5 * 16 + 3] += 1e-6 * norm;
    });
    let report = report.unwrap();
    let differing: Vec<_> = report.tensors.iter().filter(|tensor| !tensor.agrees).collect();
    assert_eq!(differing.len(), 1, "{differing:#?}");
    let found = differing[0];
    assert_eq!((found.name.as_str(), found.precision), ("grad.ternary_v", Precision::F64));
    assert!((found.relative_error - 1e-6).abs() < 1e-9, "{}", found.relative_error);
    assert_eq!(found.worst.as_ref().unwrap().index, [5, 3]);
}

#[test]
fn parity_a_number_that_is_none_is_refused_by_name() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let refused = check_changed(SHIPPED, |file| file.floats("logits")[40] = value);
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("tensor 'logits'") && message.contains("entry 40"), "{message}");
    }
}

#[test]
fn parity_outputs_at_padding_are_not_compared() {
    // The last two words of the second sequence are padding.
    let report = check_changed(SHIPPED, |file| {
        for (name, width) in [("z", 16), ("logits", 29)] {
            let values = file.floats(name);
            let end = values.len();
            values[end - 2 * width..].fill(1e6);
        }
    });
    assert!(report.unwrap().agrees());
    let report = check_changed(SHIPPED, |file| {
        let values = file.floats("z");
        let end = values.len();
        values[end - 2 * 16 - 1] += 1.0;
    });
    assert!(!report.unwrap().agrees());
}
