//! What people really hand over: weights that are no numbers, runs cut short, numbers beyond any
//! type, folders with odd names.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::weights::TensorFile;

use super::import::rewrite;
use super::*;

const PT: [&str; 6] = ["--model", "pt", "--width", "16", "--set", "model.channels=2"];

/// Copies the weights file `from` to `to` with the entry `place` of `tensor` set to `value`.
fn spoil(from: &Path, to: &Path, tensor: &str, (place, value): (usize, f32)) {
    rewrite(from, to, |_, tensors| tensors.get_mut(tensor).unwrap().1[place] = value);
}

#[test]
fn cli_weights_that_are_no_numbers_are_named_and_end_with_code_5() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    let cli = |arguments: &[&str]| crossscale(folder.path(), arguments);
    let path = |name: &str| folder.path().join(name);
    let trained = train(folder.path(), "run", &[&PT[..], &["--steps", "2"]].concat());
    assert!(trained.status.success(), "{}", stderr(&trained));
    assert!(cli(&["export", "run", "--out", "good.safetensors"]).status.success());
    let tensor = TensorFile::open(&path("good.safetensors")).unwrap();
    let tensor = tensor.names().next().unwrap().to_owned();
    let data = [&["--text", "text.txt", "--json"], &SMALL[..8]].concat();
    let refused = |output: &Output, part: &str| {
        let message = stderr(output);
        assert_eq!(output.status.code(), Some(5), "{message}");
        assert!(message.contains(part) && message.contains("\nhint: "), "{part}: {message}");
        assert!(output.stdout.is_empty(), "{}", stdout(output));
    };
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        spoil(&path("good.safetensors"), &path("bad.safetensors"), &tensor, (3, value));
        let named = format!("bad.safetensors: tensor '{tensor}' has 1 of ");
        refused(&cli(&["import", "bad.safetensors", "--model", "pt", "--out", "in"]), &named);
        refused(&cli(&[&["evaluate", "bad.safetensors"], &data[..]].concat()), &named);
        let init = [&PT[..], &["--steps", "1", "--init", "bad.safetensors"]].concat();
        refused(&train(folder.path(), "from", &init), &named);
    }
    assert!(!path("in").join("weights.safetensors").exists(), "something was written");
    // Numbers of which the model makes none.
    spoil(&path("good.safetensors"), &path("huge.safetensors"), &tensor, (3, f32::MAX));
    let huge = cli(&[&["evaluate", "huge.safetensors"], &data[..]].concat());
    if huge.status.code() != Some(5) {
        let loss = json(&huge)["loss_nats"].as_f64();
        assert!(loss.is_some_and(f64::is_finite), "{}", stdout(&huge));
    }
    // A run folder's own weights.
    let weights = run_folder(&path("run")).join("weights.safetensors");
    spoil(&weights.clone(), &path("spoilt"), &tensor, (0, f32::NAN));
    std::fs::rename(path("spoilt"), &weights).unwrap();
    refused(&cli(&["export", "run", "--out", "x.safetensors"]), &tensor);
    refused(&cli(&["evaluate", "run", "--json"]), &tensor);
    // A run that ended because a number was none; what it left may be numbers.
    let diverging = ["--steps", "9", "--set", "train.learning_rate=1e30"];
    let diverged = train(folder.path(), "div", &[&PT[..], &diverging].concat());
    assert_eq!(diverged.status.code(), Some(5), "{}", stderr(&diverged));
    refused(&cli(&["export", "div", "--out", "x.safetensors"]), "not finite at step");
    refused(&cli(&["evaluate", "div", "--json"]), "not finite at step");
    let init = [&PT[..], &["--steps", "1", "--init", "div"]].concat();
    refused(&train(folder.path(), "from", &init), "not finite at step");
    assert!(!path("x.safetensors").exists(), "a file was written");
}

