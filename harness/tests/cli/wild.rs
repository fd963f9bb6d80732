//! Names and streams as they come: splits by name, names that are not UTF-8, skippable frames.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::{crossscale, stderr, stdout};

/// Sentences of words that follow from one another, each of them different.
pub fn lines(count: usize, first: usize) -> String {
    let words = ["river", "stone", "cloud", "bird", "green", "slow", "quick", "tree", "house"];
    let line = |number: usize| {
        let word = |place: usize| words[(number * number + number / 5 + place * place) % 9];
        let text: Vec<&str> = (0..12).map(word).collect();
        format!("{} {number}.\n", text.join(" "))
    };
    (first..first + count).map(line).collect()
}

pub const TINY: [&str; 16] = [
    "--model",
    "bert",
    "--width",
    "16",
    "--steps",
    "1",
    "--threads",
    "1",
    "--set",
    "model.layers=1",
    "--set",
    "model.head_dim=8",
    "--set",
    "data.length=16",
    "--set",
    "data.paths.text_document=line",
];

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// The table `[data.paths]` of a dry run.
fn paths(folder: &Path, text: &[&str]) -> Result<toml::Table, String> {
    let mut arguments = vec!["train", "--dry-run", "--out", "o"];
    arguments.extend(TINY);
    for path in text {
        arguments.extend(["--text", path]);
    }
    let output = crossscale(folder, &arguments);
    if !output.status.success() {
        return Err(stderr(&output));
    }
    let run: toml::Table = stdout(&output).parse().unwrap();
    Ok(run["data"]["paths"].as_table().unwrap().clone())
}

#[test]
fn cli_held_out_files_are_held_out_under_every_usual_name() {
    for names in [
        ["train.txt", "val.txt", ""],
        ["train.txt", "val.txt", "test.txt"],
        ["ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"],
        ["training.txt", "validation.txt", ""],
        ["train/0.txt", "eval/0.txt", ""],
        ["train-00000-of-00001.txt", "dev-00000-of-00001.txt", "test-00000-of-00001.txt"],
    ] {
        let folder = TempDir::new().unwrap();
        for (place, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            write(folder.path(), &[(&format!("d/{name}"), &lines(60, 100 * place))]);
        }
        let found = paths(folder.path(), &["d"]).unwrap();
        for (key, name) in ["train", "validation", "test"].into_iter().zip(names) {
            let top = Path::new(name).iter().next().unwrap_or_default().to_str().unwrap();
            let expected = if top.is_empty() { "[]".into() } else { format!("[\"d/{top}\"]") };
            assert_eq!(found[key].to_string(), expected, "{names:?}");
        }
    }
    let folder = TempDir::new().unwrap();
    let text = lines(60, 0);
    write(folder.path(), &[("d/train.txt", &text), ("d/validation.txt", &lines(60, 100))]);
    write(folder.path(), &[("more.txt", &lines(60, 200)), ("e/train.txt", &text)]);
    write(folder.path(), &[("e/last tenth.txt", &text)]);
    let both = paths(folder.path(), &["d", "more.txt"]).unwrap();
    assert_eq!(both["train"].to_string(), r#"["d/train.txt", "more.txt"]"#);
    assert_eq!(both["validation"].to_string(), r#"["d/validation.txt"]"#);
    let unknown = paths(folder.path(), &["e"]).unwrap_err();
    assert!(unknown.contains("last tenth.txt") && unknown.contains("hint: "), "{unknown}");
}

#[cfg(unix)]
fn raw(bytes: &[u8]) -> &OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}

#[cfg(unix)]
#[test]
fn cli_names_that_are_not_utf8_are_read_or_told_by_every_verb() {
    let folder = TempDir::new().unwrap();
    let odd = raw(b"caf\xe9.txt");
    std::fs::write(folder.path().join(odd), lines(300, 0)).unwrap();
    let run = |before: &[&str], after: &[&str]| -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crossscale"));
        command.current_dir(folder.path()).args(before).arg(odd).args(after).output().unwrap()
    };
    let train = [&["train"][..], &TINY, &["--out", "o", "--text"]].concat();
    let tokens = [&["train"][..], &TINY, &["--out", "o", "--tokens"]].concat();
    let init = [&["train"][..], &TINY, &["--out", "o", "--init"]].concat();
    let cases = [
        run(&train, &[]),
        run(&tokens, &[]),
        run(&init, &[]),
        run(&["status"], &[]),
        run(&["evaluate"], &[]),
        run(&["evaluate", "absent", "--text"], &[]),
        run(&["export"], &["--out", "x"]),
        run(&["import"], &["--model", "bert", "--out", "x"]),
        run(&["reproduce", "--dry-run", "--text"], &[]),
        run(&["plan", "--model"], &[]),
        run(&["train", "--set"], &[]),
        run(&["regress", "--gates"], &[]),
        run(&[], &[]),
    ];
    for output in &cases {
        let message = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code().unwrap();
        assert!(code == 2 || code == 3, "{code}: {message}");
        assert!(message.starts_with("error: "), "{message}");
    }
    let message = stderr(&cases[0]);
    assert!(message.contains("not UTF-8") && message.contains("hint: rename it"), "{message}");
    // Inside a folder, and as a folder of runs, such names are as good as others.
    std::fs::create_dir(folder.path().join("d")).unwrap();
    std::fs::rename(folder.path().join(odd), folder.path().join("d").join(odd)).unwrap();
    let place = raw(b"\xfcber");
    let trained = Command::new(env!("CARGO_BIN_EXE_crossscale"))
        .current_dir(folder.path())
        .arg("train")
        .args(TINY)
        .args(["--text", "d", "--out"])
        .arg(place)
        .output()
        .unwrap();
    assert!(trained.status.success(), "{}", stderr(&trained));
    for (verb, more) in [("evaluate", &[][..]), ("export", &["--out", "f"]), ("status", &[])] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crossscale"));
        let output = command.current_dir(folder.path()).arg(verb).arg(place).args(more).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{verb}: {}", stderr(&output));
    }
}

#[test]
fn cli_zstandard_files_with_skippable_frames_are_trained_on() {
    let folder = TempDir::new().unwrap();
    let text: String = lines(200, 0)
        .lines()
        .map(|line| serde_json::json!({ "text": line }).to_string() + "\n")
        .collect();
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let frame = ruzstd::encoding::compress_to_vec(text.as_bytes(), level);
    let skippable = [&0x184D_2A5E_u32.to_le_bytes()[..], &3u32.to_le_bytes(), b"abc"].concat();
    let archives = [
        ("plain", frame.clone()),
        ("first", [&skippable[..], &frame].concat()),
        ("last", [&frame[..], &skippable].concat()),
    ];
    let mut said = Vec::new();
    for (name, bytes) in archives {
        let file = format!("{name}.jsonl.zst");
        std::fs::write(folder.path().join(&file), bytes).unwrap();
        let arguments = [&["train"][..], &TINY, &["--text", &file, "--out", name]].concat();
        let output = crossscale(folder.path(), &arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        said.push(stdout(&output).lines().next().unwrap().to_owned());
    }
    assert!(said.iter().all(|line| *line == said[0]), "{said:?}");
}
