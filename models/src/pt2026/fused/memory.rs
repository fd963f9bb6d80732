//! What the engine allocates for batches of given shapes, by stage, before it does.

use super::FusedPt2026;
use super::heads::saved_tiles;
use super::lane::Keep;
use crate::engine::{BatchShape, MemoryPart, resident};
use crate::fused::cross_entropy;
use crate::fused::panel::packed_len;
use crate::pt2026::Rope;

/// Stages in the order of their report.
const STAGES: [&str; 6] =
    ["packed weights", "scores", "beliefs and messages", "gradients by lane", "head", "logits"];

/// Place of a buffer's stage, and its floats.
type Buffers = Vec<(usize, usize)>;

impl FusedPt2026 {
    /// As [`Engine::memory`](crate::engine::Engine::memory). Threads do not matter. Lane by lane,
    /// because evaluation often has more lanes than training rather than larger ones.
    pub(super) fn stages(
        &self,
        training: Option<BatchShape>,
        evaluation: Option<BatchShape>,
    ) -> Vec<MemoryPart> {
        let none = BatchShape { sequences: 0, length: 0, targets: 0 };
        let (training, evaluation) = (training.unwrap_or(none), evaluation.unwrap_or(none));
        let lanes = self.lane_count(training).max(self.lane_count(evaluation));
        let mut floats = [0; STAGES.len()];
        let mut add = |before: Buffers, after: Buffers| {
            for ((stage, before), (_, after)) in before.into_iter().zip(after) {
                floats[stage] += resident(before, after);
            }
        };
        let last = Keep::LastIteration;
        add(self.shared_buffers(training, self.keep()), self.shared_buffers(evaluation, last));
        for lane in 0..lanes {
            let before = self.lane_buffers(training, self.keep(), lane);
            add(before, self.lane_buffers(evaluation, last, lane));
        }
        let part = |(&stage, floats)| MemoryPart { stage, bytes: 4 * floats as u64 };
        STAGES.iter().zip(floats).map(part).collect()
    }

    /// Sequences of a full lane.
    fn each(&self, shape: BatchShape) -> usize {
        self.plan.lane_sequences(shape.sequences, shape.length).max(1)
    }

    fn lane_count(&self, shape: BatchShape) -> usize {
        shape.sequences.div_ceil(self.each(shape))
    }

    /// Buffers of lane `index`, in a fixed order.
    fn lane_buffers(&self, shape: BatchShape, keep: Keep, index: usize) -> Buffers {
        let plan = &self.plan;
        let (each, length) = (self.each(shape), shape.length);
        let sequences = shape.sequences.saturating_sub(index * each).min(each);
        let rows = sequences * length;
        let (wide, narrow) = (rows * plan.stacked, rows * plan.width);
        let train = usize::from(keep != Keep::LastIteration && sequences > 0);
        let kept = keep.iterations(plan);
        let per_word = saved_tiles(plan) * plan.rank + length;
        let scratch = 4 * length * plan.rank + 2 * length * length;
        vec![
            (1, (plan.iterations + 1) * narrow),
            (2, kept * (narrow + 2 * rows)),
            (2, kept * rows * plan.channels * per_word),
            (2, kept * wide),
            (2, wide),
            (2, if sequences > 0 { scratch } else { 0 }),
            (3, train * plan.stacked * plan.width),
            (3, train * (wide + 3 * narrow)),
        ]
    }

