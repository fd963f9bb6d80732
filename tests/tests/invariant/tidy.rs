//! House rules that no lint knows, checked on the files themselves.
//!
//! Function length is clippy's `too_many_lines` with the limit of `clippy.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Lines of a source file.
const FILE_LINES_MAX: usize = 400;
/// Characters of a source line.
const LINE_CHARACTERS_MAX: usize = 100;
/// Equal consecutive lines of code that count as a copied block.
const COPIED_LINES: usize = 12;
/// Members of the workspace.
const CRATES: [&str; 5] = ["harness", "models", "baselines", "reports", "tests"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").to_owned()
}

/// Files below `folder` with one of `extensions`, in a fixed order.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the workspace is readable") {
            let path = entry.expect("an entry of the workspace is readable").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|have| extensions.iter().any(|e| have == *e)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn rust_files() -> Vec<PathBuf> {
    CRATES.iter().flat_map(|member| files(&root().join(member), &["rs"])).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a source file is UTF-8 text")
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn assert_none(problems: &[String], rule: &str) {
    assert!(problems.is_empty(), "{rule}:\n  {}", problems.join("\n  "));
}

#[test]
fn invariant_tidy_files_and_lines_are_short() {
    let mut problems = Vec::new();
    for path in rust_files() {
        let text = read(&path);
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            problems.push(format!("{}: {lines} lines", shown(&path)));
        }
        for (index, line) in text.lines().enumerate() {
            let length = line.chars().count();
            // A row of a table in a doc comment cannot be broken.
            let row = line.trim_start().starts_with("/// |");
            if length > LINE_CHARACTERS_MAX && !row {
                problems.push(format!("{}:{}: {length} characters", shown(&path), index + 1));
            }
        }
    }
    assert_none(&problems, "files have at most 400 lines of at most 100 characters");
}

#[test]
fn invariant_tidy_nothing_is_left_for_later() {
    // Spelled in halves so that this file does not find itself.
    let marks =
        [["TO", "DO"], ["FIX", "ME"], ["to", "do!("], ["unimple", "mented!("]].map(|m| m.concat());
    let mut problems = Vec::new();
    for path in rust_files().into_iter().chain(documents()) {
        for (index, line) in read(&path).lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(mark.as_str())) {
                problems.push(format!("{}:{}: {mark}", shown(&path), index + 1));
            }
        }
    }
    assert_none(&problems, "finish it or write an issue");
}

/// Documents written by hand.
fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(root())
        .expect("the workspace is readable")
        .map(|entry| entry.expect("an entry of the workspace is readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    for folder in ["docs", "harness", "models", "baselines", "reports", "golden", "ci", "tests"] {
        found.extend(files(&root().join(folder), &["md"]));
    }
    found.sort();
    found
}

#[test]
fn invariant_tidy_test_names_say_what_kind_of_test_they_are() {
    let kinds = ["invariant_", "golden_", "parity_", "cli_"];
    let mut problems = Vec::new();
    for path in rust_files() {
        let text = read(&path);
        let mut is_test = false;
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line == "#[test]" {
                is_test = true;
            } else if let Some(name) = line.strip_prefix("fn ").filter(|_| is_test) {
                is_test = false;
                let generated = name.starts_with('$');
                if !generated && !kinds.iter().any(|kind| name.starts_with(kind)) {
                    problems.push(format!("{}:{}: fn {name}", shown(&path), index + 1));
                }
            }
        }
    }
    assert_none(&problems, "test names start with invariant_, golden_, parity_ or cli_");
}

/// Modules declared by `text`, `mod name;` in any visibility.
fn declared_modules(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        let name = line.strip_suffix(';')?.rsplit_once("mod ")?.1;
        name.chars().all(|c| c.is_alphanumeric() || c == '_').then_some(name)
    })
}

#[test]
fn invariant_tidy_every_source_file_is_compiled() {
    let mut problems = Vec::new();
    for path in rust_files() {
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let folder = path.parent().expect("a file is in a folder");
        let is_root = ["main", "lib", "build"].contains(&name)
            // Benches of cargo, and the fuzzer's programs.
            || folder.file_name().is_some_and(|f| f == "benches" || f == "targets")
            || (folder.file_name().is_some_and(|f| f == "tests") && !folder.ends_with("src/tests"));
        if is_root {
            continue;
        }
        // `a/b.rs` is declared by `a/mod.rs`, `a.rs`, or the crate's root in `a/`.
        let (module, home) = if name == "mod" {
            let own = folder.file_name().and_then(|f| f.to_str()).unwrap_or_default();
            (own, folder.parent().expect("a module folder is in a folder"))
        } else {
            (name, folder)
        };
        let parents = [
            home.join("mod.rs"),
            home.join("lib.rs"),
            home.join("main.rs"),
            home.with_extension("rs"),
        ];
        let declared = parents
            .iter()
            .filter(|parent| parent.is_file())
            .any(|parent| declared_modules(&read(parent)).any(|found| found == module));
        if !declared {
            problems.push(shown(&path));
        }
    }
    assert_none(&problems, "no module declares these files");
}

#[test]
fn invariant_tidy_unsafe_code_stands_where_the_list_says() {
    // Spelled in halves so that this file does not find itself.
    let mark = ["expect(unsafe", "_code"].concat();
    let mut found: Vec<String> = rust_files()
        .into_iter()
        .filter(|path| read(path).contains(&mark))
        .map(|path| shown(&path))
        .collect();
    let document = read(&root().join("docs/architecture.md"));
    let (_, section) = document.split_once("## Unsafe code").expect("a section on unsafe code");
    let (section, _) = section.split_once("\n## ").unwrap_or((section, ""));
    let mut listed: Vec<String> = section
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect();
    listed.sort();
    found.sort();
    assert_eq!(found, listed, "files with unsafe code, and those that docs/architecture.md lists");
}

#[test]
fn invariant_tidy_no_block_is_written_twice() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in rust_files() {
        let text = read(&path);
        let code: Vec<(usize, &str)> = text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.trim()))
            .filter(|(_, line)| line.contains(char::is_alphanumeric))
            .filter(|(_, line)| !["//", "use ", "#["].iter().any(|skip| line.starts_with(skip)))
            .collect();
        for window in code.windows(COPIED_LINES) {
            let block: Vec<&str> = window.iter().map(|(_, line)| *line).collect();
            let place = format!("{}:{}", shown(&path), window[0].0);
            places.entry(block.join("\n")).or_default().push(place);
        }
    }
    let problems: Vec<String> = places
        .values()
        .filter(|places| places.len() > 1)
        .map(|places| places.join(" = "))
        .collect();
    assert_none(&problems, "twelve equal lines of code stand in two places");
}

#[test]
fn invariant_tidy_links_of_the_documents_lead_somewhere() {
    let mut problems = Vec::new();
    for path in documents() {
        let text = read(&path);
        let folder = path.parent().expect("a document is in a folder");
        for (_, rest) in text.match_indices("](").map(|(at, _)| text.split_at(at + 2)) {
            let Some((target, _)) = rest.split_once(')') else { continue };
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            if !folder.join(target).exists() {
                problems.push(format!("{}: {target}", shown(&path)));
            }
        }
    }
    assert_none(&problems, "links to files that do not exist");
}
