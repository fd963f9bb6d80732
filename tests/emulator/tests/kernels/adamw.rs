//! Norm, clip and AdamW over a flat buffer, against their formulas.

use emulator::{DeviceMemory, Module};

use crate::support::{Bytes as _, Parameters, Random, Shape, download, launch, module, upload};

/// Entries of a block.
const CHUNK: u32 = 4096;
/// Entries of four tensors: not multiples of anything.
const COUNTS: [u32; 4] = [5000, 3, 8192, 130];
const RATES: [f32; 4] = [1.0, 0.25, 2.0, 1.0];
const DECAYS: [f32; 4] = [0.1, 0.0, 0.2, 0.1];
const THRESHOLD: f64 = 3.0;
/// 1 - beta1^t, sqrt(1 - beta2^t), rate of the step.
const STEP: [f32; 3] = [0.19, 0.05, 0.01];

struct State {
    starts: [u32; 4],
    total: u32,
    /// theta, m, v, gradient; zeros between tensors.
    buffers: [Vec<f32>; 4],
}

fn state(seed: u64) -> State {
    let (mut starts, mut total) = ([0; 4], 0u32);
    for (start, count) in starts.iter_mut().zip(COUNTS) {
        *start = total;
        total = (total + count).next_multiple_of(4);
    }
    let mut random = Random(seed);
    let mut buffers: [Vec<f32>; 4] =
        [1.0, 0.1, 0.1, 1.0].map(|size| (0..total).map(|_| size * random.normal()).collect());
    buffers[2].iter_mut().for_each(|v| *v *= *v);
    let outside = |at: u32| !starts.iter().zip(COUNTS).any(|(s, c)| (*s..s + c).contains(&at));
    for at in (0..total).filter(|&at| outside(at)) {
        buffers[3][at as usize] = 0.0;
    }
    State { starts, total, buffers }
}

/// theta, m, v, their bf16 copy and the norm after a step.
fn step(module: &Module, state: &State) -> ([Vec<f32>; 3], Vec<u16>, f64) {
    let mut memory = DeviceMemory::default();
    let [theta, m, v, g] = state.buffers.each_ref().map(|buffer| upload(&mut memory, buffer));
    let mut rules = Vec::new();
    let mut first_block = 0;
    for (tensor, count) in COUNTS.into_iter().enumerate() {
        first_block.put(&mut rules);
        count.put(&mut rules);
        u64::from(state.starts[tensor]).put(&mut rules);
        for value in [RATES[tensor], DECAYS[tensor], 1e-8, 0.0] {
            value.put(&mut rules);
        }
        first_block += count.div_ceil(CHUNK);
    }
    let rules = upload(&mut memory, &rules);
    let blocks = state.total.div_ceil(CHUNK);
    let (partial, norm) = (memory.allocate(8 * blocks as usize), memory.allocate(8));
    let half_copy = upload(&mut memory, &vec![0u16; state.total as usize]);
    let scalars = upload(&mut memory, &[0.0, STEP[0], STEP[1], STEP[2]]);
    let mut go = |name: &str, blocks: u32, given: Parameters| {
        let shape = Shape { grid: [blocks, 1], threads: 256, dynamic_shared_bytes: 0 };
        launch(module, name, shape, &given, &mut memory).unwrap_or_else(|fault| panic!("{fault}"));
    };
    let given = Parameters::default().long(g).long(u64::from(state.total / 4)).long(partial);
    go("sum_of_squares", blocks, given);
    let given = Parameters::default().long(partial).word(blocks).double(THRESHOLD);
    go("finish_norm", 1, given.long(norm).long(scalars));
    let given = Parameters::default().long(theta).long(m).long(v).long(g).long(half_copy);
    let given = given.long(rules).word(4).single(0.9).single(0.95).long(scalars);
    go("adamw", first_block, given);
    let total = state.total as usize;
    let read = |memory: &mut DeviceMemory, at| download(memory, at, total).expect("written");
    let buffers = [theta, m, v].map(|address| read(&mut memory, address));
    let norm = download::<f64>(&mut memory, norm, 1).expect("written")[0];
    (buffers, download(&mut memory, half_copy, total).expect("written"), norm)
}

#[test]
fn parity_of_norm_clip_and_adamw_with_their_formulas() {
    let state = state(3);
    let ([theta, m, v], half, norm) = step(&module("adamw"), &state);
    let [old, first, second, gradient] = state.buffers.each_ref();
    let expected_norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
    assert!((norm / expected_norm - 1.0).abs() < 1e-12, "{norm} {expected_norm}");
    let scale = (THRESHOLD / (expected_norm + 1e-6)).min(1.0);
    let [c1, c2, rate] = STEP.map(f64::from);
    for (tensor, start) in state.starts.into_iter().enumerate() {
        let (rate, decay) = (rate * f64::from(RATES[tensor]), f64::from(DECAYS[tensor]));
        for at in start as usize..(start + COUNTS[tensor]) as usize {
            let g = scale * f64::from(gradient[at]);
            let m1 = 0.9 * f64::from(first[at]) + 0.1 * g;
            let v1 = 0.95 * f64::from(second[at]) + 0.05 * g * g;
            let kept = f64::from(old[at]) * (1.0 - rate * decay);
            let new = kept - rate * (m1 / c1) / (v1.sqrt() / c2 + 1e-8);
            // A few roundings of f32 in numbers of size 1.
            assert!((f64::from(theta[at]) - new).abs() < 1e-6, "tensor {tensor} entry {at}");
            assert!((f64::from(m[at]) - m1).abs() < 1e-6 && (f64::from(v[at]) - v1).abs() < 1e-6);
            assert_eq!(half[at], emulator::half::f32_to_bf16(theta[at]));
        }
    }
}

#[test]
fn invariant_adamw_leaves_what_lies_between_tensors() {
    let state = state(5);
    let ([theta, m, v], half, _) = step(&module("adamw"), &state);
    let inside = |at: u32| state.starts.iter().zip(COUNTS).any(|(s, c)| (*s..s + c).contains(&at));
    for at in (0..state.total).filter(|&at| !inside(at)).map(|at| at as usize) {
        let found = [theta[at], m[at], v[at]];
        let before = [0, 1, 2].map(|buffer: usize| state.buffers[buffer][at]);
        assert_eq!(found.map(f32::to_bits), before.map(f32::to_bits), "entry {at}");
        assert_eq!(half[at], 0);
    }
}
