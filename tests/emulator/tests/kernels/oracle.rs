//! Head selection by its formulas, in float64.

use emulator::half::{bf16_to_f32, f32_to_bf16};

use crate::support::Random;

/// Inputs of head selection: what the header of `head_selection.cu` names.
#[derive(Debug, Clone)]
pub struct Case {
    pub length: usize,
    pub channels: usize,
    pub sequences: usize,
    pub rank: usize,
    pub words: Vec<u8>,
    /// u, v, w, a, b; w is u in the exact form.
    pub tiles: [Vec<u16>; 5],
    /// Whether w is apart from u, as in the published form.
    pub apart: bool,
    /// Natural logit factor.
    pub factor: f32,
}

impl Case {
    /// A case of the given sizes; each sequence is five words shorter than the one before, and
    /// every seventeenth place is padding.
    pub fn new(length: usize, sequences: usize, rank: usize, apart: bool, seed: u64) -> Self {
        let channels = 2;
        let mut random = Random(seed.max(1));
        let count = sequences * channels * length * rank;
        let mut draw = || (0..count).map(|_| f32_to_bf16(random.normal())).collect::<Vec<_>>();
        let mut tiles: [Vec<u16>; 5] = std::array::from_fn(|_| draw());
        if !apart {
            let (u, rest) = tiles.split_at_mut(1);
            rest[1].clone_from(&u[0]);
        }
        let words = (0..sequences * length)
            .map(|at| u8::from(at % length < length - 5 * (at / length) && at % 17 != 3))
            .collect();
        Self { length, channels, sequences, rank, words, tiles, apart, factor: 0.3 }
    }

    pub fn heads(&self) -> usize {
        self.channels * self.sequences
    }
    fn at(&self, tile: usize, row: usize, k: usize) -> f64 {
        bf16_to_f32(self.tiles[tile][row * self.rank + k]).into()
    }
    fn dot(&self, (left, i): (usize, usize), (right, j): (usize, usize)) -> f64 {
        (0..self.rank).map(|k| self.at(left, i, k) * self.at(right, j, k)).sum()
    }
}

/// What the kernels give: (heads, n, r) but `level` (heads, n), in units of log2.
#[derive(Debug, Clone)]
pub struct Answer {
    pub message_rows: Vec<f64>,
    pub message_columns: Vec<f64>,
    pub level: Vec<f64>,
    pub d_sent: Vec<f64>,
    pub d_u: Vec<f64>,
    pub d_v: Vec<f64>,
}

const U: usize = 0;
const V: usize = 1;
const W: usize = 2;
const A: usize = 3;
const B: usize = 4;

/// The formulas, term by term.
pub fn answer(case: &Case) -> Answer {
    let size = case.heads() * case.length * case.rank;
    let zeros = || vec![0.0; size];
    let mut answer = Answer {
        message_rows: zeros(),
        message_columns: zeros(),
        level: vec![f64::INFINITY; case.heads() * case.length],
        d_sent: zeros(),
        d_u: zeros(),
        d_v: zeros(),
    };
    for head in 0..case.heads() {
        one_head(case, head, &mut answer);
    }
    answer
}

fn one_head(case: &Case, head: usize, answer: &mut Answer) {
    let (n, r, factor) = (case.length, case.rank, f64::from(case.factor));
    let words = &case.words[head / case.channels * n..][..n];
    for i in 0..n {
        let row = head * n + i;
        let allowed: Vec<usize> =
            (0..n).filter(|&j| j != i && words[i] != 0 && words[j] != 0).collect();
        if allowed.is_empty() {
            continue;
        }
        let s: Vec<f64> =
            allowed.iter().map(|&j| factor * case.dot((U, row), (V, head * n + j))).collect();
        let most = s.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let level = most + s.iter().map(|s| (s - most).exp()).sum::<f64>().ln();
        answer.level[row] = level * std::f64::consts::LOG2_E;
        let p: Vec<f64> = s.iter().map(|s| (s - level).exp()).collect();
        let d_p: Vec<f64> = allowed
            .iter()
            .map(|&j| case.dot((A, row), (V, head * n + j)) + case.dot((W, row), (B, head * n + j)))
            .collect();
        let delta: f64 = p.iter().zip(&d_p).map(|(p, d)| p * d).sum();
        for ((&j, &p), &d_p) in allowed.iter().zip(&p).zip(&d_p) {
            let (other, d_s) = (head * n + j, factor * p * (d_p - delta));
            for k in 0..r {
                let (mine, theirs) = (row * r + k, other * r + k);
                answer.message_rows[mine] += p * case.at(V, other, k);
                answer.message_columns[theirs] += p * case.at(W, row, k);
                answer.d_sent[mine] += p * case.at(B, other, k);
                answer.d_u[mine] += d_s * case.at(V, other, k);
                answer.d_v[theirs] += d_s * case.at(U, row, k) + p * case.at(A, row, k);
            }
        }
        if !case.apart {
            for k in row * r..(row + 1) * r {
                answer.d_u[k] += answer.d_sent[k];
            }
        }
    }
}
