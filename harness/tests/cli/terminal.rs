//! What stands between the program and the eye: pipes, colours, widths, misspelled words.

use std::io::Read;
use std::process::Stdio;

use super::*;

#[test]
fn cli_a_reader_that_leaves_early_is_no_failure() {
    let folder = TempDir::new().unwrap();
    // Longer than a pipe holds (64 KiB), so that writing meets the closed end.
    let long: &[&str] = &["completions", "zsh"];
    let explain = ["explain", "--model", "pt", "--width", "64", "--json"];
    for arguments in [&["ls"][..], long, &["--help"], &explain] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_crossscale"))
            .current_dir(folder.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut pipe = child.stdout.take().expect("output is piped");
        pipe.read_exact(&mut [0]).expect("the program prints something");
        drop(pipe);
        let output = child.wait_with_output().expect("the program ends");
        assert_eq!(stderr(&output), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_crossscale"))
        .args(["train", "--model", "ptt", "--out", "never"])
        .current_dir(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("the program ends").code(), Some(2), "a code, not a panic");
}

#[test]
fn cli_misspelled_words_get_the_nearest_known_one() {
    let folder = TempDir::new().unwrap();
    let guess = "did you mean pt-2026?";
    let cases: [(&[&str], &str); 12] = [
        (&["reproduse"], "'reproduce'"),
        (&["train", "--modle", "pt", "--out", "x"], "'--model'"),
        (&["coordcheck", "--model", "pt", "--tier", "cii", "--out", "x"], "'ci'"),
        (&["train", "--model", "brt", "--out", "x"], "did you mean bert?"),
        (&["train", "--preset", "pt2023-ptb-smal", "--out", "x"], "did you mean pt2023-ptb-small?"),
        (&["reproduce", "--preset", "quik"], "did you mean quick?"),
        (&["reproduce", "--preset", "clams"], "did you mean claims?"),
        (&["run", "tranfer"], "did you mean transfer?"),
        (&["explain", "--model", "pt", "--width", "64", "--parametrization", "pt2026"], guess),
        (&["mutate", "--table", "pt2026"], guess),
        (&["bless", "--family", "brt"], "did you mean bert?"),
        (&["compare", "pt", "brt", "--dry-run"], "did you mean bert?"),
    ];
    for (arguments, part) in cases {
        let output = crossscale(folder.path(), arguments);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(part), "no {part} in: {message}");
    }
}

/// Standard output and error of a command on a terminal of `columns`, from `script(1)`.
fn on_terminal(columns: usize, no_color: bool, command: &str) -> Option<String> {
    let folder = TempDir::new().unwrap();
    let mut script = Command::new("script");
    let program = env!("CARGO_BIN_EXE_crossscale");
    script
        .args(["-qec", &format!("stty cols {columns} rows 24; {program} {command}"), "/dev/null"])
        .current_dir(folder.path())
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    if no_color {
        script.env("NO_COLOR", "1");
    }
    script.output().ok().map(|output| stdout(&output))
}

#[test]
fn cli_colours_and_widths_follow_the_terminal() {
    let Some(coloured) = on_terminal(80, false, "--help") else {
        eprintln!("skipped: no script(1) here, so no terminal");
        return;
    };
    assert!(coloured.contains('\u{1b}'), "a terminal gets colours or at least bold: {coloured}");
    let plain = on_terminal(80, true, "--help").expect("script(1) ran before");
    assert!(!plain.contains('\u{1b}'), "NO_COLOR is not heeded: {plain:?}");
    let wrong = "train --model ptt --out never";
    let red = on_terminal(80, false, wrong).expect("script(1) ran before");
    assert!(red.contains("\u{1b}[31merror:"), "{red:?}");
    let plain = on_terminal(80, true, wrong).expect("script(1) ran before");
    assert!(plain.starts_with("error: no model family"), "{plain:?}");
    let explain = "explain --model bert --width 64";
    let narrow = on_terminal(40, true, explain).expect("script(1) ran before");
    assert!(narrow.lines().any(|line| line.starts_with("tensor  ")), "{narrow}");
    for columns in [40, 80] {
        for command in ["-h", "train -h", "plan -h", "import -h", "data fetch -h", "import"] {
            let text = on_terminal(columns, true, command).expect("script(1) ran before");
            // The usage line is broken as well; only commands of an example cannot be.
            let (_, options) = text.split_once("\r\n\r\n").expect("help has parts");
            let (options, _) = options.split_once("Example").unwrap_or((options, ""));
            for line in options.lines() {
                let width = line.trim_end().chars().count();
                assert!(width <= columns, "{command}: {width} of {columns} columns: {line}");
            }
        }
    }
}
