//! The committed results follow from their committed runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{claims, ladder_report, tables};
use crate::config::run::RunConfig;
use crate::error::Result;
use crate::experiment::Experiment;
use crate::experiment::design::Outcome;
use crate::runs::corpora::{self, Corpora};
use crate::runs::execute;
use crate::runs::record::{RunRecord, read_evaluations};
use crate::runs::source::{LedgerSource, RunSource};

fn published(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../reports/published").join(name)
}

/// Whether the pages are to be written anew from the published runs, after a change of rules.
fn rewrites() -> bool {
    std::env::var_os("CROSSSCALE_REWRITE_PUBLISHED").is_some()
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
        // Runs of a ladder that is published as well.
        let curves = published("claims/ledger/runs").join(&id);
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
            evaluations: read_evaluations(&curves).unwrap_or_default(),
            documents: vec![],
            unigram_loss_nats: self.unigram_loss_nats,
            lines: self.corpora.lines(&run.data, &corpus)?,
            context: None,
            arcs: Vec::new(),
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
    if rewrites() {
        ladder_report::build(&experiment, &study, command).unwrap().write(&folder).unwrap();
    }
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
    if rewrites() {
        document.write(&folder).unwrap();
    }
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

/// Fails unless the front page says `part`.
fn says(part: &str) {
    let text = std::fs::read_to_string(published("../../README.md")).unwrap();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(part), "README.md does not say '{part}'");
}

/// No published verdict compares a model that does not read its context.
#[test]
fn golden_published_verdicts_on_the_plateau_say_so() {
    let claims = rows("claims.csv");
    let decided: Vec<_> = claims.iter().filter(|row| row["verdict"] != "plateau").collect();
    assert!(claims.len() - decided.len() >= 18, "{decided:?}");
    for row in decided {
        let open = ["unfinished", "inconclusive", "unequal loss"];
        let open = open.contains(&row["verdict"].as_str());
        let experiment = row["experiment"].as_str();
        let read_context = ["ladder-tuned", "ladder-tuned-long", "trees", "trees-heads-fine"];
        assert!(open || read_context.contains(&experiment), "{row:?}");
        assert!(!["C1", "C2", "C3", "C4", "C5", "C8"].contains(&row["claim"].as_str()), "{row:?}");
    }
}

/// What the front page says in numbers is what the published tables hold.
#[test]
fn golden_readme_numbers_are_those_of_the_published_tables() {
    let number = |row: &Row, column: &str| row[column].parse::<f64>().unwrap();
    let gap = |table: &str| {
        let row = &rows(table)[0];
        number(row, "unigram_loss_nats") - number(row, "own_token_loss_nats")
    };
    let (short, long) = (gap("ladder_small_comparison.csv"), gap("ladder_laptop_comparison.csv"));
    says(&format!("ends {short:.2} nats (512 ids) or {long:.2} nats (1024 ids) below"));
    let behind = rows("ladder_tuned_long_c3b.csv");
    let mut means: Vec<f64> =
        behind.iter().map(|row| number(row, "difference_nats_mean")).collect();
    means.sort_by(f64::total_cmp);
    let (least, most) = (means[0], means[means.len() - 1]);
    says(&format!("pre-LN is {least:.2} to {most:.2} nats better at every budget"));
    let reads = |family: &str| {
        let all = rows("ladder_tuned_long_comparison.csv").into_iter();
        let own = all.filter(|row| row["family"] == family);
        own.filter(|row| row["reads_context"] == "true").count()
    };
    assert!(reads("PT 2026") >= 3 && reads("pre-LN") == 4);
    assert_eq!((reads("BERT"), reads("UT")), (0, 0));
}
