//! Hints that are followed: what a message tells is done as it is told, and the command then works.

use std::path::Path;

use tempfile::TempDir;

use super::wild::{TINY, lines};
use super::{crossscale, stderr};

/// A mistake, and what its hint says to do about it.
struct Hint<'a> {
    /// Arguments that are refused.
    mistake: Vec<&'a str>,
    /// What the hint names; its words are among those of `then`, or are the change of a file.
    named: &'a str,
    /// Done to the folder before `then`.
    change: fn(&Path),
    /// Arguments that follow the hint.
    then: Vec<&'a str>,
}

/// A training that only resolves and reads.
fn dry<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "--dry-run", "--out", "o"], &TINY[..TINY.len() - 2], more].concat()
}

/// `mistake` mended by more arguments.
fn added<'a>(mistake: Vec<&'a str>, named: &'a str, more: &[&'a str]) -> Hint<'a> {
    let then = [&mistake, more].concat();
    Hint { mistake, named, change: |_| (), then }
}

/// `mistake` mended by `then`.
fn instead<'a>(mistake: Vec<&'a str>, named: &'a str, then: Vec<&'a str>) -> Hint<'a> {
    Hint { mistake, named, change: |_| (), then }
}

fn rename(folder: &Path, from: &str, to: &str) {
    std::fs::rename(folder.join(from), folder.join(to)).unwrap();
}

fn files(folder: &Path) {
    let write = |name: &str, text: &[u8]| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let text = lines(200, 0);
    write("a.txt", text.as_bytes());
    write("notes", text.as_bytes());
    let body = |line: &str| serde_json::json!({ "body": line }).to_string() + "\n";
    write("body.jsonl", text.lines().map(body).collect::<String>().as_bytes());
    write(
        "packed.txt",
        &ruzstd::encoding::compress_to_vec(
            text.as_bytes(),
            ruzstd::encoding::CompressionLevel::Fastest,
        ),
    );
    write("mixed/train.txt", text.as_bytes());
    write("mixed/last.txt", lines(60, 500).as_bytes());
    write("lost/train.txt", text.as_bytes());
    write("lost/val.csv", b"text\n");
    write("odd.toml", b"[train]\nstep = 3\n");
}

fn of_text<'a>() -> Vec<Hint<'a>> {
    let whole = ["--text", "a.txt", "--set", "data.paths.text_document=file"];
    let line = "data.paths.text_document=line";
    vec![
        added(dry(&whole), "data.paths.text_document=paragraph", &["--set", line]),
        added(
            dry(&["--text", "body.jsonl"]),
            "set data.paths.text_field to one of [\"body\"]",
            &["--set", "data.paths.text_field=body"],
        ),
        Hint {
            mistake: dry(&["--text", "packed.txt"]),
            named: "give its name the ending .zst",
            change: |folder| rename(folder, "packed.txt", "packed.txt.zst"),
            then: dry(&["--text", "packed.txt.zst"]),
        },
        Hint {
            mistake: dry(&["--text", "notes"]),
            named: "rename it if it is text",
            change: |folder| rename(folder, "notes", "notes.txt"),
            then: dry(&["--text", "notes.txt"]),
        },
        instead(
            dry(&["--text", "mixed"]),
            "--set data.source=paths --set 'data.paths.train=[\"mixed\"]' in place of --text",
            dry(&[
                "--set",
                "data.source=paths",
                "--set",
                "data.paths.train=[\"mixed\"]",
                "--set",
                line,
            ]),
        ),
        instead(
            dry(&["--text", "lost"]),
            "give the files to read by name",
            dry(&["--text", "lost/train.txt"]),
        ),
        added(
            dry(&["--text", "a.txt", "--set", "data.tokenizer.vocab=3"]),
            "use 260 to",
            &["--set", "data.tokenizer.vocab=260"],
        ),
        added(
            dry(&["--text", "a.txt", "--set", "data.masking.share=0"]),
            "use e.g. 0.15",
            &["--set", "data.masking.share=0.15"],
        ),
        added(
            dry(&["--text", "a.txt", "--set", "data.paths.validation_share=1"]),
            "lower data.paths.validation_share or test_share",
            &["--set", "data.paths.validation_share=0.2"],
        ),
        added(
            dry(&["--set", "data.source=paths"]),
            "data.paths.train",
            &["--set", "data.paths.train=[\"a.txt\"]", "--set", line],
        ),
    ]
}

