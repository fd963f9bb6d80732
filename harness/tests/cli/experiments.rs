//! Experiments from the command line.

use super::*;

/// An experiment small enough for a test: two widths, four steps.
fn tiny_transfer(folder: &Path) {
    let text = r#"
name = "tiny"
question = "Does anything move?"
scientific = ["width"]
nuisance = ["learning rate"]
analysis = "shift slope"
seeds = 2
search_rule = { factor = 2.0, points_each_side = 1, points_max = 3, seed = 1 }

[data]
source = "paths"
length = 16
paths = { train = ["text.txt"], text_document = "paragraph", validation_share = 0.2 }
tokenizer = { kind = "bpe", vocab = 280 }
evaluation = { sequences = 16 }

[train]
steps = 4
batch = 4
evaluate_every = 2

[transfer]
family = "pt"
model = { channels = 2, iterations = 2 }
parametrizations = ["pt-2026", "standard"]
widths = [8, 16]
center = 0.1
refine_each_side = 1
"#;
    std::fs::write(folder.join("tiny.toml"), text).expect("the folder can be written");
}

#[test]
fn cli_transfer_finishes_and_its_report_repeats_byte_for_byte() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    tiny_transfer(folder.path());
    let run = |arguments: &[&str]| {
        let output = crossscale(folder.path(), arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let report = |into: &str| {
        run(&["report", "tiny.toml", "--out", "runs", "--into", into]);
        std::fs::read_to_string(folder.path().join(into).join("report.html")).unwrap()
    };
    let dry = run(&["run", "tiny.toml", "--out", "runs", "--dry-run"]);
    // One rate and its neighbours at three different models, with two seeds; at most one more
    // rate at each, and the base's best rate with both.
    assert!(dry.contains("no run of 18 to 24 done, the first step needs 9"), "{dry}");
    assert!(dry.contains("18 to 24 runs, "), "the plan says what all of it costs: {dry}");
    assert!(!folder.path().join("runs").exists(), "a dry run writes nothing");
    assert!(report("before").contains("Unfinished: 0 runs are there, 9 are wanted next"));
    let done = run(&["run", "tiny.toml", "--out", "runs", "--jobs", "2", "--quiet"]);
    assert!(done.contains("complete") && done.contains("under pt-2026"), "{done}");
    assert!(done.ends_with("report: runs/reports/tiny/report.md\n"), "{done}");
    let again = run(&["run", "runs/reports/tiny/experiment.toml", "--out", "runs", "--quiet"]);
    assert_eq!(done, again, "what is saved beside the report asks the same");
    let (first, second) = (report("a"), report("b"));
    assert_eq!(first, second);
    assert!(!first.contains("Unfinished"));
    assert!(!first.contains("not run"), "no claim is judged here");
    for name in ["tiny_slopes.csv", "tiny_optima.csv", "learning_rate_transfer.svg"] {
        assert!(folder.path().join("a").join(name).exists(), "{name}");
    }
    assert!(!folder.path().join("a/claims.csv").exists());
    let wrong = crossscale(folder.path(), &["reproduce", "--preset", "tiny.toml"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("crossscale run tiny"), "{}", stderr(&wrong));
}

/// The answer of a comparison is printed and saved, whatever its arms are called.
#[test]
fn cli_compare_ends_with_its_difference_and_its_report() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    let sets = ["train.steps=4", "train.evaluate_every=2", "train.batch=4", "data.length=16"];
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let tokenizer = ["--set", "data.tokenizer.vocab=280", "--set", "search_rule.points_max=3"];
    let arguments: Vec<&str> = ["compare", "pt", "pt:iterations=1", "--width", "16"]
        .into_iter()
        .chain(["--seeds", "2", "--text", "text.txt", "--out", "runs", "--quiet"])
        .chain(["--set", "data.paths.text_document=paragraph"])
        .chain(sets)
        .chain(tokenizer)
        .collect();
    let dry: Vec<&str> = arguments.iter().copied().chain(["--dry-run"]).collect();
    let dry = stdout(&crossscale(folder.path(), &dry));
    assert!(dry.contains("8 to 8 runs, "), "{dry}");
    let output = crossscale(folder.path(), &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stdout(&output);
    let report = "runs/reports/pt_against_pt_iterations_1";
    for part in ["pt − pt:iterations=1 = ", " nats; n = 2 seeds; p = ", "pt is: ", report] {
        assert!(said.contains(part), "no {part} in\n{said}");
    }
    let difference = folder.path().join(report).join("pt_against_pt_iterations_1_difference.csv");
    let table = std::fs::read_to_string(difference).unwrap();
    let row = table.lines().nth(1).unwrap();
    assert!(row.starts_with("pt,pt:iterations=1,"), "{table}");
    let page = std::fs::read_to_string(folder.path().join(report).join("report.md")).unwrap();
    assert!(page.contains("crossscale compare pt pt:iterations=1 --width 16"), "{page}");
    assert!(!page.contains("C5"), "the registered claim is about another protocol");
    let saved = format!("{report}/experiment.toml");
    let again = ["report", &saved, "--out", "runs", "--into", "again"];
    let again = crossscale(folder.path(), &again);
    assert!(again.status.success(), "{}", stderr(&again));
}

#[test]
fn cli_ls_lists_every_claim_with_what_it_waits_for() {
    let folder = TempDir::new().unwrap();
    let listed = json(&crossscale(folder.path(), &["ls", "--json"]));
    let experiments = listed["experiments"].as_array().unwrap();
    let claims: std::collections::BTreeSet<&str> = experiments
        .iter()
        .flat_map(|experiment| experiment["findings"].as_array().unwrap())
        .chain(listed["claims_without_experiment"].as_array().unwrap())
        .map(|finding| finding["claim"].as_str().unwrap())
        .collect();
    let registered = harness::claims::claims().unwrap().len();
    assert_eq!(claims.len(), registered, "{claims:?}");
    assert!(registered > 10, "{claims:?}");
    for experiment in experiments {
        assert_eq!(experiment["runs_done"], 0);
        assert!(experiment["runs_wanted"].as_u64().unwrap() > 0);
        assert!(!experiment["stopping"].as_str().unwrap().is_empty());
    }
    assert!(!folder.path().join("runs").exists(), "listing writes nothing");
}

#[test]
fn cli_an_experiment_without_its_text_names_the_command_and_still_reports() {
    let folder = TempDir::new().unwrap();
    let refused = crossscale(folder.path(), &["run", "penn-treebank", "--out", "runs"]);
    assert_eq!(refused.status.code(), Some(2));
    let message = stderr(&refused);
    assert!(message.contains("crossscale data fetch ptb --out runs/data/ptb"), "{message}");
    let report = ["report", "penn-treebank", "--out", "runs", "--into", "report"];
    let reported = crossscale(folder.path(), &report);
    assert!(reported.status.success(), "{}", stderr(&reported));
    let page = std::fs::read_to_string(folder.path().join("report/report.md")).unwrap();
    assert!(page.contains("| C8") && page.contains("unfinished"), "{page}");
}

#[test]
fn cli_errors_of_an_experiment_file_point_at_its_lines() {
    let folder = TempDir::new().unwrap();
    tiny_transfer(folder.path());
    let path = folder.path().join("tiny.toml");
    let sound = std::fs::read_to_string(&path).unwrap();
    let message_of = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let output = crossscale(folder.path(), &["run", "tiny.toml", "--dry-run"]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        stderr(&output)
    };
    let rule = message_of(&sound.replace("batch = 4", "batch = 4\nmicro_batches = 3"));
    assert!(rule.contains("--> tiny.toml:19:1: batch = 4"), "{rule}");
    assert!(rule.contains("--> tiny.toml:20:1: micro_batches = 3"), "{rule}");
    let unknown = message_of(&sound.replace("batch = 4", "bacth = 4"));
    assert!(unknown.contains("line 19, column 1"), "{unknown}");
    assert!(unknown.contains("hint: did you mean batch?"), "{unknown}");
}

/// A definition may come from somebody else; its name alone must not choose where files go.
#[test]
fn cli_a_definition_cannot_name_a_folder_outside_of_runs() {
    let folder = TempDir::new().unwrap();
    let sound = include_str!("../../experiments/presets/tour.toml");
    for name in ["../x", "/x", "a/b", "..", ".", "", "a/"] {
        let text = sound.replacen("name = \"tour\"", &format!("name = {name:?}"), 1);
        std::fs::write(folder.path().join("theirs.toml"), text).unwrap();
        for verb in [&["reproduce", "--preset"][..], &["launch", "slurm"]] {
            let output = crossscale(folder.path(), &[verb, &["theirs.toml", "--dry-run"]].concat());
            assert_eq!(output.status.code(), Some(2), "{name:?}: {}", stderr(&output));
            assert!(stderr(&output).contains("cannot name files"), "{name:?}");
        }
    }
}

#[test]
fn cli_a_new_file_runs_as_it_is() {
    let folder = TempDir::new().unwrap();
    let run = |arguments: &[&str]| {
        let output = crossscale(folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    };
    let said = run(&["new", "experiment", "mine"]);
    assert_eq!(said, "wrote mine.toml\nnext: crossscale run mine.toml --dry-run\n");
    assert!(run(&["run", "mine.toml", "--dry-run"]).contains("What is asked?"));
    let few = ["--set", "train.steps=1", "--seeds", "1", "--set", "data.evaluation.sequences=8"];
    let few = [&["run", "mine.toml", "--out", "o", "-q"][..], &few].concat();
    assert!(run(&few).contains("report: o/reports/mine/"));
    let said = run(&["new", "parametrization", "half", "--from", "standard", "--out", "my tables"]);
    let next =
        "next: crossscale explain --model pt --width 512 --parametrization 'my tables/half.toml'\n";
    assert!(said.ends_with(next), "{said}");
    let explain = ["explain", "--model", "bert", "--width", "64", "--base-width", "32"];
    run(&[&explain[..], &["--parametrization", "my tables/half.toml"]].concat());
    // A table may also be the start of another one.
    run(&["new", "parametrization", "again", "--from", "my tables/half.toml"]);
    let twice = crossscale(folder.path(), &["new", "experiment", "mine", "--from", "rope"]);
    assert_eq!(twice.status.code(), Some(3), "{}", stderr(&twice));
    assert!(stderr(&twice).contains("is there already\nhint: choose another name"));
    let unknown = crossscale(folder.path(), &["new", "experiment", "x", "--from", "transfr"]);
    assert!(stderr(&unknown).contains("transfer") && !folder.path().join("x.toml").exists());
}
