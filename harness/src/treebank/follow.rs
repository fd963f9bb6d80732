//! Arcs of a run at every evaluation of its training, against the trees beside its text.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::arcs::{Attachment, Direction, Hits, strongest_heads};
use super::conllu::{self, Sentence};
use super::evaluate::best;
use super::read::{Reader, items, longest};
use crate::config::run::RunConfig;
use crate::corpus::{Corpus, Tokenizer};
use crate::error::{HarnessError, Result};
use crate::input;
use crate::ledger::atomic;
use crate::train::{Evaluation, Observer, StepMetrics, TrainOutcome};

/// Name of the treebank in a token folder.
pub const TREEBANK_FILE: &str = "validation.conllu";
/// Name of the scores inside a run folder.
pub const ARCS_FILE: &str = "arcs.csv";
/// First line of [`ARCS_FILE`].
pub const ARCS_HEADER: &str = "step,iteration,channel,direction,arcs,directed,undirected,\
                               uas_low,uas_high,uuas_low,uuas_high";

/// The best channel of one evaluation: iteration, channel and direction have the most directed
/// arcs of the first, third, … sentence right; they are scored on the others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ArcScore {
    /// Steps done.
    pub step: u64,
    /// Iteration or layer, from 1.
    pub iteration: usize,
    /// Channel or head, from 1.
    pub channel: usize,
    /// How heads are read.
    pub direction: Direction,
    /// Arcs scored.
    pub arcs: usize,
    /// Those whose dependent has its head.
    pub directed: usize,
    /// Those right in either direction.
    pub undirected: usize,
    /// 95 % interval of the directed score, a bootstrap over sentences.
    pub uas_low: Option<f64>,
    /// Its upper end.
    pub uas_high: Option<f64>,
    /// The same of the undirected score.
    pub uuas_low: Option<f64>,
    /// Its upper end.
    pub uuas_high: Option<f64>,
}

impl ArcScore {
    /// Unlabelled attachment score, directed.
    pub fn uas(&self) -> f64 {
        self.directed as f64 / self.arcs.max(1) as f64
    }

    /// Unlabelled attachment score, undirected.
    pub fn uuas(&self) -> f64 {
        self.undirected as f64 / self.arcs.max(1) as f64
    }
}

/// The trees of a validation text.
pub struct ArcTreebank<'a> {
    choosing: Vec<Sentence>,
    scored: Vec<Sentence>,
    tokenizer: &'a Tokenizer,
}

impl<'a> ArcTreebank<'a> {
    /// The trees that `run` is scored on; `None` if it is not.
    ///
    /// # Errors
    /// If there are none beside its text, or they are of other sentences.
    pub fn of_run(run: &RunConfig, corpus: &'a Corpus) -> Result<Option<Self>> {
        if !run.train.evaluate_arcs {
            return Ok(None);
        }
        let path = run.data.tokens.as_deref().map(|folder| folder.join(TREEBANK_FILE));
        let path = path.filter(|path| path.is_file()).ok_or_else(|| {
            HarnessError::config(
                format!("train.evaluate_arcs needs {TREEBANK_FILE} in the folder of the tokens"),
                "crossscale data make trees --out DIR writes one; then --tokens DIR",
            )
        })?;
        let sentences = conllu::read(&path)?;
        let tokenizer = &corpus.tokenizer;
        check_text(&sentences, corpus, &path)?;
        let (scored, choosing) = conllu::every_second(sentences);
        Ok(Some(Self { choosing, scored, tokenizer }))
    }

    /// The score of `run` with these parameters after `step` steps.
    ///
    /// # Errors
    /// If the model cannot run the sentences.
    pub fn score(&self, run: &RunConfig, step: u64, parameters: &[f32]) -> Result<ArcScore> {
        let longest = longest(&run.model);
        let part = |sentences| items(sentences, self.tokenizer, longest);
        let (choosing, scored) = (part(&self.choosing)?, part(&self.scored)?);
        let reader = Reader::new(run, parameters)?;
        let found = reader.hits_by_choice(&choosing)?;
        let best = best(found.into_iter().filter(|(choice, _)| choice.channel.is_some()))?;
        let hits = reader.map(&scored, |item, reading| {
            Hits::of(&item.gold, &strongest_heads(&reading.arcs.chosen(best)))
        })?;
        let (sum, found) = (Hits::sum(hits.iter()), Attachment::of(&hits).intervals);
        let end = |interval: Option<[f64; 2]>, end: usize| interval.map(|ends| ends[end]);
        Ok(ArcScore {
            step,
            iteration: best.iteration,
            channel: best.channel.unwrap_or_default(),
            direction: best.direction,
            arcs: sum.arcs,
            directed: sum.directed,
            undirected: sum.undirected,
            uas_low: end(found.uas, 0),
            uas_high: end(found.uas, 1),
            uuas_low: end(found.uuas, 0),
            uuas_high: end(found.uuas, 1),
        })
    }
}

