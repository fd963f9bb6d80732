//! Documents about speed say what was measured and recorded.

use std::collections::BTreeMap;

fn read(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `(kind, model, width)` and the ratios of its rounds, in increasing order.
type Measured = ((String, String, u64), Vec<f64>);

/// What `ci/compare_torch` recorded in a folder of `reports/published/speed`.
fn recorded(folder: &str) -> Vec<Measured> {
    let text = read(&format!("reports/published/speed/{folder}/results.jsonl"));
    let parse = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        let word = |at: usize| line[0][at].as_str().expect("a word").to_owned();
        let ratios = line[1]["ratios"].as_array().expect("ratios");
        let mut ratios: Vec<f64> = ratios.iter().map(|ratio| ratio.as_f64().unwrap()).collect();
        ratios.sort_by(f64::total_cmp);
        ((word(0), word(1), line[0][2].as_u64().expect("a width")), ratios)
    };
    text.lines().map(parse).collect()
}

fn median(sorted: &[f64]) -> f64 {
    let at = |index: usize| sorted[index];
    0.5 * (at((sorted.len() - 1) / 2) + at(sorted.len() / 2))
}

fn range(values: &[f64]) -> String {
    let [low, high] = [f64::min, f64::max].map(|pick| values.iter().copied().reduce(pick));
    format!("{:.1} to {:.1}", low.unwrap(), high.unwrap())
}

#[test]
fn golden_the_speed_table_is_what_was_recorded() {
    let page = read("reports/published/speed/README.md");
    let rows = recorded("intel");
    assert!(rows.len() >= 20, "{} measurements", rows.len());
    for ((kind, model, width), ratios) in rows {
        let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
        let row =
            format!("{model:<6}{width:>4}  {kind:<9} {:5.2} [{low:.2} {high:.2}]", median(&ratios));
        assert!(page.contains(&row), "no line '{row}'");
    }
    for ((kind, _, width), ratios) in recorded("intel-flushed") {
        let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
        let words = format!("{:.2} [{low:.2}, {high:.2}] at", median(&ratios));
        let flat = page.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(kind != "eager" || flat.contains(&words), "no '{words}' for width {width}");
    }
}

/// Ratios against eager PyTorch on every processor of the page.
#[test]
fn golden_readme_speed_is_that_of_the_published_tables() {
    let (front, page) = (read("README.md"), read("reports/published/speed/README.md"));
    let front = front.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut ratios: BTreeMap<bool, Vec<f64>> = BTreeMap::new();
    for line in page.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [model, _, "eager", ratio, ..] = words[..] else { continue };
        if let Ok(ratio) = ratio.parse::<f64>() {
            ratios.entry(model == "pt").or_default().push(ratio);
        }
    }
    assert_eq!((ratios[&true].len(), ratios[&false].len()), (4, 12), "two processors");
    let flushed = recorded("intel-flushed");
    let flushed = flushed.iter().filter(|((kind, ..), _)| kind == "eager");
    let flushed: Vec<f64> = flushed.map(|(_, ratios)| median(ratios)).collect();
    for part in [
        format!("PT is {} times", range(&ratios[&true])),
        format!("({} where PyTorch flushes subnormals)", range(&flushed)),
        format!("of the Transformers {} times", range(&ratios[&false])),
    ] {
        assert!(front.contains(&part), "README.md does not say '{part}'");
    }
}

/// GFLOP/s a core of the stages of a recorded step.
fn stage_rate(step: &serde_json::Value, stage: &str) -> f64 {
    let stages = step["stages"].as_array().expect("stages");
    let found = stages.iter().find(|found| found["stage"] == stage).expect("a stage of this name");
    1e-9 * found["product_flops"].as_f64().unwrap() / found["thread_seconds"].as_f64().unwrap()
}

/// How many times as fast a recorded step would be with weight gradients and the decoder's
/// products at the rate of forward products.
fn with_even_products(step: &serde_json::Value) -> f64 {
    let seconds = |stage: &serde_json::Value| stage["thread_seconds"].as_f64().unwrap();
    let stages = step["stages"].as_array().expect("stages");
    let rate = stage_rate(step, "products, forward");
    let slow = ["products, weight gradients", "decoder, products"];
    let saved = stages.iter().filter(|stage| slow.iter().any(|slow| stage["stage"] == *slow));
    let saved =
        saved.map(|stage| seconds(stage) - 1e-9 * stage["product_flops"].as_f64().unwrap() / rate);
    let total: f64 = stages.iter().map(seconds).sum();
    total / (total - saved.sum::<f64>())
}

/// Steps at width 256 of all families, with their stages.
fn steps() -> Vec<serde_json::Value> {
    let text = read("reports/published/speed/intel/stages.jsonl");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn golden_stages_are_what_was_recorded() {
    let steps = steps();
    let models: Vec<&str> = steps.iter().map(|step| step["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["pt", "bert", "preln", "ut"]);
    let kernels = read("models/KERNELS.md");
    for stage in [
        "products, forward",
        "products, input gradients",
        "products, weight gradients",
        "heads, products",
        "decoder, products",
    ] {
        let rates = steps.iter().map(|step| format!(" {:.0} |", stage_rate(step, stage)));
        let row = format!("| {stage} |{}", rates.collect::<String>());
        assert!(kernels.contains(&row), "KERNELS.md has no row '{row}'");
    }
}

#[test]
fn golden_what_holds_the_bars_back_follows_from_the_records() {
    let page = read("reports/published/speed/README.md");
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let steps = steps();
    let ratios: BTreeMap<_, _> = recorded("intel").into_iter().collect();
    let ratio =
        |kind: &str, model: &str| median(&ratios[&(kind.to_owned(), model.to_owned(), 256)]);
    let step = steps.iter().find(|step| step["model"] == "ut").expect("a step of it");
    let rates = ["products, weight gradients", "products, forward"];
    let [slow, even] = rates.map(|stage| stage_rate(step, stage));
    let ratio = ratio("eager", "ut");
    for words in [
        format!("at {slow:.0} of the {even:.0} GFLOP/s"),
        format!("at that rate the ratio would be {:.2}.", ratio * with_even_products(step)),
    ] {
        assert!(page.contains(&words), "no '{words}'");
    }
    let text = read("reports/published/speed/intel/results.jsonl");
    let ut = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .find(|line: &serde_json::Value| line[0] == serde_json::json!(["eager", "ut", 256]));
    let share = ut.expect("UT against eager")[1]["share"].as_f64().unwrap();
    let needed = share * 1.4 / ratio;
    let words = format!("at {needed:.2} of the product rate instead of {share:.2}");
    assert!(page.contains(&words), "no '{words}'");
}

#[test]
fn golden_kernel_instructions_are_those_of_the_gate() {
    let page = read("models/KERNELS.md");
    let counts = read("ci/instruction_counts.txt");
    let rows = counts.lines().filter_map(|line| line.split_once(' '));
    let rows = rows.filter(|(name, _)| *name != "#" && *name != "compiler");
    let mut found = 0;
    for (name, count) in rows {
        let grouped: Vec<&str> = count
            .as_bytes()
            .rchunks(3)
            .rev()
            .map(|digits| std::str::from_utf8(digits).unwrap())
            .collect();
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("no row of {name}"));
        assert!(row.contains(&format!("| {} |", grouped.join(","))), "{row} for {count}");
        found += 1;
    }
    assert_eq!(found, 8);
}
