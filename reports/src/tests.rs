//! Whole documents, and what spreadsheets, browsers and careless text could do to them.

use proptest::num::f64 as f64s;
use proptest::prelude::*;

use crate::figure::tests::{all as all_figures, provenance};
use crate::markdown::{splice, splice_file};
use crate::*;

fn comparison() -> Table {
    let columns = vec![
        Column::number("budget", "budget", "parameters"),
        Column::text("family", "model"),
        Column::number("training_flops", "training compute", "FLOPs"),
        Column::estimate("loss_nats", "held-out loss", "nats"),
        Column::estimate("difference_nats", "PT − model", "nats"),
        Column::text("verdict", "verdict"),
        Column::text("details", "details"),
    ];
    let mut table = Table::new("comparison", "Held-out loss at matched budgets", columns)
        .with_rule("`better`: the 95 % interval excludes 0.")
        .with_provenance(provenance());
    let estimate = |mean: f64, half: f64| {
        let interval = (half > 0.0).then_some((mean - half, mean + half));
        Cell::Estimate(Estimate { mean, interval, n: if half > 0.0 { 3 } else { 1 } })
    };
    let rows = [
        ("PT (mup)", estimate(3.5, 0.0625), Cell::Missing, Cell::Missing),
        (
            "BERT (post-LN)",
            estimate(3.533, 0.013),
            estimate(-0.121, 0.015),
            Cell::verdict("better"),
        ),
        (
            "Transformer (pre-LN)",
            estimate(3.35, 0.02),
            estimate(0.06, 0.02),
            Cell::verdict("worse"),
        ),
        ("Universal Transformer", Cell::Diverged, Cell::Diverged, Cell::verdict("inconclusive")),
        (
            "PT | `exact` <b>",
            estimate(3.4, 0.0),
            estimate(0.001, 0.003),
            Cell::verdict("no change"),
        ),
    ];
    for (family, loss, difference, verdict) in rows {
        table
            .push(vec![
                Cell::Integer(17_072_128),
                Cell::text(family),
                Cell::significant(1.234_567e12, 3),
                loss,
                difference,
                verdict,
                Cell::link("runs", "runs.csv"),
            ])
            .unwrap();
    }
    table
}

fn document() -> Document {
    let mut results = Section::new("Results")
        .with(Block::Warning("3 of 12 runs are not finished; their cells are `–`.".into()))
        .with(Block::Table(comparison()));
    for figure in all_figures() {
        results = results.with(Block::Figure(figure));
    }
    Document::new("Does PT < Transformer?")
        .with_section(
            Section::new("Claims & verdicts")
                .with(Block::text("PT is **worse** than `preln`; see [Results](#results)."))
                .with(Block::List(vec!["one & only".into(), "two".into()])),
        )
        .with_section(results)
        .with_section(
            Section::new("Reproduce")
                .with(Block::Code("cargo run --release -- reproduce --out <DIR>".into()))
                .with(Block::text(format::ROUNDING_RULE)),
        )
}

#[test]
fn golden_csv_holds_full_precision_and_expands_estimates() {
    let csv = comparison().to_csv().unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(
        lines[0],
        "budget,family,training_flops,loss_nats_mean,loss_nats_ci_low,loss_nats_ci_high,\
         loss_nats_n,difference_nats_mean,difference_nats_ci_low,difference_nats_ci_high,\
         difference_nats_n,verdict,details"
    );
    assert_eq!(lines[1], "17072128,PT (mup),1234567000000.0,3.5,3.4375,3.5625,3,–,–,–,–,–,runs");
    assert!(lines[4].contains(",div,–,–,–,div,–,–,–,inconclusive,"), "{}", lines[4]);
    assert!(lines[5].contains("3.4,–,–,1,"), "{}", lines[5]);
}

