//! The fused engine against the reference engine in f64, over random small models.

mod case;
mod order;

use candle_core::{DType, Device};
use models::architecture::Architecture;
use models::batch::Batch;
use models::engine::Engine;
use models::family::FamilyConfig;
use models::parameters::Layout;
use models::parametrization::{Parametrization, Resolved, SiteScales};
use models::random::{Purpose, Stream};
use models::reference::ReferenceEngine;
use proptest::prelude::*;

use super::FusedEngine;
use crate::{BertConfig, UtConfig};
use case::{Case, cases};

/// A gradient may differ by this share of its own norm ...
const OWN: f64 = 2e-5;
/// ... plus this share of the norm of all gradients (a key's bias has no gradient but rounding).
const ALL: f64 = 1e-6;
/// ... or be this many times as wrong as the reference path is in f32, where the case itself is
/// badly conditioned (a layer norm over two entries multiplies rounding a thousandfold).
const WORSE_THAN_REFERENCE: f64 = 8.0;
/// A loss may differ by this share.
const LOSS: f64 = 2e-6;

/// Rules whose every multiplier and site scale differs from one.
fn rules<C: FamilyConfig>(config: &C, seed: u64) -> Resolved {
    let (layout, dimensions) = (config.layout().unwrap(), config.dimensions());
    let table = Parametrization::built_in("standard").unwrap();
    let mut resolved = table.resolve((&layout, dimensions), (&layout, dimensions)).unwrap();
    let mut stream = Stream::named(seed, Purpose::Test, "rules", 0);
    let mut draw = || 0.5 + stream.unit();
    resolved.rules.iter_mut().for_each(|rule| rule.forward_multiplier = draw());
    resolved.sites = SiteScales {
        attention_logits: draw(),
        residual: draw(),
        tied_logits: draw(),
        ..SiteScales::BASE
    };
    resolved
}

/// The same for a Universal Transformer; one that scales its branches itself leaves no room for a
/// table that does.
fn universal_rules(case: &Case, config: &UtConfig) -> Resolved {
    let mut resolved = rules(config, case.seed);
    if case.injection || case.inverse_steps {
        resolved.sites.residual = 1.0;
    }
    resolved
}

fn parameters(layout: &Layout, seed: u64) -> Vec<f32> {
    let mut stream = Stream::named(seed, Purpose::Test, "parameters", 0);
    (0..layout.total()).map(|_| 0.7 * stream.normal() as f32).collect()
}

fn norm(x: impl Iterator<Item = f64>) -> f64 {
    x.map(|v| v * v).sum::<f64>().sqrt()
}

/// Loss, losses of targets and every gradient against the reference; returns the gradients.
fn compare<A: Architecture + Clone>(
    model: A,
    (mut fused, resolved): (FusedEngine, Resolved),
    case: &Case,
) -> Vec<f32> {
    let layout = model.layout().clone();
    let (batch, values) = (case.batch(), parameters(&layout, case.seed));
    let mut single = ReferenceEngine::new(model.clone(), resolved.clone(), DType::F32, Device::Cpu);
    let mut rounded = vec![0f32; layout.total()];
    single.loss_and_gradients(&values, &batch, &mut rounded).unwrap();
    let mut reference = ReferenceEngine::new(model, resolved, DType::F64, Device::Cpu);
    let mut exact = vec![0f32; layout.total()];
    let truth = reference.loss_and_gradients(&values, &batch, &mut exact).unwrap();
    let mut found = vec![f32::NAN; layout.total()];
    // Twice: the second run meets memory that is full of old values.
    for _ in 0..2 {
        let loss = fused.loss_and_gradients(&values, &batch, &mut found).unwrap();
        let error = (loss.loss_nats - truth.loss_nats).abs();
        assert!(error <= LOSS * truth.loss_nats.max(1.0), "{loss:?} for {truth:?}");
        let all = norm(exact.iter().map(|&g| f64::from(g)));
        for (position, spec) in layout.specs().iter().enumerate() {
            let (found, exact) = (&found[layout.range(position)], &exact[layout.range(position)]);
            let distance = |other: &[f32]| {
                norm(other.iter().zip(exact).map(|(o, e)| f64::from(*o) - f64::from(*e)))
            };
            let (error, conditioning) =
                (distance(found), distance(&rounded[layout.range(position)]));
            let own = norm(exact.iter().map(|&g| f64::from(g)));
            assert!(
                error <= (OWN * own + ALL * all).max(WORSE_THAN_REFERENCE * conditioning),
                "{}: error {error:e}, norm {own:e}, all {all:e}, f32 reference {conditioning:e}",
                spec.name()
            );
        }
    }
    let truth = reference.target_losses(&values, &batch).unwrap();
    let losses = fused.target_losses(&values, &batch).unwrap();
    assert_eq!(losses.len(), truth.len());
    for (loss, truth) in losses.iter().zip(&truth) {
        assert!((loss - truth).abs() <= 1e-5 * truth.max(1.0), "{loss} for {truth}");
    }
    found
}

