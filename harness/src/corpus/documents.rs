//! Documents and their division into splits.

/// One text; sequences may span documents, statistics resample them whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Where it comes from, e.g. `1946-Truman-1` or `text.jsonl:12`.
    pub name: String,
    /// The text.
    pub text: String,
}

/// The documents of a corpus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DocumentSplits {
    /// Training documents.
    pub train: Vec<Document>,
    /// Validation documents.
    pub validation: Vec<Document>,
    /// Test documents.
    pub test: Vec<Document>,
}

impl DocumentSplits {
    /// Divides `documents` by the blake3 hash of their text, taken as a number in [0, 1): below
    /// `test_share` test, below `test_share + validation_share` validation, else training. The
    /// split of a document never depends on the others, and equal texts stay together.
    pub fn by_hash(documents: Vec<Document>, validation_share: f64, test_share: f64) -> Self {
        let mut splits = Self::default();
        for document in documents {
            let hash = blake3::hash(document.text.as_bytes());
            let bytes = hash.as_bytes();
            let bits = u64::from_le_bytes(std::array::from_fn(|i| bytes[i]));
            let place = (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64);
            if place < test_share {
                splits.test.push(document);
            } else if place < test_share + validation_share {
                splits.validation.push(document);
            } else {
                splits.train.push(document);
            }
        }
        splits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_hash_split_has_its_shares_and_keeps_equal_texts_together() {
        let documents: Vec<Document> = (0..20_000)
            .map(|i| Document { name: i.to_string(), text: format!("text {}", i / 2) })
            .collect();
        let splits = DocumentSplits::by_hash(documents, 0.1, 0.2);
        // 10 000 different texts: five standard deviations of a binomial share, twice each.
        let near = |count: usize, share: f64| {
            (count as f64 - 20_000.0 * share).abs()
                < 10.0 * (10_000.0 * share * (1.0 - share)).sqrt()
        };
        assert!(near(splits.validation.len(), 0.1), "{}", splits.validation.len());
        assert!(near(splits.test.len(), 0.2), "{}", splits.test.len());
        assert_eq!(splits.train.len() % 2, 0);
        for pair in splits.train.chunks(2) {
            assert_eq!(pair[0].text, pair[1].text);
        }
    }
}
