//! The first ten losses of PT and of BERT: a table to check an implementation of your own against.
//!
//! Everything needed is in this file, and none of it is random. All numbers are float64.
//!
//! - **Vocabulary** 11, entry 0 is the mask. **Batch**: 2 sequences of 8 words, no padding.
//!   Position `p` (from 0 to 15, through both sequences) holds word `1 + (3 p mod 10)`, but
//!   positions 2, 5, 9 and 14 hold the mask, and there `1 + (7 p mod 10)` is to be predicted.
//! - **Start**: entry `i` (row by row, from 0) of the tensor in line `k` of the model's table (from
//!   0) is `start + scale * sin(1 + i + 100 k)`.
//! - **Loss**: mean cross-entropy of the four predictions, in nats.
//! - **Step**: Adam on the same batch every time, rate 0.01, beta1 0.9, beta2 0.999, epsilon 1e-8
//!   beside the root of the corrected second moment, no decay, no clip.
//! - **PT** (arXiv 2604.25409): 8 labels, 2 channels of rank 4, 32 topics, 3 iterations, exact
//!   rotary positions of base 10,000 (entries `m` and `m + 2` of a channel turn together), squared
//!   label potential, messages to the labels from the head and from dependents. Constants are
//!   published: `lambda_z` 0.80842, `lambda_h` 0.15, `lambda_g` 2.62454, `s_t` 0.84442, `s_b`
//!   0.18336, `a` 0.5, damping 0.5. Its layer norm adds 1e-5.
//! - **BERT** (Devlin et al. 2019): width 8, 2 layers of 2 heads, 32 hidden units, exact GELU,
//!   layer norm after every branch adding 1e-12, one type, decoder of its own. A key's bias shifts
//!   all logits of a row alike, so its gradient is zero and what Adam does to it moves no loss.
//!
//! Gradient norms are those of the first step, one per tensor. `golden/first_ten_losses/check.py`
//! computes the same table with JAX from this description alone.

use baselines::BertConfig;

use harness::checks::recorded::subject::Subject;
use harness::checks::recorded::trace::loss_and_gradients;
use harness::config::model::{ComputePath, ModelConfig};
use models::batch::{Batch, Target};
use models::parametrization::Parametrization;
use models::pt2026::Pt2026Config;

/// Name, shape, start, scale and gradient norm of a tensor.
type Line = (&'static str, &'static [usize], f64, f64, f64);

const PT: &[Line] = &[
    ("unary", &[11, 8], 0.0, 1.0, 0.237_698_557),
    ("ternary_u", &[8, 8], 0.0, 0.5, 0.220_872_554),
    ("ternary_v", &[8, 8], 0.0, 0.5, 0.164_823_389),
    ("binary", &[32, 8], 0.0, 0.5, 0.315_553_800),
    ("head.dense.weight", &[8, 8], 0.0, 0.5, 3.162_352_302),
    ("head.dense.bias", &[8], 0.0, 0.1, 0.962_982_065),
    ("head.norm.weight", &[8], 1.0, 0.1, 0.639_912_721),
    ("head.norm.bias", &[8], 0.0, 0.1, 0.551_217_825),
    ("head.decoder.weight", &[11, 8], 0.0, 1.0, 0.608_492_872),
    ("head.decoder.bias", &[11], 0.0, 0.1, 0.216_488_970),
];
const PT_LOSSES: [f64; 10] = [
    2.564_344_901,
    2.294_175_884,
    2.147_431_054,
    2.087_957_452,
    2.066_423_285,
    2.051_527_161,
    2.029_966_118,
    2.000_295_912,
    1.965_189_225,
    1.927_800_251,
];