fn bert(case: &Case) -> Vec<f32> {
    let config = case.bert();
    let resolved = rules(&config, case.seed);
    let model = config.model(&config, &resolved.sites).unwrap();
    let fused = FusedEngine::bert(&model, &resolved).unwrap();
    compare(model, (fused, resolved), case)
}

fn preln(case: &Case) -> Vec<f32> {
    let config = case.preln();
    let resolved = rules(&config, case.seed);
    let model = config.model(&config, &resolved.sites).unwrap();
    let fused = FusedEngine::preln(&model, &resolved).unwrap();
    compare(model, (fused, resolved), case)
}

fn universal(case: &Case) -> Vec<f32> {
    let config = case.universal();
    let resolved = universal_rules(case, &config);
    let model = config.model(&config, &resolved.sites).unwrap();
    let fused = FusedEngine::universal(&model, &resolved).unwrap();
    compare(model, (fused, resolved), case)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn parity_bert_with_reference(case in cases()) {
        bert(&case);
    }

    #[test]
    fn parity_preln_with_reference(case in cases()) {
        preln(&case);
    }

    #[test]
    fn parity_universal_with_reference(case in cases()) {
        universal(&case);
    }
}

/// Several chunks of a small model with all options.
fn fixed_case() -> Case {
    Case {
        vocab: 70,
        heads: 2,
        head_dim: 18,
        depth: 2,
        inner: 75,
        tied: true,
        biases: true,
        swiglu: true,
        qk_norm: true,
        rotary: true,
        injection: true,
        inverse_steps: true,
        sequences: 13,
        length: 33,
        padding: true,
        target_share: 0.2,
        seed: 1,
    }
}

/// So many that their gradients are added up over chunks in several blocks.
#[test]
fn parity_of_many_biases_with_reference() {
    let case = Case { inner: 1200, ..fixed_case() };
    for family in [bert, preln, universal] {
        assert!(family(&case).iter().all(|gradient| gradient.is_finite()));
    }
}

#[test]
fn invariant_bits_do_not_depend_on_the_number_of_threads() {
    let case = fixed_case();
    for family in [bert, preln, universal] {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| family(&case)).iter().map(|g| g.to_bits()).collect::<Vec<_>>()
        };
        let one = run(1);
        assert!(one == run(2) && one == run(3), "threads change bits");
    }
}

