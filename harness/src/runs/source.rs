//! Where an experiment finds the runs it needs.
//!
//! Every experiment is a pure function from the finished runs to what is known so far and what is
//! wanted next. Running it means doing what is wanted until nothing is; reporting on it means
//! asking once. So a report of an unfinished experiment goes through the same code.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::corpora::{self, Corpora};
use super::execute;
use super::fetched_text::FetchedText;
use super::record::RunRecord;
use super::runner::Runner;
use crate::config::data::DataConfig;
use crate::config::run::RunConfig;
use crate::corpus::{Corpus, Lines};
use crate::error::Result;
use crate::ledger::Ledger;

/// Finished runs by configuration.
pub trait RunSource {
    /// The record of `run` if it is finished or diverged; nothing is started.
    ///
    /// # Errors
    /// A ledger or text that cannot be read.
    fn find(&self, run: &RunConfig) -> Result<Option<RunRecord>>;
}

/// Runs of a ledger folder. A folder that does not exist holds no runs and is not created.
pub struct LedgerSource<'a> {
    ledger: Option<Ledger>,
    corpora: &'a Corpora,
    known: Mutex<BTreeMap<String, Option<RunRecord>>>,
    unigram: Mutex<BTreeMap<String, f64>>,
    texts: Mutex<BTreeMap<String, FetchedText>>,
}

impl<'a> LedgerSource<'a> {
    /// The runs in `folder`, whose texts `corpora` loads.
    pub fn new(folder: &Path, corpora: &'a Corpora) -> Result<Self> {
        let ledger = folder.join("runs").is_dir().then(|| Ledger::open(folder)).transpose()?;
        let (known, unigram, texts) = <_>::default();
        Ok(Self { ledger, corpora, known, unigram, texts })
    }

    /// Ids that models on the text of `data` have. What is known of a `text` that has to be
    /// fetched is remembered, so that its runs are found without the text.
    pub fn vocabulary(&self, data: &DataConfig, text: Option<&FetchedText>) -> Result<usize> {
        if let Some(text) = text {
            let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
            texts.insert(text_name(data), text.clone());
            return Ok(text.vocab);
        }
        Ok(corpora::vocabulary(data, &*self.corpora.load(data)?))
    }

    /// Fingerprint of the text of `run`, its unigram loss on the evaluation targets in nats, and
    /// the other lines where the text is at hand.
    fn text(&self, run: &RunConfig) -> Result<(String, f64, Option<Lines>)> {
        let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = texts.get(&text_name(&run.data)) {
            return Ok((text.fingerprint.clone(), text.unigram_loss_nats, text.lines()));
        }
        drop(texts);
        let corpus = self.corpora.of_run(run)?;
        let lines = self.corpora.lines(&run.data, &corpus)?;
        let unigram = self.unigram_loss_nats(run, &corpus)?;
        Ok((corpus.fingerprint.to_hex().to_string(), unigram, lines))
    }

    fn unigram_loss_nats(&self, run: &RunConfig, corpus: &Arc<Corpus>) -> Result<f64> {
        let name = text_name(&run.data);
        let mut unigram = self.unigram.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&loss) = unigram.get(&name) {
            return Ok(loss);
        }
        let loss = execute::unigram_loss_nats(run, corpus)?;
        unigram.insert(name, loss);
        Ok(loss)
    }
}

impl RunSource for LedgerSource<'_> {
    fn find(&self, run: &RunConfig) -> Result<Option<RunRecord>> {
        let Some(ledger) = &self.ledger else { return Ok(None) };
        let (fingerprint, unigram, lines) = self.text(run)?;
        let key = execute::key_on(run, &fingerprint)?;
        let name = key.to_string();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = known.get(&name) {
            return Ok(record.clone());
        }
        let mut record = execute::finished(run, &key, ledger, unigram)?;
        if let Some(record) = &mut record {
            record.lines = lines;
        }
        known.insert(name, record.clone());
        Ok(record)
    }
}

/// Texts are told apart by everything that decides them.
fn text_name(data: &DataConfig) -> String {
    format!("{data:?}")
}

/// What an experiment knows so far and which runs would tell it more.
#[derive(Debug, Clone)]
pub struct Gathered<T> {
    /// What the finished runs say.
    pub outcome: T,
    /// Runs wanted next; empty means that the experiment is complete.
    pub wanted: Vec<RunConfig>,
}

impl<T> Gathered<T> {
    /// The same with the outcome turned into another.
    pub fn map<U>(self, turn: impl FnOnce(T) -> U) -> Gathered<U> {
        Gathered { outcome: turn(self.outcome), wanted: self.wanted }
    }
}

/// Does what `gather` wants until it wants nothing more. Runs that the ledger of `runner` already
/// holds are read, so several experiments share theirs.
pub fn complete<T>(
    runner: &Runner,
    gather: impl Fn(&dyn RunSource) -> Result<Gathered<T>>,
) -> Result<T> {
    let memory = Memory::default();
    loop {
        let gathered = gather(&memory)?;
        if gathered.wanted.is_empty() {
            return Ok(gathered.outcome);
        }
        let round = runner.next_round(&gathered.wanted);
        let records = runner.run_all(&round)?;
        let mut known = memory.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (run, record) in round.iter().zip(records) {
            known.insert(name(run), record);
        }
    }
}

/// Records of the runs that were asked for, by configuration.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, RunRecord>>);

fn name(run: &RunConfig) -> String {
    format!("{run:?}")
}

impl RunSource for Memory {
    fn find(&self, run: &RunConfig) -> Result<Option<RunRecord>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.get(&name(run)).cloned())
    }
}
