//! The committed results follow from their committed runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{claims, tables};
use crate::config::run::RunConfig;
use crate::error::Result;
use crate::experiment::Experiment;
use crate::experiment::design::Outcome;
use crate::runs::corpora::{self, Corpora};
use crate::runs::execute;
use crate::runs::record::RunRecord;
use crate::runs::source::{LedgerSource, RunSource};

fn published(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../reports/published").join(name)
}

/// The runs of a published `runs.csv`, without their curves.
struct Published<'a> {
    rows: BTreeMap<String, csv::StringRecord>,
    corpora: &'a Corpora,
    unigram_loss_nats: f64,
}

impl RunSource for Published<'_> {
    fn find(&self, run: &RunConfig) -> Result<Option<RunRecord>> {
        let corpus = self.corpora.load(&run.data)?;
        let id = execute::key(run, &corpus)?.to_string();
        let Some(row) = self.rows.get(&id) else { return Ok(None) };
        let layout = run.model.layout()?;
        assert_eq!(row[7], layout.total().to_string(), "parameters of {id}");
        let flops = run.model.forward_flops(run.data.length)?;
        Ok(Some(RunRecord {
            id,
            config: run.clone(),
            parameters_total: layout.total(),
            parameters_non_embedding: layout.non_embedding(),
            flops_per_token: flops.training_per_token(run.data.masking.share),
            tokens: row[11].parse().expect("tokens are a number"),
            seconds: row[14].parse().expect("seconds are a number"),
            loss_nats: row[13].parse().ok(),
            divergence: (&row[12] != "finished").then(|| row[12].to_owned()),
            remarks: Vec::new(),
            evaluations: vec![],
            documents: vec![],
            unigram_loss_nats: self.unigram_loss_nats,
            lines: self.corpora.lines(&run.data, &corpus)?,
            context: None,
        }))
    }
}

/// Every table of the quick report follows byte for byte from the published runs: the runs have
/// the same names, the searches take the same path, and the statistics give the same digits.
#[test]
fn golden_published_quick_tables_follow_from_their_runs() {
    let folder = published("quick");
    let experiment = Experiment::registered("quick").unwrap();
    let data = &experiment.setting.data;
    let corpora = Corpora::new(None);
    let corpus = corpora.load(data).unwrap();
    let vocab = corpora::vocabulary(data, &corpus);
    let mut reader = csv::Reader::from_path(folder.join("runs.csv")).unwrap();
    let rows = reader.records().map(|row| row.unwrap()).map(|row| (row[0].to_owned(), row));
    let rows: BTreeMap<String, csv::StringRecord> = rows.collect();
    let mut comparison = csv::Reader::from_path(folder.join("comparison.csv")).unwrap();
    let first = comparison.records().next().unwrap().unwrap();
    let column = comparison.headers().unwrap().iter().position(|c| c == "unigram_loss_nats");
    let unigram_loss_nats = first[column.unwrap()].parse().unwrap();
    let source = Published { rows, corpora: &corpora, unigram_loss_nats };

    let gathered = experiment.gather(vocab, &source).unwrap();
    assert!(gathered.wanted.is_empty(), "{} runs are not published", gathered.wanted.len());
    let Outcome::Ladder(study) = gathered.outcome else { unreachable!() };
    let transfer = study.transfer.as_ref().unwrap();
    let command = "crossscale reproduce --preset quick";
    let same = |table: &reports::Table| {
        let path = folder.join(format!("{}.csv", table.name));
        let expected = std::fs::read_to_string(path).unwrap();
        assert_eq!(table.to_csv().unwrap(), expected, "{}", table.name);
    };
    same(&tables::comparison(&study, command).unwrap());
    same(&tables::differences(&study, command).unwrap());
    same(&tables::rates("learning_rates", "", &study.searches, command).unwrap());
    same(&tables::transfer(transfer, command).unwrap());
    same(&tables::rates("transfer_rates", "", &transfer.curves, command).unwrap());
    same(&tables::runs(&study, command).unwrap());
}

