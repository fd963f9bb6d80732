//! Properties of the ledger as a whole.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use models::parameters::{Layout, ParameterSpec};
use models::parametrization::{Resolved, Rule, SiteScales};
use serde_json::json;

use super::*;
use crate::train::{Divergence, Evaluation};

fn key(index: usize) -> RunKey {
    RunKey::new("pt", 64, &json!({ "seed": index }), "data").unwrap()
}

fn layout() -> Layout {
    Layout::new(vec![
        ParameterSpec::hidden("a", 4, 4, 0.1),
        ParameterSpec::hidden("b", 4, 4, 0.1),
        ParameterSpec::bias("c", 4),
    ])
}

fn resolved() -> Resolved {
    let rule = Rule {
        init_std: 0.1,
        init_std_factor: 1.0,
        forward_multiplier: 1.0,
        lr_multiplier: 0.5,
        weight_decay_multiplier: 1.0,
        eps_multiplier: 1.0,
    };
    Resolved {
        parametrization: "mup-table8".to_owned(),
        rules: vec![rule; 3],
        sites: SiteScales::BASE,
        gradient_clip_multiplier: 1.0,
    }
}

fn outcome(divergence: Option<Divergence>) -> TrainOutcome {
    let evaluation = Evaluation { loss_nats: 3.25, targets: 10, documents: Vec::new() };
    TrainOutcome {
        final_evaluation: divergence.is_none().then_some(evaluation),
        context: None,
        parameters: vec![0.0; 36],
        divergence,
        overfitted: None,
        steps: 7,
        idle_steps: 0,
        tokens: 700,
        first_loss_nats: 5.0,
        last_loss_nats: 3.0,
        seconds: 1.5,
    }
}

fn begin(ledger: &Ledger, key: &RunKey) -> Begin {
    let (layout, resolved) = (layout(), resolved());
    let describe = || RunDescription {
        command: "crossscale train".to_owned(),
        config: json!({ "seed": 1 }),
        layout: &layout,
        resolved: &resolved,
        data_fingerprint: "data".to_owned(),
        threads: 1,
    };
    ledger.begin(key, describe).unwrap()
}

fn claim(ledger: &Ledger, key: &RunKey) -> Claim {
    match begin(ledger, key) {
        Begin::Ours(claim) => *claim,
        other => panic!("expected a claim, got {other:?}"),
    }
}

/// The newest claim file of a run.
fn claim_file(run: &Path) -> PathBuf {
    let entries = std::fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains("claim-")).max().unwrap()
}

/// Makes the last heartbeat of a claim look ten minutes older.
fn age(file: &Path) {
    let file = std::fs::File::options().append(true).open(file).unwrap();
    let beaten = file.metadata().unwrap().modified().unwrap();
    file.set_modified(beaten - Duration::from_mins(10)).unwrap();
}

#[test]
fn invariant_states_follow_each_other_and_a_finished_run_is_never_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let key = key(1);
    assert_eq!(ledger.find(&key).unwrap(), RunState::Absent);
    let first = claim(&ledger, &key);
    assert_eq!(ledger.find(&key).unwrap(), RunState::Running);
    assert!(matches!(begin(&ledger, &key), Begin::Taken));
    drop(first);
    assert_eq!(ledger.find(&key).unwrap(), RunState::Interrupted);
    let written = claim(&ledger, &key).finish(&outcome(None)).unwrap();
    let RunState::Finished(found) = ledger.find(&key).unwrap() else { panic!("not finished") };
    assert_eq!(*found, written);
    assert_eq!(found.result.as_ref().unwrap().loss_nats, Some(3.25));
    assert_eq!(found.parametrization.rules.len(), 2);
    assert_eq!(found.parametrization.rules[0].tensors, 2);
    assert!(matches!(begin(&ledger, &key), Begin::Done(_)));
    let names: Vec<_> = std::fs::read_dir(ledger.folder(&key)).unwrap().collect();
    assert_eq!(names.len(), 1, "only the manifest is left: {names:?}");
    assert_eq!(ledger.manifests().unwrap().len(), 1);
}

#[test]
fn invariant_a_diverged_run_is_recorded_and_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let divergence = Divergence::NotFinite { tensor: "head.dense.weight".to_owned(), step: 7 };
    claim(&ledger, &key(1)).finish(&outcome(Some(divergence))).unwrap();
    let RunState::Diverged(manifest) = ledger.find(&key(1)).unwrap() else { panic!("not kept") };
    let result = manifest.result.unwrap();
    assert_eq!(result.loss_nats, None);
    assert_eq!(result.divergence.unwrap(), "head.dense.weight not finite at step 7");
    assert!(matches!(begin(&ledger, &key(1)), Begin::Done(_)));
}