#[test]
fn golden_markdown_table_is_aligned_and_escaped() {
    let text = comparison().to_markdown();
    let lines: Vec<&str> = text.lines().collect();
    let widths: Vec<usize> = lines.iter().map(|line| line.chars().count()).collect();
    assert!(widths.iter().all(|&width| width == widths[0]), "{text}");
    assert!(lines[1].starts_with("| -") && lines[1].contains("-: |"), "{text}");
    assert!(text.contains("3.50 ± 0.06 (n = 3)") && text.contains("17,072,128"), "{text}");
    assert!(text.contains(r"PT \| \`exact\` \<b\>"), "{text}");
    assert!(text.contains("[runs](runs.csv)"), "{text}");
    let terminal = comparison().to_text();
    assert_eq!(terminal.lines().count(), 6, "{terminal}");
    assert_eq!(comparison().to_text_within(400), terminal);
    let narrow = comparison().to_text_within(60);
    let rows = comparison().rows().len();
    assert_eq!(narrow.split("\n\n").count(), rows, "a block for each row: {narrow}");
    assert!(narrow.contains("3.50 ± 0.06 (n = 3)"), "{narrow}");
}

#[test]
fn invariant_narrow_terminals_go_without_columns_that_may_be_left_out() {
    let column = |name: &str, rank| Column::number(name, name, "").left_out(rank);
    let columns = vec![column("first", 0), column("second", 2), column("third", 1)];
    let mut table = Table::new("t", "", columns);
    table.push(["1", "22", "333"].map(Cell::text).to_vec()).unwrap();
    let whole = table.to_text();
    let width = whole.lines().map(|line| line.chars().count()).max().unwrap();
    assert_eq!(table.to_text_within(width), whole);
    let without = |columns: usize| {
        let text = table.to_text_within(columns);
        let heading = text.lines().next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        (heading, text.lines().last().unwrap().to_owned())
    };
    let note = |left: &str| format!("(no room for {left}; a pipe has it)");
    assert_eq!(without(width - 1), ("first third".to_owned(), note("second")));
    assert_eq!(without(9), ("first".to_owned(), note("third, second")));
    let blocks = table.to_text_within(4);
    assert_eq!(blocks.lines().count(), 3, "not even the first fits: {blocks}");
}

#[test]
fn invariant_a_row_must_fit_its_columns() {
    let mut table = comparison();
    let message = table.push(vec![Cell::Missing]).unwrap_err().to_string();
    assert!(message.contains("row 5 of table `comparison`"), "{message}");
    assert_eq!(table.rows().len(), 5);
}

#[test]
fn invariant_markdown_report_names_rule_command_runs_and_data() {
    let text = document().to_markdown();
    assert_eq!(text, document().to_markdown());
    for expected in [
        "# Does PT \\< Transformer?",
        "> **Note:** 3 of 12 runs",
        "`better`: the 95 % interval excludes 0.",
        "command `crossscale reproduce --preset laptop`",
        "2 runs `3f2a91c0 77c1d2e4`",
        "[comparison.csv](comparison.csv)",
        "![Held-out loss against parameters](loss_vs_parameters.svg)",
        "[loss_vs_parameters.csv](loss_vs_parameters.csv)",
    ] {
        assert!(text.contains(expected), "{expected}");
    }
}

#[test]
fn invariant_html_report_stands_alone_and_is_escaped() {
    let page = document().to_html().unwrap();
    assert_eq!(page, document().to_html().unwrap());
    if let Some(folder) = std::env::var_os("CROSSSCALE_FIGURES") {
        std::fs::write(std::path::Path::new(&folder).join("report.html"), &page).unwrap();
    }
    for forbidden in ["<script", "src=", "@import", "<link", "url(http", "<b>"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    for expected in [
        "<title>Does PT &lt; Transformer?</title>",
        "<h2 id=\"claims--verdicts\">Claims &amp; verdicts</h2>",
        "<span class=\"verdict no-change\">no change</span>",
        "prefers-color-scheme: dark",
        "@page { size: landscape",
        "@media print",
        "<pre>cargo run --release -- reproduce --out &lt;DIR&gt;</pre>",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    // No two elements share an id, or one figure would be clipped by another.
    let mut ids: Vec<&str> =
        page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    for reference in page.split("url(#").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(ids.contains(&reference), "{reference}");
    }
}

#[test]
fn invariant_writing_leaves_whole_files_and_repeats_exactly() {
    let folder = std::env::temp_dir().join(format!("crossscale-reports-{}", std::process::id()));
    let paths = document().write(&folder).unwrap();
    assert_eq!(paths.len(), 2 + 1 + 2 * 7);
    let read = || paths.iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>();
    let first = read();
    document().write(&folder).unwrap();
    assert_eq!(first, read());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), paths.len());
    let twice = document().with_section(Section::new("Again").with(Block::Table(comparison())));
    assert!(matches!(twice.write(&folder), Err(ReportError::DuplicateName { .. })));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A folder from elsewhere may hold links under the names that a report is about to write.
