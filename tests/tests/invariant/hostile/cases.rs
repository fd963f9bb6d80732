//! Every reader on damaged files.

use crossscale_tests::hostile::{READERS, reader};
use proptest::prelude::*;
use proptest::sample::Index;

use super::cases;
use super::mutation::{Change, changes, damaged, damaged_safetensors};

/// Gives the reader called `name` one of its samples, damaged.
fn case(name: &str, sample: Index, changes: &[Change], in_header: bool) {
    let reader = reader(name);
    let samples = (reader.samples)();
    let sample = sample.index(samples.len());
    let whole = &samples[sample];
    let bytes = if reader.safetensors {
        damaged_safetensors(whole, changes, in_header)
    } else {
        damaged(whole, changes)
    };
    (reader.read)(sample, &bytes);
}

/// One test a reader, and their names.
macro_rules! hostile {
    ($($test:ident: $name:literal,)*) => {
        const TESTED: &[&str] = &[$($name),*];

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(cases()))]
            $(
                #[test]
                fn $test(
                    sample in any::<Index>(), changes in changes(), in_header in any::<bool>(),
                ) {
                    case($name, sample, &changes, in_header);
                }
            )*
        }
    };
}

hostile! {
    invariant_hostile_run_configurations_are_values_or_errors: "run_configurations",
    invariant_hostile_assignments_are_values_or_errors: "assignments",
    invariant_hostile_definitions_are_values_or_errors: "definitions",
    invariant_hostile_experiments_are_values_or_errors: "experiments",
    invariant_hostile_parametrizations_are_values_or_errors: "parametrizations",
    invariant_hostile_manifests_are_values_or_errors: "manifests",
    invariant_hostile_ledger_entries_are_values_or_errors: "ledger_entries",
    invariant_hostile_tables_are_values_or_errors: "tables",
    invariant_hostile_treebanks_are_values_or_errors: "treebanks",
    invariant_hostile_checkpoints_are_refused: "checkpoints",
    invariant_hostile_known_answers_are_values_or_errors: "known_answers",
    invariant_hostile_texts_are_values_or_errors: "texts",
    invariant_hostile_tokenizers_are_values_or_errors: "tokenizers",
    invariant_hostile_token_folders_are_values_or_errors: "token_folders",
    invariant_hostile_weights_are_refused: "weights",
}

#[test]
fn invariant_hostile_samples_are_whole() {
    for reader in &READERS {
        for (sample, bytes) in (reader.samples)().iter().enumerate() {
            (reader.read)(sample, bytes);
        }
    }
}

/// Numbers that readers once fell over, in the place of so many bytes.
const FINDS: [(&str, usize); 3] =
    [("1152921504606846976", 2), ("18446744073709551615", 4), ("nan", 4)];
/// They are put at this many places of a file, evenly spread, or at all of a smaller one.
const PLACES_MAX: usize = 1024;

#[test]
fn invariant_hostile_former_finds_are_values_or_errors_at_any_place() {
    for name in ["run_configurations", "definitions", "experiments", "token_folders"] {
        let reader = reader(name);
        for (sample, whole) in (reader.samples)().iter().enumerate() {
            let size = whole.len();
            let places = (0..size).step_by(size.div_ceil(PLACES_MAX).max(1));
            for (start, (word, cut)) in places.flat_map(|at| FINDS.map(|find| (at, find))) {
                let mut bytes = whole.clone();
                bytes.splice(start..(start + cut).min(size), word.bytes());
                (reader.read)(sample, &bytes);
            }
        }
    }
}

#[test]
fn invariant_hostile_every_reader_is_tested_and_fuzzed() {
    let names: Vec<&str> = READERS.iter().map(|reader| reader.name).collect();
    assert_eq!(names, TESTED, "readers and bounded tests differ");
    let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for name in names {
        let target = std::fs::read_to_string(fuzz.join(format!("targets/{name}.rs")));
        let target = target.unwrap_or_else(|error| panic!("no fuzz target {name}: {error}"));
        assert!(target.contains(&format!("fuzz(\"{name}\", data)")), "{name} fuzzes another");
        let entry = format!("name = \"{name}\"\npath = \"targets/{name}.rs\"\n");
        assert!(manifest.contains(&entry), "{name} is not built");
    }
}
