//! Operations and bytes of a step, and the rates they are assumed to run at.

use models::precision::Precision;

use super::{DeviceStep, Work};
use crate::config::model::ModelConfig;
use crate::error::Result;

/// Assumed rates of one H200, per second: dense bf16 products by the model's width, batched
/// products of head selection, own tensor-core kernels, f32 products, memory.
const PRODUCTS: [(usize, f64); 3] = [(512, 380e12), (2048, 530e12), (usize::MAX, 620e12)];
const BATCHED: f64 = 520e12;
const OWN_KERNELS: f64 = 280e12;
const F32_PRODUCTS: f64 = 48e12;
const MEMORY: f64 = 3.8e12;

/// Largest rank whose tiles stay in registers: above, head selection is batched products over
/// chunks of a few heads.
pub(super) const OWN_RANK_MAX: usize = 128;
/// Bytes that everything elementwise moves, forward and backward, per word, unit of width and
/// iteration or layer.
const PT_ELEMENTWISE: f64 = 300.0;
const BASELINE_ELEMENTWISE: f64 = 220.0;
/// Bytes that norm, clip and AdamW move per parameter: gradient, parameter and both moments read,
/// the last three and the rounded copies written.
const UPDATE: f64 = 36.0;
/// Times that logits in f32 are read or written.
const LOGIT_PASSES: f64 = 6.0;
/// Times that a posterior in two bytes is read or written where it goes through memory.
const CHUNK_PASSES: f64 = 12.0;

/// The sentence that every estimate carries.
pub(super) fn basis() -> String {
    format!(
        "operations over rates of one H200 that are assumed, not measured: bf16 products {:.0}, \
         {:.0}, {:.0} TFLOP/s (width below 512, below 2048, above), batched {:.0}, own kernels \
         {:.0}, f32 {:.0}, memory {:.1} TB/s; evaluation and reading the text not counted; no \
         engine trains on a GPU yet",
        PRODUCTS[0].1 / 1e12,
        PRODUCTS[1].1 / 1e12,
        PRODUCTS[2].1 / 1e12,
        BATCHED / 1e12,
        OWN_KERNELS / 1e12,
        F32_PRODUCTS / 1e12,
        MEMORY / 1e12
    )
}

/// Tensor-core products that one product of the model takes, in units of a bf16 one.
#[derive(Debug, Clone, Copy)]
struct Passes {
    forward: f64,
    backward: f64,
    /// Of scores that the backward pass computes again.
    scores_again: f64,
}

impl Passes {
    fn of(precision: Precision) -> Self {
        let (forward, backward, scores_again) = match precision {
            Precision::F32 | Precision::Fp16 | Precision::Half => (1.0, 1.0, 1.0),
            // TF32 runs at half the rate of bf16.
            Precision::Tf32 => (2.0, 2.0, 2.0),
            Precision::Split => (3.0, 1.0, 3.0),
            Precision::SplitBf16Scores => (3.0, 1.0, 1.0),
        };
        Self { forward, backward, scores_again }
    }
}

/// Every term of a step.
pub(super) fn of_step(
    model: &ModelConfig,
    step: &DeviceStep,
    precision: Precision,
) -> Result<Vec<Work>> {
    let sizes = model.dimensions();
    let (tokens, passes) = (step.tokens(), Passes::of(precision));
    let flops = model.forward_flops(step.length)?;
    let pairs = |(part, _): &&(&str, f64)| PAIRS.contains(part);
    let sum = |of_pairs: bool| -> f64 {
        let own = flops.encoder_per_token.iter().filter(|part| pairs(part) == of_pairs);
        own.map(|(_, flops)| tokens * flops).sum()
    };
    let (dense, pairs) = (sum(false), sum(true));
    let targets = (tokens * step.target_share).ceil();
    let decoder = targets * flops.head_per_target;
    let parameters = model.layout()?.total() as f64;
    // With recomputation every value of the encoder is computed twice.
    let forward = passes.forward * if step.recompute { 2.0 } else { 1.0 };
    let rate = |bf16: f64| if precision == Precision::F32 { F32_PRODUCTS } else { bf16 };
    let large = rate(PRODUCTS.iter().find(|(below, _)| sizes.width < *below).map_or(0.0, |r| r.1));
    let is_pt = model.family() == "pt";
    let own = !is_pt || sizes.head_dim <= OWN_RANK_MAX;
    let small = rate(if own { OWN_KERNELS } else { BATCHED });
    let units = Units::of(model, own);
    // One product over all pairs of words.
    let unit = pairs / units.in_forward_flops;
    let names: [&'static str; 2] = if is_pt {
        ["head selection, forward", "head selection, backward"]
    } else {
        ["attention, forward", "attention, backward"]
    };
    let depth = sizes.depth as f64;
    let elementwise = if is_pt { PT_ELEMENTWISE } else { BASELINE_ELEMENTWISE };
    let product = |what, amount, per_second| Work {
        what,
        amount,
        unit: "FLOP",
        per_second,
        seconds: amount / per_second,
    };
    let moved = |what, amount| Work {
        what,
        amount,
        unit: "B",
        per_second: MEMORY,
        seconds: amount / MEMORY,
    };
    let backward = units.scores_again * passes.scores_again + units.backward * passes.backward;
    let mut work = vec![
        product("encoder products, forward", dense * forward, large),
        product("encoder products, backward", 2.0 * dense * passes.backward, large),
        product(names[0], unit * units.forward * forward, small),
        product(names[1], unit * backward, small),
        product("decoder", decoder * (passes.forward + 2.0 * passes.backward), large),
        moved("values over words", elementwise * sizes.width as f64 * tokens * depth),
        moved("losses", LOGIT_PASSES * 4.0 * targets * model.vocab() as f64),
        moved("norm, clip, AdamW", UPDATE * parameters),
    ];
    if !own {
        let pairs = (model.heads() * step.length) as f64 * tokens * depth;
        work.push(moved("posteriors in chunks", CHUNK_PASSES * 2.0 * pairs));
    }
    Ok(work)
}

/// The part of a forward pass whose operations grow with the square of the length.
const PAIRS: [&str; 2] = ["head posteriors and messages", "attention scores and averages"];

/// Products over all pairs of words: how many each pass takes.
struct Units {
    /// Of them in the model's own count of a forward pass.
    in_forward_flops: f64,
    forward: f64,
    /// Scores that the backward pass computes again.
    scores_again: f64,
    /// All others of the backward pass.
    backward: f64,
}

impl Units {
    /// Every output has one owner, so that no sum needs an atomic: own kernels go over rows and
    /// over columns, and compute scores anew each time.
    fn of(model: &ModelConfig, own: bool) -> Self {
        let (in_forward_flops, forward, scores_again, backward) = match (model, own) {
            // Rows: s, p v; columns: s, p' w. Backward, rows: s for E and s, dp (two products),
            // ds v; columns: s, dp (two), ds' u, p' a.
            (ModelConfig::Pt(pt), true) if pt.dependent_message => (3.0, 4.0, 3.0, 8.0),
            // s, p v, p' w. Backward: s, dp (two), p b, ds v, ds' u, p' a.
            (ModelConfig::Pt(pt), false) if pt.dependent_message => (3.0, 3.0, 1.0, 6.0),
            (ModelConfig::Pt(_), false) => (2.0, 2.0, 1.0, 4.0),
            // Attention, and PT without messages to heads: s, p v. Backward, rows: s, dp, ds k;
            // columns: s, dp, ds' q, p' do.
            _ => (2.0, 2.0, 2.0, 5.0),
        };
        Self { in_forward_flops, forward, scores_again, backward }
    }
}