fn of_models<'a>() -> Vec<Hint<'a>> {
    let explain = |width: &'a str| vec!["explain", "--model", "bert", "--width", width];
    let base = "parametrization.base_width=16";
    vec![
        added(
            dry(&["--text", "a.txt", "--set", "parametrization.base_width=12"]),
            "set parametrization.base_width=16",
            &["--set", base],
        ),
        instead(
            [explain("2048"), vec!["--base-width", "0"]].concat(),
            "use --base-width",
            [explain("2048"), vec!["--base-width", "64"]].concat(),
        ),
        added(
            dry(&["--text", "a.txt", "--set", "train.learning_rate=0"]),
            "set it above 0, e.g. 1e-3",
            &["--set", "train.learning_rate=1e-3"],
        ),
        added(
            dry(&["--text", "a.txt", "--set", "train.beta2=1"]),
            "e.g. 0.999",
            &["--set", "train.beta2=0.999"],
        ),
        instead(
            vec![
                "plan",
                "--model",
                "bert",
                "--width",
                "64",
                "--batch",
                "8",
                "--micro-batches",
                "3",
            ],
            "give a divisor of the batch",
            vec![
                "plan",
                "--model",
                "bert",
                "--width",
                "64",
                "--batch",
                "8",
                "--micro-batches",
                "4",
            ],
        ),
        instead(
            vec!["plan", "--model", "brt", "--width", "64"],
            "did you mean bert?",
            vec!["plan", "--model", "bert", "--width", "64"],
        ),
        instead(
            dry(&["--text", "a.txt", "--config", "odd.toml"]),
            "did you mean",
            dry(&["--text", "a.txt", "--set", "train.steps=3"]),
        ),
    ]
}

fn of_verbs<'a>() -> Vec<Hint<'a>> {
    vec![
        instead(
            vec!["launch", "slurm", "quick", "--partition", "p", "--gpus", "4", "--dry-run"],
            "give --gpus 1 --tasks 16",
            vec![
                "launch",
                "slurm",
                "quick",
                "--partition",
                "p",
                "--gpus",
                "1",
                "--tasks",
                "16",
                "--dry-run",
            ],
        ),
        instead(vec!["status", "absent"], "give the --out folder of train", vec!["status", "ran"]),
        instead(
            vec!["compare", "runs/absent", "runs/none"],
            "crossscale runs lists",
            vec!["runs", "ran"],
        ),
        instead(
            vec!["evaluate", "absent"],
            "crossscale status FOLDER lists runs",
            vec!["status", "ran"],
        ),
        instead(
            vec!["run", "transfr", "--dry-run"],
            "did you mean transfer?",
            vec!["run", "transfer", "--dry-run"],
        ),
    ]
}

#[test]
fn cli_hints_are_followed_and_help() {
    let home = TempDir::new().unwrap();
    files(home.path());
    let ran = [&["train"], &TINY[..], &["--text", "a.txt", "--out", "ran"]].concat();
    let ran = crossscale(home.path(), &ran);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let mut wrong = Vec::new();
    for Hint { mistake, named, change, then } in
        of_text().into_iter().chain(of_models()).chain(of_verbs())
    {
        let refused = crossscale(home.path(), &mistake);
        let told = stderr(&refused);
        let hint = told.split("hint: ").nth(1).unwrap_or_default();
        if refused.status.success() || !hint.contains(named) {
            wrong.push(format!("{mistake:?}: {named:?} is not in\n{told}"));
            continue;
        }
        change(home.path());
        let followed = crossscale(home.path(), &then);
        if !followed.status.success() {
            wrong.push(format!("{then:?}, as {hint:?} says:\n{}", stderr(&followed)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
