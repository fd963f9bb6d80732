//! Finished runs beside each other: `compare RUN RUN`, the curve of a single run.

use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use super::wild::{TINY, lines};
use super::{crossscale, json, run_folder, stderr, stdout};

fn train(folder: &Path, out: &str, more: &[&str]) -> Output {
    let text = ["--text", "a.txt", "--out", out];
    let output = crossscale(folder, &[&["train"][..], &TINY, &text, more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

fn compare(folder: &Path, sides: [&str; 2], more: &[&str]) -> Output {
    crossscale(folder, &[&["compare"][..], &sides, more].concat())
}

#[test]
fn cli_two_finished_runs_are_compared_by_document_or_by_seed() {
    let home = TempDir::new().unwrap();
    let folder = home.path();
    std::fs::write(folder.join("a.txt"), lines(400, 0)).unwrap();
    train(folder, "short", &["--seed", "1"]);
    train(folder, "long", &["--seed", "1", "--set", "train.steps=150"]);
    let said = stdout(&compare(folder, ["long", "short"], &[]));
    assert!(said.contains("they differ in train.steps 150 against 1\n"), "{said}");
    assert!(said.contains("documents; p = ") && said.contains(" is: better\n"), "{said}");
    assert!(said.contains("not of other seeds"), "{said}");
    // The numbers are those of the files.
    let one = json(&compare(folder, ["long", "short"], &["--json"]));
    let loss = |out: &str| {
        let file = run_folder(&folder.join(out)).join("documents.csv");
        let text = std::fs::read_to_string(file).unwrap();
        let rows = text.lines().skip(1).map(|row| row.split(',').map(|cell| cell.parse().unwrap()));
        let rows: Vec<Vec<f64>> = rows.map(Iterator::collect).collect();
        let sum = |place: usize| rows.iter().map(|row| row[place]).sum::<f64>();
        (sum(1) / sum(2), rows.len())
    };
    let ((long, documents), (short, _)) = (loss("long"), loss("short"));
    let number = |key: &str| one[key].as_f64().unwrap();
    assert!((number("difference_nats") - (long - short)).abs() < 1e-9, "{one}");
    assert_eq!((number("n") as usize, one["over"].as_str()), (documents, Some("documents")));
    assert!(number("ci_low_nats") < number("difference_nats") && number("ci_high_nats") < 0.0);
    // Swapped, the other is worse by as much; run folders themselves are named as well.
    let runs = [run_folder(&folder.join("short")), run_folder(&folder.join("long"))];
    let runs = runs.each_ref().map(|run| run.to_str().unwrap());
    let other = json(&compare(folder, runs, &["--json"]));
    assert!((other["difference_nats"].as_f64().unwrap() - (short - long)).abs() < 1e-9);
    assert_eq!(other["verdict"], "worse");
    // More seeds of both are paired.
    train(folder, "short", &["--seed", "2"]);
    train(folder, "long", &["--seed", "2", "--set", "train.steps=150"]);
    let seeds = json(&compare(folder, ["long", "short"], &["--json"]));
    assert_eq!((&seeds["n"], &seeds["over"]), (&2.into(), &"seeds".into()), "{seeds}");
}

#[test]
fn cli_runs_that_cannot_be_compared_are_refused_with_the_reason() {
    let home = TempDir::new().unwrap();
    let folder = home.path();
    std::fs::write(folder.join("a.txt"), lines(300, 0)).unwrap();
    train(folder, "a", &[]);
    train(folder, "masks", &["--set", "data.evaluation.seed=7"]);
    train(folder, "vocab", &["--set", "data.tokenizer.vocab=300"]);
    std::fs::write(folder.join("a.txt"), lines(300, 999)).unwrap();
    train(folder, "text", &[]);
    train(folder, "several", &[]);
    train(folder, "several", &["--set", "train.steps=2"]);
    std::fs::create_dir(folder.join("empty")).unwrap();
    train(folder, "cut", &["--set", "train.steps=3"]);
    let manifest = run_folder(&folder.join("cut")).join("manifest.json");
    let changed =
        std::fs::read_to_string(&manifest).unwrap().replace("\"finished\"", "\"running\"");
    std::fs::write(&manifest, changed).unwrap();
    for (sides, more, code, part) in [
        (["a", "masks"], &[][..], 2, "data.evaluation is"),
        (["a", "vocab"], &[], 2, "different texts or tokenizers"),
        (["a", "text"], &[], 2, "different texts or tokenizers"),
        (["a", "several"], &[], 2, "runs of several configurations"),
        (["a", "a"], &[], 2, "both are run"),
        (["a", "empty"], &[], 3, "holds no run"),
        (["a", "cut"], &[], 3, "is not finished"),
        (["a", "pt"], &[], 2, "is a folder, pt is none"),
        (["a", "masks"], &["--seeds", "3"], 2, "compared as they are"),
        (["runs/absent", "a"], &[], 2, "is a folder"),
        (["runs/absent", "runs/none"], &[], 3, "no such folder"),
    ] {
        let output = compare(folder, sides, more);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{sides:?}: {told}");
        assert!(told.contains(part) && told.contains("hint: "), "{sides:?}: {told}");
        assert!(output.stdout.is_empty(), "{sides:?}: {}", stdout(&output));
    }
}

#[test]
fn cli_a_single_run_has_its_curve() {
    let home = TempDir::new().unwrap();
    std::fs::write(home.path().join("a.txt"), lines(300, 0)).unwrap();
    let more = ["--set", "train.steps=40", "--set", "train.evaluate_every=10"];
    let output = train(home.path(), "o", &more);
    let line = stdout(&output).lines().find(|line| line.starts_with("curve ")).unwrap().to_owned();
    let file = home.path().join(line.trim_start_matches("curve "));
    let svg = std::fs::read_to_string(&file).unwrap();
    for part in ["<svg", "held-out text", "training batches", "loss (nats)"] {
        assert!(svg.contains(part), "no {part}");
    }
    let begun = train(home.path(), "p", &["--init", "o"]);
    assert!(stdout(&begun).contains("\ncurve p/runs/"), "{}", stderr(&begun));
    // A curve that cannot be written takes nothing from the run.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let again = train(home.path(), "o", &more);
    assert!(stderr(&again).contains("no curve"), "{}", stderr(&again));
}
