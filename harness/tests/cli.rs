//! The command line as a user sees it: exit codes, messages, files. Here and not in `tests/`
//! because cargo tells only this package where its binary is.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

#[path = "cli/codes.rs"]
mod codes;
#[path = "cli/coordcheck.rs"]
mod coordcheck;
#[path = "cli/damage.rs"]
mod damage;
#[path = "cli/data.rs"]
mod data;
#[path = "cli/documents.rs"]
mod documents;
#[path = "cli/edges.rs"]
mod edges;
#[path = "cli/experiments.rs"]
mod experiments;
#[path = "cli/faults.rs"]
mod faults;
#[path = "cli/finished.rs"]
mod finished;
#[path = "cli/followed.rs"]
mod followed;
#[path = "cli/guards.rs"]
mod guards;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/hints.rs"]
mod hints;
#[path = "cli/identity.rs"]
mod identity;
#[path = "cli/import.rs"]
mod import;
#[path = "cli/judge.rs"]
mod judge;
#[path = "cli/parity.rs"]
mod parity;
#[path = "cli/runs.rs"]
mod runs;
#[path = "cli/terminal.rs"]
mod terminal;
#[path = "cli/weights.rs"]
mod weights;
#[path = "cli/whitebox.rs"]
mod whitebox;
#[path = "cli/wild.rs"]
mod wild;

fn crossscale(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crossscale"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("the binary starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("output is UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("messages are UTF-8")
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).expect("--json prints JSON")
}

/// A small text of several documents.
fn text(folder: &Path) -> PathBuf {
    let path = folder.join("text.txt");
    let words = ["the", "people", "of", "this", "union", "have", "work", "to", "do", "and"];
    let mut content = String::new();
    for document in 0..40 {
        for place in 0..60 {
            content.push_str(words[(document * 7 + place * 3 + place * place) % words.len()]);
            content.push(if place % 12 == 11 { '\n' } else { ' ' });
        }
        content.push_str("\n\n");
    }
    std::fs::write(&path, content).expect("the folder can be written");
    path
}

const SMALL: [&str; 14] = [
    "--set",
    "data.paths.text_document=paragraph",
    "--set",
    "data.paths.validation_share=0.2",
    "--set",
    "data.tokenizer.vocab=280",
    "--set",
    "data.length=16",
    "--set",
    "train.batch=4",
    "--set",
    "train.evaluate_every=2",
    "--set",
    "parametrization.base_width=16",
];

fn train(folder: &Path, out: &str, more: &[&str]) -> Output {
    let mut arguments = vec!["train", "--text", "text.txt", "--seed", "1", "--out", out];
    arguments.extend(SMALL);
    arguments.extend(more);
    crossscale(folder, &arguments)
}

/// The only run folder under `out`.
fn run_folder(out: &Path) -> PathBuf {
    let mut folders = std::fs::read_dir(out.join("runs")).expect("a ledger has runs");
    let only = folders.next().expect("one run").expect("readable").path();
    assert!(folders.next().is_none(), "exactly one run");
    only
}

#[test]
fn cli_plan_prints_the_published_counts() {
    let folder = TempDir::new().unwrap();
    let arguments = ["plan", "--model", "pt", "--width", "256", "--vocab", "32000", "--json"];
    let plan = json(&crossscale(folder.path(), &arguments));
    assert_eq!(plan["parameters"]["total"], 17_072_128);
    assert_eq!(plan["parameters"]["by_role"]["input"], 32_000 * 256);
    assert!(plan["parameters"]["non_embedding"].as_u64().unwrap() < 1_000_000);
    assert!(plan["flops_per_token"].as_f64().unwrap() > 1e6);
    assert!(plan["memory_bytes"]["peak"].as_u64().unwrap() > 4 * 17_072_128);
    let ut = ["plan", "--model", "ut", "--width", "64", "--json"];
    let looped = ["--set", "model.positions=rotary", "--set", "model.injection=true"];
    let count = |more: &[&str]| {
        json(&crossscale(folder.path(), &[&ut, more].concat()))["parameters"]["total"].as_u64()
    };
    assert_eq!(count(&[]).unwrap() - count(&looped).unwrap(), 1024 * 64, "the position table");
    let gpu = "plan --device cuda --precision split --model pt --width 3840 --vocab 32000 \
               --length 1024 --batch 128 --json";
    let gpu = json(&crossscale(folder.path(), &gpu.split(' ').collect::<Vec<_>>()));
    let device = &gpu["device"];
    assert_eq!((&device["precision"], &device["parts"]), (&"split".into(), &2.into()));
    assert!((70e9..141e9).contains(&device["bytes_peak"].as_f64().unwrap()), "{device}");
    assert!((3.0..5.0).contains(&device["seconds_per_step"].as_f64().unwrap()), "{device}");
    assert!(device["basis"].as_str().unwrap().contains("assumed, not measured"), "{device}");
    for wrong in [&["--precision", "split"][..], &["--device", "cuda", "--precision", "fast"]] {
        let refused = crossscale(folder.path(), &[&ut[..], wrong].concat());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains("train.precision") || said.contains("`split`"), "{said}");
    }
    let other = crossscale(folder.path(), &[&ut[..], &["--set", "train.steps=2"]].concat());
    assert_eq!(other.status.code(), Some(2), "{}", String::from_utf8_lossy(&other.stderr));
}

