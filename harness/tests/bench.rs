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

fn with_simd(level: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crossscale"));
    command.env("CROSSSCALE_SIMD", level).args(arguments).output().expect("the binary starts")
}

/// What is measured on a lower level is the same step: AVX2 and AVX-512 to the bit.
#[test]
fn cli_simd_levels_compute_the_same_step() {
    let best = reported_level("");
    let loss = |level: &str| {
        let output = with_simd(level, &[&["bench"], &SMALL[..], &["--json"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        report["last_loss_nats"].as_f64().unwrap()
    };
    let expected = loss("");
    for level in ["portable", "avx2", "avx512"] {
        if best == "portable" && level != best || best == "avx2" && level == "avx512" {
            let output = with_simd(level, &["doctor"]);
            assert_eq!(output.status.code(), Some(2), "{level} on {best}");
            continue;
        }
        assert_eq!(reported_level(level), level);
        let gap = (loss(level) - expected).abs();
        let bound = if level == "portable" || best == "portable" { 1e-4 } else { 0.0 };
        assert!(gap <= bound, "{level} is {gap} from {best}");
    }
}

/// The level that `doctor` reports.
fn reported_level(level: &str) -> String {
    let output = with_simd(level, &["doctor", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    report["kernels"].as_str().unwrap().to_owned()
}

#[test]
fn cli_an_unknown_simd_level_is_refused_by_every_verb() {
    for verb in ["doctor", "ls", "bench"] {
        let output = with_simd("sse9", &[verb]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("CROSSSCALE_SIMD=sse9") && said.contains("hint: "), "{said}");
    }
}

#[test]
fn cli_bench_times_kernels_alone() {
    let times = json(&["--kernel", "all"]);
    let times = times.as_array().unwrap();
    assert!(times.len() > 10, "{times:?}");
    for time in times {
        assert!(time["microseconds_fastest"].as_f64().unwrap() > 0.0, "{time}");
        assert!(time["bytes"].as_u64().unwrap() > 0 && time["runs"] == 2, "{time}");
    }
    let output = bench(&["--kernel", "heads", "--steps", "1"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("fastest us") && text.contains("heads"), "{text}");
    let unknown = bench(&["--kernel", "hedas"]);
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert_eq!(unknown.status.code(), Some(2), "{said}");
    assert!(said.contains("hedas") && said.contains("heads-backward"), "{said}");
}

/// The verdict of `ci/instruction_gate` on `counts`.
fn gate(counts: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counts.txt");
    std::fs::write(&path, counts).unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new("bash");
    let command = command.current_dir(root).args(["ci/instruction_gate", "--judge"]).arg(&path);
    let output = command.output().expect("bash starts");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn cli_the_instruction_gate_names_the_kernel_that_left_its_band() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/instruction_counts.txt");
    let recorded = std::fs::read_to_string(path).unwrap();
    let scaled = |kernel: &str, factor: f64| -> String {
        let line = |line: &str| match line.split_once(' ') {
            Some((name, count)) if name == kernel => {
                format!("{name} {:.0}\n", factor * count.parse::<f64>().unwrap())
            }
            _ => format!("{line}\n"),
        };
        recorded.lines().map(line).collect()
    };
    let (code, said) = gate(&recorded);
    assert!(code == Some(0) && said.contains("ratio 1.0000"), "{said}");
    for (factor, verdict) in [(1.05, "SLOWER"), (0.95, "FASTER")] {
        let (code, said) = gate(&scaled("heads-backward", factor));
        let line = said.lines().find(|line| line.starts_with("heads-backward ")).unwrap();
        assert_eq!(code, Some(11), "{said}");
        assert!(line.contains(verdict) && line.contains(&format!("{factor}")), "{line}");
        assert_eq!(said.matches("inside").count() + 1, said.matches("ratio").count(), "{said}");
        // With another compiler only a large change counts.
        let elsewhere =
            |factor| scaled("heads-backward", factor).replace("compiler ", "compiler 0.");
        assert_eq!(gate(&elsewhere(factor)).0, Some(0));
        assert_eq!(gate(&elsewhere(factor * factor.powi(9))).0, Some(11));
    }
    let lines = recorded.split_inclusive('\n');
    let without: String = lines.filter(|line| !line.starts_with("decoder ")).collect();
    let (code, said) = gate(&without);
    assert!(code == Some(11) && said.contains("decoder: not counted"), "{said}");
}
