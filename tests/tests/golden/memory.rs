//! Predicted peak memory of trainings against recorded measurements; see `golden/README.md`.

use std::path::Path;

use harness::config::run::RunConfig;
use harness::cost::memory::{self, StepShape};

/// Largest distance of a prediction, as a share of the measurement.
const ALLOWED: f64 = 0.15;

#[derive(serde::Deserialize)]
struct Recorded {
    model: String,
    sets: String,
    measured_megabytes: f64,
}

#[test]
fn golden_memory_is_predicted_to_within_15_percent() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("golden/memory.csv");
    let rows: Vec<Recorded> =
        csv::Reader::from_path(path).unwrap().deserialize().map(Result::unwrap).collect();
    let recomputing = rows.iter().filter(|row| row.sets.contains("recompute")).count();
    assert!(rows.len() >= 6 && recomputing >= 3);
    let scale = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scale.md");
    let scale = std::fs::read_to_string(scale).unwrap();
    let mut outside = Vec::new();
    for row in &rows {
        let always = ["data.length=128", "data.evaluation.sequences=32"];
        let sets = always.into_iter().chain(row.sets.split(' ')).map(str::to_owned);
        let run = RunConfig::resolve(&row.model, Vec::new(), &sets.collect::<Vec<_>>()).unwrap();
        let predicted = memory::predict(&run.model, StepShape::of(&run, 2)).unwrap();
        let megabytes = 1e-6 * predicted.peak as f64;
        let ratio = megabytes / row.measured_megabytes;
        let written =
            format!("| {:.1} MB | {megabytes:.1} MB | {ratio:.2} |", row.measured_megabytes);
        assert!(scale.contains(&written), "docs/scale.md has no row that ends with '{written}'");
        eprintln!("{} {}: {ratio:.3}", row.model, row.sets);
        if (ratio - 1.0).abs() > ALLOWED {
            outside.push(format!("{} {}: {ratio:.3}", row.model, row.sets));
        }
    }
    assert!(outside.is_empty(), "predicted over measured:\n  {}", outside.join("\n  "));
}
