//! Invariants of batches and evaluation sets.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use models::batch::Batch;

use super::*;
use crate::config::data::{MaskingConfig, TokenizerConfig, TokenizerKind};
use crate::config::train::TrainConfig;
use crate::train::{BatchSource, EvaluationBatch};

fn embedded_config() -> DataConfig {
    DataConfig {
        length: 64,
        tokenizer: TokenizerConfig { vocab: 512, ..TokenizerConfig::default() },
        ..DataConfig::default()
    }
}

/// The embedded corpus with a small vocabulary, prepared once for all tests.
fn embedded() -> Arc<Corpus> {
    static CORPUS: OnceLock<Arc<Corpus>> = OnceLock::new();
    let load = || Arc::new(Corpus::load(&embedded_config(), None).unwrap());
    CORPUS.get_or_init(load).clone()
}

fn word_config(packing: Packing, length: usize) -> DataConfig {
    let kind = TokenizerKind::Words;
    DataConfig {
        length,
        packing,
        tokenizer: TokenizerConfig { kind, vocab: 100, ..TokenizerConfig::default() },
        ..DataConfig::default()
    }
}

/// 29 documents of different lengths, among them sentences of 1 to 12 words and unknown words.
fn words(packing: Packing, length: usize) -> (DataConfig, Arc<Corpus>) {
    let document = |d: usize| {
        let word = |i: usize| format!("w{}", (i * 7 + d * 3) % 150);
        let line =
            |l: usize| (0..=(l * 5 + d) % 12).map(|i| word(i + l)).collect::<Vec<_>>().join(" ");
        let text = (0..3 + d % 5).map(line).collect::<Vec<_>>().join("\n");
        Document { name: d.to_string(), text }
    };
    let splits = DocumentSplits {
        train: (0..20).map(document).collect(),
        validation: (20..26).map(document).collect(),
        test: (26..29).map(document).collect(),
    };
    let config = word_config(packing, length);
    let corpus = Corpus::from_documents(&splits, &config, None).unwrap();
    (config, Arc::new(corpus))
}

fn unmasked(batch: &Batch) -> Vec<u32> {
    let mut ids = batch.ids.clone();
    for target in &batch.targets {
        ids[target.position as usize] = target.label;
    }
    ids
}

#[test]
fn invariant_batches_are_pure_functions_of_the_step() {
    let source = |seed| TrainingBatches::new(embedded(), &embedded_config(), 8, seed).unwrap();
    let (one, other) = (source(3), source(3));
    // A step far ahead first: nothing may depend on what was asked before.
    let late = one.batch(5_000);
    for step in [0, 1, 700] {
        assert_eq!(one.batch(step), other.batch(step));
    }
    assert_eq!(late, other.batch(5_000));
    assert_ne!(source(4).batch(0), other.batch(0));
    late.validate(embedded().vocabulary().size).unwrap();
}

#[test]
fn invariant_micro_batches_are_the_batch_cut_in_parts() {
    for packing in [Packing::Documents, Packing::Sentences] {
        let (config, corpus) = words(packing, 16);
        let source = TrainingBatches::new(corpus, &config, 7, 1).unwrap();
        let whole = source.batch(3);
        for parts in 1..=7 {
            let cut: Vec<Batch> = (0..parts).map(|k| source.micro_batch(3, k, parts)).collect();
            assert_eq!(cut.iter().map(|batch| batch.sequences).sum::<usize>(), 7);
            let rows = |batch: &Batch| -> Vec<Vec<u32>> {
                let row = |ids: &[u32]| ids.iter().copied().filter(|&id| id != 0).collect();
                batch.ids.chunks(batch.length).map(row).collect()
            };
            assert_eq!(cut.iter().flat_map(rows).collect::<Vec<_>>(), rows(&whole));
            let labels = |batch: &Batch| batch.targets.iter().map(|t| t.label).collect::<Vec<_>>();
            assert_eq!(cut.iter().flat_map(labels).collect::<Vec<_>>(), labels(&whole));
        }
    }
}

