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
    let row = |stage: &str| {
        let rates = steps.iter().map(|step| format!(" {:.0} |", stage_rate(step, stage)));
        format!("| {stage} |{}\n", rates.collect::<String>())
    };
    let stages = [
        "products, forward",
        "products, input gradients",
        "products, weight gradients",
        "heads, products",
        "decoder, products",
    ];
    let head = "| stage, GFLOP/s a core | PT | BERT | pre-LN | UT |\n|---|---:|---:|---:|---:|\n";
    let table = format!("{head}{}", stages.map(row).concat());
    assert!(read("docs/kernels.md").contains(&table), "docs/kernels.md has no table\n{table}");
}

/// Medians, fastest runs and their rates of all kernels at both widths.
#[test]
fn golden_kernel_times_are_what_was_recorded() {
    let [narrow, wide] = [128, 256].map(|width| {
        let text = read(&format!("reports/published/speed/intel/kernels-{width}.json"));
        serde_json::from_str::<Vec<serde_json::Value>>(&text).expect("a list of kernels")
    });
    assert_eq!((narrow.len(), wide.len()), (17, 17));
    let row = |(narrow, wide): (&serde_json::Value, &serde_json::Value)| {
        assert_eq!(narrow["kernel"], wide["kernel"]);
        let number = |of: &serde_json::Value, what: &str| of[what].as_f64().expect("a number");
        let times = |of| ["median", "fastest"].map(|w| number(of, &format!("microseconds_{w}")));
        let (near, far) = (times(narrow), times(wide));
        let rate = |what: &str| {
            let rate = 1e-3 * number(narrow, what) / near[1];
            if rate > 0.0 { format!("{rate:.1}") } else { "–".to_owned() }
        };
        let name = narrow["kernel"].as_str().expect("a name");
        let rates = format!("{} | {}", rate("product_flops"), rate("bytes"));
        let [near, far] =
            [near, far].map(|[median, fastest]| format!("{median:.1} | {fastest:.1}"));
        format!("| `{name}` | {near} | {rates} | {far} |\n")
    };
    let table: String = narrow.iter().zip(&wide).map(row).collect();
    assert!(read("docs/kernels.md").contains(&table), "docs/kernels.md has no rows\n{table}");
}

#[test]
fn golden_what_holds_the_bars_back_follows_from_the_records() {
    let page = read("reports/published/speed/README.md");
    let intel = page.split("## Intel").nth(1).and_then(|rest| rest.split("## AMD").next());
    let (bars, missed): (Vec<_>, Vec<_>) = intel
        .expect("a section of this processor")
        .lines()
        .flat_map(|line| line.split("bar ").skip(1))
        .map(|bar| (bar, bar.contains("MISSED")))
        .unzip();
    let missed = missed.into_iter().filter(|missed| *missed).count();
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let step = steps().into_iter().find(|step| step["model"] == "ut").expect("a step of it");
    let slow = "products, weight gradients";
    let stages = step["stages"].as_array().expect("stages").iter();
    let part = stages.filter(|stage| stage["stage"] == slow).map(|stage| stage["share"].as_f64());
    let [ut, pt] = [("eager", "ut", 256), ("compiled", "pt", 128)].map(|row| {
        let text = read("reports/published/speed/intel/results.jsonl");
        let mut lines =
            text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
        let line: Option<serde_json::Value> =
            lines.find(|line: &serde_json::Value| line[0] == serde_json::json!(row));
        line.expect("a measurement")[1]["share"].as_f64().expect("a share")
    });
    let ratios: BTreeMap<_, _> = recorded("intel").into_iter().collect();
    let ratio = median(&ratios[&("eager".to_owned(), "ut".to_owned(), 256)]);
    for words in [
        format!("{missed} of {} bars are missed", bars.len()),
        format!("width 128 is {pt:.4} for 0.65"),
        format!("they take {:.0} % of its step", 100.0 * part.sum::<Option<f64>>().unwrap()),
        format!(
            "at {:.0} of the {:.0} GFLOP/s",
            stage_rate(&step, slow),
            stage_rate(&step, "products, forward")
        ),
        format!("at that rate the ratio would be {:.2}.", ratio * with_even_products(&step)),
        format!("at {:.2} of the product rate instead of {ut:.2}", ut * 1.4 / ratio),
    ] {
        assert!(page.contains(&words), "no '{words}'");
    }
}

#[test]
fn golden_kernel_instructions_are_those_of_the_gate() {
    let page = read("docs/kernels.md");
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
