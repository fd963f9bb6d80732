//! Several processes at one experiment, killed at random.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Child;

use tempfile::TempDir;

use super::{delays, run, start, stderr, write_text};

const EXPERIMENT: &str = r#"
name = "tiny"
question = "a test"
analysis = "Nothing."
seeds = 3
[search_rule]
factor = 2.0
points_each_side = 1
points_max = 5
seed = 1
[data]
source = "paths"
length = 16
[data.paths]
train = ["text.txt"]
text_document = "paragraph"
validation_share = 0.25
[data.tokenizer]
vocab = 270
[train]
steps = 120
batch = 8
checkpoint_every = 5
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
"#;

/// Manifests of runs that ended, by folder.
fn ended(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let runs = std::fs::read_dir(out.join("runs")).into_iter().flatten();
    runs.filter_map(|run| {
        let path = run.ok()?.path();
        let text = std::fs::read(path.join("manifest.json")).ok()?;
        let done = String::from_utf8_lossy(&text).contains("\"status\": \"finished\"");
        done.then_some((path, text))
    })
    .collect()
}

#[test]
fn invariant_four_workers_with_random_kills_lose_and_double_nothing() {
    let folder = TempDir::new().unwrap();
    write_text(folder.path());
    std::fs::write(folder.path().join("tiny.toml"), EXPERIMENT).unwrap();
    let arguments = |out: &'static str| {
        ["reproduce", "--preset", "tiny.toml", "--quiet", "--jobs", "1", "--out", out]
    };
    let alone = run(folder.path(), &arguments("alone"));
    assert!(alone.status.success(), "{}", stderr(&alone));
    let out = folder.path().join("shared");
    let mut workers: Vec<Child> =
        (0..4).map(|_| start(folder.path(), &arguments("shared"))).collect();
    let mut seen: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    let mut kills = 0;
    for (round, delay) in delays(40, 400).enumerate() {
        std::thread::sleep(delay);
        for (path, text) in ended(&out) {
            // Written once and never again: a run done twice would have another end time.
            let first = seen.entry(path.clone()).or_insert_with(|| text.clone());
            assert!(*first == text, "{} was done twice", path.display());
        }
        if workers.iter_mut().all(|worker| worker.try_wait().unwrap().is_some()) {
            break;
        }
        let victim = &mut workers[round * 7 % 4];
        if kills < 12 && victim.try_wait().unwrap().is_none() {
            victim.kill().unwrap();
            victim.wait().unwrap();
            kills += 1;
            *victim = start(folder.path(), &arguments("shared"));
        }
    }
    for worker in workers {
        let output = worker.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    assert!(kills >= 3, "only {kills} kills before the end");
    let last = run(folder.path(), &arguments("shared"));
    assert!(last.status.success(), "{}", stderr(&last));
    let end = ended(&out);
    for (path, text) in &seen {
        assert!(end.get(path) == Some(text), "{} was done twice", path.display());
    }
    let table = |out: &str| std::fs::read(folder.path().join(out).join("differences.csv")).unwrap();
    assert!(table("alone") == table("shared"), "the answer depends on who computed it");
    let alone = ended(&folder.path().join("alone"));
    let names = |runs: &BTreeMap<PathBuf, Vec<u8>>| -> Vec<String> {
        runs.keys().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names(&alone), names(&end));
    for (one, many) in alone.keys().zip(end.keys()) {
        for name in ["metrics.csv", "evaluation.csv", "documents.csv"] {
            assert!(
                std::fs::read(one.join(name)).unwrap() == std::fs::read(many.join(name)).unwrap()
            );
        }
    }
    let status = run(folder.path(), &["status", "shared", "--preset", "tiny.toml", "--json"]);
    assert!(status.status.success(), "{}", stderr(&status));
    let ledgers: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(ledgers[0]["missing"]["fewest"], 0, "{ledgers}");
    assert_eq!(ledgers[0]["runs"].as_array().unwrap().len(), end.len());
}
