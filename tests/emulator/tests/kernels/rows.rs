//! Kernels over rows against their formulas: beliefs, head, cross-entropy, embedding.

use emulator::DeviceMemory;
use proptest::prelude::*;

use crate::support::{Parameters, Random, Shape, distance, download, launch, module, upload};

/// Roundings of f32 in sums of a few hundred terms; approximations of exp2 two ulp.
const BOUND: f64 = 3e-6;
/// Rows of a block, one a warp.
const ROWS_A_BLOCK: usize = 8;

/// One kernel of one file on its own memory.
struct Bench {
    module: emulator::Module,
    memory: DeviceMemory,
}

impl Bench {
    fn new(file: &str) -> Self {
        Self { module: module(file), memory: DeviceMemory::default() }
    }
    fn up(&mut self, values: &[f32]) -> u64 {
        upload(&mut self.memory, values)
    }
    fn ids(&mut self, values: &[u32]) -> u64 {
        upload(&mut self.memory, values)
    }
    fn room(&mut self, count: usize) -> u64 {
        self.memory.allocate(4 * count)
    }
    fn down(&mut self, address: u64, count: usize) -> Vec<f32> {
        download(&mut self.memory, address, count).unwrap_or_else(|fault| panic!("{fault}"))
    }
    fn go(&mut self, name: &str, grid: [usize; 2], given: &Parameters) {
        let grid = grid.map(|blocks| blocks as u32);
        let shape = Shape { grid, threads: 256, dynamic_shared_bytes: 0 };
        launch(&self.module, name, shape, given, &mut self.memory)
            .unwrap_or_else(|fault| panic!("{fault}"));
    }
}

fn given() -> Parameters {
    Parameters::default()
}

fn normals(count: usize, seed: u64) -> Vec<f32> {
    let mut random = Random(seed.max(1));
    (0..count).map(|_| random.normal()).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| value.into()).collect()
}

#[track_caller]
fn close(name: &str, found: &[f32], expected: &[f64]) {
    let error = distance(found, expected);
    assert!(error < BOUND, "{name} is off by {error:.1e}");
}

/// What a normaliser is told besides its scores.
#[derive(Clone, Copy)]
struct Normaliser {
    potential: &'static str,
    topics: bool,
    score: f64,
    factor: f64,
    epsilon: f64,
}

impl Normaliser {
    /// Unnormalised weight of a score, and its slope over the score.
    fn weight(&self, y: f64) -> (f64, f64) {
        let scaled = self.score * y;
        let (weight, slope) = match (self.potential, self.topics) {
            ("square", _) => (scaled * scaled, 2.0 * scaled),
            ("abs", false) => (scaled.abs(), if scaled == 0.0 { 0.0 } else { scaled.signum() }),
            ("abs", true) => (scaled.max(0.0), f64::from(u8::from(scaled > 0.0))),
            _ => (scaled.exp(), scaled.exp()),
        };
        (weight, self.score * slope)
    }

    /// Beliefs of a row, and the gradient of its scores given that of its beliefs.
    fn row(&self, y: &[f64], d: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let weights: Vec<(f64, f64)> = y.iter().map(|&y| self.weight(y)).collect();
        let sum: f64 = weights.iter().map(|(weight, _)| weight).sum();
        let free = self.potential == "exp" || sum > self.epsilon;
        let bounded = if free { sum } else { self.epsilon };
        let x: Vec<f64> = weights.iter().map(|(w, _)| self.factor * w / bounded).collect();
        let mean: f64 = x.iter().zip(d).map(|(x, d)| x * d).sum::<f64>() / self.factor;
        let mean = if free { mean } else { 0.0 };
        let slope =
            |((_, slope), d): (&(f64, f64), &f64)| self.factor * slope / bounded * (d - mean);
        let d_y = weights.iter().zip(d).map(slope).collect();
        (x, d_y)
    }
}