    /// Buffers that all lanes share, in a fixed order.
    fn shared_buffers(&self, shape: BatchShape, keep: Keep) -> Buffers {
        let plan = &self.plan;
        let BatchShape { sequences, length, targets } = shape;
        let rows = sequences * length;
        let angles = if plan.rope == Rope::None { 0 } else { length * plan.rank };
        let train = usize::from(keep != Keep::LastIteration);
        let head = 7 * targets * plan.width + 5 * targets;
        let [logits, partial] =
            cross_entropy::workspace_floats(targets, plan.width, plan.vocab, train == 1);
        let packed = |depth, columns| if rows > 0 { packed_len(depth, columns) } else { 0 };
        vec![
            (0, packed(plan.width, plan.stacked)),
            (0, packed(plan.stacked, plan.width)),
            (0, train * packed(2 * plan.pairs, plan.width)),
            (0, angles),
            (3, train * rows * plan.width),
            (4, head),
            (5, logits),
            (5, partial),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, Target};
    use crate::engine::Engine;
    use crate::family::{FamilyConfig, parametrise};
    use crate::parametrization::Parametrization;
    use crate::pt2026::Pt2026Config;

    fn batch(shape: BatchShape, vocab: usize) -> Batch {
        let BatchShape { sequences, length, targets } = shape;
        let target = |position| Target { position: position as u32, label: 3 };
        let ids = (0..sequences * length).map(|place| (place * 7 % vocab) as u32).collect();
        let targets = (0..targets).map(target).collect();
        Batch { ids, attention: None, targets, sequences, length, dropout: None }
    }

    fn engine(recompute: bool) -> (FusedPt2026, Vec<f32>) {
        let config = Pt2026Config { width: 16, channels: 3, vocab: 300, ..Pt2026Config::default() };
        let table = Parametrization::built_in("standard").unwrap();
        let built = parametrise(&config, &config, &table).unwrap();
        let layout = config.layout().unwrap();
        let parameters = built.resolved.initialise(&layout, &built.base_layout, 1).unwrap();
        let engine = FusedPt2026::new(&built.model, &built.resolved).unwrap();
        (engine.with_recomputation(recompute), parameters)
    }

    fn bytes(
        engine: &FusedPt2026,
        training: Option<BatchShape>,
        evaluation: Option<BatchShape>,
    ) -> u64 {
        engine.stages(training, evaluation).iter().map(|part| part.bytes).sum()
    }

    /// Bytes of the buffers that `engine` has after a step.
    fn allocated(engine: &FusedPt2026) -> u64 {
        let lanes: usize = engine.lanes.iter().map(super::super::lane::Lane::floats).sum();
        let tables = engine.turned_factors.len() + engine.packed_factors.len();
        let tables = tables + engine.packed_pairs.len() + 24 * engine.plan.rank;
        4 * (lanes + tables + engine.d_unary.len() + engine.head.floats()) as u64
    }

    #[test]
    fn invariant_memory_is_what_a_step_allocates() {
        let shape = BatchShape { sequences: 5, length: 24, targets: 31 };
        let mut sizes = Vec::new();
        for recompute in [false, true] {
            let (mut engine, parameters) = engine(recompute);
            let mut gradients = vec![0.0; parameters.len()];
            let batch = batch(shape, 300);
            engine.loss_and_gradients(&parameters, &batch, &mut gradients).unwrap();
            let predicted = bytes(&engine, Some(shape), None);
            assert_eq!(predicted, allocated(&engine));
            sizes.push(predicted);
        }
        assert!(sizes[1] < sizes[0]);
    }

    /// Evaluation of more lanes of the same size: nothing grows, lanes are added.
    #[test]
    fn invariant_evaluation_adds_lanes_to_those_of_training() {
        let shape = BatchShape { sequences: 5, length: 24, targets: 31 };
        let more = BatchShape { sequences: 8, length: 24, targets: 31 };
        for recompute in [false, true] {
            let (mut engine, parameters) = engine(recompute);
            let mut gradients = vec![0.0; parameters.len()];
            engine.loss_and_gradients(&parameters, &batch(shape, 300), &mut gradients).unwrap();
            let before = allocated(&engine);
            let predicted = bytes(&engine, Some(shape), Some(more));
            engine.target_losses(&parameters, &batch(more, 300)).unwrap();
            // Buffers say what they were asked for last, evaluation keeps no gradients: so only
            // what the added lanes brought is compared.
            let added = engine.lanes[5..].iter().map(super::super::lane::Lane::floats);
            assert_eq!(predicted - before, 4 * added.sum::<usize>() as u64);
        }
    }

    #[test]
    fn invariant_recomputation_changes_no_bit() {
        let shape = BatchShape { sequences: 3, length: 20, targets: 17 };
        let mut batch = batch(shape, 300);
        batch.attention = Some((0..60).map(|place| place % 20 < 15 || place > 40).collect());
        let results = [false, true].map(|recompute| {
            let (mut engine, parameters) = engine(recompute);
            let mut gradients = vec![0.0; parameters.len()];
            let loss = engine.loss_and_gradients(&parameters, &batch, &mut gradients).unwrap();
            let bits: Vec<u32> = gradients.iter().map(|value| value.to_bits()).collect();
            (loss.loss_nats.to_bits(), bits)
        });
        assert!(results[0] == results[1]);
    }
}
