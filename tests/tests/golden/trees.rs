//! The published experiment on sentences of a grammar: its page follows from its runs, and no run
//! is below the lowest loss there is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use harness::statistics::{EQUIVALENCE_MARGIN_NATS, Estimate, Verdict, compare_family, estimate};
use serde_json::Value;

/// Family, name on the page, rate that its search chose.
const FAMILIES: [(&str, &str, &str); 4] = [
    ("pt", "PT", "0.4"),
    ("bert", "BERT", "0.008"),
    ("preln", "pre-LN", "0.008"),
    ("ut", "looped control", "0.008"),
];
const SEEDS: usize = 5;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../reports/published/trees")
}

fn read(name: &str) -> String {
    let path = folder().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn runs() -> Vec<BTreeMap<String, String>> {
    let text = read("runs.csv");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().collect::<Result<_, _>>().unwrap()
}

fn number(row: &BTreeMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} of {}: {}", row["run"], row[column]))
}

/// Final losses of a family at the rate its search chose, in seed order, and how many read their
/// context.
fn cell(family: &str, rate: &str) -> (Vec<f64>, usize) {
    let mut own = runs();
    own.retain(|run| run["family"] == family && run["learning_rate"] == rate);
    own.sort_by(|a, b| a["seed"].cmp(&b["seed"]));
    let reads = own.iter().filter(|run| run["reads_context"] == "true").count();
    (own.iter().map(|run| number(run, "loss_nats")).collect(), reads)
}

fn optimum() -> Value {
    let found: Value = serde_json::from_str(&read("optimum.json")).unwrap();
    found["validation"].clone()
}

fn ends(found: &Estimate) -> (f64, f64) {
    let interval = found.interval.unwrap();
    (interval.low, interval.high)
}

#[test]
fn golden_losses_and_shares_of_the_gap_are_those_of_the_page() {
    let (page, optimum) = (read("README.md"), optimum());
    let of = |key: &str| optimum[key].as_f64().unwrap();
    let (floor, line) = (of("masked_loss_nats"), of("own_token_loss_nats"));
    assert!(page.contains(&format!("**{floor:.3} nats**")), "the floor is {floor:.3}");
    for (family, name, rate) in FAMILIES {
        // The rate with the lowest loss of seed 1 is the one whose seeds count.
        let mut first = runs();
        first.retain(|run| run["family"] == family && run["seed"] == "1");
        first.sort_by(|a, b| number(a, "loss_nats").total_cmp(&number(b, "loss_nats")));
        assert_eq!(first[0]["learning_rate"], rate, "{family}");
        let (losses, reads) = cell(family, rate);
        assert_eq!(losses.len(), SEEDS);
        let loss = estimate(&losses).unwrap();
        let shares: Vec<f64> =
            losses.iter().map(|loss| 100.0 * (line - loss) / (line - floor)).collect();
        let share = estimate(&shares).unwrap();
        let ((low, high), (from, to)) = (ends(&loss), ends(&share));
        let row = format!(
            "| {name} | {:.3} [{low:.3}, {high:.3}] | {:.3} | {:.1} [{from:.1}, {to:.1}] | {reads} \
             of {SEEDS} |",
            loss.mean,
            loss.mean - floor,
            share.mean
        );
        assert!(page.contains(&row), "no row {row}");
    }
}

#[test]
fn golden_differences_and_the_verdict_are_those_of_the_page() {
    let (own, _) = cell("pt", FAMILIES[0].2);
    let family: Vec<Vec<f64>> = FAMILIES[1..]
        .iter()
        .map(|(family, _, rate)| own.iter().zip(cell(family, rate).0).map(|(a, b)| a - b).collect())
        .collect();
    let (page, compared) = (read("README.md"), compare_family(&family, EQUIVALENCE_MARGIN_NATS));
    for ((_, name, _), row) in FAMILIES[1..].iter().zip(&compared) {
        let difference = row.difference.unwrap();
        let (low, high) = ends(&difference);
        let written = format!(
            "| PT − {name} | {:+.3} [{low:+.3}, {high:+.3}] | {} |",
            difference.mean, row.verdict
        );
        assert!(page.contains(&written), "no row {written}");
    }
    // Worse in at least half of the rows and better in none.
    assert!(compared.iter().all(|row| row.verdict == Verdict::Worse));
    assert!(page.contains("at equal parameters: contradicted.**"));
    assert!(read("../claims/claims.csv").contains("C11,trees,contradicted"));
}

