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
