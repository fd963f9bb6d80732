//! Experiments on a text that is not in the program.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::claims::status;
use crate::config::data::{DataConfig, Packing, TokenizerConfig, TokenizerKind};
use crate::corpus::token_folder::{self, Terms};
use crate::corpus::{Corpus, Document, DocumentSplits};
use crate::runs::corpora::Corpora;
use crate::runs::execute;
use crate::runs::fetched_text::FetchedText;
use crate::runs::runner::{Runner, RunnerOptions};
use crate::runs::source::LedgerSource;

/// Writes a text of 40 sentences into `folder`.
fn write_text(folder: &Path) -> Arc<Corpus> {
    let document = |d: usize| {
        let words: Vec<String> = (0..5 + d % 7).map(|i| format!("w{}", (i * d) % 11)).collect();
        Document { name: d.to_string(), text: words.join(" ") }
    };
    let splits = DocumentSplits {
        train: (0..30).map(document).collect(),
        validation: (30..36).map(document).collect(),
        test: (36..40).map(document).collect(),
    };
    let kind = TokenizerKind::Words;
    let config = DataConfig {
        packing: Packing::Sentences,
        tokenizer: TokenizerConfig { kind, vocab: 50, ..TokenizerConfig::default() },
        ..DataConfig::default()
    };
    let corpus = Corpus::from_documents(&splits, &config, None).unwrap();
    let terms = Terms { name: "made-up", source: "a test", licence: "none" };
    token_folder::write(folder, &corpus, (Packing::Sentences, kind), terms).unwrap();
    Arc::new(corpus)
}

/// Two small models on the text in `folder`.
fn comparison(folder: &Path, text: &FetchedText) -> Experiment {
    let mut experiment = experiment("penn-treebank");
    let setting = &mut experiment.setting;
    setting.data.tokens = Some(folder.to_owned());
    setting.text = Some(text.clone());
    setting.seeds = 2;
    setting.search_rule.points_max = 3;
    setting.train.steps = 3;
    setting.train.evaluate_every = 3;
    let Design::Pair(pair) = &mut experiment.design else { unreachable!() };
    for arm in [&mut pair.candidate, &mut pair.baseline] {
        (arm.width, arm.base_width) = (8, 8);
    }
    pair.candidate.model.insert("channels".into(), 2.into());
    pair.candidate.model.insert("rank".into(), 4.into());
    pair.baseline.model.insert("head_dim".into(), 4.into());
    experiment
}

#[test]
fn invariant_runs_on_a_fetched_text_are_found_where_the_text_is_not() {
    static GO_ON: AtomicBool = AtomicBool::new(false);
    let place = tempfile::tempdir().unwrap();
    let (folder, ledger) = (place.path().join("text"), place.path().join("runs"));
    let corpus = write_text(&folder);
    let mut text = FetchedText {
        fetch: "ptb".into(),
        make: None,
        fingerprint: corpus.fingerprint.to_hex().to_string(),
        vocab: corpus.vocabulary().size,
        unigram_loss_nats: 0.0,
        own_token_loss_nats: None,
        neighbour_loss_nats: None,
    };
    let experiment = comparison(&folder, &text);
    let (data, options) = (
        experiment.setting.data.clone(),
        RunnerOptions { folder: ledger.clone(), jobs: 1, threads: Some(1), quiet: true },
    );
    let Gathered { wanted, .. } =
        experiment.gather(text.vocab, &World { loss: |_| None, finished: |_| false }).unwrap();
    let records = Runner::new(options, &GO_ON).run_all(&wanted).unwrap();
    assert!(records.len() >= 6 && records.iter().all(|run| run.loss_nats.is_some()));
    text.unigram_loss_nats = execute::unigram_loss_nats(&wanted[0], &corpus).unwrap();
    text.check(&data, &experiment.setting.train, &corpus).unwrap();
    let off = Some(text.unigram_loss_nats + 1.0);
    let wrong = FetchedText { own_token_loss_nats: off, ..text.clone() };
    let error = wrong.check(&data, &experiment.setting.train, &corpus).unwrap_err().to_string();
    assert!(error.contains("text.own_token_loss_nats"), "{error}");
    let wrong = FetchedText { unigram_loss_nats: text.unigram_loss_nats + 1e-6, ..text.clone() };
    let error = wrong.check(&data, &experiment.setting.train, &corpus).unwrap_err().to_string();
    assert!(error.contains("hint: set it to "), "{error}");

    std::fs::remove_dir_all(&folder).unwrap();
    let experiment = comparison(&folder, &text);
    let corpora = Corpora::new(None);
    let source = LedgerSource::new(&ledger, &corpora).unwrap();
    let status = status::of(&experiment, &source).unwrap();
    assert_eq!(status.runs_done, records.len());
    let found = source.find(&wanted[0]).unwrap().expect("the run is in the ledger");
    assert_eq!((&found.id, found.loss_nats), (&records[0].id, records[0].loss_nats));
    assert_eq!(found.unigram_loss_nats.to_bits(), records[0].unigram_loss_nats.to_bits());
}

#[test]
fn invariant_another_text_than_the_registered_one_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let corpus = write_text(place.path());
    let setting = experiment("penn-treebank").setting;
    let text = setting.text.as_ref().unwrap();
    let error = text.check(&setting.data, &setting.train, &corpus).unwrap_err().to_string();
    assert!(error.contains("another text"), "{error}");
    assert!(text.command(&setting.data).ends_with("data fetch ptb --out runs/data/ptb"));
}
