//! What a trained model looks like inside: `fill`.

use tempfile::TempDir;

use super::identity::without;
use super::{crossscale, json, run_folder, stderr, stdout, text, train};

/// Trains one model of a family in `folder`.
fn trained(folder: &std::path::Path, family: &str, more: &[&str]) {
    let heads = if family.starts_with("pt") { "model.channels=2" } else { "model.head_dim=8" };
    let mut arguments = vec!["--model", family, "--width", "16", "--steps", "3", "--set", heads];
    arguments.extend(more);
    let output = train(folder, family, &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn cli_fill_answers_for_every_family_from_runs_and_files() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    let cli = |arguments: &[&str]| crossscale(folder.path(), arguments);
    for family in ["pt", "pt2023", "bert", "preln", "ut"] {
        let more: &[&str] = if family == "pt2023" { &["--set", "path=reference"] } else { &[] };
        trained(folder.path(), family, more);
        let filled = json(&cli(&["fill", family, "the [MASK] of [MASK*2]", "--json"]));
        let masks = filled.as_array().unwrap();
        let positions: Vec<u64> = masks.iter().map(|m| m["position"].as_u64().unwrap()).collect();
        assert_eq!(positions.len(), 3, "{filled}");
        assert_eq!((positions[1] - positions[0] > 1, positions[2] - positions[1]), (true, 1));
        for mask in masks {
            let predictions = mask["predictions"].as_array().unwrap();
            let shares: Vec<f64> =
                predictions.iter().map(|p| p["probability"].as_f64().unwrap()).collect();
            assert_eq!(shares.len(), 5);
            assert!(shares.windows(2).all(|pair| pair[0] >= pair[1]), "{shares:?}");
            assert!(shares[4] > 0.0 && shares.iter().sum::<f64>() < 1.0, "{shares:?}");
            assert!(predictions.iter().all(|p| p["token"].is_string()), "{mask}");
        }
        let file = format!("{family}.safetensors");
        assert!(cli(&["export", family, "--out", &file]).status.success());
        let question = ["fill", &file, "the [MASK] of [MASK*2]", "--json", "--tokenizer", family];
        let of_file = json(&cli(&question));
        for (a, b) in masks.iter().zip(of_file.as_array().unwrap()) {
            let share = |m: &serde_json::Value| m["predictions"][0]["probability"].as_f64();
            assert!((share(a).unwrap() - share(b).unwrap()).abs() < 1e-6, "{a} {b}");
        }
    }
    std::fs::write(folder.path().join("masked.txt"), "the [MASK] of\n").unwrap();
    let from_file = cli(&["fill", "pt", "--file", "masked.txt", "--top", "2"]);
    assert_eq!(stdout(&from_file), stdout(&cli(&["fill", "pt", "the [MASK] of", "--top", "2"])));
    assert!(stdout(&from_file).starts_with("token "), "{}", stdout(&from_file));
}

#[test]
fn cli_fill_says_what_it_cannot_answer() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    trained(folder.path(), "pt", &[]);
    let cli = |arguments: &[&str]| crossscale(folder.path(), arguments);
    assert!(cli(&["export", "pt", "--out", "pt.safetensors"]).status.success());
    assert!(cli(&["fill", "pt.safetensors", "[MASK]"]).status.success(), "it brings its tokenizer");
    let keys = ["tokenizer", "tokenizer_blake3"];
    without(&folder.path().join("pt.safetensors"), &keys);
    std::fs::write(folder.path().join("junk.txt"), b"\xff\xfe[MASK]").unwrap();
    let cases = [
        (cli(&["fill", "pt", "no mask"]), 2, "the text has no mask"),
        (cli(&["fill", "pt", "a [MASK*0]"]), 2, "[MASK*3]"),
        (cli(&["fill", "stripped.safetensors", "[MASK]"]), 2, "--tokenizer"),
        (cli(&["fill", "absent", "[MASK]"]), 3, "name a run folder"),
        (cli(&["fill", "pt", "--file", "junk.txt"]), 3, "junk.txt"),
        (
            cli(&["fill", "pt", "[MASK*1000] [MASK*1000] [MASK*1000] [MASK*1000] [MASK*1000]"]),
            2,
            "4096",
        ),
    ];
    for (output, code, part) in &cases {
        let message = stderr(output);
        assert_eq!(output.status.code(), Some(*code), "{message}");
        assert!(message.contains(part) && message.contains("hint: "), "{part}: {message}");
    }
    // A run keeps its tokenizer; one of an older version has that of its text, while this is there.
    let run = run_folder(&folder.path().join("pt"));
    std::fs::remove_file(run.join("tokenizer.toml")).unwrap();
    let ask = || cli(&["fill", run.to_str().unwrap(), "the [MASK]"]);
    assert!(ask().status.success(), "{}", stderr(&ask()));
    let text = folder.path().join("text.txt");
    let changed = std::fs::read_to_string(&text).unwrap().replace("people", "persons");
    std::fs::write(&text, changed).unwrap();
    let lost = ask();
    assert_eq!(lost.status.code(), Some(2), "{}", stderr(&lost));
    assert!(stderr(&lost).contains("no tokenizer"), "{}", stderr(&lost));
}
