//! Does a model read its context? The held-out loss with other words around the targets.
//!
//! Targets, what stands in their places and what is to be predicted there stay; all other words
//! are replaced in one of two ways. *Shuffled*: those of the same sequence in another order.
//! *Foreign*: those of another sequence, in its order. A model that predicts from the target's own
//! position alone loses nothing by either.

use std::collections::BTreeSet;

use models::batch::Batch;
use models::engine::Engine;
use models::random::{Purpose, Stream};
use serde::{Deserialize, Serialize};

use super::evaluate::evaluate_together;
use super::source::EvaluationBatch;
use crate::collective::Collective;
use crate::error::Result;

/// A model reads its context when its loss is at least this far below the own-token line and
/// shuffling the context costs it at least as much. Ten times what word order was worth to runs
/// that had learned to copy and nothing else.
pub const CONTEXT_MARGIN_NATS: f64 = 0.1;

/// Held-out losses with other words around the targets, nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ContextLosses {
    /// The other words of every sequence in another order.
    pub shuffled_loss_nats: f64,
    /// Those of another sequence in their place; absent if there is only one sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign_loss_nats: Option<f64>,
}

impl ContextLosses {
    /// Evaluates `batches` in both ways, on every rank of `collective`; `None` if a loss is not
    /// finite, which no record can hold.
    ///
    /// # Errors
    /// If the engine fails or the ranks cannot be reached.
    pub fn measure(
        engine: &mut dyn Engine,
        parameters: &[f32],
        batches: &[EvaluationBatch],
        collective: &dyn Collective,
    ) -> Result<Option<Self>> {
        let mut loss = |batches: Vec<EvaluationBatch>| -> Result<f64> {
            Ok(evaluate_together(engine, parameters, &batches, collective)?.loss_nats)
        };
        let shuffled_loss_nats = loss(shuffled_all(batches))?;
        let foreign_loss_nats = foreign(batches).map(&mut loss).transpose()?;
        let losses = Self { shuffled_loss_nats, foreign_loss_nats };
        let finite = shuffled_loss_nats.is_finite() && foreign_loss_nats.is_none_or(f64::is_finite);
        Ok(finite.then_some(losses))
    }
}

/// Whether a model reads its context, by the rule of [`CONTEXT_MARGIN_NATS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadsContext {
    /// Below the own-token line, and shuffling costs it.
    Yes,
    /// It is on the plateau.
    No,
    /// Below the own-token line, but what shuffling costs was not measured.
    Unknown,
}

impl ReadsContext {
    /// The answer for a final loss beside the own-token line of its targets.
    pub fn judge(loss_nats: f64, own_token_nats: f64, context: Option<&ContextLosses>) -> Self {
        let enough = |gain_nats: f64| gain_nats >= CONTEXT_MARGIN_NATS;
        match context {
            _ if !enough(own_token_nats - loss_nats) => Self::No,
            None => Self::Unknown,
            Some(losses) if enough(losses.shuffled_loss_nats - loss_nats) => Self::Yes,
            Some(_) => Self::No,
        }
    }
}

impl ReadsContext {
    /// Whether a comparison may rest on the model; where shuffling was not measured, the
    /// own-token line alone decides.
    pub fn counts(self) -> bool {
        self != Self::No
    }
}

/// `batch` with the words that are not to be predicted in another order, sequence by sequence;
/// `first` is the number of its first sequence and picks the order. Padding stays.
pub fn shuffled(batch: &Batch, first: usize) -> Batch {
    let mut out = batch.clone();
    for (sequence, kept) in context(batch).iter().enumerate() {
        let mut from = kept.clone();
        let number = (first + sequence) as u64;
        Stream::named(0, Purpose::Test, "context", number).shuffle(&mut from);
        for (&to, &from) in kept.iter().zip(&from) {
            out.ids[to] = batch.ids[from];
        }
    }
    out
}

fn shuffled_all(batches: &[EvaluationBatch]) -> Vec<EvaluationBatch> {
    let mut first = 0;
    let shuffle = |entry: &EvaluationBatch| {
        let batch = shuffled(&entry.batch, first);
        first += entry.batch.sequences;
        EvaluationBatch { batch, documents: entry.documents.clone() }
    };
    batches.iter().map(shuffle).collect()
}

/// `batches` with the context of sequence i taken from sequence i + n/2 (of n, round about), as it
/// was before masking; a shorter one is repeated. `None` if n is 1.
fn foreign(batches: &[EvaluationBatch]) -> Option<Vec<EvaluationBatch>> {
    let texts: Vec<Vec<u32>> = batches.iter().flat_map(|entry| words(&entry.batch)).collect();
    if texts.len() < 2 {
        return None;
    }
    let mut out = batches.to_vec();
    let mut number = 0;
    for entry in &mut out {
        for kept in context(&entry.batch) {
            let other = &texts[(number + texts.len() / 2) % texts.len()];
            for place in kept {
                entry.batch.ids[place] = other[place % entry.batch.length % other.len()];
            }
            number += 1;
        }
    }
    Some(out)
}

/// Positions of the words of every sequence that are not to be predicted.
fn context(batch: &Batch) -> Vec<Vec<usize>> {
    let targets: BTreeSet<usize> = batch.targets.iter().map(|t| t.position as usize).collect();
    let of = |sequence| sequence * batch.length..(sequence + 1) * batch.length;
    let kept = |sequence: usize| {
        of(sequence).filter(|&place| batch.is_word(place) && !targets.contains(&place)).collect()
    };
    (0..batch.sequences).map(kept).collect()
}

