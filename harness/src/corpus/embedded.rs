//! The corpus inside the program: presidential addresses of 1946 to 2026 (see `data/README.md`).

use std::io::Read;

use flate2::read::GzDecoder;
use serde::Deserialize;

use super::documents::{Document, DocumentSplits};

const TRAIN: &[u8] = include_bytes!("data/train.jsonl.gz");
const VALIDATION: &[u8] = include_bytes!("data/validation.jsonl.gz");
const TEST: &[u8] = include_bytes!("data/test.jsonl.gz");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    text: String,
}

/// The 92 documents, all addresses of a year in one split: years ending in 5 are validation, in
/// 0 test, others training. Names begin with the year: `1946-Truman-1`.
pub fn documents() -> DocumentSplits {
    DocumentSplits { train: unpack(TRAIN), validation: unpack(VALIDATION), test: unpack(TEST) }
}

fn unpack(archive: &[u8]) -> Vec<Document> {
    let mut lines = String::new();
    GzDecoder::new(archive)
        .read_to_string(&mut lines)
        .expect("the embedded corpus is valid: its tests read it");
    let parse = |line: &str| {
        let line: Line = serde_json::from_str(line).expect("the embedded corpus is valid");
        Document { name: line.id, text: line.text }
    };
    lines.lines().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn golden_embedded_corpus_has_the_published_documents() {
        let splits = documents();
        let count = |split: &[Document]| split.len();
        assert_eq!(
            (count(&splits.train), count(&splits.validation), count(&splits.test)),
            (76, 7, 9)
        );
        assert_eq!(splits.train[0].name, "1946-Truman-1");
        assert!(
            splits.train[0].text.starts_with("To the Congress of the United States:\n\nA quar")
        );
    }

    #[test]
    fn invariant_embedded_splits_are_disjoint_by_year() {
        let splits = documents();
        let years = |split: &[Document]| -> BTreeSet<u32> {
            split.iter().map(|document| document.name[..4].parse().unwrap()).collect()
        };
        let (train, validation, test) =
            (years(&splits.train), years(&splits.validation), years(&splits.test));
        assert!(train.iter().all(|year| !matches!(year % 10, 0 | 5)));
        assert!(validation.iter().all(|year| year % 10 == 5));
        assert!(test.iter().all(|year| year % 10 == 0));
    }

    #[test]
    fn invariant_embedded_text_has_no_marks_of_the_editor() {
        let splits = documents();
        for document in splits.train.iter().chain(&splits.validation).chain(&splits.test) {
            let text = document.text.to_lowercase();
            for mark in ["[applause]", "[laughter]", "app note", "white house correction", "\0"] {
                assert!(!text.contains(mark), "{} holds {mark}", document.name);
            }
        }
    }
}