const BERT: &[Line] = &[
    ("embedding.token", &[11, 8], 0.0, 1.0, 0.074_001_253),
    ("embedding.position", &[8, 8], 0.0, 1.0, 0.087_847_677),
    ("embedding.type", &[1, 8], 0.0, 1.0, 0.046_618_745),
    ("embedding.norm.weight", &[8], 1.0, 0.1, 0.055_205_777),
    ("embedding.norm.bias", &[8], 0.0, 0.1, 0.033_455_751),
    ("layers.0.attention.query.weight", &[8, 8], 0.0, 0.5, 0.085_128_585),
    ("layers.0.attention.query.bias", &[8], 0.0, 0.1, 0.028_616_103),
    ("layers.0.attention.key.weight", &[8, 8], 0.0, 0.5, 0.073_051_246),
    ("layers.0.attention.key.bias", &[8], 0.0, 0.1, 0.0),
    ("layers.0.attention.value.weight", &[8, 8], 0.0, 0.5, 0.122_665_017),
    ("layers.0.attention.value.bias", &[8], 0.0, 0.1, 0.030_219_624),
    ("layers.0.attention.output.weight", &[8, 8], 0.0, 0.5, 0.301_093_269),
    ("layers.0.attention.output.bias", &[8], 0.0, 0.1, 0.042_754_183),
    ("layers.0.attention.norm.weight", &[8], 1.0, 0.1, 0.054_378_691),
    ("layers.0.attention.norm.bias", &[8], 0.0, 0.1, 0.043_160_210),
    ("layers.0.feed_forward.inner.weight", &[32, 8], 0.0, 0.5, 0.395_190_351),
    ("layers.0.feed_forward.inner.bias", &[32], 0.0, 0.1, 0.124_835_145),
    ("layers.0.feed_forward.outer.weight", &[8, 32], 0.0, 0.5, 0.551_506_416),
    ("layers.0.feed_forward.outer.bias", &[8], 0.0, 0.1, 0.063_947_769),
    ("layers.0.feed_forward.norm.weight", &[8], 1.0, 0.1, 0.073_671_121),
    ("layers.0.feed_forward.norm.bias", &[8], 0.0, 0.1, 0.072_355_780),
    ("layers.1.attention.query.weight", &[8, 8], 0.0, 0.5, 0.108_064_497),
    ("layers.1.attention.query.bias", &[8], 0.0, 0.1, 0.037_970_228),
    ("layers.1.attention.key.weight", &[8, 8], 0.0, 0.5, 0.141_554_209),
    ("layers.1.attention.key.bias", &[8], 0.0, 0.1, 0.0),
    ("layers.1.attention.value.weight", &[8, 8], 0.0, 0.5, 0.064_933_299),
    ("layers.1.attention.value.bias", &[8], 0.0, 0.1, 0.011_572_488),
    ("layers.1.attention.output.weight", &[8, 8], 0.0, 0.5, 0.196_027_231),
    ("layers.1.attention.output.bias", &[8], 0.0, 0.1, 0.058_258_836),
    ("layers.1.attention.norm.weight", &[8], 1.0, 0.1, 0.062_006_286),
    ("layers.1.attention.norm.bias", &[8], 0.0, 0.1, 0.051_939_630),
    ("layers.1.feed_forward.inner.weight", &[32, 8], 0.0, 0.5, 0.372_924_577),
    ("layers.1.feed_forward.inner.bias", &[32], 0.0, 0.1, 0.137_195_630),
    ("layers.1.feed_forward.outer.weight", &[8, 32], 0.0, 0.5, 0.412_650_654),
    ("layers.1.feed_forward.outer.bias", &[8], 0.0, 0.1, 0.062_758_572),
    ("layers.1.feed_forward.norm.weight", &[8], 1.0, 0.1, 0.064_170_101),
    ("layers.1.feed_forward.norm.bias", &[8], 0.0, 0.1, 0.070_298_301),
    ("head.dense.weight", &[8, 8], 0.0, 0.5, 3.238_010_153),
    ("head.dense.bias", &[8], 0.0, 0.1, 1.150_886_694),
    ("head.norm.weight", &[8], 1.0, 0.1, 1.423_881_962),
    ("head.norm.bias", &[8], 0.0, 0.1, 1.539_840_911),
    ("head.decoder.weight", &[11, 8], 0.0, 1.0, 1.400_849_485),
    ("head.decoder.bias", &[11], 0.0, 0.1, 0.501_787_611),
];
const BERT_LOSSES: [f64; 10] = [
    2.793_929_643,
    2.531_896_202,
    2.266_349_146,
    2.153_984_392,
    2.048_004_001,
    1.948_140_045,
    1.858_345_413,
    1.784_274_346,
    1.732_356_328,
    1.702_492_171,
];

fn pt() -> ModelConfig {
    let (width, channels, iterations) = (8, 2, 3);
    ModelConfig::Pt(Pt2026Config {
        vocab: 11,
        width,
        channels,
        iterations,
        rank: Some(4),
        ..Pt2026Config::default()
    })
}

fn bert() -> ModelConfig {
    ModelConfig::Bert(BertConfig {
        vocab: 11,
        width: 8,
        layers: 2,
        heads: Some(2),
        max_length: 8,
        types: 1,
        ..BertConfig::default()
    })
}

