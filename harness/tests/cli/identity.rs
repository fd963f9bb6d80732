//! Weights, their tokenizer and their text belong together, wherever they meet.

use std::path::{Path, PathBuf};
use std::process::Output;

use tempfile::TempDir;

use super::wild::{TINY, lines};
use super::{crossscale, json, run_folder, stderr, stdout};

/// A folder with `a.txt`, on which a run in `run` is trained, and `b.txt` in other words' order.
fn trained() -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("a.txt"), lines(600, 0)).unwrap();
    let swapped = |line: &str| {
        let words: Vec<&str> = line.split(' ').rev().collect();
        words.join(" ").replace("st", "qu").replace('.', " of old") + "\n"
    };
    let other: String = lines(500, 700).lines().map(swapped).collect();
    std::fs::write(folder.path().join("b.txt"), other).unwrap();
    let output = train(folder.path(), "run", &["--text", "a.txt"]);
    assert!(output.status.success(), "{}", stderr(&output));
    folder
}

fn train(folder: &Path, out: &str, more: &[&str]) -> Output {
    let small = ["train", "--seed", "1", "--set", "data.tokenizer.vocab=290", "--out", out];
    crossscale(folder, &[&small[..], &TINY, &["--set", "train.steps=30"][..], more].concat())
}

fn loss(output: &Output) -> f64 {
    json(output)["loss_nats"].as_f64().expect("a loss")
}

fn refused(output: &Output, parts: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("hint: "), "{message}");
    for part in parts {
        assert!(message.contains(part), "{message} lacks {part}");
    }
}

/// The same file of weights with some metadata keys taken out.
pub fn without(file: &Path, keys: &[&str]) -> PathBuf {
    let bytes = std::fs::read(file).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    for key in keys {
        header["__metadata__"].as_object_mut().unwrap().remove(*key).expect("the key is there");
    }
    let header = header.to_string();
    let stripped = file.with_file_name("stripped.safetensors");
    let head = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    std::fs::write(&stripped, [&head, &bytes[8 + length..]].concat()).unwrap();
    stripped
}

#[test]
fn cli_other_text_is_read_in_the_ids_that_the_weights_know() {
    let folder = trained();
    let cli = |arguments: &[&str]| crossscale(folder.path(), arguments);
    let run = run_folder(&folder.path().join("run"));
    let own = run.join("tokenizer.json").display().to_string();
    let by_hand = loss(&cli(&[
        "evaluate",
        "run",
        "--text",
        "b.txt",
        "--json",
        "--set",
        "data.tokenizer.kind=file",
        "--set",
        &format!("data.tokenizer.path={own}"),
    ]));
    let asked = cli(&["evaluate", "run", "--text", "b.txt", "--json"]);
    assert_eq!(loss(&asked).to_bits(), by_hand.to_bits());
    assert_eq!(json(&asked)["text_of_training"], false);
    assert_eq!(json(&cli(&["evaluate", "run", "--json"]))["text_of_training"], true);
    // Settings of a tokenizer that would be trained change nothing.
    let vocab =
        ["evaluate", "run", "--text", "b.txt", "--json", "--set", "data.tokenizer.vocab=300"];
    assert_eq!(loss(&cli(&vocab)).to_bits(), by_hand.to_bits());
    // Exported and imported files bring the tokenizer along.
    let near = |output: &Output| assert!((loss(output) - by_hand).abs() < 1e-5, "{}", loss(output));
    let length = ["--text", "b.txt", "--json", "--set", "data.length=16"];
    let text = [&length[..], &["--set", "data.paths.text_document=line"]].concat();
    assert!(cli(&["export", "run", "--out", "f.safetensors"]).status.success());
    near(&cli(&[&["evaluate", "f.safetensors"][..], &text].concat()));
    let import = ["import", "f.safetensors", "--model", "bert", "--out", "im"];
    assert!(stdout(&cli(&import)).contains("next: crossscale evaluate im/weights.safetensors"));
    near(&cli(&[&["evaluate", "im/weights.safetensors"][..], &text].concat()));
    // And so does a training that starts from any of them, without --model.
    for init in ["run", "f.safetensors", "im/weights.safetensors"] {
        let rate = ["--set", "train.learning_rate=1e-30", "--text", "b.txt", "--init", init];
        let small = ["train", "--steps", "1", "--seed", "1", "--out", "from", "--threads", "1"];
        let data = ["--set", "data.length=16", "--set", "data.paths.text_document=line"];
        let from = cli(&[&small[..], &data, &rate].concat());
        let said = stdout(&from);
        let start: f64 = said.split_whitespace().nth(2).unwrap_or_default().parse().unwrap();
        assert!((start - by_hand).abs() < 1e-3, "{init}: {start}, not {by_hand}");
        std::fs::remove_dir_all(folder.path().join("from")).unwrap();
    }
}

