//! A worker killed right after each step of a run's life in the ledger, and folders that cannot
//! be written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{assert_same, run, run_folder, signal, small, start, stderr, wait_for, write_text};

fn copy(from: &Path, to: &Path, names: &[&str]) {
    fs::create_dir_all(to).expect("a folder can be made");
    for name in names {
        let (from, to) = (from.join(name), to.join(name));
        if from.is_dir() {
            let entries = fs::read_dir(&from).expect("readable");
            let names = entries.map(|entry| entry.expect("readable").file_name());
            let names: Vec<String> = names.map(|name| name.to_string_lossy().into()).collect();
            copy(&from, &to, &names.iter().map(String::as_str).collect::<Vec<_>>());
        } else {
            fs::copy(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        }
    }
}

/// The claim of a run folder.
fn claim_of(run: &Path) -> PathBuf {
    let entries = fs::read_dir(run).expect("readable").map(|entry| entry.expect("readable").path());
    let mut claims = entries
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("claim-")));
    claims.next().expect("a killed worker leaves its claim")
}

/// Folders as a `kill -9` leaves them after each step that changes the ledger, made of the files
/// of a whole run and of one that really was killed.
#[test]
fn invariant_a_worker_killed_after_any_step_of_the_ledger_loses_nothing() {
    let folder = TempDir::new().unwrap();
    write_text(folder.path());
    let arguments = small("whole", "9");
    let ended = run(folder.path(), &arguments);
    assert!(ended.status.success(), "{}", stderr(&ended));
    let whole = run_folder(&folder.path().join("whole"));
    let name = whole.file_name().expect("a run has a name").to_owned();

    // The same settings but for its length, killed as soon as its manifest says that it runs.
    let victim = start(folder.path(), &small("killed", "100000"));
    let runs = folder.path().join("killed/runs");
    let begun = || {
        let run = fs::read_dir(&runs).ok()?.next()?.ok()?.path();
        run.join("manifest.json").exists().then_some(run)
    };
    wait_for("manifest", || begun().is_some());
    signal(&victim, "-KILL");
    victim.wait_with_output().expect("it is dead");
    let claim = claim_of(&begun().expect("it had begun"));

    let running = fs::read_to_string(whole.join("manifest.json")).expect("a manifest");
    assert!(running.contains("\"status\": \"finished\""), "{running}");
    let running = running.replace("\"status\": \"finished\"", "\"status\": \"running\"");
    let rows = ["metrics.csv", "timing.csv"];
    let ends = ["metrics.csv", "timing.csv", "evaluation.csv", "documents.csv", "checkpoints"];
    // What is there: claim, manifest (running or finished), files of results.
    let states: [(&str, Option<&str>, &str, &[&str]); 8] = [
        ("folder made", None, "", &[]),
        ("claim created, still empty", Some(""), "", &[]),
        ("claim written", Some("dead"), "", &[]),
        ("manifest written", Some("dead"), "running", &[]),
        ("rows without a checkpoint", Some("dead"), "running", &rows),
        ("all results, not yet marked finished", Some("dead"), "running", &ends),
        ("marked finished, claim not yet removed", Some("dead"), "finished", &ends),
        ("claim removed", None, "finished", &ends),
    ];
    for (index, (state, owner, manifest, files)) in states.into_iter().enumerate() {
        let out = format!("state-{index}");
        let place = folder.path().join(&out).join("runs").join(&name);
        copy(&whole, &place, files);
        match manifest {
            "running" => fs::write(place.join("manifest.json"), &running).unwrap(),
            "finished" => copy(&whole, &place, &["manifest.json"]),
            _ => {}
        }
        let claimed = place.join("claim-000001");
        match owner {
            Some("") => {
                // Nobody knows whose it is: it is free only once it is old.
                let empty = fs::File::create(&claimed).unwrap();
                empty.set_modified(std::time::UNIX_EPOCH).unwrap();
            }
            Some(_) => drop(fs::copy(&claim, &claimed).unwrap()),
            None => {}
        }
        let before = fs::read(place.join("manifest.json")).unwrap_or_default();
        let again = run(folder.path(), &small(&out, "9"));
        assert!(again.status.success(), "{state}: {}", stderr(&again));
        assert_same(&whole, &place);
        let after = fs::read(place.join("manifest.json")).expect("a manifest");
        assert!(String::from_utf8_lossy(&after).contains("\"finished\""), "{state}");
        let mut left = fs::read_dir(&place).expect("readable").map(|entry| entry.unwrap().path());
        let claim = |path: PathBuf| path.to_string_lossy().contains("claim-");
        assert!(!left.any(claim), "{state}: still claimed");
        if manifest == "finished" {
            assert!(before == after, "{state}: a finished run was done again");
        }
    }
}

#[test]
fn cli_folders_that_cannot_be_written_are_named_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    write_text(folder.path());
    fs::write(folder.path().join("file"), "not a folder").unwrap();
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "ro", "tmpfs", locked.to_str().unwrap()])
        .output()
        .is_ok_and(|output| output.status.success());
    let mut places = vec!["file/out"];
    if mounted {
        places.push("locked/out");
    } else {
        eprintln!("skipped in part: a read-only file system cannot be mounted here");
    }
    let mut outcomes = Vec::new();
    for place in places {
        let check = ["coordcheck", "--model", "pt", "--widths", "16,32,64", "--seeds", "2"];
        let check = [&check[..], &["--steps", "0,1", "--set", "model.iterations=1"]].concat();
        let check = [&check[..], &["--parametrization", "standard", "--out", place]].concat();
        for arguments in [
            small(place, "2"),
            vec!["report", "--into", place],
            vec!["reproduce", "--out", place, "--quiet"],
            check,
        ] {
            outcomes.push((place, arguments[0].to_owned(), run(folder.path(), &arguments)));
        }
    }
    if mounted {
        let status = Command::new("umount").arg(&locked).status();
        assert!(status.is_ok_and(|status| status.success()));
    }
    for (place, verb, output) in outcomes {
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{verb} {place}: {said}");
        assert!(said.contains(place) && said.contains("hint: "), "{verb} {place}: {said}");
        assert!(!said.contains("panicked"), "{verb} {place}: {said}");
    }
}