/// The published claims page follows from the published ledger: the same verdicts and digits.
#[test]
fn golden_published_claims_follow_from_their_ledger() {
    let folder = published("claims");
    let corpora = Corpora::new(None);
    let ledger = LedgerSource::new(&folder.join("ledger"), &corpora).unwrap();
    let document = claims::build(&ledger).unwrap();
    let tables = document.sections.iter().flat_map(|section| &section.blocks);
    let tables = tables.filter_map(|block| match block {
        reports::Block::Table(table) => Some(table),
        _ => None,
    });
    for table in tables {
        let path = folder.join(format!("{}.csv", table.name));
        let expected = std::fs::read_to_string(path).unwrap();
        assert_eq!(table.to_csv().unwrap(), expected, "{}", table.name);
    }
}

type Row = BTreeMap<String, String>;

fn rows(table: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_path(published("claims").join(table)).unwrap();
    reader.deserialize().map(|row: csv::Result<Row>| row.unwrap()).collect()
}

/// Numbers `column` and half the interval around it, in the rows of a published table that have
/// `value` in their column `key`.
fn estimates(table: &str, (key, value): (&str, &str), column: &str) -> Vec<(f64, f64)> {
    // One seed has no interval.
    let number = |row: &Row, end: &str| row[&format!("{column}_{end}")].parse().unwrap_or(f64::NAN);
    let half = |row: &Row| (number(row, "ci_high") - number(row, "ci_low")) / 2.0;
    let wanted = rows(table).into_iter().filter(|row| row[key] == value);
    wanted.map(|row| (number(&row, "mean"), half(&row))).collect()
}

/// Fails unless the front page says `part`.
fn says(part: &str) {
    let text = std::fs::read_to_string(published("../../README.md")).unwrap();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(part), "README.md does not say '{part}'");
}

/// Differences from `baseline` in a published table.
fn against(table: &str, baseline: &str) -> Vec<(f64, f64)> {
    estimates(table, ("baseline", baseline), "difference_nats")
}

fn range(mut values: Vec<(f64, f64)>) -> String {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    format!("{:.2} to {:.2} nats", values[0].0, values[values.len() - 1].0)
}

/// What the front page says about the laptop ladder is what its tables hold.
#[test]
fn golden_readme_numbers_are_those_of_the_laptop_ladder() {
    let comparison = "ladder_laptop_comparison.csv";
    let losses = ["PT 2026", "BERT", "UT"]
        .map(|family| estimates(comparison, ("family", family), "loss_nats"))
        .concat();
    let unigram: f64 = rows(comparison)[0]["unigram_loss_nats"].parse().unwrap();
    let lowest = losses.into_iter().map(|loss| loss.0).fold(f64::INFINITY, f64::min);
    let within = (100.0 * (unigram - lowest)).ceil() / 100.0;
    says(&format!(
        "end within {within:.2} nats of the unigram loss ({unigram:.2}) at every budget"
    ));
    let laptop = |baseline| against("ladder_laptop_c3.csv", baseline);
    assert!(laptop("BERT").iter().all(|difference| difference.0 > 0.0), "PT is below BERT");
    let c3 = rows("ladder_laptop_c3.csv");
    let preln = || c3.iter().filter(|row| row["baseline"] == "pre-LN");
    let significant =
        preln().filter(|row| row["p_value_holm"].parse::<f64>().unwrap() <= 0.05).count();
    assert_eq!((significant, preln().count()), (1, 5));
    let by = range(laptop("pre-LN"));
    says(&format!("Transformer is {by} better than PT, significant in one row of five"));
    let number = |row: &Row, column: &str| row[column].parse::<f64>().unwrap();
    let runs = rows(comparison);
    let millions =
        |column: &str, row: &Row, decimals| format!("{:.decimals$}", 1e-6 * number(row, column));
    says(&format!("with {} million tokens", millions("tokens", &runs[0], 1)));
    let ends = [&runs[0], &runs[runs.len() - 1]].map(|row| millions("budget", row, 2));
    says(&format!("from {} to {} million parameters", ends[0], ends[1]));
    let fit = estimates("ladder_laptop_c7.csv", ("quantity", "exponent"), "value");
    let exponent = fit[0].0;
    says(&format!("`supported` with an exponent of {exponent:.3}"));
}

