//! The known answers of the pre-LN Transformer and the Universal Transformer with their options.

use std::path::PathBuf;

use harness::checks::known_answers::{self, Precision};

#[test]
fn parity_transformers_hidden_states_logits_loss_and_gradients() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = folder.join("../golden/known_answers/transformers");
    // Gradients: tables, norms and head, and of each block the rest.
    for (name, states, gradients) in [
        ("preln", 3, 9 + 2 * 10),
        ("preln_qk_norm", 3, 9 + 2 * 13),
        ("preln_qk_norm_biases", 3, 8 + 2 * 18),
        ("ut", 4, 14 + 16),
        ("ut_injection", 4, 14 + 16),
        ("ut_looped", 4, 13 + 16),
    ] {
        let report = known_answers::check(&folder.join(format!("{name}.safetensors"))).unwrap();
        for precision in Precision::ALL {
            let compared = report.tensors.iter().filter(|tensor| tensor.precision == precision);
            let names: Vec<_> = compared.map(|tensor| tensor.name.as_str()).collect();
            let count = |start: &str| names.iter().filter(|n| n.starts_with(start)).count();
            assert_eq!((count("hidden."), count("grad.")), (states, gradients), "{name}");
            assert!(names.contains(&"logits") && names.contains(&"loss"), "{name}");
        }
        let differing: Vec<_> = report.tensors.iter().filter(|tensor| !tensor.agrees).collect();
        assert!(differing.is_empty(), "{name}: {differing:#?}");
    }
}
