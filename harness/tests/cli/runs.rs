//! `runs`, and what `launch` and `reproduce` refuse.

use tempfile::TempDir;

use super::{crossscale, json, run_folder, stderr, stdout, text, train};

#[test]
fn cli_runs_are_listed_archived_and_removed_but_never_while_somebody_works() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    let cli = |arguments: &[&str]| crossscale(folder.path(), arguments);
    let tiny = ["--model", "pt", "--width", "16", "--steps", "1"];
    assert!(train(folder.path(), "out", &tiny).status.success());
    let run = run_folder(&folder.path().join("out"));
    let name = run.file_name().unwrap().to_str().unwrap().to_owned();
    let listed = json(&cli(&["runs", "out", "--json"]));
    assert_eq!((&listed[0]["run"], &listed[0]["state"]), (&name.clone().into(), &"done".into()));
    let table = stdout(&cli(&["runs", "out", "--only", "pt-16"]));
    assert!(table.contains(&name) && table.contains("done"), "{table}");

    // A claim of a living process: this one.
    let claim = run.join("claim-000001");
    let owner = format!("{{\"pid\":{},\"machine\":\"\",\"released\":false}}", std::process::id());
    std::fs::write(&claim, owner).unwrap();
    for more in [&["--remove"][..], &["--archive", "old"]] {
        let refused = cli(&[&["runs", "out", "--only", "pt-16"][..], more].concat());
        assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
        assert!(stderr(&refused).contains("is being worked on"), "{}", stderr(&refused));
        assert!(run.join("manifest.json").is_file());
    }
    std::fs::remove_file(&claim).unwrap();

    let moved = cli(&["runs", "out", "--archive", "old", "--only", &name]);
    assert!(moved.status.success(), "{}", stderr(&moved));
    assert!(!run.exists());
    assert_eq!(json(&cli(&["runs", "old", "--json"]))[0]["run"], name.as_str());
    let left = std::fs::read_dir(run_folder(&folder.path().join("old"))).unwrap();
    let claims = left.filter(|entry| {
        entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("claim-")
    });
    assert_eq!(claims.count(), 0, "the archived run is free");
    let back = cli(&["runs", "old", "--archive", "out", "--only", &name]);
    assert!(back.status.success() && run.is_dir(), "{}", stderr(&back));
    for (arguments, code, part) in [
        (&["runs", "out", "--remove"][..], 2, "--only"),
        (&["runs", "out", "--csv", "--only", "pt"], 2, "--only"),
        (&["runs", "out", "--remove", "--only", "bert"], 2, "0 runs of out/runs begin with"),
        (&["runs", "out", "--remove", "--only", ""], 2, "0 runs of"),
        (&["runs", "out", "--remove", "--only", "../runs"], 2, "0 runs of"),
        (&["runs", "nowhere"], 3, "nowhere"),
    ] {
        let refused = cli(arguments);
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(part), "{part}: {}", stderr(&refused));
    }
    let removed = cli(&["runs", "out", "--remove", "--only", "pt-16"]);
    assert!(removed.status.success() && !run.exists(), "{}", stderr(&removed));
    assert_eq!(stdout(&cli(&["runs", "out"])), "no runs yet\n");
    let left = std::fs::read_dir(folder.path().join("out/runs")).unwrap();
    assert_eq!(left.count(), 0, "something half-removed");
}

#[test]
fn cli_hours_of_a_gpu_are_not_spent_on_the_embedded_text() {
    let folder = TempDir::new().unwrap();
    let path = text(folder.path());
    std::fs::create_dir(folder.path().join("big")).unwrap();
    std::fs::copy(path, folder.path().join("big/a.txt")).unwrap();
    let cli = |line: &str| crossscale(folder.path(), &line.split(' ').collect::<Vec<_>>());
    for preset in ["paper", "paper-matched"] {
        for line in [format!("reproduce --preset {preset}"), format!("launch slurm {preset}")] {
            let refused = cli(&line);
            let said = stderr(&refused);
            assert_eq!(refused.status.code(), Some(2), "{line}: {said}");
            assert!(said.contains("embedded") && said.contains("hint: give a text by --text"));
        }
        assert!(cli(&format!("reproduce --preset {preset} --dry-run")).status.success());
    }
    let script = |more: &str| {
        let output = cli(&format!("launch slurm paper --gpus 1 --dry-run {more}"));
        assert!(output.status.success(), "{}", stderr(&output));
        (stdout(&output), stderr(&output))
    };
    let (without, said) = script("--out runs/p");
    assert!(said.contains("embedded"), "{said}");
    assert!(without.contains("--jobs 1"), "two runs on one GPU:\n{without}");
    let (with, said) = script("--text big --set train.steps=7");
    assert!(with.contains("--jobs 1 --text big --set train.steps=7 &"), "{with}");
    assert!(!said.contains("hint: give a text"), "{said}");
    assert!(script("--jobs 3").0.contains("--jobs 3"));
    let two = cli("launch slurm paper --gpus 2 --dry-run");
    assert!(stderr(&two).contains("hint: give --gpus 1 --tasks 8"), "{}", stderr(&two));
}
