//! `export`, `import`, `evaluate` and `train --init`.

use tempfile::TempDir;

use super::{crossscale, json, run_folder, stderr, stdout, text, train};

fn number(value: &serde_json::Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no number {key} in {value}"))
}

/// An exported folder holds what other programs look for.
fn check_folder(folder: &std::path::Path, family: &str, weights: &[u8]) {
    let read = |name: &str| {
        std::fs::read(folder.join(name)).unwrap_or_else(|_| panic!("{family}: no {name}"))
    };
    let value = |name: &str| serde_json::from_slice::<serde_json::Value>(&read(name)).unwrap();
    assert_eq!(read("model.safetensors"), weights);
    read("tokenizer.json");
    let tokens = value("tokenizer_config.json");
    if family == "bert" {
        let config = value("config.json");
        assert_eq!(config["num_attention_heads"], 2);
        assert_eq!(config["hidden_size"], 36);
        assert_eq!(tokens["mask_token"], "[MASK]");
        assert_eq!(tokens["pad_token"], "[PAD]");
    }
}

#[test]
fn cli_weights_leave_and_return_with_the_same_loss() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    let cli = |arguments: &[&str]| crossscale(folder.path(), arguments);
    // Heads of 18, 44 and 10 do not divide 256, the usual base width.
    let shapes = [
        ("pt", "16", "model.channels=2", "parametrization.base_width=8"),
        ("bert", "36", "model.head_dim=18", "parametrization.base_width=18"),
        ("preln", "44", "model.head_dim=44", "parametrization.base_width=44"),
        ("ut", "20", "model.head_dim=10", "parametrization.base_width=10"),
        ("pt2023", "16", "model.channels=2", "path=reference"),
    ];
    for (family, width, heads, more) in shapes {
        let arguments = ["--model", family, "--width", width, "--steps", "3", "--set", heads];
        let out = format!("{family}-run");
        let trained = train(folder.path(), &out, &[&arguments[..], &["--set", more]].concat());
        assert!(trained.status.success(), "{}", stderr(&trained));
        let file = format!("{family}.safetensors");
        let exported = json(&cli(&["export", &out, "--out", &file, "--json"]));
        assert_eq!(exported["family"], family);
        assert_eq!(exported["steps"], 3);
        let run = run_folder(&folder.path().join(&out));
        let id = run.file_name().unwrap().to_str().unwrap();
        let by_id = cli(&["export", id, "--ledger", &out, "--out", "again.safetensors"]);
        assert!(by_id.status.success(), "{}", stderr(&by_id));
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        assert_eq!(read(&file), read("again.safetensors"), "exports differ");

        let of_run = json(&cli(&["evaluate", &out, "--context", "--json"]));
        let evaluation = std::fs::read_to_string(run.join("evaluation.csv")).unwrap();
        let last = evaluation.trim().rsplit_once('\n').unwrap().1;
        let recorded: f64 = last.split(',').nth(1).unwrap().parse().unwrap();
        assert!((number(&of_run, "loss_nats") - recorded).abs() < 1e-12, "{of_run} {recorded}");
        let manifest = std::fs::read_to_string(run.join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        for name in ["shuffled_loss_nats", "foreign_loss_nats"] {
            let kept = number(&manifest["result"]["context"], name);
            assert!((number(&of_run, name) - kept).abs() < 1e-12, "{name}: {of_run} {kept}");
        }
        assert_eq!(of_run["reads_context"], false, "three steps: {of_run}");

        let imported = format!("{family}-imported");
        let exported = format!("{family}-folder");
        assert!(cli(&["export", &out, "--out", &exported]).status.success());
        check_folder(&folder.path().join(&exported), family, &read(&file));
        let import = cli(&["import", &exported, "--model", family, "--out", &imported]);
        assert!(import.status.success(), "{}", stderr(&import));
        let weights = format!("{imported}/weights.safetensors");
        let mut evaluate = vec!["evaluate", &weights, "--text", "text.txt", "--json"];
        evaluate.extend(&super::SMALL[..8]);
        let outside = json(&cli(&evaluate));
        let gap = (number(&outside, "loss_nats") - recorded).abs();
        assert!(gap < 1e-5, "{family}: the file's loss is {gap:e} away");

        let mut again = vec!["--model", family, "--steps", "1", "--init", &weights];
        again.extend(["--set", "train.learning_rate=1e-30", "--set", "train.evaluate_every=0"]);
        if family == "pt2023" {
            again.extend(["--set", "path=reference"]);
        }
        let from = train(folder.path(), &format!("{family}-from"), &again);
        assert!(from.status.success(), "{}", stderr(&from));
        let said = stdout(&from);
        let loss: f64 = said.split_whitespace().nth(2).unwrap().parse().unwrap();
        assert!((loss - recorded).abs() < 1e-4, "{family}: not {recorded}: {said}");
    }
}

#[test]
fn cli_weights_of_the_wrong_kind_are_refused() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    let cli = |arguments: &[&str]| crossscale(folder.path(), arguments);
    let arguments = ["--model", "pt", "--width", "16", "--steps", "1"];
    let trained = train(folder.path(), "run", &arguments);
    assert!(trained.status.success(), "{}", stderr(&trained));
    assert!(cli(&["export", "run", "--out", "pt.safetensors"]).status.success());
    let path = |name: &str| folder.path().join(name);
    let mut bytes = std::fs::read(path("pt.safetensors")).unwrap();
    std::fs::write(path("short.safetensors"), &bytes[..bytes.len() - 4]).unwrap();
    bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(path("absurd.safetensors"), &bytes).unwrap();
    std::fs::write(path("data.toml"), "[data]\nlength = 0\n").unwrap();
    let import = |file: &str, more: &[&str]| {
        cli(&[&["import", file, "--model", "pt", "--out", "in"], more].concat())
    };
    let cases = [
        (import("pt.safetensors", &["--set", "model.width=24"]), 3, "expected shape"),
        (import("pt.safetensors", &["--set", "model.tied=true"]), 3, "head.decoder.weight"),
        (import("short.safetensors", &[]), 3, "follow"),
        (import("absurd.safetensors", &[]), 3, "claims"),
        (cli(&["import", "pt.safetensors", "--model", "ut", "--out", "in"]), 3, "not ut"),
        (cli(&["export", "run/runs", "--out", "x"]), 3, "no run"),
        (cli(&["export", "absent", "--out", "x"]), 3, "no run"),
        (cli(&["evaluate", "absent"]), 3, "name a run folder"),
        (cli(&["evaluate", "run", "--config", "data.toml"]), 2, "--> data.toml:2:1: length = 0"),
        (cli(&["evaluate", "run", "--set", "data.length=0"]), 2, "--> --set data.length=0"),
    ];
    for (output, code, part) in &cases {
        let message = stderr(output);
        assert_eq!(output.status.code(), Some(*code), "{message}");
        assert!(message.contains(part) && message.contains("hint: "), "{part}: {message}");
    }
    assert!(!path("in").exists(), "something half-written");
    std::fs::remove_file(run_folder(&path("run")).join("weights.safetensors")).unwrap();
    let none = cli(&["export", "run", "--out", "x"]);
    assert!(stderr(&none).contains("keeps no weights"), "{}", stderr(&none));
}
