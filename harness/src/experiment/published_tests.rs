//! The committed results follow from their committed runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::corpora::Corpora;
use super::definition::Definition;
use super::record::RunRecord;
use super::source::{LedgerSource, RunSource};
use super::{claims_report, execute, registered, study, tables};
use crate::config::run::RunConfig;
use crate::error::Result;

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
            evaluations: vec![],
            documents: vec![],
            unigram_loss_nats: self.unigram_loss_nats,
        }))
    }
}

/// Every table of the quick report follows byte for byte from the published runs: the runs have
/// the same names, the searches take the same path, and the statistics give the same digits.
#[test]
fn golden_published_quick_tables_follow_from_their_runs() {
    let folder = published("quick");
    let definition = Definition::preset("quick").unwrap();
    let corpora = Corpora::new(None);
    let corpus = corpora.load(&definition.data).unwrap();
    let vocab = study::vocabulary(&definition.data, &corpus);
    let mut reader = csv::Reader::from_path(folder.join("runs.csv")).unwrap();
    let rows = reader.records().map(|row| row.unwrap()).map(|row| (row[0].to_owned(), row));
    let rows: BTreeMap<String, csv::StringRecord> = rows.collect();
    let mut comparison = csv::Reader::from_path(folder.join("comparison.csv")).unwrap();
    let first = comparison.records().next().unwrap().unwrap();
    let column = comparison.headers().unwrap().iter().position(|c| c == "unigram_loss_nats");
    let unigram_loss_nats = first[column.unwrap()].parse().unwrap();
    let source = Published { rows, corpora: &corpora, unigram_loss_nats };

    let gathered = study::gather(&definition, vocab, &source).unwrap();
    assert!(gathered.wanted.is_empty(), "{} runs are not published", gathered.wanted.len());
    let study = gathered.outcome;
    let command = "crossscale reproduce --preset quick";
    let same = |table: &reports::Table| {
        let path = folder.join(format!("{}.csv", table.name));
        let expected = std::fs::read_to_string(path).unwrap();
        assert_eq!(table.to_csv().unwrap(), expected, "{}", table.name);
    };
    same(&tables::comparison(&study, command).unwrap());
    same(&tables::differences(&study, command).unwrap());
    same(&tables::rates("learning_rates", "", &study.searches, command).unwrap());
    same(&tables::transfer(&study, command).unwrap());
    same(&tables::rates("transfer_rates", "", &study.transfer, command).unwrap());
    same(&tables::runs(&study, command).unwrap());
}

/// The published claims page follows from the published ledger: the same verdicts and digits.
#[test]
fn golden_published_claims_follow_from_their_ledger() {
    let folder = published("claims");
    let corpora = Corpora::new(None);
    let ledger = LedgerSource::new(&folder.join("ledger"), &corpora).unwrap();
    let experiments = registered::experiments().unwrap();
    let document = claims_report::build(&experiments, &ledger).unwrap();
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