#[test]
fn invariant_a_damaged_manifest_is_named_and_never_taken_as_finished() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    claim(&ledger, &key(1)).finish(&outcome(None)).unwrap();
    let run = ledger.folder(&key(1));
    let whole = std::fs::read(run.join(MANIFEST_FILE)).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 3] {
        std::fs::write(run.join(MANIFEST_FILE), &whole[..length]).unwrap();
        let error = Manifest::read(&run).unwrap_err();
        assert!(error.to_string().contains(MANIFEST_FILE), "{error}");
        assert_eq!(error.exit_code(), 3);
        assert_eq!(ledger.find(&key(1)).unwrap(), RunState::Interrupted);
        assert!(ledger.manifests().unwrap()[0].1.is_err());
    }
    drop(claim(&ledger, &key(1)));
    assert_eq!(ledger.find(&key(1)).unwrap(), RunState::Interrupted);
}

#[test]
fn invariant_a_manifest_of_another_schema_is_refused_with_its_version_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    claim(&ledger, &key(1)).finish(&outcome(None)).unwrap();
    let path = ledger.folder(&key(1)).join(MANIFEST_FILE);
    // Fields that this version does not know, and none of those it expects.
    let theirs = r#"{"schema": 2, "version": "9.1.0", "state": {"word": "finished"}}"#;
    std::fs::write(&path, theirs).unwrap();
    let refused = ledger.begin(&key(1), || unreachable!("described although it is done"));
    for error in [refused.unwrap_err(), ledger.find(&key(1)).unwrap_err()] {
        let said = error.to_string();
        assert!(said.contains("schema 2") && said.contains("use crossscale 9.1.0"), "{said}");
        assert_eq!(error.exit_code(), 3);
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), theirs);
}

