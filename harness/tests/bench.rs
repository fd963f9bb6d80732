//! `crossscale bench` as a user sees it.

use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crossscale"))
        .arg("bench")
        .args(arguments)
        .output()
        .expect("the binary starts")
}

const SMALL: [&str; 20] = [
    "--width",
    "16",
    "--channels",
    "2",
    "--iterations",
    "2",
    "--layers",
    "1",
    "--head-dim",
    "8",
    "--vocab",
    "50",
    "--length",
    "6",
    "--batch",
    "3",
    "--threads",
    "2",
    "--steps",
    "2",
];

fn json(arguments: &[&str]) -> serde_json::Value {
    let output = bench(&[&SMALL[..], arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("--json prints JSON")
}

#[test]
fn cli_bench_measures_every_family_and_both_paths_on_the_same_workload() {
    for family in ["pt", "bert", "preln", "ut"] {
        let mut losses = Vec::new();
        for path in ["fused", "reference"] {
            let report = json(&["--model", family, "--path", path]);
            let number = |key: &str| report[key].as_f64().unwrap_or(f64::NAN);
            assert_eq!(report["targets"], 3, "0.15 of 18 tokens, rounded up");
            let rate = 18.0 / report["step_seconds"]["median"].as_f64().unwrap();
            assert!((number("tokens_per_second") / rate - 1.0).abs() < 1e-9);
            assert!(number("model_flops") > 0.0 && number("share_of_product_rate") > 0.0);
            // Embeddings and norms are no products; the last layer is not computed everywhere.
            let executed = report["executed_flops"].as_f64();
            assert!(executed.is_none_or(|flops| flops > 0.0 && flops < number("model_flops")));
            let stages = report["stages"].as_array().unwrap();
            let share: f64 = stages.iter().map(|stage| stage["share"].as_f64().unwrap()).sum();
            if path == "fused" {
                assert!((share - 1.0).abs() < 1e-9, "stages add up to {share}");
            } else {
                assert!(stages.is_empty());
            }
            losses.push(number("last_loss_nats"));
        }
        assert!((losses[0] - losses[1]).abs() < 1e-4, "{family}: {losses:?}");
    }
}

#[test]
fn cli_bench_refuses_what_it_cannot_measure_with_a_remedy() {
    let cases: [(&[&str], i32, &str); 5] = [
        (&["--device", "cuda"], 6, "cuda"),
        (&["--model", "gpt"], 2, "families are"),
        (&["--mask", "0"], 2, "--mask"),
        (&["--steps", "0"], 2, "--steps"),
        (&["--model", "pt2023"], 2, "reference"),
    ];
    for (arguments, code, part) in cases {
        let output = bench(arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(message.contains(part) && message.contains("hint: "), "{arguments:?}: {message}");
    }
}