/// Forward and backward of a normaliser on rows of which the last is nearly zero.
fn check_normaliser(how: Normaliser, rows: usize, width: usize, seed: u64) {
    let mut bench = Bench::new("beliefs");
    let mut scores = normals(rows * width, seed);
    // Below epsilon: the sum is bounded there.
    scores[(rows - 1) * width..].iter_mut().for_each(|score| *score *= 1e-5);
    let (d, before) = (normals(rows * width, seed ^ 5), normals(rows * width, seed ^ 9));
    let keep = 0.5;
    let (y, d_x) = (bench.up(&scores), bench.up(&d));
    let (x, sums) = (bench.room(rows * width), bench.room(rows));
    let shape = |given: Parameters| given.long(rows as u64).word(width as u32);
    let constants = |given: Parameters| given.single(how.factor as f32).single(how.epsilon as f32);
    let grid = [rows.div_ceil(ROWS_A_BLOCK), 1];
    let kind = if how.topics { "topics" } else { "labels" };
    let mut forward = shape(given().long(y));
    if how.topics {
        forward = forward.single(how.score as f32);
    }
    let forward = constants(forward).long(x).long(sums);
    bench.go(&format!("{kind}_forward_{}", how.potential), grid, &forward);
    let d_y = if how.topics { y } else { bench.up(&before) };
    let backward = if how.topics {
        let start = shape(given().long(x).long(sums).long(d_x)).single(how.score as f32);
        constants(start).long(d_y)
    } else {
        constants(shape(given().long(y).long(x).long(sums).long(d_x))).single(keep).long(d_y)
    };
    bench.go(&format!("{kind}_backward_{}", how.potential), grid, &backward);
    let (mut expected, mut gradient) = (Vec::new(), Vec::new());
    let rows_of = wide(&scores);
    for ((y, d), before) in
        rows_of.chunks(width).zip(wide(&d).chunks(width)).zip(wide(&before).chunks(width))
    {
        let (x, d_y) = how.row(y, d);
        expected.extend(x);
        let kept = |(d_y, before): (f64, &f64)| {
            d_y + if how.topics { 0.0 } else { f64::from(keep) * before }
        };
        gradient.extend(d_y.into_iter().zip(before).map(kept));
    }
    let found = bench.down(x, rows * width);
    close("beliefs", &found, &expected);
    let found = bench.down(d_y, rows * width);
    // The last row's gradient is large: its sum is bounded. Rows are compared one by one.
    for (found, expected) in found.chunks(width).zip(gradient.chunks(width)) {
        close("their gradient", found, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]
    #[test]
    fn parity_of_beliefs_with_their_formulas(
        rows in 2usize..12, width in 3usize..90, topics: bool, seed: u64,
    ) {
        for potential in ["square", "abs", "exp"] {
            let score = if topics { 0.7 } else { 1.0 };
            let how = Normaliser { potential, topics, score, factor: width as f64, epsilon: 1e-6 };
            check_normaliser(how, rows, width, seed);
        }
    }

    #[test]
    fn parity_of_cross_entropy_with_its_formula(
        rows in 1usize..4, vocab in 2usize..600, seed: u64,
    ) {
        let mut bench = Bench::new("cross_entropy");
        let logits: Vec<f32> = normals(rows * vocab, seed).iter().map(|l| 3.0 * l).collect();
        let labels: Vec<u32> =
            (0..rows).map(|row| ((seed as usize).wrapping_add(row * 7) % vocab) as u32).collect();
        let weight = 0.25f32;
        let (l, chosen) = (bench.up(&logits), bench.ids(&labels));
        let (losses, again) = (bench.room(rows), bench.room(rows));
        let start = || given().long(l).long(chosen).word(vocab as u32);
        bench.go("cross_entropy_losses", [rows, 1], &start().long(losses));
        bench.go("cross_entropy_gradients", [rows, 1], &start().single(weight).long(again));
        let (mut expected, mut gradient) = (Vec::new(), Vec::new());
        for (row, &label) in wide(&logits).chunks(vocab).zip(&labels) {
            let level = row.iter().map(|l| l.exp()).sum::<f64>().ln();
            expected.push(level - row[label as usize]);
            let term = |(at, l): (usize, &f64)| {
                f64::from(weight) * ((l - level).exp() - f64::from(u8::from(at == label as usize)))
            };
            gradient.extend(row.iter().enumerate().map(term));
        }
        let losses = bench.down(losses, rows);
        close("losses", &losses, &expected);
        let bits = |losses: &[f32]| losses.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&bench.down(again, rows)), bits(&losses));
        close("gradients", &bench.down(l, rows * vocab), &gradient);
    }
}

/// y, dx and column sums by their formulas.
fn head_formulas(parts: &[Vec<f64>; 5], width: usize, epsilon: f64) -> [Vec<f64>; 3] {
    let [x, b, gain, bias, d_y] = parts;
    let (mut y, mut d_x, mut sums) = (Vec::new(), Vec::new(), vec![0.0; 3 * width]);
    for (x, d_y) in x.chunks(width).zip(d_y.chunks(width)) {
        let t: Vec<f64> = x.iter().zip(b).map(|(x, b)| x + b).collect();
        let sigmoid = |t: f64| 1.0 / (1.0 + (-t).exp());
        let a: Vec<f64> = t.iter().map(|&t| t * sigmoid(t)).collect();
        let mean = a.iter().sum::<f64>() / width as f64;
        let variance = a.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / width as f64;
        let n: Vec<f64> = a.iter().map(|a| (a - mean) / (variance + epsilon).sqrt()).collect();
        let d: Vec<f64> = d_y.iter().zip(gain).map(|(d, gain)| d * gain).collect();
        let d_mean = d.iter().sum::<f64>() / width as f64;
        let d_slope = d.iter().zip(&n).map(|(d, n)| d * n).sum::<f64>() / width as f64;
        for at in 0..width {
            y.push(n[at] * gain[at] + bias[at]);
            let s = sigmoid(t[at]);
            let d_a = (d[at] - d_mean - n[at] * d_slope) / (variance + epsilon).sqrt();
            let d_t = d_a * s * (1.0 + t[at] * (1.0 - s));
            d_x.push(d_t);
            sums[at] += d_t;
            sums[width + at] += d_y[at] * n[at];
            sums[2 * width + at] += d_y[at];
        }
    }
    [y, d_x, sums]
}