#[test]
fn invariant_claims_of_dead_processes_are_free_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let run = ledger.folder(&key(1));
    drop(claim(&ledger, &key(1)));
    let text = std::fs::read_to_string(claim_file(&run)).unwrap();
    assert!(text.contains(r#""released":true"#), "{text}");
    let alive = text.replace("true", "false");
    std::fs::write(claim_file(&run), &alive).unwrap();
    assert!(matches!(begin(&ledger, &key(1)), Begin::Taken));
    // Larger than any process id that Linux gives out.
    let pid = format!(r#""pid":{}"#, std::process::id());
    std::fs::write(claim_file(&run), alive.replace(&pid, r#""pid":99999999"#)).unwrap();
    if Path::new("/proc/self/ns/pid").exists() {
        claim(&ledger, &key(1)).finish(&outcome(None)).unwrap();
    }
}

#[test]
fn invariant_silent_and_half_written_claims_are_free_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    drop(claim(&ledger, &key(1)));
    let file = claim_file(&ledger.folder(&key(1)));
    std::fs::write(&file, "{\"pid\":1,").unwrap();
    assert!(matches!(begin(&ledger, &key(1)), Begin::Taken));
    assert_eq!(ledger.find(&key(1)).unwrap(), RunState::Running);
    age(&file);
    assert_eq!(ledger.find(&key(1)).unwrap(), RunState::Interrupted);
    claim(&ledger, &key(1)).finish(&outcome(None)).unwrap();
}

/// The clock went backwards: the last heartbeat lies in the future.
#[test]
fn invariant_claims_of_the_future_do_not_lock_a_run_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    drop(claim(&ledger, &key(1)));
    let path = claim_file(&ledger.folder(&key(1)));
    std::fs::write(&path, "{\"pid\":1,").unwrap();
    let ahead = |seconds| {
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        let beaten = file.metadata().unwrap().modified().unwrap();
        file.set_modified(beaten + Duration::from_secs(seconds)).unwrap();
    };
    ahead(20);
    assert_eq!(ledger.find(&key(1)).unwrap(), RunState::Running, "a small step is no death");
    ahead(86_400);
    assert_eq!(ledger.find(&key(1)).unwrap(), RunState::Interrupted);
    claim(&ledger, &key(1)).finish(&outcome(None)).unwrap();
}

#[test]
fn invariant_a_beating_heart_keeps_the_claim() {
    let folder = tempfile::tempdir().unwrap();
    let timing = ClaimTiming { heartbeat: Duration::from_millis(5), ..ClaimTiming::default() };
    let ledger = Ledger::with_timing(folder.path(), timing).unwrap();
    let live = claim(&ledger, &key(1));
    let file = claim_file(&ledger.folder(&key(1)));
    age(&file);
    let aged = std::fs::metadata(&file).unwrap().modified().unwrap();
    let beats = || std::fs::metadata(&file).unwrap().modified().unwrap() > aged;
    // Waits as long as a busy machine may need, not a fixed time.
    for _ in 0..2000 {
        if beats() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(beats(), "no heartbeat in ten seconds");
    assert!(matches!(begin(&ledger, &key(1)), Begin::Taken));
    live.finish(&outcome(None)).unwrap();
}

#[test]
fn invariant_a_run_finished_during_the_claim_is_not_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    claim(&ledger, &key(1)).finish(&outcome(None)).unwrap();
    // As after a look that came too early to see the end.
    let begun = ledger.claim(&key(1), || unreachable!("a done run is not described"));
    assert!(matches!(begun.unwrap(), Begin::Done(_)));
    assert_eq!(std::fs::read_dir(ledger.folder(&key(1))).unwrap().count(), 1);
}

#[test]
fn invariant_an_owner_that_lost_its_claim_cannot_finish() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let frozen = claim(&ledger, &key(1));
    age(&claim_file(&ledger.folder(&key(1))));
    let other = claim(&ledger, &key(1));
    assert!(frozen.finish(&outcome(None)).is_err());
    assert!(!matches!(ledger.find(&key(1)).unwrap(), RunState::Finished(_)));
    other.finish(&outcome(None)).unwrap();
    assert!(matches!(ledger.find(&key(1)).unwrap(), RunState::Finished(_)));
}

#[test]
fn invariant_four_workers_do_every_run_exactly_once() {
    const RUNS: usize = 25;
    let folder = tempfile::tempdir().unwrap();
    let at_work: Vec<AtomicUsize> = (0..RUNS).map(|_| AtomicUsize::new(0)).collect();
    let done: Vec<AtomicUsize> = (0..RUNS).map(|_| AtomicUsize::new(0)).collect();
    let abandoned: Vec<AtomicUsize> = (0..RUNS).map(|_| AtomicUsize::new(0)).collect();
    let worker = || {
        let ledger = Ledger::open(folder.path()).unwrap();
        let mut open = RUNS;
        while open > 0 {
            open = 0;
            for run in 0..RUNS {
                match begin(&ledger, &key(run)) {
                    Begin::Done(_) => {}
                    Begin::Taken => open += 1,
                    Begin::Ours(claim) => {
                        assert_eq!(at_work[run].fetch_add(1, Ordering::SeqCst), 0, "two at once");
                        std::thread::sleep(Duration::from_micros(200));
                        at_work[run].fetch_sub(1, Ordering::SeqCst);
                        // Every third run is given up once, as if its worker had been stopped.
                        if run % 3 == 0 && abandoned[run].fetch_add(1, Ordering::SeqCst) == 0 {
                            drop(claim);
                            open += 1;
                        } else {
                            done[run].fetch_add(1, Ordering::SeqCst);
                            claim.finish(&outcome(None)).unwrap();
                        }
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(worker))));
    assert!(done.iter().all(|count| count.load(Ordering::SeqCst) == 1), "{done:?}");
    let ledger = Ledger::open(folder.path()).unwrap();
    for (_, manifest) in ledger.manifests().unwrap() {
        assert_eq!(manifest.unwrap().status, RunStatus::Finished);
    }
}

#[test]
fn invariant_manifests_hold_no_absolute_path() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    claim(&ledger, &key(1)).finish(&outcome(None)).unwrap();
    let text = std::fs::read_to_string(ledger.folder(&key(1)).join(MANIFEST_FILE)).unwrap();
    let folder = folder.path().to_string_lossy().into_owned();
    assert!(!text.contains(&folder) && !text.contains(env!("CARGO_MANIFEST_DIR")), "{text}");
}

#[test]
#[cfg(unix)]
fn invariant_a_run_folder_that_is_a_link_is_refused_and_its_target_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let outside = folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, ledger.folder(&key(1))).unwrap();
    let refused = ledger.begin(&key(1), || unreachable!("described although it is a link"));
    assert!(refused.unwrap_err().to_string().contains("is a link"));
    let theirs = folder.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    std::os::unix::fs::symlink(&outside, theirs.join("runs")).unwrap();
    assert!(Ledger::open(&theirs).unwrap_err().to_string().contains("is a link"));
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}