#[test]
fn cli_another_tokenizer_never_meets_the_weights() {
    let folder = trained();
    let cli = |arguments: &[&str]| crossscale(folder.path(), arguments);
    let other = train(folder.path(), "other", &["--text", "b.txt"]);
    assert!(other.status.success(), "{}", stderr(&other));
    let file = |run: &str| run_folder(&folder.path().join(run)).join("tokenizer.json");
    let path = format!("data.tokenizer.path={}", file("other").display());
    let foreign = ["--set", "data.tokenizer.kind=file", "--set", &path];
    let not_theirs = ["is not that of the weights", "leave data.tokenizer out"];
    refused(&cli(&[&["evaluate", "run"][..], &foreign].concat()), &not_theirs);
    let init = ["train", "--init", "run", "--text", "b.txt", "--out", "o"];
    refused(&cli(&[&init[..], &foreign].concat()), &not_theirs);
    assert!(cli(&["export", "run", "--out", "f.safetensors"]).status.success());
    refused(&cli(&[&["evaluate", "f.safetensors"][..], &foreign].concat()), &not_theirs);
    let import = ["import", "f.safetensors", "--model", "bert", "--out", "im", "--tokenizer"];
    let other = file("other").display().to_string();
    refused(&cli(&[&import[..], &[&other]].concat()), &["leave it out"]);
    // Files of other programs name no tokenizer: it is asked for, and kept once it is given.
    let keys = ["tokenizer", "tokenizer_blake3", "text_blake3"];
    without(&folder.path().join("f.safetensors"), &keys);
    std::fs::remove_file(folder.path().join("f.safetensors")).unwrap();
    let unknown = ["nothing says which tokenizer", "data.tokenizer.path=tokenizer.json", "import"];
    refused(&cli(&["evaluate", "stripped.safetensors"]), &unknown);
    refused(&cli(&["evaluate", "stripped.safetensors", "--text", "b.txt"]), &unknown);
    let small = ["train", "--init", "stripped.safetensors", "--text", "b.txt", "--out", "o"];
    refused(&cli(&small), &unknown);
    let bare = ["import", "stripped.safetensors", "--model", "bert", "--out", "bare"];
    let said = stdout(&cli(&bare));
    assert!(said.contains("data.tokenizer.path=tokenizer.json"), "{said}");
    refused(&cli(&["evaluate", "bare/weights.safetensors"]), &unknown);
    // The command that is printed works where the tokenizer lies there, as does import.
    std::fs::copy(file("run"), folder.path().join("tokenizer.json")).unwrap();
    let (_, next) = said.trim().split_once("next: crossscale ").unwrap();
    let length = ["--set", "data.length=16", "--set", "data.paths.text_document=line", "--json"];
    let next: Vec<&str> =
        next.split(' ').map(|word| if word == "FILE" { "b.txt" } else { word }).collect();
    let printed = loss(&cli(&[&next[..], &length].concat()));
    assert!(
        stdout(&cli(&bare)).contains("--text FILE\n"),
        "a tokenizer.json beside the file is taken"
    );
    let kept = ["evaluate", "bare/weights.safetensors", "--text", "b.txt"];
    assert_eq!(loss(&cli(&[&kept[..], &length].concat())).to_bits(), printed.to_bits());
    // A tokenizer of other ids in its place is found out.
    std::fs::copy(file("other"), file("run")).unwrap();
    refused(&cli(&["evaluate", "run"]), &["tokenizer.json beside it is not"]);
    refused(
        &cli(&["export", "run", "--out", "g.safetensors"]),
        &["tokenizer.json beside it is not"],
    );
}

