//! Names of files and folders by which published data sets tell their splits apart.

use std::path::Path;

/// Which part of a corpus a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedSplit {
    /// To train on.
    Train,
    /// Held out to choose by.
    Validation,
    /// Held out to look at last.
    Test,
    /// Held out; Hugging Face says test, others validation: decided by what else is there.
    Evaluation,
}

/// What a name says about the split of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Nothing.
    Nothing,
    /// One split.
    Split(NamedSplit),
    /// Several.
    Several,
}

/// Words and the splits that they stand for: those of Hugging Face's `datasets`, of nanoGPT, GLUE,
/// WikiText and the Penn Treebank.
const WORDS: [(&str, NamedSplit); 25] = {
    use NamedSplit::{Evaluation, Test, Train, Validation};
    [
        ("train", Train),
        ("training", Train),
        ("trn", Train),
        ("trainset", Train),
        ("validation", Validation),
        ("validate", Validation),
        ("valid", Validation),
        ("val", Validation),
        ("dev", Validation),
        ("development", Validation),
        ("devel", Validation),
        ("validset", Validation),
        ("valset", Validation),
        ("devset", Validation),
        ("heldout", Validation),
        ("holdout", Validation),
        ("test", Test),
        ("testing", Test),
        ("tst", Test),
        ("testset", Test),
        ("eval", Evaluation),
        ("evaluation", Evaluation),
        ("evaluate", Evaluation),
        ("evalset", Evaluation),
        ("evaluationset", Evaluation),
    ]
};
/// Words that say nothing: parts of `train-00000-of-00002`, `test_set`, `wiki.train.tokens`.
const NEUTRAL: [&str; 16] = [
    "of", "part", "shard", "chunk", "file", "set", "split", "data", "text", "corpus", "raw",
    "tokens", "txt", "jsonl", "json", "parquet",
];
const ENDINGS: [&str; 5] = [".gz", ".zst", ".txt", ".jsonl", ".parquet"];

/// What the last component of `path` says: its first or its last word that is not neutral is one
/// of the known ones. A word in the middle of a title (`how-to-train-a-dog.txt`) says nothing.
pub fn said_by(path: &Path) -> Said {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let mut stem = name.as_str();
    for ending in ENDINGS {
        stem = stem.strip_suffix(ending).unwrap_or(stem);
    }
    let stem = stem.replace("held-out", "heldout").replace("held_out", "heldout");
    let stem = stem.replace("hold-out", "holdout").replace("hold_out", "holdout");
    let split =
        |word: &str| WORDS.iter().find(|(known, _)| *known == word).map(|(_, split)| *split);
    let digit = |letter: char| letter.is_ascii_digit();
    let words = stem.split(|letter: char| !letter.is_alphanumeric()).filter_map(|word| {
        // `train1` is a part of train; numbers and hashes of shards say nothing.
        let name = word.trim_end_matches(digit);
        let says = split(name).is_some() || !(word.contains(digit) || NEUTRAL.contains(&name));
        (says && !name.is_empty()).then_some(name)
    });
    let words: Vec<&str> = words.collect();
    let known: Vec<NamedSplit> = words.iter().filter_map(|word| split(word)).collect();
    let mut ends = [words.first(), words.last()].into_iter().flatten();
    let at_an_end = ends.any(|word| split(word).is_some());
    match known.as_slice() {
        [first, rest @ ..] if at_an_end => {
            if rest.iter().all(|other| other == first) {
                Said::Split(*first)
            } else {
                Said::Several
            }
        }
        _ => Said::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_names_of_published_splits() {
        use NamedSplit::{Evaluation, Test, Train, Validation};
        for (names, expected) in [
            (
                "train.txt training.jsonl ptb.train.txt wiki.train.tokens train1.txt",
                Said::Split(Train),
            ),
            (
                "imdb-train-00000-of-00002-abc123.parquet train_set.txt TRAIN.TXT",
                Said::Split(Train),
            ),
            ("imdb-train-00001-of-00002.jsonl.zst train train.part3.jsonl.gz", Said::Split(Train)),
            ("val.txt valid.txt ptb.valid.txt validation.jsonl dev.txt", Said::Split(Validation)),
            ("dev-v2.0.jsonl c4-validation.00000-of-00008.jsonl.gz", Said::Split(Validation)),
            ("held-out.txt holdout.txt valset.txt wikitext_val.txt", Said::Split(Validation)),
            ("test.txt testing.txt ptb.test.txt test-00000-of-00001.parquet", Said::Split(Test)),
            ("eval.txt evaluation.jsonl", Said::Split(Evaluation)),
            ("train-test.txt train.valid.txt dev.test.txt", Said::Several),
            ("testament.txt device.txt value.txt notes.txt trainer.txt 00.txt", Said::Nothing),
            ("how-to-train-your-dog.txt a-test-of-time.txt .txt", Said::Nothing),
        ] {
            for name in names.split(' ') {
                assert_eq!(said_by(Path::new("folder").join(name).as_path()), expected, "{name}");
            }
        }
    }
}
