//! Runs that are killed, stopped, starved of disk and worked on by several processes at once.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

#[path = "durability/faults.rs"]
mod faults;
#[path = "durability/workers.rs"]
mod workers;

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crossscale"));
    command.current_dir(folder).args(arguments);
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().expect("the binary starts")
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    command(folder, arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A small text of several documents.
fn write_text(folder: &Path) {
    let words = ["the", "people", "of", "this", "union", "have", "work", "to", "do", "and"];
    let mut content = String::new();
    for document in 0..40 {
        for place in 0..60 {
            content.push_str(words[(document * 7 + place * 3 + place * place) % words.len()]);
            content.push(' ');
        }
        content.push_str("\n\n");
    }
    std::fs::write(folder.join("text.txt"), content).expect("the folder can be written");
}

/// A training of a small model that saves often; `steps` as wanted.
fn small<'a>(out: &'a str, steps: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["train", "--text", "text.txt", "--seed", "1", "--out", out];
    arguments.extend(["--model", "pt", "--width", "16", "--steps", steps, "--threads", "1"]);
    for set in [
        "data.paths.text_document=paragraph",
        "data.paths.validation_share=0.2",
        "data.tokenizer.vocab=280",
        "data.length=16",
        "model.channels=2",
        "train.batch=4",
        "train.evaluate_every=20",
        "train.checkpoint_every=3",
        "parametrization.base_width=16",
    ] {
        arguments.extend(["--set", set]);
    }
    arguments
}

/// The only run folder under `out`.
fn run_folder(out: &Path) -> PathBuf {
    let mut folders = std::fs::read_dir(out.join("runs")).expect("a ledger has runs");
    let only = folders.next().expect("one run").expect("readable").path();
    assert!(folders.next().is_none(), "exactly one run");
    only
}

/// Everything of a run that is a function of its configuration.
fn results(run: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = vec!["metrics.csv".to_owned()];
    files.extend(["evaluation.csv".to_owned(), "documents.csv".to_owned()]);
    let checkpoints = std::fs::read_dir(run.join("checkpoints")).expect("checkpoints");
    let mut names: Vec<String> = checkpoints
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".safetensors"))
        .collect();
    names.sort();
    files.extend(names.last().map(|name| format!("checkpoints/{name}")));
    let read = |name: String| {
        let bytes = std::fs::read(run.join(&name)).expect("a file of results");
        (name, bytes)
    };
    files.into_iter().map(read).collect()
}

fn assert_same(left: &Path, right: &Path) {
    for ((name, left), (other, right)) in results(left).into_iter().zip(results(right)) {
        assert_eq!(name, other);
        assert!(left == right, "{name} differs");
    }
}

/// Delays that differ from one another but not from one run of the test to the next.
fn delays(count: u64, most_milliseconds: u64) -> impl Iterator<Item = Duration> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..count).map(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Duration::from_millis((state >> 33) % most_milliseconds)
    })
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(status.expect("kill exists").success());
}

/// Waits for `condition`, at most a minute.
fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_mins(1), "no {what} after a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn invariant_a_run_killed_at_random_moments_ends_bit_exact() {
    let folder = TempDir::new().unwrap();
    write_text(folder.path());
    let begun = Instant::now();
    let whole = run(folder.path(), &small("whole", "600"));
    assert!(whole.status.success(), "{}", stderr(&whole));
    // An eighth of a whole run at most: three kills find it unfinished even where the machine was
    // twice as busy during the whole run as it is now.
    let longest = begun.elapsed().as_millis() as u64 / 8 + 1;
    let arguments = small("killed", "600");
    let mut kills = 0;
    for delay in delays(60, longest) {
        let mut child = start(folder.path(), &arguments);
        std::thread::sleep(delay);
        let ended = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        if let Some(status) = ended {
            assert!(status.success(), "a run that was not killed failed");
            break;
        }
        kills += 1;
    }
    let last = run(folder.path(), &arguments);
    assert!(last.status.success(), "{}", stderr(&last));
    assert!(kills >= 3, "only {kills} kills before the end");
    let runs = ["whole", "killed"].map(|out| run_folder(&folder.path().join(out)));
    assert_same(&runs[0], &runs[1]);
    let mut entries = std::fs::read_dir(&runs[1]).unwrap();
    let claim = |name: std::ffi::OsString| name.to_string_lossy().starts_with("claim-");
    assert!(!entries.any(|entry| claim(entry.unwrap().file_name())), "still claimed");
}

/// What happens to the bytes of a file.
type Damage = fn(&mut Vec<u8>);

