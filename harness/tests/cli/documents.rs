//! The console blocks of the documents, run as a reader would.
//!
//! A line `$ …` is a command for `sh`, `? N` under it its exit code (0 if there is none), the rest
//! what it prints: `[..]` stands for any text in a line, a line `...` for any lines. Blocks of one
//! document share a folder, in which the repository's folders can be read. A block that cannot
//! run here says why: "```console not-run: reason".

use std::path::{Path, PathBuf};

use super::*;

/// What a document shows of one command.
struct Shown {
    line: usize,
    command: String,
    code: i32,
    output: Vec<String>,
}

/// A block that is not run, with its reason.
struct NotRun {
    line: usize,
    reason: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in a workspace").to_owned()
}

/// Commands of all console blocks of `text`, and the blocks that are not run.
fn blocks(text: &str) -> (Vec<Shown>, Vec<NotRun>) {
    let (mut shown, mut skipped) = (Vec::<Shown>::new(), Vec::new());
    let mut inside = false;
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if let Some(rest) = line.strip_prefix("```console") {
            let reason =
                rest.trim().strip_prefix("not-run:").map(|reason| reason.trim().to_owned());
            inside = reason.is_none();
            skipped.extend(reason.map(|reason| NotRun { line: index + 1, reason }));
        } else if line.starts_with("```") {
            inside = false;
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            let mut command = command.to_owned();
            while let Some(open) = command.strip_suffix('\\') {
                let (_, more) = lines.next().expect("a command goes on after a backslash");
                command = format!("{}{}", open, more.trim_start());
            }
            shown.push(Shown { line: index + 1, command, code: 0, output: Vec::new() });
        } else if let Some(last) = shown.last_mut().filter(|_| inside) {
            match line.strip_prefix("? ") {
                Some(code) => last.code = code.parse().expect("an exit code is a number"),
                None => last.output.push(line.trim_end().to_owned()),
            }
        }
    }
    (shown, skipped)
}

/// Whether `line` is what `pattern` shows, `[..]` being any text.
fn line_fits(pattern: &str, line: &str) -> bool {
    let Some((start, rest)) = pattern.split_once("[..]") else { return pattern == line };
    let Some(line) = line.strip_prefix(start) else { return false };
    (0..=line.len()).filter(|&at| line.is_char_boundary(at)).any(|at| line_fits(rest, &line[at..]))
}

/// Whether `lines` are what `patterns` show, `...` being any lines.
fn fits(patterns: &[String], lines: &[&str]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=lines.len()).any(|skip| fits(rest, &lines[skip..]))
        }
        Some((first, rest)) => lines
            .split_first()
            .is_some_and(|(line, more)| line_fits(first, line.trim_end()) && fits(rest, more)),
    }
}

/// A folder that looks like a fresh clone to the commands of a document.
fn clone_like() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    for name in ["golden", "models", "harness", "ci", "reports", "docs"] {
        std::os::unix::fs::symlink(root().join(name), folder.path().join(name)).expect("a link");
    }
    folder
}

/// Runs the blocks of `document`; how many commands ran.
fn run_blocks(document: &Path) -> usize {
    let text = std::fs::read_to_string(root().join(document)).expect("the document exists");
    let (shown, skipped) = blocks(&text);
    for NotRun { line, reason } in &skipped {
        let document = document.display();
        assert!(reason.len() > 10, "{document}:{line}: say why the block cannot run");
    }
    let document = document.display();
    let folder = clone_like();
    let program = Path::new(env!("CARGO_BIN_EXE_crossscale"));
    let old_path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{old_path}", program.parent().expect("in a folder").display());
    for Shown { line, command, code, output } in &shown {
        let ran = Command::new("sh")
            .args(["-c", &format!("{{ {command}\n}} 2>&1")])
            .current_dir(folder.path())
            .env("PATH", &path)
            .env("NO_COLOR", "1")
            .env("COLUMNS", "100")
            .stdin(std::process::Stdio::null())
            .output()
            .expect("sh starts");
        let printed = stdout(&ran);
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(ran.status.code(), Some(*code), "{document}:{line}: {command}\n{printed}");
        let expected = output.join("\n");
        assert!(
            fits(output, &lines),
            "{document}:{line}: {command}\nshown:\n{expected}\nprinted:\n{printed}"
        );
    }
    shown.len()
}

/// Paths in `folder`.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the workspace is readable");
    entries.map(|entry| entry.expect("readable").path()).collect()
}

#[test]
fn cli_the_tour_runs_as_written() {
    assert!(run_blocks(Path::new("docs/tutorial.md")) >= 10);
}

#[test]
fn cli_console_blocks_of_the_other_documents_run_or_say_why_not() {
    let mut commands = 0;
    for name in entries(&root()).into_iter().chain(entries(&root().join("docs"))) {
        let name = name.strip_prefix(root()).expect("it is in the workspace").to_owned();
        if name.extension().is_some_and(|end| end == "md") && name != Path::new("docs/tutorial.md")
        {
            commands += run_blocks(&name);
        }
    }
    assert!(commands >= 3, "only {commands} commands found");
}

#[test]
fn invariant_the_reader_of_blocks_tells_fitting_output_from_other() {
    let text = "```console\n$ a \\\n  b\n? 3\nx [..] z\n...\nend\n```\n$ no\n\
                ```console not-run: it takes long\n$ no\n```\n";
    let (shown, skipped) = blocks(text);
    assert_eq!((shown.len(), skipped.len()), (1, 1));
    assert_eq!((shown[0].command.as_str(), shown[0].code), ("a b", 3));
    let output = &shown[0].output;
    assert!(fits(output, &["x y z", "one", "two", "end"]));
    assert!(fits(output, &["x  z", "end"]));
    assert!(!fits(output, &["x y", "end"]), "a line's end is missing");
    assert!(!fits(output, &["x y z", "end", "more"]), "more than shown");
    assert!(!fits(output, &[]), "nothing at all");
}