#[test]
fn cli_other_text_is_divided_as_in_training_and_keeps_no_path_of_the_run() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("a/train.txt", &lines(300, 0));
    write("a/val.txt", &lines(40, 400));
    write("b/train.txt", &lines(100, 1000));
    write("b/valid.txt", &lines(50, 2000));
    write("b/test.txt", &lines(60, 3000));
    let output = train(folder.path(), "run", &["--text", "a"]);
    assert!(output.status.success(), "{}", stderr(&output));
    std::fs::remove_dir_all(folder.path().join("a")).unwrap();
    let cli = |arguments: &[&str]| crossscale(folder.path(), arguments);
    let sequences = |arguments: &[&str]| json(&cli(arguments))["sequences"].as_u64().unwrap();
    let validation = sequences(&["evaluate", "run", "--text", "b", "--json"]);
    let test = sequences(&["evaluate", "run", "--text", "b", "--json", "--split", "test"]);
    assert!(test > validation && validation > 40, "{validation} {test}");
    std::fs::write(
        folder.path().join("c.toml"),
        "data.source = \"paths\"\ndata.paths.train = [\"b/train.txt\"]\n\
         data.paths.validation = [\"b/valid.txt\"]\n",
    )
    .unwrap();
    assert_eq!(sequences(&["evaluate", "run", "--config", "c.toml", "--json"]), validation);
    let own = cli(&["evaluate", "run"]);
    refused(&own, &["a/train.txt"]);
}

#[test]
fn cli_the_same_text_under_another_path_is_the_same_run() {
    let folder = TempDir::new().unwrap();
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(folder.path().join("a.txt"), lines(300, 0)).unwrap();
    let absolute = folder.path().join("a.txt").display().to_string();
    let out = folder.path().join("o").display().to_string();
    for text in ["a.txt", "./a.txt", &absolute] {
        let output = train(folder.path(), &out, &["--text", text]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    assert!(train(&inside, &out, &["--text", "../a.txt"]).status.success());
    let run = run_folder(&folder.path().join("o"));
    // The tokenizer's place is no part of the name either.
    std::fs::copy(run.join("tokenizer.json"), folder.path().join("t.json")).unwrap();
    std::fs::copy(run.join("tokenizer.json"), inside.join("u.json")).unwrap();
    for file in ["t.json", "./t.json", "inside/u.json"] {
        let path = format!("data.tokenizer.path={file}");
        let more = ["--text", "a.txt", "--set", "data.tokenizer.kind=file", "--set", &path];
        let output = train(folder.path(), "p", &more);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    run_folder(&folder.path().join("p"));
    // Another text is another run, and that is said.
    std::fs::write(folder.path().join("a.txt"), lines(301, 0)).unwrap();
    let again = train(folder.path(), "o", &["--text", "a.txt"]);
    let id = run.file_name().unwrap().to_str().unwrap();
    let said = stderr(&again);
    assert!(said.contains(id) && said.contains("another text"), "{said}");
    let stale = crossscale(folder.path(), &["evaluate", &run.display().to_string()]);
    assert!(stale.status.success() && stderr(&stale).contains("has changed"), "{}", stderr(&stale));
}

#[test]
fn cli_copies_of_training_text_in_held_out_text_are_told() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.txt", &lines(300, 0));
    write("b.txt", &lines(300, 0));
    write("half.txt", &(lines(100, 0) + &lines(100, 500)));
    write("one.txt", &"a\n".repeat(500));
    let with = |file: &str| format!("data.paths.validation=[\"{file}\"]");
    let told = |file: &str, more: &[&str]| {
        let set = with(file);
        let out = format!("out-{file}-{}", more.len());
        let text = [&["--text", "a.txt", "--set", &set], more].concat();
        let output = train(folder.path(), &out, &text);
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    assert!(told("b.txt", &[]).contains("of 300 validation documents (9"));
    assert!(told("half.txt", &[]).contains("of 200 validation documents (4"));
    let whole = told("half.txt", &["--set", "data.paths.text_document=file", "--set", "seed=2"]);
    assert!(whole.contains("% of the validation text are lines of the training text"), "{whole}");
    let equal = train(folder.path(), "e", &["--text", "one.txt"]);
    assert!(stderr(&equal).contains("500, all the same"), "{}", stderr(&equal));
}
