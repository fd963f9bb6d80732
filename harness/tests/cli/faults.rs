//! Faults that would pass in silence: text that was trained on, files left out, numbers that are
//! none, names that are formulas.

use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use super::wild::{TINY, lines};
use super::{crossscale, json, stderr, stdout};

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn train(folder: &Path, text: &str, out: &str) -> Output {
    crossscale(folder, &[&["train"][..], &TINY, &["--text", text, "--out", out]].concat())
}

#[test]
fn cli_evaluate_says_what_of_another_text_was_trained_on() {
    let folder = TempDir::new().unwrap();
    let (seen, other) = (lines(300, 0), lines(300, 1000));
    write(folder.path(), "d/train.txt", &seen);
    write(folder.path(), "d/val.txt", lines(60, 2000));
    write(folder.path(), "other.txt", &other);
    write(folder.path(), "mixed.txt", seen.clone() + &other);
    let trained = train(folder.path(), "d", "o");
    assert!(trained.status.success(), "{}", stderr(&trained));
    let share = |more: &[&str]| {
        let output = crossscale(folder.path(), &[&["evaluate", "o", "--json"], more].concat());
        (json(&output)["trained_on_share"].as_f64(), stderr(&output))
    };
    assert_eq!(share(&[]), (Some(0.0), String::new()));
    let (all, told) = share(&["--text", "d/train.txt"]);
    assert!(all == Some(1.0) && told.contains("(100.0 %) are copies"), "{told}");
    let (some, told) = share(&["--text", "mixed.txt"]);
    assert!(some.is_some_and(|some| 0.2 < some && some < 0.8), "{some:?}: {told}");
    assert_eq!(share(&["--text", "other.txt"]), (Some(0.0), String::new()));
    // As one document nothing is a copy of a line, but its lines are.
    let whole = ["--text", "d/train.txt", "--set", "data.paths.text_document=file", "--set"];
    let held_out = "data.paths.validation=[\"mixed.txt\"]";
    let (lines, told) = share(&[&whole[..], &[held_out]].concat());
    assert!(lines.is_some_and(|share| share > 0.4), "{told}");
    assert!(told.contains("are lines of the training text"), "{told}");
    std::fs::rename(folder.path().join("d"), folder.path().join("gone")).unwrap();
    let (unknown, told) = share(&["--text", "gone/train.txt"]);
    assert!(unknown.is_none() && told.contains("is not known: d/train.txt"), "{told}");
    let exported = crossscale(folder.path(), &["export", "o", "--out", "w.safetensors"]);
    assert!(exported.status.success(), "{}", stderr(&exported));
    let line = ["--set", "data.paths.text_document=line", "--set", "data.length=16"];
    let file = ["evaluate", "w.safetensors", "--json", "--text", "gone/train.txt"];
    let output = crossscale(folder.path(), &[&file[..], &line].concat());
    assert!(json(&output)["trained_on_share"].is_null());
    assert!(stderr(&output).contains("may be a part of it"), "{}", stderr(&output));
}

#[test]
fn cli_what_a_folder_of_text_holds_is_read_or_told() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "d/train.txt", lines(200, 0));
    write(folder.path(), "d/val.txt", lines(60, 300));
    write(folder.path(), "d/README.md", "about");
    write(folder.path(), "d/more/a.txt", "text");
    let divided = train(folder.path(), "d", "o");
    assert!(divided.status.success(), "{}", stderr(&divided));
    assert!(stderr(&divided).contains("d: not read: README.md, more/;"), "{}", stderr(&divided));
    let all = ["--set", "data.source=paths", "--set", "data.paths.train=[\"d\"]", "--out", "p"];
    let all = crossscale(folder.path(), &[&["train"][..], &TINY, &all].concat());
    let told = stderr(&all);
    assert!(told.contains("but trained on here: val.txt; --text FOLDER divides"), "{told}");
    assert!(told.contains("not read: README.md, more/;"), "{told}");
    std::fs::rename(folder.path().join("d/val.txt"), folder.path().join("d/val.txt.bz2")).unwrap();
    let lost = train(folder.path(), "d", "q");
    assert_eq!(lost.status.code(), Some(3), "{}", stderr(&lost));
    assert!(stderr(&lost).contains("cannot be read: val.txt.bz2\nhint: "), "{}", stderr(&lost));
}

#[test]
fn cli_text_that_is_no_utf8_is_named_and_carriage_returns_end_lines() {
    let folder = TempDir::new().unwrap();
    let text = lines(200, 0);
    let sixteen: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    write(folder.path(), "unmarked.txt", &sixteen);
    write(folder.path(), "marked.txt", [&b"\xff\xfe"[..], &sixteen].concat());
    write(folder.path(), "archive.txt", b"BZh91AY&SY\xff\xfe");
    for (file, said) in [
        ("unmarked.txt", "iconv -f UTF-16LE"),
        ("marked.txt", "is UTF-16, not UTF-8 text"),
        ("archive.txt", "bzip2 -dc"),
    ] {
        let output = train(folder.path(), file, "o");
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{told}");
        assert!(told.contains(said) && told.contains("hint: "), "{told}");
    }
    let mut said = Vec::new();
    for (name, end) in [("unix.txt", "\n"), ("dos.txt", "\r\n"), ("mac.txt", "\r")] {
        write(folder.path(), name, text.replace('\n', end));
        let output = train(folder.path(), name, name.trim_end_matches(".txt"));
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        said.push(stdout(&output).lines().next().unwrap().to_owned());
    }
    assert!(said.iter().all(|line| *line == said[0]), "{said:?}");
}

#[test]
fn cli_parity_never_passes_a_number_that_is_none() {
    let folder = TempDir::new().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/known_answers");
    let bytes = std::fs::read(golden.join("pt2026/exact_rope.safetensors")).unwrap();
    for (name, value) in [("nan", f64::NAN), ("infinite", f64::INFINITY)] {
        let mut changed = bytes.clone();
        let last = changed.len() - 8;
        changed[last..].copy_from_slice(&value.to_le_bytes());
        write(folder.path(), name, &changed);
        let output = crossscale(folder.path(), &["parity", name]);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("tensor 'z' holds") && told.contains("hint: "), "{told}");
    }
}

#[test]
fn cli_names_of_others_stay_text_in_tables() {
    let folder = TempDir::new().unwrap();
    let names = ["=cmd|' /C calc'!A0", "a,b", "say \"hi\"", "two\nlines", "-1", "@SUM(1)"];
    let mut list = csv::Writer::from_writer(vec![]);
    list.write_record(["name", "role", "shape", "base_shape"]).unwrap();
    for name in names {
        list.write_record([name, "hidden", "64x64", "32x32"]).unwrap();
    }
    write(folder.path(), "shapes.csv", list.into_inner().unwrap());
    let output = crossscale(folder.path(), &["explain", "--shapes", "shapes.csv", "--csv"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut table = csv::Reader::from_reader(output.stdout.as_slice());
    let found: Vec<String> = table.records().map(|row| row.unwrap()[0].to_owned()).collect();
    let kept = ["'=cmd|' /C calc'!A0", "a,b", "say \"hi\"", "two\nlines", "-1", "'@SUM(1)"];
    assert_eq!(found, kept);
    let python = ["explain", "--shapes", "shapes.csv", "--as", "torch"];
    let python = stdout(&crossscale(folder.path(), &python));
    assert!(python.contains(r#""say \"hi\"": ("#) && python.contains(r#""two\u000alines": ("#));
}