#[test]
fn cli_explain_lists_every_tensor_with_its_multipliers() {
    let folder = TempDir::new().unwrap();
    let arguments =
        ["explain", "--model", "pt", "--width", "512", "--parametrization", "pt-2026", "--json"];
    let rows = json(&crossscale(folder.path(), &arguments));
    let decoder = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == "head.decoder.weight")
        .expect("the decoder is listed");
    assert_eq!(decoder["role"], "output");
    assert_eq!(decoder["lr_multiplier"], 1.0 / 512.0);
    assert_eq!(decoder["init_std"], 1.0 / 512.0);
    for key in ["shape", "forward_multiplier", "weight_decay_multiplier", "eps_multiplier"] {
        assert!(!decoder[key].is_null(), "{key} is missing");
    }
}

#[test]
fn cli_train_writes_the_same_metrics_twice_and_reuses_a_finished_run() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    for (model, width) in [("pt", "16"), ("bert", "16"), ("preln", "16"), ("ut", "16")] {
        let heads = if model == "pt" { "model.channels=2" } else { "model.head_dim=8" };
        let arguments = ["--model", model, "--width", width, "--steps", "4", "--set", heads];
        let mut metrics = Vec::new();
        for (out, threads) in [("a", "1"), ("b", "2")] {
            let out = format!("{model}-{out}");
            let mut more = arguments.to_vec();
            more.extend(["--threads", threads]);
            let output = train(folder.path(), &out, &more);
            assert!(output.status.success(), "{}", stderr(&output));
            assert!(stdout(&output).contains("held-out loss"), "{}", stdout(&output));
            let run = run_folder(&folder.path().join(&out));
            metrics.push(std::fs::read(run.join("metrics.csv")).unwrap());
        }
        assert_eq!(metrics[0], metrics[1], "{model}: metrics depend on threads");
        let again = train(folder.path(), &format!("{model}-a"), &arguments);
        assert!(again.status.success(), "{}", stderr(&again));
        assert!(!stderr(&again).contains("2/4"), "a finished run was repeated");
    }
}

/// Two families at two budgets, three steps each.
const TINY: &str = r#"
name = "tiny"
question = "a test"
analysis = "Nothing."
seeds = 2
[search_rule]
factor = 2.0
points_each_side = 1
points_max = 4
seed = 1
[data]
source = "paths"
length = 16
[data.paths]
train = ["text.txt"]
text_document = "paragraph"
validation_share = 0.2
[data.tokenizer]
vocab = 270
[train]
steps = 3
batch = 4
[ladder]
budgets = [10494, 16758]
families = ["pt", "bert"]
[ladder.models.pt]
parametrization = "mup-table8"
search.center = 0.1
model = { channels = 2, iterations = 2 }
[ladder.models.bert]
parametrization = "mup-table8"
search.center = 2e-3
model = { layers = 1, head_dim = 6, max_length = 16, types = 1 }
[ladder.transfer]
family = "pt"
parametrizations = ["mup-table8", "standard"]
widths = [16, 24]
center = 0.1
seeds = 1
"#;

/// The comparison has every column that scripts rely on and keeps to its budgets.
fn check_comparison(comparison: &[u8]) {
    let mut reader = csv::Reader::from_reader(comparison);
    let headers = reader.headers().unwrap().clone();
    for column in [
        "budget",
        "family",
        "parametrization",
        "width",
        "depth",
        "parameters_total",
        "parameters_non_embedding",
        "flops_per_token",
        "tokens",
        "seeds",
        "loss_nats_mean",
        "loss_nats_ci_low",
        "loss_nats_ci_high",
        "unigram_loss_nats",
        "tokens_per_second",
    ] {
        assert!(headers.iter().any(|header| header == column), "no column {column}");
    }
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 4, "two families at two budgets");
    for row in &rows {
        let number = |index: usize| row[index].parse::<f64>().unwrap();
        assert!((number(5) / number(0) - 1.0).abs() <= 0.01, "{row:?} misses its budget");
    }
}

