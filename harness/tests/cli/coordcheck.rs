//! `coordcheck`: exit codes, files, the broken rule.

use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use super::{crossscale, json, stderr, stdout};

/// A coordinate check of seconds: three widths, one iteration.
fn coordcheck(folder: &Path, more: &[&str]) -> Output {
    let mut arguments = vec!["coordcheck", "--model", "pt", "--out", "check"];
    arguments.extend(["--set", "model.iterations=1", "--set", "parametrization.base_width=64"]);
    arguments.extend(more);
    crossscale(folder, &arguments)
}

#[test]
fn cli_coordcheck_passes_a_sound_table_and_writes_its_files() {
    let folder = TempDir::new().unwrap();
    let setting = ["--widths", "32,64,128,256", "--seeds", "3", "--steps", "0,1,2"];
    let arguments = [&["--parametrization", "pt-2026", "--json"], &setting[..]].concat();
    let output = coordcheck(folder.path(), &arguments);
    let found = json(&output);
    assert_eq!(found["outcome"], "pass");
    let csv = std::fs::read_to_string(folder.path().join("check/coordcheck.csv")).unwrap();
    let header = "site,iteration,step,slope,slope_ci_low,slope_ci_high,expected,verdict,";
    assert!(csv.starts_with(header), "{}", csv.lines().next().unwrap());
    let logged = |line: &&str| ["alignment", "context/"].iter().any(|site| line.starts_with(site));
    let judged = csv.lines().filter(|line| !logged(line)).count() - 1;
    assert_eq!(judged, found["lines"].as_array().unwrap().len());
    for file in
        ["control.csv", "rows.csv", "context.csv", "coordcheck.md", "coordinate_check_sizes.svg"]
    {
        assert!(folder.path().join("check").join(file).is_file(), "{file}");
    }
}

#[test]
fn cli_coordcheck_fails_the_standard_table_with_10() {
    let folder = TempDir::new().unwrap();
    let setting = ["--widths", "32,64,128", "--seeds", "3", "--steps", "0,1,2"];
    let arguments = [&["--parametrization", "standard"], &setting[..]].concat();
    let output = coordcheck(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(10), "{}", stderr(&output));
    assert!(stderr(&output).contains("lines fail the coordinate check under standard"));
}

#[test]
fn cli_coordcheck_without_power_is_inconclusive_with_12() {
    let folder = TempDir::new().unwrap();
    // The control must fail by step 3, and no step before 4 is looked at.
    let setting = ["--widths", "32,64,128,256", "--seeds", "3", "--steps", "0,4,5"];
    let arguments = [&["--parametrization", "pt-2026"], &setting[..]].concat();
    let output = coordcheck(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(12), "{}", stderr(&output));
    assert!(stderr(&output).contains("hint:"), "{}", stderr(&output));
}

#[test]
fn cli_coordcheck_names_the_broken_rule() {
    let folder = TempDir::new().unwrap();
    let table = include_str!("../../../models/src/parametrization/tables/pt-2026-strict.toml");
    let broken = table.replacen("learning_rate = -1.0", "learning_rate = 0.0", 1);
    assert_ne!(table, broken);
    std::fs::write(folder.path().join("broken.toml"), broken).unwrap();
    let setting = ["--widths", "32,64,128", "--seeds", "3", "--steps", "0,1"];
    let arguments = [&["--parametrization", "broken.toml", "--bisect"], &setting[..]].concat();
    let output = coordcheck(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(10), "{}", stderr(&output));
    let repaired = "repaired by changing hidden.learning_rate from 0 to -1";
    assert!(stdout(&output).contains(repaired), "{}", stdout(&output));
}
