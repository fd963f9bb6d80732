//! Exit codes from end to end, each by what a user would meet. Codes 6, 12 and 130 have theirs
//! where devices, coordinate checks and signals are tested.

use super::*;

/// A gate that nothing can pass: one step of a tiny model, with a band around zero.
const GATES: &str = r#"
arithmetic = "of no machine"
seed = 1
[run.data]
source = "paths"
length = 16
paths = { train = ["text.txt"], text_document = "paragraph", validation_share = 0.2 }
tokenizer = { kind = "bpe", vocab = 280 }
[run.train]
steps = 2
batch = 4
evaluate_every = 1
[[training]]
name = "tiny"
family = "pt"
seeds = 1
reason = "a test"
run = { model = { pt = { width = 16, channels = 2, iterations = 1 } } }
[[training.band]]
step = 2
loss_nats_mean = 0.0
loss_nats_sd = 0.0
recorded_nats = 0.0
rounding_nats = 0.0
"#;

#[test]
fn cli_every_kind_of_end_has_its_exit_code_and_its_remedy() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    std::fs::write(folder.path().join("gates.toml"), GATES).unwrap();
    let pt = ["--model", "pt", "--width", "16", "--set", "model.channels=2", "--steps", "3"];
    let with = |out: &str, more: &[&str]| train(folder.path(), out, &[&pt[..], more].concat());
    let cli = |arguments: &[&str]| crossscale(folder.path(), arguments);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden");
    let golden = golden.to_str().expect("the path is UTF-8");
    let gate = ["regress", "--gates", "gates.toml"];
    let endless = ["--set", "train.learning_rate=1e30"];
    let mutate = ["mutate", "--table", "standard", "--rule", "nope", "--golden", golden];
    let cases: [(Output, i32, &str); 8] = [
        (with("sound", &[]), 0, ""),
        (with("text.txt/below", &[]), 1, "hint: a file stands where a folder is needed"),
        (with("wrong", &["--set", "train.stepz=1"]), 2, "hint: did you mean steps?"),
        (cli(&["evaluate", "absent"]), 3, "hint: name a run folder"),
        (cli(&mutate), 4, "hint: crossscale mutate without --rule"),
        (
            cli(&[&gate[..], &["--family", "ut"]].concat()),
            4,
            "hint: gates.toml has trainings of pt",
        ),
        (with("diverging", &endless), 5, "hint: lower train.learning_rate"),
        (cli(&gate), 11, "losses outside their bands: tiny held-out loss of 2"),
    ];
    for (output, code, part) in &cases {
        let message = stderr(output);
        assert_eq!(output.status.code(), Some(*code), "{part}: {message}");
        assert!(message.contains(part), "no {part} in: {message}");
    }
    // A diverged run is kept, and asked for again it says the same at once.
    let again = with("diverging", &endless);
    assert_eq!(again.status.code(), Some(5), "{}", stderr(&again));
    let judged = cli(&[&gate[..], &["--json"]].concat());
    assert_eq!(judged.status.code(), Some(11), "{}", stderr(&judged));
    let rows: serde_json::Value =
        serde_json::from_slice(&judged.stdout).expect("--json prints JSON");
    assert_eq!((&rows[0]["training"], &rows[0]["inside"]), (&"tiny".into(), &false.into()));
}

#[test]
fn cli_a_text_of_one_document_is_divided_or_told_how_to_be() {
    let folder = TempDir::new().unwrap();
    let lines: Vec<String> = (0..300).map(|k| format!("line {k} of {} words", k * k)).collect();
    std::fs::write(folder.path().join("ONE.txt"), lines.join("\n")).unwrap();
    std::fs::write(folder.path().join("notes.txt"), lines.join("\n\n")).unwrap();
    let train = |file: &str, more: &[&str]| {
        let small = ["--model", "pt", "--width", "16", "--steps", "1", "--set", "data.length=8"];
        let arguments = [&["train", "--text", file, "--out", "x"][..], &small, more].concat();
        crossscale(folder.path(), &arguments)
    };
    let own = "--set 'data.paths.validation=[\"FILE\"]'";
    for (chosen, unit) in [("file", "paragraph"), ("paragraph", "line")] {
        let refused = train("ONE.txt", &["--set", &format!("data.paths.text_document={chosen}")]);
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains("ONE.txt: nothing to") && said.contains("only one"), "{said}");
        let remedy = format!("--set data.paths.text_document={unit}");
        assert!(said.contains(&remedy) && said.contains(own), "{said}");
    }
    for (file, unit) in [("ONE.txt", "line"), ("notes.txt", "paragraph")] {
        let asked = train(file, &["--dry-run"]);
        let said = stderr(&asked);
        let line = format!("{file} is one document: every {unit} of it counts as one");
        assert!(said.starts_with(&line) && said.lines().count() == 1, "{said}");
        let key = format!("text_document = \"{unit}\"");
        assert!(stdout(&asked).contains(&key), "the run does not state it");
        let trained = train(file, &[]);
        assert!(trained.status.success(), "{}", stderr(&trained));
        let given = train(file, &["--set", &format!("data.paths.text_document={unit}")]);
        assert!(!stderr(&given).contains("is one document"), "{}", stderr(&given));
        assert_eq!(stdout(&trained).lines().next(), stdout(&given).lines().next());
    }
    let plan = ["reproduce", "--preset", "quick", "--text", "notes.txt", "--dry-run"];
    let plan = crossscale(folder.path(), &plan);
    assert!(plan.status.success(), "{}", stderr(&plan));
    assert!(stderr(&plan).contains("every paragraph of it counts as one"), "{}", stderr(&plan));
}

