//! What the pages on published coordinate checks say is what their tables hold.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn published(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../reports/published/coordcheck").join(name)
}

fn page(name: &str) -> String {
    std::fs::read_to_string(published(name)).unwrap()
}

type Line = BTreeMap<String, String>;

/// The lines of a check, of one factor on the tuned rate or of all.
fn lines(check: &str, rate: Option<&str>) -> Vec<Line> {
    let mut reader = csv::Reader::from_path(published(check).join("coordcheck.csv")).unwrap();
    let lines = reader.deserialize().map(|line: csv::Result<Line>| line.unwrap());
    lines.filter(|line| rate.is_none_or(|rate| line["learning_rate_factor"] == rate)).collect()
}

/// The factor on the tuned rate that a row of a page is about.
fn rate(name: &str) -> Option<&'static str> {
    match name {
        _ if name.contains("four times the rate") => Some("4.0"),
        _ if name.contains("tuned rate") => Some("1.0"),
        _ => None,
    }
}

#[test]
fn golden_counts_of_coordinate_checks_are_those_of_their_tables() {
    let mut checked = 0;
    for name in ["ci-tier.md", "full-tier.md"] {
        let text = page(name);
        let (mut check, mut tuned_column) = (String::new(), false);
        for row in text.lines().filter(|line| line.starts_with("| ")) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            if row.contains("| lines |") {
                tuned_column = row.contains("of these at the tuned rate");
                continue;
            }
            if let Some((_, link)) = cells[1].split_once("](") {
                link.split_once("/coordcheck.md").unwrap().0.clone_into(&mut check);
            }
            let said: Vec<usize> = cells.iter().filter_map(|cell| cell.parse().ok()).collect();
            if said.len() < 5 {
                continue;
            }
            let judged = lines(&check, rate(cells[1]));
            let count = |word: &str| judged.iter().filter(|line| line["verdict"] == word).count();
            let counts = ["PASS", "TRANSIENT", "INCONCLUSIVE", "FAIL"].map(count);
            let found = [&[counts.iter().sum()], &counts[..]].concat();
            assert_eq!(said[..5], found, "{name}: {row}");
            if tuned_column {
                let failing = lines(&check, Some("1.0"));
                let failing = failing.iter().filter(|line| line["verdict"] == "FAIL").count();
                assert_eq!(said[5], failing, "{name}: {row}");
            }
            checked += 1;
        }
    }
    assert!(checked >= 20, "{checked} rows of numbers");
}

/// A slope and its interval as the pages write them.
fn slope(line: &Line, offset: f64) -> String {
    let number = |column: &str| line[column].parse::<f64>().unwrap() - offset;
    let [slope, low, high] = ["slope", "slope_ci_low", "slope_ci_high"].map(number);
    let sign = if slope > 0.0 { "+" } else { "" };
    format!("{sign}{slope:.2} ({low:.2} to {high:.2})")
}

#[test]
fn golden_slopes_in_words_are_those_of_the_tables() {
    let text = |name: &str| page(name).split_whitespace().collect::<Vec<_>>().join(" ");
    let (ci, full) = (text("ci-tier.md"), text("full-tier.md"));
    let says = |text: &str, part: &str| assert!(text.contains(part), "nothing says '{part}'");
    let line = |check: &str, rate: &str, (site, iteration, step): (&str, &str, &str)| {
        let here = |line: &Line| {
            (line["site"].as_str(), line["iteration"].as_str(), line["step"].as_str())
                == (site, iteration, step)
        };
        lines(check, Some(rate)).into_iter().find(here).unwrap()
    };
    let families = [("pt/pt-2026", "PT"), ("bert", "BERT"), ("preln", "pre-LN"), ("ut", "UT")];
    for (check, family) in families {
        let kl = line(check, "1.0", ("context/kl", "0", "10"));
        says(&ci, &format!("{} for {family}", slope(&kl, 0.0)));
    }
    let root = "full-pt-attention-root";
    for (rate, words) in [("1.0", "KL {} an octave at the tuned rate"), ("4.0", "and {} at four")] {
        let kl = line(root, rate, ("context/kl", "0", "30"));
        says(&full, &words.replace("{}", &slope(&kl, 0.0)));
    }
    let overshooting = [
        ("head_logits", "0"),
        ("head_logits", "1"),
        ("head_logits_delta", "1"),
        ("head_entropy_gap", "0"),
    ];
    for (site, iteration) in overshooting {
        let found = slope(&line(root, "4.0", (site, iteration, "30")), 0.0);
        // In brackets of their own where the sentence is in brackets.
        let inner = found.replace(" (", ", ");
        assert!(full.contains(&found) || full.contains(&format!("({inner}")), "{site} {found}");
    }
    let keys = ("grad/layers.1.attention.key.weight", "0", "30");
    let keys = line("full-preln-small-init", "4.0", keys);
    says(&full, &format!("rises by {}", slope(&keys, -1.0)));

    let largest = |check: &str| {
        let starts = lines(check, None).into_iter();
        let starts = starts.filter(|line| line["kind"] == "param" && line["step"] == "0");
        let distance = |line: Line| {
            let number = |column: &str| line[column].parse::<f64>().unwrap();
            (number("slope") - number("expected")).abs()
        };
        starts.map(distance).fold(0.0, f64::max)
    };
    let others = families.map(|(check, _)| largest(check)).into_iter().fold(0.0, f64::max);
    says(&ci, &format!("(within {others:.3}; PT within {:.3})", largest("pt/pt-2026")));
}
