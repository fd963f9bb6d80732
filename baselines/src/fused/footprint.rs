//! What the engine allocates for batches of given shapes, by stage, before it does.

use models::engine::{BatchShape, MemoryPart, resident};

use super::FusedEngine;
use super::engine::wave_chunks;
use super::head::logits_stride;
use super::memory::{Division, kept, needed};

/// Stages in the order of their report.
const STAGES: [&str; 5] =
    ["packed weights", "layer records", "chunk work space", "gradients by chunk", "logits"];

type Floats = [usize; STAGES.len()];

impl FusedEngine {
    /// As [`Engine::memory`](models::engine::Engine::memory). Chunks are taken to have their share
    /// of the targets; memory set aside for more is never touched.
    pub(super) fn stages(
        &self,
        training: Option<BatchShape>,
        evaluation: Option<BatchShape>,
        threads: usize,
    ) -> Vec<MemoryPart> {
        let none = [0; STAGES.len()];
        let training = training.map_or(none, |shape| self.floats(shape, true, threads));
        let evaluation = evaluation.map_or(none, |shape| self.floats(shape, false, threads));
        let floats = training.iter().zip(evaluation).map(|(&a, b)| resident(a, b));
        let bytes = floats.map(|floats| (floats * size_of::<f32>()) as u64);
        STAGES.iter().zip(bytes).map(|(stage, bytes)| MemoryPart { stage, bytes }).collect()
    }

    fn floats(&self, shape: BatchShape, train: bool, threads: usize) -> Floats {
        let plan = self.plan();
        let BatchShape { sequences, length, targets } = shape;
        let division = Division { sequences, length };
        let chunks = division.chunks().max(1);
        let wave = wave_chunks(plan, &division, threads);
        let angles = if plan.family.rope_theta.is_some() { length * plan.head_dim } else { 0 };
        let packed = plan.packed_total + plan.vector_total + angles;
        let chunk = division.chunk(0, targets.div_ceil(chunks));
        let records = kept(plan, &division, &chunk);
        let rest = needed(plan, &division, &chunk) - records;
        let train = usize::from(train);
        let sums = train * (chunks * plan.vector_total + sequences * length * plan.width);
        let logits = targets * ((1 + train) * plan.width + logits_stride(plan.vocab) + 1);
        [packed, wave * records, wave * rest, sums, logits]
    }
}

#[cfg(test)]
mod tests {
    use models::batch::{Batch, Target};
    use models::engine::Engine;
    use models::family::{FamilyConfig, parametrise};
    use models::parametrization::Parametrization;
    use models::precision::Precision;

    use super::*;
    use crate::blocks::Positions;
    use crate::{BertConfig, PreLnConfig, UtConfig};

    /// Engines of all families, and of two with more to keep, with initial parameters.
    fn engines(recompute: bool) -> Vec<(FusedEngine, Vec<f32>)> {
        fn built<F: FamilyConfig>(
            config: &F,
            engine: fn(&F::Model, &models::parametrization::Resolved) -> FusedEngine,
        ) -> (FusedEngine, Vec<f32>) {
            let table = Parametrization::built_in("standard").unwrap();
            let built = parametrise(config, config, &table).unwrap();
            let layout = config.layout().unwrap();
            let parameters = built.resolved.initialise(&layout, &built.base_layout, 1).unwrap();
            (engine(&built.model, &built.resolved), parameters)
        }
        let (width, vocab, heads, max_length) = (24, 90, Some(3), 40);
        let bert = BertConfig { vocab, width, heads, max_length, layers: 3, ..Default::default() };
        let preln = PreLnConfig { vocab, width, heads, layers: 3, ..Default::default() };
        let ut = UtConfig { vocab, width, heads, max_length, steps: 3, ..Default::default() };
        let normed = PreLnConfig { qk_norm: true, ..preln.clone() };
        let looped = UtConfig { positions: Positions::Rotary, injection: true, ..ut.clone() };
        let all = [
            built(&bert, |model, rules| FusedEngine::bert(model, rules).unwrap()),
            built(&preln, |model, rules| FusedEngine::preln(model, rules).unwrap()),
            built(&ut, |model, rules| FusedEngine::universal(model, rules).unwrap()),
            built(&normed, |model, rules| FusedEngine::preln(model, rules).unwrap()),
            built(&looped, |model, rules| FusedEngine::universal(model, rules).unwrap()),
        ];
        let all = all.into_iter();
        all.map(|(engine, values)| (engine.with_recomputation(recompute), values)).collect()
    }

    fn batch(sequences: usize, length: usize, targets: usize) -> Batch {
        let tokens = sequences * length;
        let ids = (0..tokens).map(|place| (place * 7 % 90) as u32).collect();
        let target = |position| Target { position: position as u32, label: 5 };
        let targets = (0..targets).map(target).collect();
        let attention = Some((0..tokens).map(|place| place % length < length - 2).collect());
        Batch { ids, attention, targets, sequences, length, dropout: None }
    }

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn invariant_memory_is_what_a_step_allocates() {
        let shape = BatchShape { sequences: 10, length: 40, targets: 400 };
        let batch = batch(10, 40, 400);
        let mut sizes = Vec::new();
        for (threads, recompute) in [(1, false), (1, true), (2, false), (2, true)] {
            let mut total = 0;
            for (mut engine, values) in engines(recompute) {
                let mut gradients = vec![0.0; values.len()];
                pool(threads)
                    .install(|| engine.loss_and_gradients(&values, &batch, &mut gradients))
                    .unwrap();
                let parts = engine.memory(Some(shape), None, threads).unwrap();
                let predicted: u64 = parts.iter().map(|part| part.bytes).sum();
                assert_eq!(predicted, 4 * engine.allocated() as u64);
                total += predicted;
            }
            sizes.push(total);
        }
        assert!(sizes[1] < sizes[0] && sizes[0] < sizes[2] && sizes[3] < sizes[2], "{sizes:?}");
    }