fn batch() -> Batch {
    let mut ids: Vec<u32> = (0..16).map(|p| 1 + 3 * p % 10).collect();
    let targets = [2, 5, 9, 14].map(|p| Target { position: p, label: 1 + 7 * p % 10 });
    for target in &targets {
        ids[target.position as usize] = 0;
    }
    Batch { ids, targets: targets.to_vec(), sequences: 2, length: 8, ..Batch::default() }
}

/// Entry `i` of tensor `k` is `start + scale * sin(1 + i + 100 k)`.
fn start(lines: &[Line]) -> Vec<f64> {
    let tensor = |(k, (_, shape, start, scale, _)): (usize, &Line)| {
        let entries = shape.iter().product::<usize>();
        let entry = move |i| start + scale * ((1 + i + 100 * k) as f64).sin();
        (0..entries).map(entry).collect::<Vec<f64>>()
    };
    lines.iter().enumerate().flat_map(tensor).collect()
}

/// One step of Adam; `step` counts from 1.
fn adam(parameters: &mut [f64], gradients: &[f64], moments: &mut [(f64, f64)], step: i32) {
    for ((x, g), (m, v)) in parameters.iter_mut().zip(gradients).zip(moments) {
        *m = 0.9 * *m + 0.1 * g;
        *v = 0.999 * *v + 0.001 * g * g;
        let (mean, square) = (*m / (1.0 - 0.9f64.powi(step)), *v / (1.0 - 0.999f64.powi(step)));
        *x -= 0.01 * mean / (square.sqrt() + 1e-8);
    }
}

/// Ten losses, and the gradients of the first step, of whatever computes both.
fn ten_losses(
    mut parameters: Vec<f64>,
    mut compute: impl FnMut(&[f64]) -> (f64, Vec<f64>),
) -> ([f64; 10], Vec<f64>) {
    let (mut losses, mut first) = ([0.0; 10], Vec::new());
    let mut moments = vec![(0.0, 0.0); parameters.len()];
    for (step, loss) in (1..).zip(&mut losses) {
        let gradients;
        (*loss, gradients) = compute(&parameters);
        adam(&mut parameters, &gradients, &mut moments, step);
        if step == 1 {
            first = gradients;
        }
    }
    (losses, first)
}

fn check(model: &ModelConfig, lines: &[Line], expected: &[f64; 10]) {
    // At its own base width a table changes nothing, so these are the published models.
    let table = Parametrization::built_in("mup-table8").unwrap();
    let subject = Subject::new(model, model, &table).unwrap();
    let specs = subject.layout.specs().iter();
    let names: Vec<_> = specs.map(|spec| (spec.name(), spec.shape())).collect();
    let expected_names: Vec<_> = lines.iter().map(|line| (line.0, line.1)).collect();
    assert_eq!(names, expected_names);

    let (losses, gradients) = ten_losses(start(lines), |parameters| {
        let step = loss_and_gradients(&subject, parameters, &batch()).unwrap();
        (step.loss_nats, step.gradients)
    });
    for (step, (loss, expected)) in losses.iter().zip(expected).enumerate() {
        assert!((loss - expected).abs() < 2e-9, "step {step}: {loss:.9}, not {expected:.9}");
    }
    for (position, (name, .., expected)) in lines.iter().enumerate() {
        let own = &gradients[subject.layout.range(position)];
        let norm = own.iter().map(|g| g * g).sum::<f64>().sqrt();
        assert!((norm - expected).abs() < 2e-9, "{name}: {norm:.9}, not {expected:.9}");
    }

    // The engine that runs train with, in single precision.
    let mut engine = model.build(model, &table, ComputePath::Fused, 8).unwrap().engine;
    let (losses, _) = ten_losses(start(lines), |parameters| {
        let parameters: Vec<f32> = parameters.iter().map(|&x| x as f32).collect();
        let mut gradients = vec![0f32; parameters.len()];
        let loss = engine.loss_and_gradients(&parameters, &batch(), &mut gradients).unwrap();
        (loss.loss_nats, gradients.iter().map(|&g| f64::from(g)).collect())
    });
    for (step, (loss, expected)) in losses.iter().zip(expected).enumerate() {
        assert!((loss - expected).abs() < 1e-5, "fused, step {step}: {loss}, not {expected}");
    }
}

#[test]
fn golden_the_first_ten_losses_of_pt() {
    check(&pt(), PT, &PT_LOSSES);
}

#[test]
fn golden_the_first_ten_losses_of_bert() {
    check(&bert(), BERT, &BERT_LOSSES);
}