/// Refuses trees of other sentences than those of the validation text.
fn check_text(sentences: &[Sentence], corpus: &Corpus, path: &Path) -> Result<()> {
    let stream = &corpus.validation;
    let mut ids = Vec::new();
    for sentence in sentences {
        ids.extend(corpus.tokenizer.encode(&sentence.text)?);
    }
    let mut own = Vec::new();
    stream.tokens.copy_into(0..stream.tokens.len(), &mut own);
    if ids == own {
        return Ok(());
    }
    Err(HarnessError::input(
        path,
        "its sentences are not those of the validation text beside it",
        "make the folder again: crossscale data make trees --out DIR",
    ))
}

/// Hands everything on to another observer, and scores arcs into the run folder.
pub struct ArcObserver<'a> {
    inner: &'a mut dyn Observer,
    run: &'a RunConfig,
    trees: Option<&'a ArcTreebank<'a>>,
    folder: &'a Path,
}

impl<'a> ArcObserver<'a> {
    /// Scores `run` on `trees`, if there are any.
    pub fn new(
        inner: &'a mut dyn Observer,
        run: &'a RunConfig,
        trees: Option<&'a ArcTreebank<'a>>,
        folder: &'a Path,
    ) -> Self {
        Self { inner, run, trees, folder }
    }

    /// Appends `score`. Rows of its step and later ones are of a run that was interrupted.
    fn append(&self, score: &ArcScore) -> Result<()> {
        let path = self.folder.join(ARCS_FILE);
        let old = if path.exists() {
            input::text(&path, input::RECORD_BYTES_MAX).map_err(HarnessError::io(&path))?
        } else {
            String::new()
        };
        let step = |row: &&str| row.split(',').next().and_then(|step| step.parse::<u64>().ok());
        let kept = old.lines().filter(|row| step(row).is_some_and(|step| step < score.step));
        let kept: String = kept.flat_map(|row| [row, "\n"]).collect();
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        let broken = |error: String| HarnessError::Invariant(error);
        writer.serialize(score).map_err(|error| broken(error.to_string()))?;
        let row = writer.into_inner().map_err(|error| broken(error.to_string()))?;
        let text = [format!("{ARCS_HEADER}\n{kept}").as_bytes(), &row].concat();
        atomic::write(&path, &text)
    }
}

impl Observer for ArcObserver<'_> {
    fn step(&mut self, metrics: &StepMetrics, seconds: f64) -> Result<()> {
        self.inner.step(metrics, seconds)
    }

    fn evaluation(&mut self, step: u64, evaluation: &Evaluation) -> Result<()> {
        self.inner.evaluation(step, evaluation)
    }

    fn parameters(&mut self, step: u64, parameters: &[f32]) -> Result<()> {
        if let Some(trees) = self.trees {
            self.append(&trees.score(self.run, step, parameters)?)?;
        }
        self.inner.parameters(step, parameters)
    }

    fn finished(&mut self, outcome: &TrainOutcome) -> Result<()> {
        self.inner.finished(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Silent;

    fn score(step: u64, directed: usize) -> ArcScore {
        ArcScore {
            step,
            iteration: 1,
            channel: 2,
            direction: Direction::FromHead,
            arcs: 10,
            directed,
            undirected: directed,
            uas_low: Some(0.25),
            uas_high: Some(0.5),
            uuas_low: None,
            uuas_high: None,
        }
    }

    /// A run that goes on from a checkpoint comes to evaluations that it had before: their rows
    /// take the place of the old ones and of all behind them.
    #[test]
    fn invariant_a_resumed_run_keeps_the_scores_before_its_checkpoint_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunConfig::resolve("pt", Vec::new(), &[]).unwrap();
        let mut silent = Silent;
        let observer = ArcObserver::new(&mut silent, &run, None, folder.path());
        for (step, directed) in [(2, 1), (4, 2), (6, 3), (4, 7)] {
            observer.append(&score(step, directed)).unwrap();
        }
        let found = crate::runs::record::read_arcs(folder.path()).unwrap();
        assert_eq!(found, [score(2, 1), score(4, 7)]);
        assert!((found[1].uas() - 0.7).abs() < 1e-12);
    }
}