#[test]
fn invariant_batch_size_cuts_the_same_stream() {
    let source = |size| TrainingBatches::new(embedded(), &embedded_config(), size, 9).unwrap();
    let (small, large) = (source(2), source(6));
    let joined: Vec<u32> = (3..6).flat_map(|step| small.batch(step).ids).collect();
    assert_eq!(joined, large.batch(1).ids);
}

#[test]
fn invariant_an_epoch_covers_every_sequence_once() {
    for packing in [Packing::Documents, Packing::Sentences] {
        let (config, corpus) = words(packing, 8);
        let source = TrainingBatches::new(corpus.clone(), &config, 1, 5).unwrap();
        let count = source.sequences_per_epoch() as u64;
        let epoch = |e: u64| -> Vec<u32> {
            (e * count..(e + 1) * count).flat_map(|step| source.sequence_indices(step)).collect()
        };
        let (first, second) = (epoch(0), epoch(1));
        assert_ne!(first, second, "epochs have their own order");
        for order in [first, second] {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..count as u32).collect::<Vec<_>>());
        }
        assert_eq!((source.epoch(count - 1), source.epoch(count)), (0, 1));
    }
}

#[test]
fn invariant_batches_hold_the_text_of_their_sequences() {
    let (config, corpus) = words(Packing::Documents, 8);
    let source = TrainingBatches::new(corpus.clone(), &config, 3, 5).unwrap();
    let mut stream = Vec::new();
    corpus.train.tokens.copy_into(0..corpus.train.tokens.len(), &mut stream);
    for step in 0..20 {
        let batch = source.batch(step);
        let ids = unmasked(&batch);
        for (row, index) in source.sequence_indices(step).into_iter().enumerate() {
            let start = index as usize * 8;
            assert_eq!(ids[row * 8..(row + 1) * 8], stream[start..start + 8]);
        }
    }
}

#[test]
fn invariant_masking_shares_are_within_sampling_error() {
    let corpus = embedded();
    let vocabulary = corpus.vocabulary().clone();
    let source = TrainingBatches::new(corpus, &embedded_config(), 256, 11).unwrap();
    let (mut ordinary, mut targets, mut masked, mut kept) = (0u32, 0u32, 0u32, 0u32);
    for step in 0..20 {
        let batch = source.batch(step);
        let original = unmasked(&batch);
        ordinary += original.iter().filter(|id| !vocabulary.special.contains(id)).count() as u32;
        for target in &batch.targets {
            assert!(!vocabulary.special.contains(&target.label), "a special token is a target");
            let id = batch.ids[target.position as usize];
            targets += 1;
            masked += u32::from(id == vocabulary.mask);
            kept += u32::from(id == target.label);
            assert!(id == vocabulary.mask || !vocabulary.special.contains(&id));
        }
    }
    let near = |part: u32, whole: u32, share: f64| {
        let (part, whole) = (f64::from(part), f64::from(whole));
        let deviation = (part - whole * share).abs() / (whole * share * (1.0 - share)).sqrt();
        assert!(deviation < 5.0, "{part} of {whole}, expected {share}: {deviation} deviations");
    };
    near(targets, ordinary, 0.15);
    near(masked, targets, 0.8);
    // A random replacement is the original in one of 508 cases.
    near(kept, targets, 0.1 + 0.1 / vocabulary.ordinary().len() as f64);
}