#[test]
fn cli_reproduce_is_complete_and_a_second_call_rewrites_it_identically() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    std::fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
    let arguments = ["reproduce", "--preset", "tiny.toml", "--out", "out", "--quiet"];
    let mut dry = arguments.to_vec();
    dry.push("--dry-run");
    let plan = stdout(&crossscale(folder.path(), &dry));
    for part in ["search", "ladder", "transfer", "hidden", "FLOPs/token", "memory", "basis: "] {
        assert!(plan.contains(part), "no {part} in the plan:\n{plan}");
    }
    assert!(!folder.path().join("out").exists(), "a plan starts nothing");
    let first = crossscale(folder.path(), &arguments);
    assert!(first.status.success(), "{}", stderr(&first));
    let files = [
        "report.md",
        "report.html",
        "comparison.csv",
        "runs.csv",
        "differences.csv",
        "loss_vs_parameters.svg",
        "learning_rate_transfer.svg",
        "training_curves_largest_budget.csv",
    ];
    let read = || -> Vec<Vec<u8>> {
        let path = |name| folder.path().join("out").join(name);
        files.iter().map(|name| std::fs::read(path(name)).expect(name)).collect()
    };
    let before = read();
    check_comparison(&before[2]);
    let second = crossscale(folder.path(), &arguments);
    assert!(second.status.success(), "{}", stderr(&second));
    assert_eq!(before, read(), "a second call must rewrite identical reports");
}

#[test]
fn cli_bad_input_is_one_clear_error_with_its_exit_code() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    std::fs::write(folder.path().join("latin1.txt"), b"caf\xe9 au lait").unwrap();
    std::fs::write(folder.path().join("empty.txt"), b"").unwrap();
    std::fs::write(folder.path().join("bad.toml"), "[train]\nlearning_rate = \"fast\"\n").unwrap();
    let cross = "[train]\nbatch = 12\n  micro_batches = 5\n";
    std::fs::write(folder.path().join("cross.toml"), cross).unwrap();
    let pt = ["--model", "pt", "--width", "16", "--steps", "1"];
    let with = |more: &[&str]| {
        let mut arguments = pt.to_vec();
        arguments.extend(more);
        train(folder.path(), "out", &arguments)
    };
    let reading = |file: &str| {
        let mut arguments = vec!["train", "--text", file, "--out", "out"];
        arguments.extend(SMALL);
        arguments.extend(pt);
        crossscale(folder.path(), &arguments)
    };
    let with_batch = ["--set", "train.batch=12", "--set", "train.micro_batches=5"];
    let cases: [(Output, i32, &str); 15] = [
        (with(&["--set", "train.stepz=3"]), 2, "--set train.stepz=3: unknown field"),
        (with(&["--set", "train.stepz=3"]), 2, "did you mean steps?"),
        (with(&["--config", "cross.toml"]), 2, "--> cross.toml:3:3: micro_batches = 5"),
        (with(&with_batch), 2, "--> --set train.micro_batches=5"),
        (with(&["--set", "train.stepz=3"]), 2, "stepz"),
        (with(&["--set", "train.steps=\"many\""]), 2, "steps"),
        (with(&["--config", "bad.toml"]), 2, "bad.toml: TOML parse error at line 2"),
        (with(&["--set", "model.rank=3"]), 2, "even rank"),
        (with(&["--set", "train.ranks=2"]), 2, "hint: mpirun -n 2 crossscale train"),
        (with(&["--parallel", "nccl"]), 6, "error: --parallel nccl ("),
        (train(folder.path(), "out", &["--model", "bert", "--width", "18"]), 2, "18"),
        (train(folder.path(), "out", &["--model", "berd"]), 2, "did you mean bert"),
        (reading("absent.txt"), 3, "absent.txt"),
        (reading("latin1.txt"), 3, "latin1.txt"),
        (reading("empty.txt"), 3, "empty"),
    ];
    let dry = train(folder.path(), "dry", &[&pt[..], &["--dry-run"]].concat());
    assert!(stdout(&dry).contains("width = 16"), "{}", stderr(&dry));
    assert!(!folder.path().join("dry").exists(), "a dry run writes nothing");
    for (output, code, part) in &cases {
        let message = stderr(output);
        assert_eq!(output.status.code(), Some(*code), "{message}");
        assert!(message.contains("error: ") && message.contains(part), "{part}: {message}");
        assert!(message.contains("hint: "), "no remedy: {message}");
        assert!(!folder.path().join("out/runs").exists(), "something half-written: {message}");
    }
}