/// What the front page says in words is what the published tables hold.
#[test]
fn golden_readme_numbers_are_those_of_the_published_claims() {
    let gain = estimates("quality_winners.csv", ("family", "PT 2026"), "gain_nats")[0];
    says(&format!("PT gains {:.2} ± {:.2} nats", -gain.0, gain.1));
    let largest = |values: Vec<(f64, f64)>| *values.last().unwrap();
    let bert = largest(against("ladder_tuned_c3.csv", "BERT"));
    says(&format!("it is {:.2} ± {:.2} nats better than BERT", -bert.0, bert.1));
    let ut = largest(against("ladder_tuned_c4.csv", "PT 2026"));
    says(&format!("{:.2} ± {:.2} better than the Universal Transformer", ut.0, ut.1));
    says(&format!("({}, significant at two)", range(against("ladder_tuned_c3.csv", "pre-LN"))));
    let comparison = "ladder_tuned_comparison.csv";
    let losses =
        ["BERT", "UT"].map(|family| estimates(comparison, ("family", family), "loss_nats"));
    let unigram: f64 = rows(comparison)[0]["unigram_loss_nats"].parse().unwrap();
    let lowest = losses.concat().into_iter().map(|loss| loss.0).fold(f64::INFINITY, f64::min);
    says(&format!("end within {:.2} nats of the unigram loss", unigram - lowest));
    let fixed = ["BERT", "pre-LN"].map(|baseline| against("ladder_small_c3.csv", baseline));
    says(&format!("at every budget, by {}", range(fixed.concat())));

    let long = |family: &str| {
        *estimates("ladder_tuned_long_comparison.csv", ("family", family), "loss_nats")
            .last()
            .expect("a row of every family")
    };
    let pt = long("PT 2026");
    says(&format!("PT reaches {:.2} ± {:.2} nats", pt.0, pt.1));
    for family in ["BERT", "UT"] {
        says(&format!("where they stay at {:.2}", long(family).0));
    }
    let preln = long("pre-LN");
    says(&format!("({:.2} ± {:.2} at the largest)", preln.0, preln.1));
    let behind = range(against("ladder_tuned_long_c3.csv", "pre-LN"));
    says(&format!("The pre-LN Transformer is {behind} better than PT at every budget"));
    let treebank =
        estimates("penn_treebank_difference.csv", ("candidate", "PT 2023"), "difference_nats")[0];
    says(&format!("ends {:.2} ± {:.2} nats *below*", -treebank.0, treebank.1));
    let curves = "training_curves_penn_treebank_arms.csv";
    let curve = rows(curves).into_iter().rfind(|row| row["model"] == "Transformer").unwrap();
    let [unigram, end] =
        ["unigram_loss_nats", "loss_nats_mean"].map(|column| curve[column].parse::<f64>().unwrap());
    says(&format!("unigram loss ({unigram:.2}; it ends at {end:.2})"));

    let slopes = rows("transfer_slopes.csv");
    let slope = |row: usize, column: &str, decimals: usize| {
        let value: f64 = slopes[row][&format!("shift_{column}")].parse().unwrap();
        format!("{value:.decimals$}").replace('-', "−")
    };
    let octaves = "octaves_per_octave";
    says(&format!("moves by {} octaves per octave", slope(0, octaves, 2)));
    says(&format!("and by {} under standard", slope(1, octaves, 2)));
    says(&format!("[{}, {}]", slope(0, "ci_low", 3), slope(0, "ci_high", 3)));
}