/// A run that is stopped by a signal once it has taken some steps.
fn interrupted(folder: &Path, out: &str, (runs, more): (usize, &[&str])) {
    let mut arguments = vec!["train", "--text", "text.txt", "--out", out, "--steps", "1000000"];
    arguments.extend(PT);
    arguments.extend(SMALL);
    arguments.extend(more);
    let mut child = Command::new(env!("CARGO_BIN_EXE_crossscale"))
        .current_dir(folder)
        .args(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let steps = |run: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(run.unwrap().path().join("metrics.csv"));
        text.unwrap_or_default().lines().count()
    };
    let all_began = || {
        let entries = std::fs::read_dir(folder.join(out).join("runs")).into_iter().flatten();
        entries.map(steps).filter(|steps| *steps >= 12).count() == runs
    };
    let begun = Instant::now();
    while !all_began() {
        assert!(begun.elapsed() < Duration::from_mins(2), "no steps");
        std::thread::sleep(Duration::from_millis(50));
    }
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
#[cfg(unix)]
fn cli_status_says_which_loss_it_shows_and_what_is_finished() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    let cli = |arguments: &[&str]| crossscale(folder.path(), arguments);
    interrupted(folder.path(), "o", (1, &["--set", "train.evaluate_every=0"]));
    interrupted(folder.path(), "o", (2, &["--set", "train.evaluate_every=5"]));
    let finished = train(folder.path(), "o", &[&PT[..], &["--steps", "4"]].concat());
    assert!(finished.status.success(), "{}", stderr(&finished));
    let status = json(&cli(&["status", "o", "--json"]));
    let runs: Vec<&serde_json::Value> = status[0]["runs"].as_array().unwrap().iter().collect();
    assert_eq!(runs.len(), 3);
    for run in &runs {
        let name = run["run"].as_str().unwrap();
        let read = |file: &str, column: usize| -> Option<(u64, f64)> {
            let path = folder.path().join("o/runs").join(name).join(file);
            let text = std::fs::read_to_string(path).unwrap();
            let fields: Vec<&str> = text.lines().skip(1).last()?.split(',').collect();
            Some((fields[0].parse().unwrap(), fields[column].parse().unwrap()))
        };
        let (step, batch) = read("metrics.csv", 2).unwrap();
        assert_eq!(run["training_loss_nats"].as_f64(), Some(batch));
        assert_eq!(run["step"].as_u64(), Some(step));
        let held_out = read("evaluation.csv", 1);
        assert_eq!(run["held_out_loss_nats"].as_f64(), held_out.map(|(_, loss)| loss));
        assert_eq!(run["held_out_step"].as_u64(), held_out.map(|(step, _)| step));
        assert!(run.get("loss_nats").is_none(), "a loss of two meanings: {run}");
        let expected = if step == 4 { "done" } else { "interrupted" };
        assert_eq!(run["state"], expected);
    }
    let table = stdout(&cli(&["status", "o", "--all"]));
    assert!(table.contains("held-out last batch"), "{table}");
    assert!(table.contains("1 done") && table.contains("2 interrupted"), "{table}");
    assert!(table.contains("held out after step "), "{table}");
    for run in runs.iter().filter(|run| run["state"] == "interrupted") {
        let path = format!("o/runs/{}", run["run"].as_str().unwrap());
        let told = format!(" is interrupted: these weights are after {} of 1000000", run["step"]);
        for arguments in [&["evaluate", &path][..], &["export", &path, "--out", "x.safetensors"]] {
            let output = cli(arguments);
            assert!(output.status.success(), "{}", stderr(&output));
            assert!(stderr(&output).contains(&told), "{}", stderr(&output));
        }
    }
}

#[test]
fn cli_a_number_that_no_key_holds_is_told_by_the_name_of_its_option() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    let too_large = "9223372036854775808";
    for option in ["--seed", "--width", "--steps"] {
        for large in [too_large, "18446744073709551615"] {
            let arguments = ["train", "--model", "bert", option, large, "--out", "o"];
            let set = ["--text", "text.txt", "--set", "model.layers=1"];
            let output = crossscale(folder.path(), &[&arguments[..], &set].concat());
            let message = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{message}");
            assert!(message.starts_with(&format!("error: {option} {large} is too large\n")));
            assert!(message.contains("hint: give a number up to 9223372036854775807"));
            assert!(!message.contains("model.layers"), "{message}");
        }
    }
    let cases = [
        (format!("seed={too_large}"), "the number is too large"),
        (format!("train.steps=-{too_large}9"), "the number is too large"),
        ("train.learning_rate=nan".to_owned(), "NaN is no number"),
        ("train.weight_decay=inf".to_owned(), "inf is no number"),
        ("model.lambda_h=-inf".to_owned(), "-inf is no number"),
        ("data.masking.share=+nan".to_owned(), "NaN is no number"),
    ];
    for (set, part) in &cases {
        let output = train(folder.path(), "o", &[&PT[..], &["--set", set]].concat());
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(&format!("--set {set}: {part}\n")), "{message}");
        assert!(message.contains("\nhint: give "), "{message}");
    }
    std::fs::write(folder.path().join("c.toml"), "[train]\nlearning_rate = nan\n").unwrap();
    let output = train(folder.path(), "o", &[&PT[..], &["--config", "c.toml"]].concat());
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("train.learning_rate is NaN or infinite"), "{message}");
    assert!(message.contains("c.toml:2:1"), "{message}");
}

#[test]
fn cli_init_takes_the_model_of_the_weights_where_none_is_given() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    let trained = train(folder.path(), "run", &[&PT[..], &["--steps", "2"]].concat());
    assert!(trained.status.success(), "{}", stderr(&trained));
    let export = crossscale(folder.path(), &["export", "run", "--out", "w.safetensors"]);
    assert!(export.status.success(), "{}", stderr(&export));
    for weights in ["run", "w.safetensors"] {
        let from = train(folder.path(), "from", &["--init", weights, "--steps", "1"]);
        assert!(from.status.success(), "{weights}: {}", stderr(&from));
        assert!(stdout(&from).contains("run pt-16-"), "{}", stdout(&from));
    }
    let other = train(folder.path(), "x", &["--model", "bert", "--init", "run", "--steps", "1"]);
    assert_eq!(other.status.code(), Some(3));
    assert!(stderr(&other).contains("hint: use --model pt"), "{}", stderr(&other));
    let none = train(folder.path(), "x", &["--steps", "1"]);
    assert_eq!(none.status.code(), Some(2));
}