/// Nobody can be below the floor for long: by the floor's own error or less a run may be.
#[test]
fn invariant_no_run_beats_the_lowest_loss_there_is() {
    let optimum = optimum();
    let of = |key: &str| optimum[key].as_f64().unwrap();
    let (floor, error) = (of("masked_loss_nats"), of("standard_error_nats"));
    let all = runs();
    assert_eq!(all.len(), 33);
    for run in &all {
        let loss = number(run, "loss_nats");
        assert!(loss > floor - 1.96 * error, "{} ends at {loss}, the floor is {floor}", run["run"]);
        let line = number(run, "own_token_loss_nats");
        assert_eq!(line.to_bits(), of("own_token_loss_nats").to_bits());
    }
}

#[test]
fn golden_the_published_runs_are_those_of_the_table() {
    for run in &runs() {
        let manifest = read(&format!("../claims/ledger/runs/{}/manifest.json", run["run"]));
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest["result"]["loss_nats"].as_f64(), Some(number(run, "loss_nats")));
        assert_eq!(manifest["status"], "finished");
    }
}

/// Whose heads are dependencies at equal loss, as the claims page has it.
#[test]
fn golden_heads_at_equal_loss_are_those_of_the_page() {
    let text = read("../claims/trees_heads_fine_c10.csv");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<BTreeMap<String, String>> =
        reader.deserialize().collect::<Result<_, _>>().unwrap();
    let page = read("README.md");
    assert_eq!(rows.len(), 3);
    for (row, name) in rows.iter().zip(["BERT", "pre-LN", "looped control"]) {
        let of = |column: &str| -> f64 { row[column].parse().unwrap() };
        let estimate = |name: &str| {
            let [mean, low, high] =
                ["mean", "ci_low", "ci_high"].map(|e| of(&format!("{name}_{e}")));
            format!("{mean:+.1} [{low:+.1}, {high:+.1}]")
        };
        let written = format!(
            "| {name} | {:.3} | {:.1} | {:.1} | {} | {} | {} |",
            of("level_nats"),
            of("candidate_uas_mean"),
            of("baseline_uas_mean"),
            estimate("uas_difference"),
            row["verdict"],
            estimate("uuas_difference")
        );
        assert!(page.contains(&written), "no row {written}");
        assert_eq!(row["unequal"], "0");
    }
}

/// Runs that scored their heads are those of the page, to the last bit of their loss.
#[test]
fn golden_scoring_heads_changed_no_loss() {
    let text = read("../claims/trees_heads_fine_arcs.csv");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<BTreeMap<String, String>> =
        reader.deserialize().collect::<Result<_, _>>().unwrap();
    for ((family, _, rate), title) in FAMILIES.iter().zip(["PT 2026", "BERT", "pre-LN", "UT"]) {
        let own = rows.iter().filter(|row| row["family"] == title);
        let scored: Vec<u64> = own.map(|row| number(row, "loss_nats").to_bits()).collect();
        let plain: Vec<u64> = cell(family, rate).0.iter().map(|loss| loss.to_bits()).collect();
        assert_eq!(scored, plain, "{title}");
    }
}

/// What the search of every family found, as the claims page has it.
#[test]
fn golden_winners_of_the_search_are_those_of_the_page() {
    let text = read("../claims/search_trees_winners.csv");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<BTreeMap<String, String>> =
        reader.deserialize().collect::<Result<_, _>>().unwrap();
    let page = read("README.md");
    assert_eq!(rows.len(), FAMILIES.len());
    for (row, (_, name, _)) in rows.iter().zip(FAMILIES) {
        let mean = |of: &str| row[&format!("{of}_loss_nats_mean")].parse::<f64>().unwrap();
        let written = format!("| {name} | {:.3} | {:.3} |", mean("start"), mean("winner"));
        assert!(page.contains(&written), "no row {written}");
    }
}
