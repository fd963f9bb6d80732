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

/// Buffers, in a fixed order, with the place of their stage and their floats.
type Buffers = Vec<(usize, usize)>;

impl FusedPt2026 {
    /// As [`Engine::memory`](crate::engine::Engine::memory). Threads do not matter.
    pub(super) fn stages(
        &self,
        training: Option<BatchShape>,
        evaluation: Option<BatchShape>,
    ) -> Vec<MemoryPart> {
        let none = BatchShape { sequences: 0, length: 0, targets: 0 };
        let before = self.buffers(training.unwrap_or(none), self.keep());
        let after = self.buffers(evaluation.unwrap_or(none), Keep::LastIteration);
        let mut floats = [0; STAGES.len()];
        for ((stage, before), (_, after)) in before.into_iter().zip(after) {
            floats[stage] += resident(before, after);
        }
        let part = |(&stage, floats)| MemoryPart { stage, bytes: 4 * floats as u64 };
        STAGES.iter().zip(floats).map(part).collect()
    }

    fn buffers(&self, shape: BatchShape, keep: Keep) -> Buffers {
        let plan = &self.plan;
        let BatchShape { sequences, length, targets } = shape;
        let rows = sequences * length;
        let lanes = sequences.div_ceil(plan.lane_sequences(sequences, length).max(1));
        let (wide, narrow) = (rows * plan.stacked, rows * plan.width);
        let angles = if plan.rope == Rope::None { 0 } else { length * plan.rank };
        let train = usize::from(keep != Keep::LastIteration);
        let kept = keep.iterations(plan);
        let per_word = saved_tiles(plan) * plan.rank + length;
        let scratch = lanes * (4 * length * plan.rank + 2 * length * length);
        let head = 7 * targets * plan.width + 5 * targets;
        let [logits, partial] =
            cross_entropy::workspace_floats(targets, plan.width, plan.vocab, train == 1);
        vec![
            (0, if rows > 0 { packed_len(plan.width, plan.stacked) } else { 0 }),
            (0, if rows > 0 { packed_len(plan.stacked, plan.width) } else { 0 }),
            (0, if rows > 0 { train * packed_len(2 * plan.pairs, plan.width) } else { 0 }),
            (0, angles),
            (1, (plan.iterations + 1) * narrow),
            (2, kept * (narrow + 2 * rows)),
            (2, kept * rows * plan.channels * per_word),
            (2, kept * wide),
            (2, wide),
            (2, scratch),
            (3, train * lanes * plan.stacked * plan.width),
            (3, train * (wide + 4 * narrow)),
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

    #[test]
    fn invariant_memory_is_what_a_step_allocates() {
        let shape = BatchShape { sequences: 5, length: 24, targets: 31 };
        let mut sizes = Vec::new();
        for recompute in [false, true] {
            let (mut engine, parameters) = engine(recompute);
            let mut gradients = vec![0.0; parameters.len()];
            let batch = batch(shape, 300);
            engine.loss_and_gradients(&parameters, &batch, &mut gradients).unwrap();
            let predicted: u64 = engine.stages(Some(shape), None).iter().map(|p| p.bytes).sum();
            let lanes: usize = engine.lanes.iter().map(super::super::lane::Lane::floats).sum();
            let tables = engine.turned_factors.len() + engine.packed_factors.len();
            let tables = tables + engine.packed_pairs.len() + 24 * engine.plan.rank;
            let allocated = lanes + tables + engine.d_unary.len() + engine.head.floats();
            assert_eq!(predicted, 4 * allocated as u64);
            sizes.push(predicted);
        }
        assert!(sizes[1] < sizes[0]);
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