#[test]
fn parity_of_the_head_with_its_formulas() {
    for (rows, width) in [(3, 40), (70, 33), (130, 300)] {
        let mut bench = Bench::new("silu_layer_norm");
        let sizes = [rows * width, width, width, width, rows * width];
        let mut seed = 11;
        let parts = sizes.map(|size| {
            seed += 2;
            normals(size, seed)
        });
        let [x, b, gain, bias, d_y] = parts.each_ref().map(|part| bench.up(part));
        let statistics = bench.room(2 * rows);
        let [y, d_x] = [0; 2].map(|_| bench.room(rows * width));
        let row_parts = rows.div_ceil(64);
        let partial = bench.room(3 * row_parts * width);
        let sums = bench.up(&vec![1.0; 3 * width]);
        let shape = |given: Parameters| given.long(rows as u64).word(width as u32);
        let grid = [rows.div_ceil(ROWS_A_BLOCK), 1];
        let start = given().long(x).long(b).long(gain).long(bias);
        let forward = shape(start).single(1e-5).long(y).long(statistics);
        bench.go("silu_layer_norm_forward", grid, &forward);
        let start = given().long(x).long(b).long(gain).long(statistics).long(d_y);
        bench.go("silu_layer_norm_backward", grid, &shape(start).long(d_x));
        let start = given().long(x).long(b).long(statistics).long(d_y).long(d_x);
        let columns = width.div_ceil(256);
        let parts_of = shape(start).long(partial);
        bench.go("silu_layer_norm_column_parts", [columns, row_parts], &parts_of);
        let last = given().long(partial).word(row_parts as u32).word(width as u32).long(sums);
        bench.go("silu_layer_norm_column_sums", [columns, 3], &last);
        let [e_y, e_d_x, mut e_sums] = head_formulas(&parts.map(|part| wide(&part)), width, 1e-5);
        // Sums are added to what was there.
        for sum in &mut e_sums {
            *sum += 1.0;
        }
        close("y", &bench.down(y, rows * width), &e_y);
        close("dx", &bench.down(d_x, rows * width), &e_d_x);
        close("column sums", &bench.down(sums, 3 * width), &e_sums);
    }
}

#[test]
fn parity_of_embedding_with_loops() {
    let (tokens, vocab, width, scale, piece_rows) = (90usize, 7u32, 300usize, 0.5f32, 16);
    let mut bench = Bench::new("embedding");
    let mut random = Random(5);
    // Id 3 is frequent, so that it takes several pieces; id 6 never occurs.
    let ids: Vec<u32> = (0..tokens)
        .map(|_| if random.uniform() < 0.6 { 3 } else { (random.next() % 6) as u32 })
        .collect();
    let table = normals(vocab as usize * width, 7);
    let (d_z, before) = (normals(tokens * width, 9), normals(vocab as usize * width, 13));
    let mut order: Vec<u32> = (0..tokens as u32).collect();
    order.sort_by_key(|&token| ids[token as usize]);
    let (mut pieces, mut runs, mut run_ids) = (vec![0u32], vec![0u32], Vec::new());
    for same in order.chunk_by(|a, b| ids[*a as usize] == ids[*b as usize]) {
        for piece in same.chunks(piece_rows) {
            pieces.push(pieces.last().expect("a first") + piece.len() as u32);
        }
        runs.push(pieces.len() as u32 - 1);
        run_ids.push(ids[same[0] as usize]);
    }
    let count = pieces.len() - 1;
    let [at_ids, at_order, at_pieces, at_runs, at_run_ids] =
        [&ids, &order, &pieces, &runs, &run_ids].map(|list| bench.ids(list));
    let [at_table, at_d_z, at_d_table] = [&table, &d_z, &before].map(|list| bench.up(list));
    let (z, partial) = (bench.room(tokens * width), bench.room(count * width));
    let start = given().long(at_ids).long(at_table).long(tokens as u64).word(width as u32);
    let rows = [tokens.div_ceil(ROWS_A_BLOCK), 1];
    bench.go("embedding_forward", rows, &start.single(scale).long(z));
    let columns = width.div_ceil(256);
    let start = given().long(at_order).long(at_pieces).long(at_d_z).word(width as u32);
    bench.go("embedding_pieces", [columns, count], &start.long(partial));
    let start = given().long(at_runs).long(at_run_ids).long(partial).word(width as u32);
    bench.go("embedding_runs", [columns, run_ids.len()], &start.single(scale).long(at_d_table));
    let mut expected = wide(&before);
    let mut looked_up = Vec::new();
    for (token, &id) in ids.iter().enumerate() {
        for column in 0..width {
            let place = id as usize * width + column;
            looked_up.push(f64::from(scale) * f64::from(table[place]));
            expected[place] += f64::from(scale) * f64::from(d_z[token * width + column]);
        }
    }
    close("rows", &bench.down(z, tokens * width), &looked_up);
    close("the table's gradient", &bench.down(at_d_table, vocab as usize * width), &expected);
}