    /// More chunks are in flight where weights are many, unless they are large themselves.
    #[test]
    fn invariant_many_weights_have_more_chunks_in_flight() {
        let chunks = |width: usize, length: usize, threads: usize| {
            let config = PreLnConfig { vocab: 8192, width, layers: 4, ..Default::default() };
            let table = Parametrization::built_in("standard").unwrap();
            let built = parametrise(&config, &config, &table).unwrap();
            let engine = FusedEngine::preln(&built.model, &built.resolved).unwrap();
            wave_chunks(engine.plan(), &Division { sequences: 16, length }, threads)
        };
        assert_eq!([1, 2].map(|threads| chunks(128, 128, threads)), [1, 4]);
        assert_eq!([1, 2].map(|threads| chunks(256, 128, threads)), [4, 8]);
        assert_eq!([1, 2].map(|threads| chunks(256, 512, threads)), [1, 4]);
        assert_eq!(chunks(256, 128, 3), 6, "twelve chunks do not fit");
    }

    /// Of three layers one record and three inputs are kept; of a block that is shared by all
    /// steps everything but probabilities.
    #[test]
    fn invariant_layers_are_dropped_where_no_block_is_shared() {
        let shape = BatchShape { sequences: 10, length: 40, targets: 60 };
        let records = |recompute: bool| {
            let engines = engines(recompute).into_iter();
            let parts = engines.map(|(engine, _)| engine.memory(Some(shape), None, 1).unwrap());
            parts.map(|parts| parts[1].bytes).collect::<Vec<u64>>()
        };
        let (kept, again) = (records(false), records(true));
        // The input of a layer is at most a sixteenth of its record, and buffers end at lines.
        let one_and_inputs = |kept: u64| kept / 3 + kept / 16 + 3 * 64;
        assert!(
            again[0] > kept[0] / 3 && again[0] <= one_and_inputs(kept[0]),
            "{again:?} {kept:?}"
        );
        assert!(
            again[1] > kept[1] / 3 && again[1] <= one_and_inputs(kept[1]),
            "{again:?} {kept:?}"
        );
        assert!(again[2] > kept[2] / 3 && again[2] < kept[2], "{again:?} {kept:?}");
    }

    #[test]
    fn invariant_recomputation_changes_no_bit() {
        let batch = batch(5, 33, 60);
        let run = |recompute: bool| {
            let engines = engines(recompute).into_iter();
            let results = engines.map(|(mut engine, values)| {
                let mut gradients = vec![0.0; values.len()];
                let loss = engine.loss_and_gradients(&values, &batch, &mut gradients).unwrap();
                let bits: Vec<u32> = gradients.iter().map(|value| value.to_bits()).collect();
                (loss.loss_nats.to_bits(), bits)
            });
            results.collect::<Vec<_>>()
        };
        assert!(run(false) == run(true));
    }

    /// The backward pass of `split` is bf16, its forward pass nearly f32; the same bits on any
    /// number of threads show that every task rounds.
    #[test]
    fn invariant_products_round_in_every_task_of_both_passes() {
        let batch = batch(5, 33, 60);
        let run = |precision: Precision, threads: usize| {
            let engines = engines(false).into_iter();
            let results = engines.map(|(engine, values)| {
                let mut engine = engine.with_precision(precision).unwrap();
                let mut gradients = vec![0.0; values.len()];
                let loss = pool(threads)
                    .install(|| engine.loss_and_gradients(&values, &batch, &mut gradients))
                    .unwrap();
                (loss.loss_nats, gradients)
            });
            results.collect::<Vec<_>>()
        };
        let exact = run(Precision::F32, 1);
        for (precision, loss_max, low, high) in [
            (Precision::Tf32, 1e-4, 5e-5, 3e-3),
            (Precision::Split, 2e-6, 5e-4, 2e-2),
            (Precision::Half, 2e-3, 5e-4, 2e-2),
        ] {
            let found = run(precision, 1);
            assert!(found == run(precision, 3), "{precision:?}");
            for ((loss, gradients), (exact_loss, exact)) in found.iter().zip(&exact) {
                let squares = |values: &mut dyn Iterator<Item = f32>| {
                    values.map(|value| f64::from(value).powi(2)).sum::<f64>()
                };
                let gap = squares(&mut gradients.iter().zip(exact).map(|(a, b)| a - b));
                let distance = (gap / squares(&mut exact.iter().copied())).sqrt();
                let off = (loss - exact_loss).abs();
                eprintln!("{precision:?}: loss {off:.1e}, gradient {distance:.1e}");
                assert!((low..high).contains(&distance), "{precision:?}: {distance:e}");
                assert!(off < loss_max, "{precision:?}: {off:e}");
            }
        }
        let recomputing = engines(true).remove(0).0;
        assert!(recomputing.with_precision(Precision::Half).is_err());
    }
}
