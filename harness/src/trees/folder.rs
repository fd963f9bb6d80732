//! A token folder of sentences of the grammar, their trees in CoNLL-U, and the optimum.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::grammar::{Grammar, published};
use super::optimum::{Optimum, optimum};
use super::sample::{Word, sentence};
use crate::config::data::{DataConfig, EvaluationConfig, MaskingConfig, Packing, TokenizerKind};
use crate::corpus::token_folder::{self, Terms};
use crate::corpus::{Corpus, Document, DocumentSplits, EvaluationSet, Split, Tokenizer};
use crate::error::{HarnessError, Result};
use crate::ledger::atomic;

/// Name of the file with the lowest losses there are.
pub const OPTIMUM_FILE: &str = "optimum.json";
/// Name of the file with every number of the grammar.
pub const GRAMMAR_FILE: &str = "grammar.json";
/// Of this many sentences the last but one is for validation, the last for the test.
const ROUND: u64 = 20;
/// Fewest sentences: some of every split.
const SENTENCES_MIN: u64 = 5 * ROUND;
/// Most sentences: their tokens are in memory until they are written.
const SENTENCES_MAX: u64 = 10_000_000;

/// What `optimum.json` says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Made {
    /// The optimum of the validation split, as below.
    pub masked_loss_nats: f64,
    /// Losses by split.
    pub validation: Optimum,
    /// The same of the split that is looked at last.
    pub test: Optimum,
    /// The recipe it holds for.
    pub masking: MaskingConfig,
    /// The masks it holds for; all sentences of a split are in it.
    pub evaluation: EvaluationConfig,
    /// Sentences of all splits.
    pub sentences: u64,
    /// Seed of the sentences.
    pub seed: u64,
    /// Words of the grammar.
    pub words: usize,
    /// The longest sentence, in words: the least `data.length`.
    pub longest: usize,
    /// Fingerprint of the text, as runs record it.
    pub fingerprint: String,
    /// Where it lies.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// Writes `sentences` sentences into `folder`; the optimum is that of the masking and the
/// evaluation of `data`.
///
/// # Errors
/// If there are too few or too many, or a file cannot be written.
pub fn make(folder: &Path, (sentences, seed): (u64, u64), data: &DataConfig) -> Result<Made> {
    if !(SENTENCES_MIN..=SENTENCES_MAX).contains(&sentences) {
        return Err(HarnessError::config(
            format!("{sentences} sentences are not possible"),
            format!("give --sentences from {SENTENCES_MIN} to {SENTENCES_MAX}"),
        ));
    }
    let grammar = published();
    let spellings = grammar.spellings();
    let drawn: Vec<Vec<Word>> =
        (0..sentences).map(|index| sentence(&grammar, seed, index)).collect();
    let part = |split: Split| {
        let drawn = drawn.iter().enumerate();
        drawn.filter(move |(index, _)| split_of(*index as u64) == split)
    };
    let documents = |split: Split| {
        let document = |(index, words): (usize, &Vec<Word>)| Document {
            name: format!("sentence {index}"),
            text: text(words, &spellings),
        };
        part(split).map(document).collect()
    };
    let splits = DocumentSplits {
        train: documents(Split::Train),
        validation: documents(Split::Validation),
        test: documents(Split::Test),
    };
    let tokenizer = Tokenizer::of_words(&spellings)?;
    let special = tokenizer.vocabulary().size - spellings.len();
    let corpus = Corpus::of_sentences(&splits, tokenizer)?;
    let source = format!("crossscale data make trees --sentences {sentences} --seed {seed}");
    let terms = Terms { name: "trees", source: &source, licence: "CC0-1.0; made by a program" };
    for (name, split) in [("validation", Split::Validation), ("test", Split::Test)] {
        let mut treebank = String::new();
        part(split).for_each(|(index, words)| {
            conllu(&mut treebank, (index, words), (&grammar, &spellings));
        });
        std::fs::create_dir_all(folder).map_err(HarnessError::io(folder))?;
        atomic::write(&folder.join(format!("{name}.conllu")), treebank.as_bytes())?;
    }
    let corpus = std::sync::Arc::new(corpus);
    let evaluation = EvaluationConfig { sequences: 0, ..data.evaluation.clone() };
    let data = DataConfig {
        packing: Packing::Sentences,
        length: grammar.longest,
        masking: data.masking.clone(),
        evaluation,
        ..DataConfig::default()
    };
    let losses = |split| {
        let set = EvaluationSet::new(corpus.clone(), &data, split)?;
        optimum((&grammar, special), &set, &data.masking)
    };
    let (validation, test) = (losses(Split::Validation)?, losses(Split::Test)?);
    let made = Made {
        masked_loss_nats: validation.masked_loss_nats,
        validation,
        test,
        masking: data.masking.clone(),
        evaluation: data.evaluation.clone(),
        sentences,
        seed,
        words: spellings.len(),
        longest: grammar.longest,
        fingerprint: corpus.fingerprint.to_hex().to_string(),
        folder: folder.to_owned(),
    };
    write_json(&folder.join(GRAMMAR_FILE), &grammar)?;
    write_json(&folder.join(OPTIMUM_FILE), &made)?;
    token_folder::write(folder, &corpus, (Packing::Sentences, TokenizerKind::Words), terms)?;
    Ok(made)
}

