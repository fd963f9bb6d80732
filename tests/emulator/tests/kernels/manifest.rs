//! The committed PTX belongs to the committed sources.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::support::module;

#[test]
fn invariant_tidy_committed_ptx_follows_its_sources() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/kernels/cuda");
    let manifest = std::fs::read_to_string(folder.join("ptx/manifest.toml")).expect("a manifest");
    let (_, hashes) = manifest.split_once("[sha256]").expect("hashes");
    let stated: Vec<(&str, &str)> = hashes
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, hash)| (name.trim_matches('"'), hash.trim_matches('"')))
        .collect();
    let mut sources: Vec<String> = std::fs::read_dir(&folder)
        .expect("the sources")
        .map(|entry| entry.expect("a source").file_name().to_string_lossy().into_owned())
        .filter(|name| matches!(name.rsplit_once('.'), Some((_, "cu" | "cuh"))))
        .collect();
    sources.sort();
    let mut named: Vec<&str> = stated.iter().map(|(name, _)| *name).collect();
    named.sort_unstable();
    assert_eq!(named, sources, "hint: bash ci/gpu_kernels --write");
    for (name, stated) in stated {
        let source = std::fs::read(folder.join(name)).expect("a source");
        let hash = format!("{:x}", Sha256::digest(&source));
        assert_eq!(hash, stated, "{name} changed; hint: bash ci/gpu_kernels --write");
    }
    for source in sources.iter().filter_map(|name| name.strip_suffix(".cu")) {
        assert!(folder.join(format!("ptx/{source}.ptx.gz")).is_file(), "{source} has no PTX");
    }
}

/// The table is of the same compiler's sm_90 code; `ci/gpu_kernels` makes it anew.
#[test]
fn invariant_tidy_every_kernel_is_in_the_table_and_spills_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/kernels/cuda");
    let table = std::fs::read_to_string(folder.join("sm_90.csv")).expect("a table");
    let mut listed: Vec<&str> = Vec::new();
    for row in table.lines().filter(|row| !row.starts_with('#')).skip(1) {
        let [name, _, spilled, ..] = row.split(',').collect::<Vec<_>>()[..] else {
            panic!("a row of five: {row}");
        };
        assert_eq!(spilled, "0", "{name} spills registers");
        listed.push(name);
    }
    listed.sort_unstable();
    let files = std::fs::read_dir(folder.join("ptx")).expect("the PTX");
    let names = files.map(|entry| entry.expect("a file").file_name().into_string().expect("ASCII"));
    let modules: Vec<_> =
        names.filter_map(|name| name.strip_suffix(".ptx.gz").map(module)).collect();
    assert!(modules.iter().all(|module| module.target == "sm_80"), "every later GPU takes it");
    let mut kernels: Vec<&str> =
        modules.iter().flat_map(|module| module.kernels.keys()).map(String::as_str).collect();
    kernels.sort_unstable();
    assert_eq!(listed, kernels, "hint: bash ci/gpu_kernels --write");
}