#[test]
fn cli_a_batch_without_targets_ends_no_run() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    let batch = ["--set", "train.batch=1", "--steps", "40"];
    for parts in [&[][..], &["--set", "path=reference"]] {
        let output = train(folder.path(), "o", &[&PT[..], &batch, parts].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stdout(&output).contains(" of 40 steps had no target"), "{}", stdout(&output));
    }
    // Nothing held out can be predicted: told before any step.
    let none = ["--set", "data.masking.share=1e-9", "--steps", "5"];
    let output = train(folder.path(), "none", &[&PT[..], &none].concat());
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    assert!(stderr(&output).contains("hold no target\nhint: "), "{}", stderr(&output));
    let run = run_folder(&folder.path().join("none"));
    assert!(!run.join("metrics.csv").exists(), "steps were taken");
}

#[test]
fn cli_slurm_scripts_quote_whatever_folder_they_are_made_in() {
    let folder = TempDir::new().unwrap();
    for (name, quoted) in [("my work", "\"/"), ("it's", "\"/"), ("a#b", "\"/"), ("a\"b", "'/")] {
        let place = folder.path().join(name);
        std::fs::create_dir(&place).unwrap();
        let launch = ["launch", "slurm", "quick", "--dry-run", "--out", "100%j runs"];
        let output = crossscale(&place, &launch);
        assert!(output.status.success(), "{}", stderr(&output));
        let script = stdout(&output);
        let line = script.lines().find(|line| line.starts_with("#SBATCH --chdir=")).unwrap();
        assert!(line.contains(&format!("--chdir={quoted}")) && line.contains(name), "{line}");
        let log = "#SBATCH --output=\"100%%j runs/slurm-%A_%a.log\"\n";
        assert!(script.contains(log), "{script}");
        assert!(script.contains("--out '100%j runs'"), "{script}");
    }
    for bad in ["a\nb", "a\\b", "'\"", ""] {
        let launch = ["launch", "slurm", "quick", "--dry-run", "--partition", bad];
        let output = crossscale(folder.path(), &launch);
        assert_eq!(output.status.code(), Some(2), "{bad:?}: {}", stdout(&output));
        assert!(stderr(&output).contains("\nhint: "), "{}", stderr(&output));
    }
}

#[test]
fn cli_names_of_experiments_write_nothing_outside_the_folder() {
    let folder = TempDir::new().unwrap();
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    let quick = include_str!("../../experiments/presets/quick.toml");
    let rope = include_str!("../../experiments/rope.toml");
    for name in ["../up", "a/b", "/tmp/x", "a b", "=cmd", "..", ""] {
        for (text, verbs) in [
            (quick, &["reproduce --dry-run --preset", "launch slurm --dry-run"][..]),
            (rope, &["run --dry-run", "report"]),
        ] {
            let line = text.lines().find(|line| line.starts_with("name = ")).unwrap();
            let changed = text.replacen(line, &format!("name = {name:?}"), 1);
            std::fs::write(inside.join("mine.toml"), changed).unwrap();
            for verb in verbs {
                let mut arguments: Vec<&str> = verb.split(' ').collect();
                arguments.push("mine.toml");
                let output = crossscale(&inside, &arguments);
                let message = stderr(&output);
                assert_eq!(output.status.code(), Some(2), "{verb} {name:?}: {message}");
                let expected = format!("name = {name:?} cannot name files\n");
                assert!(message.contains(&expected), "{verb}: {message}");
                assert!(message.contains("\nhint: use letters"), "{verb}: {message}");
            }
        }
    }
    let names = |path: &Path| std::fs::read_dir(path).unwrap().count();
    assert_eq!((names(folder.path()), names(&inside)), (1, 1), "something was written");
}

#[test]
fn cli_explain_names_a_width_that_works() {
    let folder = TempDir::new().unwrap();
    // Heads are fitted to the width, so that the base model is the one that does not fit.
    for (width, base) in [("40", "64"), ("64", "12")] {
        let ask = |base: &str| {
            let arguments = ["explain", "--model", "bert", "--width", width, "--base-width", base];
            crossscale(folder.path(), &arguments)
        };
        let output = ask(base);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(&format!("--base-width {base}")), "{message}");
        let (_, hint) = message.split_once("\nhint: use --base-width ").expect("a hint");
        let followed = ask(hint.trim());
        assert!(followed.status.success(), "{}", stderr(&followed));
    }
}
