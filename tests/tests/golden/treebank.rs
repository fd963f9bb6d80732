//! The published page on a treebank: its numbers are those that `evaluate --treebank` wrote.

use std::path::Path;

use serde_json::Value;

fn read(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reports/published/treebank");
    let path = folder.join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(name: &str) -> Value {
    serde_json::from_str(&read(name)).unwrap()
}

fn percent(value: &Value) -> String {
    format!("{:.1}", 100.0 * value.as_f64().unwrap())
}

/// `best [low, high]` of a score.
fn with_interval(found: &Value, score: &str) -> String {
    let [low, high] = [0, 1].map(|end| percent(&found["intervals"][score][end]));
    format!("{} [{low}, {high}]", percent(&found[score]))
}

#[test]
fn golden_scores_on_the_treebank_are_those_of_the_page() {
    let page = read("README.md");
    let has = |row: &str| assert!(page.contains(row), "no row {row}");
    for (file, name, layer, head) in [
        ("pt", "PT", "iteration", "channel"),
        ("preln", "pre-LN", "layer", "head"),
        ("bert", "BERT", "layer", "head"),
    ] {
        let found = json(&format!("{file}.json"));
        let choice = &found["choice"];
        has(&format!(
            "| {name}, {layer} {}, {head} {} | {} | {} |",
            choice["iteration"],
            choice["channel"],
            with_interval(&found, "uas"),
            with_interval(&found, "uuas")
        ));
        let untrained = &found["baselines"]["untrained"];
        let (uas, uuas) = (percent(&untrained["uas"]), percent(&untrained["uuas"]));
        has(&format!("| {name} before its training | {uas} | {uuas} |"));
    }
    let offset = &json("pt.json")["baselines"]["offset"];
    assert_eq!(offset["offset"], 1);
    let (uas, uuas) = (percent(&offset["uas"]), percent(&offset["uuas"]));
    has(&format!("| the word after (best fixed offset) | {uas} | {uuas} |"));
}

/// All three read their context: below the own-token line, and shuffling costs.
#[test]
fn golden_losses_of_the_models_are_those_of_their_manifests() {
    let page = read("README.md");
    let of = |key: fn(&Value) -> f64| -> Vec<String> {
        let manifest = |file: &str| key(&json(&format!("{file}.manifest.json"))["result"]);
        ["pt", "preln", "bert"].map(|file| format!("{:.3}", manifest(file))).into()
    };
    let losses = of(|result| result["loss_nats"].as_f64().unwrap());
    let shuffled = of(|result| result["context"]["shuffled_loss_nats"].as_f64().unwrap());
    for (name, row) in
        [("held-out loss (nats)", &losses), ("the same, other words shuffled (nats)", &shuffled)]
    {
        let row = format!("| {name} | {} |", row.join(" | "));
        assert!(page.contains(&row), "no row {row}");
    }
    for (loss, shuffled) in losses.iter().zip(&shuffled) {
        let [loss, shuffled]: [f64; 2] = [loss, shuffled].map(|text| text.parse().unwrap());
        assert!(loss < 5.45 - 0.1 && shuffled > loss + 0.1);
    }
}