/// A table of the user's own decides numbers by its content, not by its name.
#[test]
fn cli_a_changed_table_of_ones_own_is_another_run() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    let table = include_str!("../../../models/src/parametrization/tables/pt-2026-strict.toml");
    let changed = table.replacen("learning_rate = -1.0", "learning_rate = 0.0", 1);
    let own = folder.path().join("own.toml");
    let more = ["--model", "pt", "--width", "32", "--steps", "12", "--set", "model.channels=2"];
    let more = [&more[..], &["--set", "parametrization.name=own.toml"]].concat();
    let loss = |out: &str, text: &str| {
        std::fs::write(&own, text).unwrap();
        let output = train(folder.path(), out, &more);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).lines().next().unwrap_or_default().to_owned()
    };
    let (first, second) = (loss("runs", table), loss("runs", &changed));
    assert_eq!(second, loss("fresh", &changed), "a run under the old table was taken");
    assert_ne!(first, second);
    assert_eq!(first, loss("runs", table), "the old run is still there");
    // Weights of a run are not read under a table that is no longer the one they were made under.
    std::fs::write(&own, table).unwrap();
    let refused = crossscale(folder.path(), &["export", "fresh", "--out", "x.safetensors"]);
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("own.toml is not the table that run") && said.contains("hint: "),
        "{said}"
    );
}

#[test]
fn cli_what_cannot_be_asked_for_is_refused_in_words_of_the_question() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    std::fs::write(folder.path().join("table.toml"), "[[[x\n").unwrap();
    std::fs::create_dir_all(folder.path().join("new/runs")).unwrap();
    let tiny = ["--model", "pt", "--width", "16", "--steps", "1"];
    let with = |more: &[&str]| train(folder.path(), "out", &[&tiny[..], more].concat());
    let cli = |line: &str| crossscale(folder.path(), &line.split(' ').collect::<Vec<_>>());
    let families = "several tables where one is chosen, of pt, pt2023, bert, preln, ut";
    let many = "99999999999";
    let cases: [(Output, &str); 11] = [
        (with(&["--threads", "0"]), "--threads 0\nhint: give a number from 1 to 4096"),
        (with(&["--threads", many]), "hint: give a number from 1 to 4096"),
        (with(&["--set", "train=1"]), "integer `1`, expected a table"),
        (with(&["--set", "model.bert.width=3"]), families),
        (with(&["--set", "parametrization.name=table.toml"]), "numbers, `-`, `_`\nhint: "),
        (cli("bench --model pt --width 16 --threads 0"), "--threads 0\nhint: give a number"),
        (cli("reproduce --dry-run --jobs 0"), "--jobs 0\nhint: give a number from 1 to 4096"),
        (cli("reproduce --dry-run --seeds 0"), "--seeds 0\nhint: give a number from 1 to 1000"),
        (cli(&format!("reproduce --dry-run --set seeds={many}")), "hint: 1 to 1000 seeds"),
        (cli("compare pt bert --seeds 0"), "--seeds 0\nhint: give a number from 1 to 1000"),
        (cli("compare pt pt:rope"), "pt:rope: 'rope' sets no key of a model\nhint: write FAMILY"),
    ];
    for (output, part) in &cases {
        let message = stderr(output);
        assert_eq!(output.status.code(), Some(2), "{part}: {message}");
        assert!(message.contains(part), "no {part} in: {message}");
    }
    let status = cli("status new");
    assert_eq!(stdout(&status), "new: no runs yet\n", "{}", stderr(&status));
}