#[test]
fn invariant_published_2023_masks_all_targets_and_no_unknown_word() {
    let (mut config, corpus) = words(Packing::Sentences, 16);
    config.masking = MaskingConfig::published_2023();
    let source = TrainingBatches::new(corpus.clone(), &config, 64, 0).unwrap();
    let (mut unknown, mut words, mut targets) = (0, 0, 0);
    for step in 0..100 {
        let batch = source.batch(step);
        let attention = batch.attention.as_ref().unwrap();
        let ids = unmasked(&batch);
        for (id, attended) in ids.iter().zip(attention) {
            assert_eq!(*attended, *id != 0, "padding and only padding is hidden");
            unknown += u32::from(*id == 1);
            words += u32::from(*attended && *id != 1);
        }
        for target in &batch.targets {
            assert_eq!(batch.ids[target.position as usize], corpus.vocabulary().mask);
            assert!(target.label > 3);
        }
        targets += batch.targets.len();
    }
    assert!(unknown > 0, "the test text has unknown words");
    let (words, share) = (f64::from(words), targets as f64 / f64::from(words));
    assert!((share - 0.3).abs() < 5.0 * (0.21 / words).sqrt(), "{share}");
}

/// Position of every target in its split, with its label, document and replacement.
fn evaluation_targets(set: &EvaluationSet, size: usize) -> BTreeMap<(u32, u32), [u32; 3]> {
    let mut found = BTreeMap::new();
    for (index, evaluation) in set.batches(size).enumerate() {
        let batch = &evaluation.batch;
        assert_eq!(evaluation.documents.len(), batch.targets.len());
        for (i, target) in batch.targets.iter().enumerate() {
            let place = target.position % batch.length as u32;
            let sequence = index as u32 * size as u32 + target.position / batch.length as u32;
            let id = batch.ids[target.position as usize];
            let value = [target.label, evaluation.documents[i], id];
            assert!(found.insert((sequence, place), value).is_none());
        }
    }
    found
}

#[test]
fn invariant_evaluation_masks_do_not_depend_on_the_batch_size() {
    for packing in [Packing::Documents, Packing::Sentences] {
        let (config, corpus) = words(packing, 8);
        let set = EvaluationSet::new(corpus, &config, Split::Validation).unwrap();
        let one = evaluation_targets(&set, 1);
        assert!(one.len() > 5);
        for size in [2, 3, 1_000] {
            assert_eq!(evaluation_targets(&set, size), one);
        }
    }
}

#[test]
fn invariant_a_limited_evaluation_set_is_a_subset_with_the_same_masks() {
    let all = EvaluationSet::new(embedded(), &embedded_config(), Split::Validation).unwrap();
    let mut config = embedded_config();
    config.evaluation.sequences = 10;
    let some = EvaluationSet::new(embedded(), &config, Split::Validation).unwrap();
    assert_eq!(some.sequences(), 10);
    let batches: Vec<EvaluationBatch> = all.batches(1).collect();
    for (i, batch) in some.batches(1).enumerate() {
        assert_eq!(batch.batch, batches[i * all.sequences() / 10].batch);
    }
}

#[test]
fn invariant_targets_know_their_document() {
    let (config, corpus) = words(Packing::Documents, 8);
    let set = EvaluationSet::new(corpus.clone(), &config, Split::Validation).unwrap();
    let mut seen = vec![false; corpus.validation.documents()];
    for ((sequence, place), [label, document, _]) in evaluation_targets(&set, 4) {
        let starts = &corpus.validation.document_starts;
        let position = u64::from(sequence * 8 + place);
        assert!(starts[document as usize] <= position);
        assert!(position < starts[document as usize + 1]);
        let mut found = Vec::new();
        corpus.validation.tokens.copy_into(position as usize..position as usize + 1, &mut found);
        assert_eq!(found, [label]);
        seen[document as usize] = true;
    }
    assert!(seen.iter().filter(|seen| **seen).count() > 3);
}