/// The words of every sequence as they were before masking, without padding.
fn words(batch: &Batch) -> Vec<Vec<u32>> {
    let mut ids = batch.ids.clone();
    for target in &batch.targets {
        ids[target.position as usize] = target.label;
    }
    let of = |sequence| sequence * batch.length..(sequence + 1) * batch.length;
    let text = |sequence: usize| {
        of(sequence).filter(|&place| batch.is_word(place)).map(|place| ids[place]).collect()
    };
    (0..batch.sequences).map(text).collect()
}

#[cfg(test)]
mod tests {
    use models::batch::Target;

    use super::*;

    /// Two sequences of twelve words; words of the second are above 112.
    fn batch() -> Batch {
        let target = |position| Target { position, label: 1 };
        Batch {
            ids: (100..124).collect(),
            targets: [2, 7, 13, 14].map(target).to_vec(),
            sequences: 2,
            length: 12,
            ..Batch::default()
        }
    }

    #[test]
    fn invariant_shuffling_moves_only_words_that_are_not_predicted() {
        let batch = batch();
        let other = shuffled(&batch, 0);
        assert_eq!((&other.targets, other.sequences), (&batch.targets, 2));
        for place in [2, 7, 13, 14] {
            assert_eq!(other.ids[place], batch.ids[place]);
        }
        let moved = (0..24).filter(|&place| other.ids[place] != batch.ids[place]).count();
        assert!(moved >= 14, "{moved} of twenty words have another place");
        for sequence in 0..2 {
            let of = |batch: &Batch| {
                let mut ids = batch.ids[sequence * 12..(sequence + 1) * 12].to_vec();
                ids.sort_unstable();
                ids
            };
            assert_eq!(of(&other), of(&batch), "words stay in their sequence");
        }
    }

    #[test]
    fn invariant_other_contexts_depend_on_the_sequence_not_on_its_batch() {
        let whole = batch();
        let half = |sequence: usize| {
            let ids = whole.ids[sequence * 12..(sequence + 1) * 12].to_vec();
            let first = 12 * sequence as u32;
            let inside = |t: &&Target| (first..first + 12).contains(&t.position);
            let moved = |t: &Target| Target { position: t.position - first, label: t.label };
            let targets = whole.targets.iter().filter(inside).map(moved).collect();
            Batch { ids, targets, sequences: 1, length: 12, ..Batch::default() }
        };
        let entry =
            |batch: Batch| EvaluationBatch { documents: vec![0; batch.targets.len()], batch };
        let (one, two) = (vec![entry(whole.clone())], vec![entry(half(0)), entry(half(1))]);
        let ids = |batches: Vec<EvaluationBatch>| -> Vec<u32> {
            batches.into_iter().flat_map(|entry| entry.batch.ids).collect()
        };
        assert_eq!(ids(shuffled_all(&one)), ids(shuffled_all(&two)));
        let mixed = ids(foreign(&one).unwrap());
        assert_eq!(mixed, ids(foreign(&two).unwrap()));
        // The other sequence's words, those that are targets there included, at their places.
        assert_eq!(mixed[..4], [112, 1, 102, 115]);
        assert_eq!(mixed[12..16], [100, 113, 114, 103]);
        assert!(foreign(&two[..1]).is_none(), "one sequence has no other");
    }

    #[test]
    fn invariant_padding_is_no_context() {
        let target = |position| Target { position, label: 9 };
        let batch = Batch {
            ids: vec![5, 6, 7, 8, 20, 21, 0, 0],
            attention: Some([true, true, true, true, true, true, false, false].to_vec()),
            targets: vec![target(1), target(4)],
            sequences: 2,
            length: 4,
            ..Batch::default()
        };
        let entry = EvaluationBatch { batch: batch.clone(), documents: vec![0, 1] };
        let other = foreign(std::slice::from_ref(&entry)).unwrap().remove(0).batch;
        // The shorter sequence, with its target's word, is repeated; padding stays padding.
        assert_eq!(other.ids, [9, 6, 9, 21, 20, 9, 0, 0]);
        assert_eq!(shuffled(&batch, 0).ids[4..], [20, 21, 0, 0]);
    }

    #[test]
    fn invariant_reading_needs_the_loss_and_what_shuffling_costs() {
        let losses =
            |shuffled_loss_nats| ContextLosses { shuffled_loss_nats, foreign_loss_nats: None };
        let judge = |loss, shuffled: Option<f64>| {
            ReadsContext::judge(loss, 2.8, shuffled.map(losses).as_ref())
        };
        assert_eq!(judge(2.0, Some(2.5)), ReadsContext::Yes);
        assert_eq!(judge(2.0, None), ReadsContext::Unknown);
        // Far below the line by something else than context.
        assert_eq!(judge(2.0, Some(2.05)), ReadsContext::No);
        // Not below the line, whatever shuffling costs.
        assert_eq!(judge(2.75, Some(3.5)), ReadsContext::No);
        assert_eq!(judge(2.75, None), ReadsContext::No);
        assert_eq!(judge(f64::NAN, Some(3.5)), ReadsContext::No);
    }
}
