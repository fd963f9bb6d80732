//! Verbs of registered experiments.

use super::*;

/// An experiment small enough for a test: two widths, four steps.
fn tiny_transfer(folder: &Path) {
    let text = r#"
name = "tiny"
question = "Does anything move?"
scientific = ["width"]
nuisance = ["learning rate"]
fixed = ["the rest"]
stopping = "one rate on each side, two seeds"
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
    let dry = run(&["transfer", "tiny.toml", "--out", "runs", "--dry-run"]);
    assert!(dry.contains("no run done, the first step needs 9"), "{dry}");
    assert!(!folder.path().join("runs").exists(), "a dry run writes nothing");
    assert!(report("before").contains("Unfinished: 0 runs are there, 9 are wanted next"));
    let done = run(&["transfer", "tiny.toml", "--out", "runs", "--jobs", "2", "--quiet"]);
    assert!(done.contains("complete"), "{done}");
    let (first, second) = (report("a"), report("b"));
    assert_eq!(first, second);
    assert!(!first.contains("Unfinished"));
    for name in ["claims.csv", "tiny_slopes.csv", "tiny_optima.csv", "learning_rate_transfer.svg"] {
        assert!(folder.path().join("a").join(name).exists(), "{name}");
    }
    let wrong = crossscale(folder.path(), &["perturb", "tiny.toml"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("crossscale transfer tiny.toml"), "{}", stderr(&wrong));
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
    assert_eq!(claims.len(), 8, "{claims:?}");
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
    let refused = crossscale(folder.path(), &["compare", "penn-treebank", "--out", "runs"]);
    assert_eq!(refused.status.code(), Some(2));
    let message = stderr(&refused);
    assert!(message.contains("crossscale data fetch ptb --out runs/data/ptb"), "{message}");
    let report = ["report", "penn-treebank", "--out", "runs", "--into", "report"];
    let reported = crossscale(folder.path(), &report);
    assert!(reported.status.success(), "{}", stderr(&reported));
    let page = std::fs::read_to_string(folder.path().join("report/report.md")).unwrap();
    assert!(page.contains("| C8") && page.contains("not run"), "{page}");
}

#[test]
fn cli_errors_of_an_experiment_file_point_at_its_lines() {
    let folder = TempDir::new().unwrap();
    tiny_transfer(folder.path());
    let path = folder.path().join("tiny.toml");
    let sound = std::fs::read_to_string(&path).unwrap();
    let message_of = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let output = crossscale(folder.path(), &["transfer", "tiny.toml", "--dry-run"]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        stderr(&output)
    };
    let rule = message_of(&sound.replace("batch = 4", "batch = 4\nmicro_batches = 3"));
    assert!(rule.contains("--> tiny.toml:21:1: batch = 4"), "{rule}");
    assert!(rule.contains("--> tiny.toml:22:1: micro_batches = 3"), "{rule}");
    let unknown = message_of(&sound.replace("batch = 4", "bacth = 4"));
    assert!(unknown.contains("line 21, column 1"), "{unknown}");
    assert!(unknown.contains("hint: did you mean batch?"), "{unknown}");
}

/// A definition may come from somebody else; its name alone must not choose where files go.
#[test]
fn cli_a_definition_cannot_name_a_folder_outside_of_runs() {
    let folder = TempDir::new().unwrap();
    let sound = include_str!("../../src/config/presets/tour.toml");
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
