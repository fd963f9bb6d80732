//! Recorded activation statistics, initial parameters, batches and first losses against what the
//! code gives now; see `golden/README.md`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use harness::checks::recorded::cells::{self, Cell, CellData, RECORDED_STEPS, Variant};
use harness::checks::recorded::golden::{self, Extent};
use harness::checks::recorded::properties::Tables;
use harness::checks::recorded::subject::Subject;
use harness::checks::recorded::{file, tables};
use harness::checks::thresholds;
use harness::workers;
use models::parametrization::Parametrization;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("golden")
}

fn data() -> &'static CellData {
    static DATA: OnceLock<CellData> = OnceLock::new();
    DATA.get_or_init(|| CellData::load().unwrap())
}

fn check(family: &str) {
    let recorded = file::read(&folder(), family).unwrap();
    let expected: Vec<Cell> =
        cells::all().into_iter().filter(|cell| cell.family == family).collect();
    let found: Vec<Cell> = recorded.cell.iter().map(|record| record.cell.clone()).collect();
    assert_eq!(found, expected, "crossscale bless --write records the cells anew");
    assert_eq!(recorded.batches, data().hash(), "tokenizer, order or masks of batches changed");
    let same = recorded.provenance.arithmetic == file::arithmetic().unwrap();
    let found = workers::map(&recorded.cell, |old| {
        let table = Parametrization::built_in(&old.cell.table)?;
        let new = golden::compute(&old.cell, &table, data(), Extent::Whole, &|_| {})?;
        Ok(golden::compare(old, &new, same))
    });
    let outside: Vec<String> = found
        .unwrap()
        .into_iter()
        .flatten()
        .filter(|difference| difference.outside)
        .map(|d| format!("{}: {} was {}, is {} ({:.1e})", d.cell, d.what, d.old, d.new, d.relative))
        .collect();
    let shown = outside.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        outside.is_empty(),
        "{} numbers are not as recorded (same arithmetic: {same}); the first:\n{shown}\n\
         crossscale bless shows all of them and records them with --write",
        outside.len()
    );
}

#[test]
fn golden_activations_of_pt() {
    check("pt");
}

#[test]
fn golden_activations_of_bert() {
    check("bert");
}

#[test]
fn golden_activations_of_preln() {
    check("preln");
}

#[test]
fn golden_activations_of_ut() {
    check("ut");
}

#[test]
fn golden_activations_of_pt2023() {
    check("pt2023");
}

#[test]
fn golden_rules_of_every_table() {
    let recorded = tables::read(&folder()).unwrap();
    let findings = tables::compare(&recorded, &Tables::built_in().unwrap()).unwrap();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// Largest relative distance of f32 from f64 statistics after each recorded step, deep cells.
fn rounding() -> [f64; 4] {
    // Rounding grows most where there are most layers.
    let deep = cells::all().into_iter().filter(|cell| cell.variant == Variant::Deep);
    let cells: Vec<Cell> = deep.collect();
    let of_cell = |cell: &Cell| {
        let (model, base) = cell.models(data().vocab)?;
        let table = Parametrization::built_in(&cell.table)?;
        let subject = Subject::new(&model, &base, &table)?;
        let (_, single) = golden::reference::<f32>(&subject, cell, data())?;
        let (_, double) = golden::reference::<f64>(&subject, cell, data())?;
        let mut worst = [0f64; RECORDED_STEPS.len()];
        for (single, double) in single.values().zip(double.values()) {
            for (worst, (single, double)) in worst.iter_mut().zip(single.iter().zip(double)) {
                for (a, b) in single.iter().zip(double) {
                    *worst = worst.max(
                        (a - b).abs() / b.abs().max(thresholds::committed().recorded.floor.value),
                    );
                }
            }
        }
        Ok(worst)
    };
    let all = workers::map(&cells, of_cell).unwrap();
    let largest = |place: usize| all.iter().map(|worst| worst[place]).fold(0.0, f64::max);
    [largest(0), largest(1), largest(2), largest(3)]
}

#[test]
fn golden_bands_are_measured() {
    let measured = rounding();
    let thresholds = &thresholds::committed().recorded;
    let [least, most] = thresholds.band_over_rounding.value;
    for (band, measured) in thresholds.bands.value.iter().zip(measured) {
        assert!(
            (least * measured..most * measured).contains(band),
            "a band of {band:.1e} is not about ten times the rounding to f32, {measured:.1e}"
        );
    }
}