/// Engines of all families.
fn engines(case: &Case) -> [(Layout, FusedEngine); 3] {
    let (bert, preln, universal) = (case.bert(), case.preln(), case.universal());
    let resolved = rules(&bert, case.seed);
    let model = bert.model(&bert, &resolved.sites).unwrap();
    let first = (model.layout().clone(), FusedEngine::bert(&model, &resolved).unwrap());
    let resolved = rules(&preln, case.seed);
    let model = preln.model(&preln, &resolved.sites).unwrap();
    let second = (model.layout().clone(), FusedEngine::preln(&model, &resolved).unwrap());
    let resolved = universal_rules(case, &universal);
    let model = universal.model(&universal, &resolved.sites).unwrap();
    let third = (model.layout().clone(), FusedEngine::universal(&model, &resolved).unwrap());
    [first, second, third]
}

/// Bits of loss, losses of targets and gradients of all families, in turn.
fn bits(case: &Case, how: fn(FusedEngine) -> FusedEngine) -> [(u64, Vec<u32>, Vec<u32>); 3] {
    engines(case).map(|(layout, engine)| {
        let mut engine = how(engine);
        let bits = |values: Vec<f32>| values.iter().map(|v| v.to_bits()).collect();
        let (batch, values) = (case.batch(), parameters(&layout, case.seed));
        let mut gradients = vec![f32::NAN; layout.total()];
        // Twice: the second run meets memory that is full of old values.
        engine.loss_and_gradients(&values, &batch, &mut gradients).unwrap();
        let loss = engine.loss_and_gradients(&values, &batch, &mut gradients).unwrap();
        let losses = engine.target_losses(&values, &batch).unwrap();
        (loss.loss_nats.to_bits(), bits(losses), bits(gradients))
    })
}

fn same_bits_as_in_full(case: &Case) {
    let full = bits(case, FusedEngine::unrestricted);
    assert!(bits(case, |engine| engine) == full, "{case:?}");
    assert!(bits(case, |engine| engine.with_recomputation(true)) == full, "{case:?}, recomputing");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn invariant_the_last_block_at_targets_has_the_bits_of_the_full_one(case in cases()) {
        same_bits_as_in_full(&case);
    }

    /// Whole layers or probabilities, computed again by any number of threads.
    #[test]
    fn invariant_recomputation_changes_no_bit_on_any_threads(
        case in cases(), depth in 1usize..6, threads in 1usize..5,
    ) {
        let case = Case { depth, ..case };
        let on = |threads: usize, how: fn(FusedEngine) -> FusedEngine| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bits(&case, how))
        };
        let kept = on(1, |engine| engine);
        prop_assert!(on(threads, |engine| engine.with_recomputation(true)) == kept);
    }
}

/// Sums over more rows than one chain of a product are cut at the same places.
#[test]
fn invariant_the_last_block_at_targets_has_the_bits_of_the_full_one_in_long_sequences() {
    let batch = Case { sequences: 2, length: 1100, target_share: 0.15, ..fixed_case() };
    let case = Case { vocab: 30, head_dim: 8, inner: 40, seed: 2, ..batch };
    same_bits_as_in_full(&case);
}

#[test]
fn invariant_what_the_engine_cannot_do_is_an_error_with_a_hint() {
    let config = UtConfig { halting: true, vocab: 9, width: 32, ..UtConfig::default() };
    let resolved = rules(&config, 0);
    let model = config.model(&config, &resolved.sites).unwrap();
    let error = FusedEngine::universal(&model, &resolved).err().unwrap().to_string();
    assert!(error.contains("halting") && error.contains("hint: use the reference"), "{error}");

    let config = BertConfig { vocab: 9, width: 32, max_length: 4, ..BertConfig::default() };
    let resolved = rules(&config, 0);
    let model = config.model(&config, &resolved.sites).unwrap();
    let mut fused = FusedEngine::bert(&model, &resolved).unwrap();
    let batch = Batch {
        ids: vec![0; 5],
        attention: None,
        targets: Vec::new(),
        sequences: 1,
        length: 5,
        dropout: None,
    };
    let values = parameters(model.layout(), 0);
    let error = fused.target_losses(&values, &batch).unwrap_err().to_string();
    assert!(error.contains("position table has 4 rows"), "{error}");
}