fn split_of(index: u64) -> Split {
    match ROUND - index % ROUND {
        1 => Split::Test,
        2 => Split::Validation,
        _ => Split::Train,
    }
}

fn text(words: &[Word], spellings: &[String]) -> String {
    let words: Vec<&str> = words.iter().map(|word| spellings[word.word].as_str()).collect();
    words.join(" ")
}

/// Appends a sentence in the ten columns of CoNLL-U.
fn conllu(
    out: &mut String,
    (index, words): (usize, &[Word]),
    (grammar, spellings): (&Grammar, &[String]),
) {
    writeln!(out, "# sent_id = {index}").expect("a string takes any text");
    writeln!(out, "# text = {}", text(words, spellings)).expect("a string takes any text");
    for (number, word) in (1..).zip(words) {
        let (form, tag) = (&spellings[word.word], grammar.categories[word.category].name);
        let (class, head) = (word.class, word.head.map_or(0, |head| head + 1));
        let relation = word.relation;
        writeln!(out, "{number}\t{form}\t_\t{tag}\t_\tClass={class}\t{head}\t{relation}\t_\t_")
            .expect("a string takes any text");
    }
    out.push('\n');
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| HarnessError::Invariant(error.to_string()))?;
    atomic::write(path, (text + "\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::treebank::conllu as reader;

    #[test]
    fn invariant_a_folder_holds_the_sentences_and_their_trees() {
        let folder = tempfile::tempdir().unwrap();
        let made = make(folder.path(), (400, 7), &DataConfig::default()).unwrap();
        let data = DataConfig {
            source: crate::config::data::Source::Tokens,
            tokens: Some(folder.path().to_owned()),
            packing: Packing::Sentences,
            ..DataConfig::default()
        };
        let corpus = Corpus::load(&data, None).unwrap();
        assert_eq!(corpus.fingerprint.to_hex().to_string(), made.fingerprint);
        assert_eq!(corpus.vocabulary().size, made.words + 4);
        let counts = [&corpus.train, &corpus.validation, &corpus.test]
            .map(crate::corpus::TokenStream::documents);
        assert_eq!(counts, [360, 20, 20]);
        let sentences = reader::read(&folder.path().join("validation.conllu")).unwrap();
        assert_eq!(sentences.len(), 20);
        let grammar = published();
        for (number, read) in sentences.iter().enumerate() {
            let drawn = sentence(&grammar, 7, number as u64 * 20 + 18);
            let heads: Vec<Option<usize>> = drawn.iter().map(|word| word.head).collect();
            assert_eq!(read.gold.heads, heads);
            let start = corpus.validation.sentence_starts[number] as usize;
            let mut ids = Vec::new();
            corpus.validation.tokens.copy_into(start..start + drawn.len(), &mut ids);
            assert_eq!(corpus.tokenizer.encode(&read.text).unwrap(), ids);
            let words: Vec<u32> = drawn.iter().map(|word| word.word as u32 + 4).collect();
            assert_eq!(ids, words);
        }
        // The optimum lies below every line that has no grammar, on the same targets.
        let Optimum { masked_loss_nats: loss, own_token_loss_nats: own, .. } = made.validation;
        assert!(loss < made.validation.neighbour_loss_nats && loss + 1.0 < own, "{loss} {own}");
        let set = EvaluationSet::new(corpus.into(), &data, Split::Validation).unwrap();
        assert_eq!(set.labels().len(), made.validation.targets);
        let unigram = made.validation.unigram_loss_nats;
        assert_eq!(set.unigram_loss_nats().to_bits(), unigram.to_bits());
    }

    #[test]
    fn invariant_equal_seeds_make_equal_folders() {
        let files = |seed| {
            let folder = tempfile::tempdir().unwrap();
            make(folder.path(), (100, seed), &DataConfig::default()).unwrap();
            let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
            ["train.tokens", "validation.conllu", OPTIMUM_FILE].map(read)
        };
        assert_eq!(files(3), files(3));
        assert_ne!(files(3)[0], files(4)[0]);
        let folder = tempfile::tempdir().unwrap();
        let few = make(folder.path(), (99, 3), &DataConfig::default()).unwrap_err().to_string();
        assert!(few.contains("99 sentences") && few.contains("hint: "), "{few}");
    }
}
