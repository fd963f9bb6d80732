//! Help texts as snapshots. After a wanted change: `INSTA_UPDATE=always cargo test -p harness
//! --test cli help`, then read the difference.

use super::*;

/// Columns that a terminal has at least.
const COLUMNS: &str = "80";
/// Lines of one screen, which `-h` must fit.
const LINES_MAX: usize = 40;

/// Verbs and their own verbs, `[]` for the program itself.
fn verbs() -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    let command = harness::cmd::command();
    for verb in command.get_subcommands() {
        let name = verb.get_name().to_owned();
        found.push(vec![name.clone()]);
        found.extend(verb.get_subcommands().map(|own| vec![name.clone(), own.get_name().into()]));
    }
    found
}

fn help(verb: &[String], flag: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_crossscale"))
        .env("COLUMNS", COLUMNS)
        .env("NO_COLOR", "1")
        .stdin(std::process::Stdio::null())
        .args(verb)
        .arg(flag)
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(0), "{verb:?}");
    stdout(&output)
}

#[test]
fn cli_help_of_every_verb_is_what_was_read_and_approved() {
    let verbs = verbs();
    assert!(verbs.len() > 25, "{} verbs found", verbs.len());
    for verb in verbs {
        let name = if verb.is_empty() { "crossscale".to_owned() } else { verb.join("-") };
        let (short, long) = (help(&verb, "-h"), help(&verb, "--help"));
        let lines = short.lines().count();
        assert!(lines <= LINES_MAX, "{name} -h has {lines} lines, a screen {LINES_MAX}:\n{short}");
        for line in short.lines().chain(long.lines()) {
            // Commands of an example cannot be broken.
            let shown = line.starts_with("  crossscale ") || line.starts_with("Example");
            let width = line.chars().count();
            assert!(width <= 80 || shown, "{name}: {width} columns: {line}");
        }
        let both = if short == long { long } else { format!("{short}\n== --help\n\n{long}") };
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true,
            snapshot_path => "../snapshots" }, {
            insta::assert_snapshot!(format!("help-{name}"), both);
        });
    }
}

#[test]
fn cli_exit_codes_of_the_help_are_those_of_the_errors() {
    use harness::error::HarnessError as Error;
    let path = Path::new("file");
    let text = String::new;
    let errors = [
        Error::io(path)(std::io::Error::other("reason")),
        Error::config("problem", "hint"),
        Error::input(path, "problem", "hint"),
        Error::NothingSelected(text()),
        Error::Diverged { problem: text(), hint: text() },
        Error::Unavailable { what: text(), hint: text() },
        Error::Invariant(text()),
        Error::Regression(text()),
        Error::Inconclusive(text()),
        Error::Interrupted,
    ];
    let mut codes: Vec<String> = errors.iter().map(|error| error.exit_code().to_string()).collect();
    codes.insert(0, "0".to_owned());
    let help = help(&[], "--help");
    let (_, listed) = help.split_once("Exit codes:\n").expect("the help lists exit codes");
    let listed: Vec<&str> = listed
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(listed, codes);
}

#[test]
fn cli_completions_and_manual_pages_know_every_verb() {
    let folder = TempDir::new().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = crossscale(folder.path(), &["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let script = stdout(&output);
        for part in ["coordcheck", "parametrization", "dry-run"] {
            assert!(script.contains(part), "{shell} does not complete {part}");
        }
    }
    let page = stdout(&crossscale(folder.path(), &["man"]));
    assert!(page.contains(".TH crossscale 1") && page.contains("Exit codes"), "{page}");
    let written = crossscale(folder.path(), &["man", "--out", "."]);
    assert_eq!(written.status.code(), Some(0), "{}", stderr(&written));
    for verb in verbs().into_iter().filter(|verb| !verb.is_empty()) {
        let page = folder.path().join(format!("crossscale-{}.1", verb.join("-")));
        let text = std::fs::read_to_string(&page).expect("every verb has its page");
        assert!(text.contains(".SH OPTIONS") || text.contains(".SH SUBCOMMANDS"), "{text}");
    }
    let refused = crossscale(folder.path(), &["man", "--out", "absent"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(stderr(&refused).contains("absent") && stderr(&refused).contains("hint: "));
}

#[test]
fn cli_help_of_train_names_the_learning_rates_it_starts_with() {
    let help = help(&["train".to_owned()], "--help");
    let words: Vec<&str> = help.split_whitespace().collect();
    for (family, rate) in harness::config::family_defaults::LEARNING_RATES {
        let said = words.windows(2).any(|pair| {
            let number = pair[1].trim_end_matches(',').parse::<f64>();
            pair[0] == family && number.is_ok_and(|number| number.to_bits() == rate.to_bits())
        });
        assert!(said, "{family} {rate}: {help}");
    }
}