#[test]
fn invariant_unigram_loss_is_the_entropy_of_the_counts() {
    let text = |text: &str| vec![Document { name: String::new(), text: text.into() }];
    let splits =
        DocumentSplits { train: text("a a a b"), validation: text("a b c"), test: Vec::new() };
    let config = word_config(Packing::Documents, 2);
    let corpus = Corpus::from_documents(&splits, &config, None).unwrap();
    // Counts plus one: a 4, b 2, and the unknown token 1 where it may be a target.
    let loss = corpus.unigram_loss_nats(&[4, 5], false);
    let expected = f64::midpoint((6f64 / 4.0).ln(), 3f64.ln());
    assert!((loss - expected).abs() < 1e-12, "{loss}");
    let loss = corpus.unigram_loss_nats(&[4, 5, 1], true);
    let expected = ((7f64 / 4.0).ln() + (7f64 / 2.0).ln() + 7f64.ln()) / 3.0;
    assert!((loss - expected).abs() < 1e-12, "{loss}");
}

#[test]
fn invariant_fingerprint_follows_text_and_tokenizer() {
    let (_, corpus) = words(Packing::Documents, 8);
    let (_, again) = words(Packing::Documents, 8);
    let (_, sentences) = words(Packing::Sentences, 8);
    assert_eq!(corpus.fingerprint, again.fingerprint);
    assert_ne!(corpus.fingerprint, sentences.fingerprint);
}

#[test]
fn invariant_byte_level_round_trip() {
    let corpus = embedded();
    let long = embedded::documents().validation[0].text.repeat(3);
    let texts = ["", " ", "a\n\n b\u{2003}\r\n", "[MASK] and [PAD]", "é—🙂\0", long.as_str()];
    for text in texts {
        let ids = corpus.tokenizer.encode(text).unwrap();
        assert!(ids.iter().all(|id| !corpus.vocabulary().special.contains(id)), "{text:.20}");
        assert_eq!(corpus.tokenizer.decode(&ids).unwrap(), text);
    }
    assert!(corpus.tokenizer.decode(&[512]).is_err());
}

#[test]
fn invariant_the_source_hands_out_parts_and_fixed_evaluation_batches() {
    let (config, corpus) = words(Packing::Documents, 8);
    let train =
        TrainConfig { batch: 6, micro_batches: 3, evaluation_batch: 2, ..TrainConfig::default() };
    let source =
        |seed| CorpusSource::new(corpus.clone(), &config, &train, seed, Split::Validation).unwrap();
    let (one, other) = (source(1), source(2));
    assert_eq!(one.training_batch(4, 2), one.training().micro_batch(4, 2, 3));
    assert_ne!(one.training_batch(4, 2), other.training_batch(4, 2));
    assert_eq!(one.evaluation(), other.evaluation());
    assert_eq!(one.evaluation()[0].batch.sequences, 2);
    let uniform = (corpus.vocabulary().size as f64).ln();
    assert!(one.unigram_loss_nats() < uniform, "words are not equally frequent");
}

/// The numbers were computed by another program from the same masks and counts.
#[test]
fn golden_lines_of_the_embedded_text() {
    let check = |corpus: &Arc<Corpus>, config: &DataConfig, expected: [f64; 2]| {
        let set = EvaluationSet::new(corpus.clone(), config, Split::Validation).unwrap();
        let lines = Lines::of(&set, &config.masking);
        let found = [lines.unigram_nats, lines.own_token_nats];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 6e-5, "{lines:?}");
        }
        lines
    };
    let mut config = DataConfig { length: 32, ..embedded_config() };
    config.evaluation.sequences = 512;
    let words = check(&embedded(), &config, [5.2467, 4.8169]);
    (config.length, config.evaluation.sequences, config.tokenizer.vocab) = (64, 256, 260);
    let bytes = Arc::new(Corpus::load(&config, None).unwrap());
    let bytes = check(&bytes, &config, [3.0797, 2.7925]);
    // Two neighbours tell most where tokens are short.
    assert!(words.own_token_nats - words.neighbour_nats > 0.5, "{words:?}");
    assert!(bytes.own_token_nats - bytes.neighbour_nats > 0.9, "{bytes:?}");
}