#[test]
#[cfg(unix)]
fn invariant_a_report_is_not_written_through_links() {
    let folder = std::env::temp_dir().join(format!("crossscale-links-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let outside = folder.join("outside.txt");
    std::fs::write(&outside, "mine").unwrap();
    let into = folder.join("report");
    std::fs::create_dir(&into).unwrap();
    let partial = format!("report.md.{}.partial", std::process::id());
    for name in ["report.md", "report.html", "comparison.csv", &partial] {
        std::os::unix::fs::symlink(&outside, into.join(name)).unwrap();
    }
    document().write(&into).unwrap();
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "mine");
    assert!(std::fs::read_to_string(into.join("report.md")).unwrap().starts_with("# "));
    assert!(!into.join("report.md").is_symlink() && !into.join(&partial).exists());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn invariant_splicing_changes_only_the_block_and_is_idempotent() {
    let page =
        "# A\n\n<!-- crossscale:results:start -->\nold\n<!-- crossscale:results:end -->\n\nB\n";
    let once = splice(page, "results", "| new |\n", "crossscale report --readme").unwrap();
    assert_eq!(splice(&once, "results", "| new |\n", "crossscale report --readme").unwrap(), once);
    assert!(once.starts_with("# A\n\n<!-- crossscale:results:start -->\n"));
    assert!(once.contains("`crossscale report --readme`") && once.contains("\n| new |\n"));
    assert!(once.ends_with("\n<!-- crossscale:results:end -->\n\nB\n") && !once.contains("old"));
    for broken in [
        page.replace("results:start", "other:start"),
        page.replace("results:end", "other:end"),
        page.repeat(2),
    ] {
        assert!(splice(&broken, "results", "x", "y").is_err(), "{broken}");
    }
    let reversed = "<!-- crossscale:results:end -->\n<!-- crossscale:results:start -->\n";
    assert!(splice(reversed, "results", "x", "y").is_err());
    let missing = std::path::Path::new("no such folder/README.md");
    assert!(matches!(splice_file(missing, "results", "x", "y"), Err(ReportError::Io { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn invariant_csv_floats_round_trip_and_text_is_no_formula(
        value in f64s::NORMAL | f64s::SUBNORMAL | f64s::ZERO,
        text in "[=+@＝＋－＠ \\-\t\r\n,;\"'a|é\u{2212}]{0,8}",
    ) {
        let columns = vec![Column::number("x", "x", ""), Column::text("t", "t")];
        let mut table = Table::new("t", "", columns);
        table.push(vec![Cell::decimals(value, 2), Cell::text(&text)]).unwrap();
        let csv = table.to_csv().unwrap();
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let record = reader.records().next().unwrap().unwrap();
        prop_assert_eq!(record[0].parse::<f64>().unwrap().to_bits(), value.to_bits());
        prop_assert!(!record[1].starts_with(['\t', '\r', '\n']));
        let signs = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
        prop_assert!(!record[1].trim_start().starts_with(signs));
        prop_assert!(record[1].ends_with(text.as_str()));
    }

    #[test]
    fn invariant_markdown_rows_keep_their_columns(text in "[|\\\\`*_\\[\\]<>#\n a-c]{0,12}") {
        let mut table = Table::new("t", "", vec![Column::text("a", "a"), Column::text("b", "b")]);
        table.push(vec![Cell::text(&text), Cell::link(&text, &text)]).unwrap();
        let markdown = table.to_markdown();
        let row = markdown.lines().nth(2).unwrap();
        let mut bars = 0;
        let mut letters = row.chars();
        while let Some(letter) = letters.next() {
            if letter == '\\' {
                letters.next();
            }
            bars += usize::from(letter == '|');
        }
        prop_assert_eq!((bars, markdown.lines().count()), (3, 3), "{}", row);
    }
}