#[test]
fn invariant_damaged_checkpoints_are_named_and_the_one_before_is_used() {
    let folder = TempDir::new().unwrap();
    write_text(folder.path());
    let whole = run(folder.path(), &small("whole", "30"));
    assert!(whole.status.success(), "{}", stderr(&whole));
    let damages: [(&str, Damage, &str); 3] = [
        ("cut", |bytes| bytes.truncate(bytes.len() - 100), "truncated"),
        ("flip", |bytes| *bytes.last_mut().unwrap() ^= 4, "does not match its hash"),
        ("empty", Vec::clear, "passed over"),
    ];
    for (out, damage, message) in damages {
        let arguments = small(out, "30");
        let mut child = start(folder.path(), &arguments);
        let runs = folder.path().join(out).join("runs");
        let checkpoints = || -> Vec<PathBuf> {
            let Some(run) = std::fs::read_dir(&runs).ok().and_then(|mut runs| runs.next()) else {
                return Vec::new();
            };
            let entries = std::fs::read_dir(run.unwrap().path().join("checkpoints"));
            let mut names: Vec<PathBuf> = entries
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
                .collect();
            names.sort();
            names
        };
        wait_for("second checkpoint", || checkpoints().len() >= 2);
        child.kill().unwrap();
        child.wait().unwrap();
        let manifest = run_folder(&folder.path().join(out)).join("manifest.json");
        // A run that had ended before the kill is opened again.
        let text =
            std::fs::read_to_string(&manifest).unwrap().replace("\"finished\"", "\"running\"");
        std::fs::write(&manifest, text).unwrap();
        let newest = checkpoints().pop().unwrap();
        let mut bytes = std::fs::read(&newest).unwrap();
        damage(&mut bytes);
        std::fs::write(&newest, bytes).unwrap();
        let resumed = run(folder.path(), &arguments);
        let said = stderr(&resumed);
        assert!(resumed.status.success(), "{said}");
        let name = newest.file_name().unwrap().to_string_lossy().into_owned();
        assert!(said.contains(&name) && said.contains(message), "{out}: {said}");
        let runs = ["whole", out].map(|out| run_folder(&folder.path().join(out)));
        assert_same(&runs[0], &runs[1]);
    }
}

#[test]
fn invariant_a_full_disk_is_an_error_and_keeps_the_checkpoint_before() {
    let folder = TempDir::new().unwrap();
    write_text(folder.path());
    let whole = run(folder.path(), &small("whole", "30"));
    assert!(whole.status.success(), "{}", stderr(&whole));
    let finished = run_folder(&folder.path().join("whole"));
    let size = results(&finished).last().unwrap().1.len();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = |options: String| {
        let arguments = ["-t", "tmpfs", "-o", &options, "tmpfs", disk.to_str().unwrap()];
        Command::new("mount").args(arguments).output().is_ok_and(|output| output.status.success())
    };
    // Room for two checkpoints and the small files, not for the third that replaces the first.
    if !mount(format!("size={}", 2 * size + size / 2)) {
        eprintln!("skipped: a small file system cannot be mounted here");
        return;
    }
    let arguments = small("disk", "30");
    let full = run(folder.path(), &arguments);
    let said = stderr(&full);
    let outcome = std::panic::catch_unwind(|| {
        assert_eq!(full.status.code(), Some(1), "{said}");
        assert!(said.contains("No space left") && said.contains(".safetensors"), "{said}");
        let run_of_disk = run_folder(&disk);
        let kept = std::fs::read_dir(run_of_disk.join("checkpoints")).unwrap().count();
        assert_eq!(kept, 2, "both checkpoints are kept and nothing half-written stays");
        assert!(mount(format!("remount,size={}", 10 * size)));
        let resumed = run(folder.path(), &arguments);
        assert!(resumed.status.success(), "{}", stderr(&resumed));
        assert_same(&finished, &run_of_disk);
    });
    let unmounted = Command::new("umount").arg(&disk).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    outcome.unwrap();
}

#[test]
fn cli_one_signal_saves_and_two_leave_at_once() {
    let folder = TempDir::new().unwrap();
    write_text(folder.path());
    let manifest = |out: &str| {
        let runs = folder.path().join(out).join("runs");
        std::fs::read_dir(runs)
            .ok()
            .and_then(|mut runs| runs.next())
            .is_some_and(|run| run.unwrap().path().join("manifest.json").exists())
    };
    let arguments = small("once", "100000");
    for name in ["-INT", "-TERM"] {
        let child = start(folder.path(), &arguments);
        wait_for("manifest", || manifest("once"));
        std::thread::sleep(Duration::from_millis(300));
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(130), "{name}: {said}");
        assert!(said.contains("the state is saved") && said.contains("hint: "), "{said}");
        let run = run_folder(&folder.path().join("once"));
        let text = std::fs::read_to_string(run.join("manifest.json")).unwrap();
        assert!(text.contains("\"interrupted\""), "{text}");
        let rows = std::fs::read_to_string(run.join("metrics.csv")).unwrap().lines().count() - 1;
        let saved = run.join(format!("checkpoints/step-{rows:010}.safetensors"));
        assert!(saved.exists(), "{} rows but no {}", rows, saved.display());
    }
    // Steps that take many seconds: the second signal must not wait for one.
    let mut slow = small("twice", "100");
    let place = slow.iter().position(|word| *word == "16").unwrap();
    slow[place] = "768";
    slow.extend(["--set", "train.batch=100"]);
    let mut child = start(folder.path(), &slow);
    wait_for("manifest", || manifest("twice"));
    signal(&child, "-INT");
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none(), "one signal waits for the step");
    let begun = Instant::now();
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(2), "left after {:?}", begun.elapsed());
    let run = run_folder(&folder.path().join("twice"));
    assert!(!run.join("checkpoints").exists(), "the second signal saves nothing");
}
