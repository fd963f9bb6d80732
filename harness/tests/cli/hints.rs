//! Every command that a message of the program or a document speaks of is one that the program
//! takes: verbs, options and keys are read out of the sources and documents and tried.

use std::collections::{BTreeMap, BTreeSet};

use harness::config::run::RunConfig;

use super::*;

/// Words after the program's name that go on in prose.
const PROSE: [&str; 3] = ["in", "as", "stream"];
/// Keys of examples that stand for any key.
const ANY_KEY: [&str; 4] = ["path.to.key", "data.key", "model.key", "train.key"];

/// Lines of code of all sources, without comments and tests; strings that go on are one line.
fn code() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<PathBuf> = ["harness", "models", "baselines", "reports"]
        .map(|part| root.join(part).join("src"))
        .into();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") && !name.contains("test") {
                let text = std::fs::read_to_string(&path).unwrap();
                // The tests' own module, not the `mod tests;` of a file that goes on.
                let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                let code: Vec<&str> = code.collect();
                found.push((path, joined(&code)));
            }
        }
    }
    found
}

/// Commands of the documents that describe the program as it is, one quoted command a line.
/// The changelog and the notes beside published runs tell what was.
fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = ["", "docs", "ci", "golden", "tests", "models", "baselines"];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap());
    let paths = files.map(|entry| entry.unwrap().path());
    let manuals = paths.filter(|path| {
        path.extension().is_some_and(|kind| kind == "md") && !path.ends_with("CHANGELOG.md")
    });
    manuals
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let spans = after(&text, "`crossscale ").into_iter();
            let quoted: Vec<String> = spans.map(|said| format!("\"crossscale {said}\"")).collect();
            (path, quoted.join("\n"))
        })
        .collect()
}

/// Lines with those that end in a backslash joined to the next.
fn joined(lines: &[&str]) -> String {
    let mut text = String::new();
    let mut goes_on = false;
    for line in lines {
        let line = if goes_on { line.trim_start() } else { line };
        goes_on = line.ends_with('\\');
        text.push_str(line.strip_suffix('\\').unwrap_or(line));
        if !goes_on {
            text.push('\n');
        }
    }
    text
}

/// What follows each `start` in `text` up to the end of the string or sentence.
fn after<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let ends = ['"', '\n', ';', '(', ')', '`'];
    let places = text.match_indices(start).map(|(at, _)| &text[at + start.len()..]);
    places.map(|rest| rest.split(ends).next().unwrap_or_default()).collect()
}

fn word(text: &str) -> &str {
    text.trim_end_matches([',', '.', ':', '\'', '…', ']'])
}

#[test]
fn cli_commands_in_messages_name_verbs_and_options_that_exist() {
    let folder = TempDir::new().unwrap();
    let help = |verb: &[&str]| {
        let output = crossscale(folder.path(), &[verb, &["--help"]].concat());
        output.status.success().then(|| stdout(&output))
    };
    let mut helps: BTreeMap<String, Option<String>> = BTreeMap::new();
    let (mut commands, mut wrong) = (0, BTreeSet::new());
    for (path, text) in code().into_iter().chain(documents()) {
        // A new word of Rust after the name is no verb: strings and doc texts hold commands.
        for line in text.lines().filter(|line| line.contains('"') || line.contains("  crossscale "))
        {
            for said in after(line, "crossscale ") {
                let said = said.split("\\n").next().unwrap_or_default();
                let mut words = said.split_whitespace().map(word);
                let Some(first) = words.next() else { continue };
                let lower = |c: char| c.is_ascii_lowercase() || c == '-';
                if first.is_empty() || !first.chars().all(lower) || PROSE.contains(&first) {
                    continue;
                }
                let rest: Vec<&str> = words.take_while(|word| *word != "crossscale").collect();
                let verb: Vec<&str> = match (first, rest.first()) {
                    ("data" | "launch" | "judge", Some(second)) => vec![first, second],
                    _ => vec![first],
                };
                commands += 1;
                let text = helps.entry(verb.join(" ")).or_insert_with(|| help(&verb)).clone();
                let at = format!("{}: crossscale {said}", path.display());
                let Some(text) = text else {
                    wrong.insert(format!("{at}: no such verb"));
                    continue;
                };
                for option in rest.iter().filter(|word| word.starts_with("--")) {
                    let option = option.split('=').next().unwrap_or_default();
                    let known = text.split_whitespace().any(|known| word(known) == option);
                    if option != "--" && !known {
                        wrong.insert(format!("{at}: no option {option}"));
                    }
                }
            }
        }
    }
    assert!(commands > 40, "only {commands} commands found: the search is broken");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn cli_keys_in_messages_are_keys_of_a_run() {
    let mut tried = BTreeSet::new();
    let mut wrong = BTreeSet::new();
    for (path, text) in code() {
        for said in after(&text, "--set ") {
            let said = said.trim_start_matches('\'');
            let key: String = said
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || "_.".contains(*c))
                .collect();
            let complete = said[key.len()..].starts_with('=') && key.contains('.');
            if !complete || ANY_KEY.contains(&key.as_str()) {
                continue;
            }
            let families = ["pt", "pt2023", "bert", "preln", "ut"];
            let known = families.iter().any(|family| {
                let set = format!("{key}=1");
                RunConfig::resolve(family, Vec::new(), &[set])
                    .err()
                    .is_none_or(|error| !error.to_string().contains("unknown"))
            });
            tried.insert(key.clone());
            if !known {
                wrong.insert(format!("{}: --set {key}", path.display()));
            }
        }
    }
    assert!(tried.len() >= 10, "only {tried:?} found: the search is broken");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
