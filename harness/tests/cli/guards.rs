//! `bless` and `mutate`.

use super::*;

#[test]
fn cli_bless_shows_what_differs_and_mutate_shows_which_check_notices() {
    let folder = TempDir::new().expect("a temporary folder");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden");
    let golden = golden.to_str().expect("the path is UTF-8");
    let bless = ["bless", "--family", "ut", "--golden"];
    let same = crossscale(folder.path(), &[&bless[..], &[golden]].concat());
    assert!(same.status.success(), "{}{}", stdout(&same), stderr(&same));

    // One digit of one recorded number, and the file is no longer what the code gives.
    let copy = folder.path().join("golden/activations");
    std::fs::create_dir_all(&copy).expect("a folder");
    let text = std::fs::read_to_string(Path::new(golden).join("activations/ut.toml"));
    let text = text.expect("the recorded file");
    let place = text.find("losses_nats = [5.").expect("a loss") + "losses_nats = [5.".len();
    let (head, tail) = text.split_at(place);
    let digit = if tail.starts_with('7') { '6' } else { '7' };
    std::fs::write(copy.join("ut.toml"), format!("{head}{digit}{}", &tail[1..])).expect("a file");
    let changed = crossscale(folder.path(), &["bless", "--family", "ut", "--json"]);
    assert_eq!(changed.status.code(), Some(10), "{}", stderr(&changed));
    let report: serde_json::Value = serde_json::from_slice(&changed.stdout).expect("JSON");
    assert_eq!(report[1][0]["what"], "loss of step 1");
    assert!(stderr(&changed).contains("hint: "), "{}", stderr(&changed));

    let unknown = crossscale(folder.path(), &["bless", "--family", "gpt"]);
    assert_eq!(unknown.status.code(), Some(2));
    let unknown = crossscale(folder.path(), &["mutate", "--table", "nope"]);
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn cli_manifest_names_the_commit_that_was_built() {
    let folder = TempDir::new().expect("a temporary folder");
    text(folder.path());
    let more = ["--model", "pt", "--width", "16", "--steps", "1", "--set", "model.channels=2"];
    let output = train(folder.path(), "out", &more);
    assert!(output.status.success(), "{}", stderr(&output));
    let manifest = std::fs::read(run_folder(&folder.path().join("out")).join("manifest.json"));
    let manifest: serde_json::Value =
        serde_json::from_slice(&manifest.expect("a manifest")).expect("JSON");
    let doctor = json(&crossscale(folder.path(), &["doctor", "--json"]));
    assert_eq!(manifest["git_revision"], doctor["git_revision"]);

    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(["-C", root]).args(arguments).output();
        output.ok().filter(|output| output.status.success())
    };
    // Sources without their history have no commit to name.
    let tracked = git(&["ls-files", "--error-unmatch", "harness/build.rs"]).is_some();
    let head = git(&["rev-parse", "HEAD"]).filter(|_| tracked);
    match (head, manifest["git_revision"].as_str()) {
        (Some(head), Some(named)) => assert!(named.starts_with(stdout(&head).trim()), "{named}"),
        (None, None) => {}
        (head, named) => panic!("{head:?} but {named:?}"),
    }
}
