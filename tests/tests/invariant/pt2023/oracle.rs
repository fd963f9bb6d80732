//! The update equations once more, one sentence, word and candidate at a time, with T, the scores
//! of global features and the root in full: slow, and with nothing in common with the model.

use std::collections::BTreeMap;

use candle_core::Tensor;
use models::parameters::ParameterSpec;
use models::pt2023::{
    GlobalDesign, GlobalForm, LogitFactor, Normaliser, Pt2023Config, TernaryForm, UpdateOrder,
};

use super::cases::Case;

type Grid = Vec<Vec<f64>>;

/// Label scores (or beliefs), root scores and head posteriors `[channel][word][candidate]` of one
/// sentence.
pub struct Answer {
    pub labels: Grid,
    pub root: Vec<f64>,
    pub posterior: Vec<Grid>,
}

/// A parameter with its shape, indexed by position.
struct Table {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Table {
    fn at(&self, index: &[usize]) -> f64 {
        let place = index.iter().zip(&self.shape).fold(0, |place, (i, size)| {
            assert!(i < size, "index {index:?} outside {:?}", self.shape);
            place * size + i
        });
        self.values[place]
    }
}

struct Oracle<'a> {
    case: &'a Case,
    /// `true` where a word stands.
    words: &'a [bool],
    unary: Grid,
    parameters: BTreeMap<String, Table>,
}

/// Scores before an iteration and beliefs of the one before.
struct State {
    z: Grid,
    root: Vec<f64>,
    logits: Vec<Grid>,
    q: Grid,
    q_root: Vec<f64>,
    p: Vec<Grid>,
}

/// The model's answer for sentence `sentence` of `case`.
pub fn answer(case: &Case, sentence: usize) -> Answer {
    let n = case.length;
    let unary = case.unary.get(sentence).unwrap().to_vec2::<f64>().unwrap();
    let words = &case.words[sentence * n..(sentence + 1) * n];
    let table = |(spec, tensor): (&ParameterSpec, &Tensor)| {
        let values = tensor.flatten_all().unwrap().to_vec1().unwrap();
        (spec.name().to_owned(), Table { shape: tensor.dims().to_vec(), values })
    };
    let parameters = case.layout.specs().iter().zip(&case.parameters).map(table).collect();
    Oracle { case, words, unary, parameters }.run()
}

fn normalise(normaliser: Normaliser, scores: &[f64]) -> Vec<f64> {
    let weights: Vec<f64> = match normaliser {
        Normaliser::Softmax => {
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            scores.iter().map(|score| (score - top).exp()).collect()
        }
        Normaliser::Relu => scores.iter().map(|score| score.max(0.0)).collect(),
    };
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| if sum > 0.0 { weight / sum } else { 0.0 }).collect()
}

fn mix(old: &[f64], new: &[f64], share_of_old: f64) -> Vec<f64> {
    old.iter().zip(new).map(|(old, new)| share_of_old * old + (1.0 - share_of_old) * new).collect()
}

impl Oracle<'_> {
    fn config(&self) -> &Pt2023Config {
        &self.case.config
    }

    fn table(&self, name: &str) -> &Table {
        &self.parameters[name]
    }

    /// T[k, a, b, c].
    fn ternary(&self, k: usize, a: usize, b: usize, c: usize) -> f64 {
        let last = self.config().width - 1;
        let ranks = 0..self.config().rank;
        match self.config().ternary {
            TernaryForm::Dense => self.table("ternary").at(&[k, a, b, c]),
            TernaryForm::Uv => {
                let (u, v) = (self.table("ternary_u"), self.table("ternary_v"));
                ranks.map(|l| u.at(&[k, a, l, c]) * v.at(&[k, b, l, c])).sum()
            }
            TernaryForm::Uvw => {
                let (u, v, w) =
                    (self.table("ternary_u"), self.table("ternary_v"), self.table("ternary_w"));
                ranks.map(|l| u.at(&[k, a, l]) * v.at(&[k, b, l]) * w.at(&[k, c, l])).sum()
            }
            TernaryForm::DistanceShared => {
                let row = |side: &str, label: usize, l: usize| {
                    if label == last {
                        self.table(&format!("ternary_{side}_last")).at(&[k, l])
                    } else {
                        self.table(&format!("ternary_{side}_shared")).at(&[label, l, c])
                    }
                };
                ranks.map(|l| row("u", a, l) * row("v", b, l)).sum()
            }
        }
    }

    /// B[k, a, c].
    fn global(&self, k: usize, a: usize, c: usize) -> f64 {
        let globals = self.config().globals.unwrap();
        if globals.form == GlobalForm::Dense {
            return self.table("global").at(&[k, a, c]);
        }
        let (u, v) = (self.table("global_u"), self.table("global_v"));
        let mut mixture: Vec<f64> = (0..globals.rank).map(|l| u.at(&[k, l, c])).collect();
        if globals.form == GlobalForm::NormalisedProduct {
            mixture = normalise(Normaliser::Softmax, &mixture);
        }
        mixture.iter().enumerate().map(|(l, weight)| weight * v.at(&[a, l, c])).sum()
    }

    /// Score of labels a of word i and b of word j when j is i's head; none for i = j.
    fn score(&self, i: usize, j: usize, a: usize, b: usize, c: usize) -> f64 {
        if i == j {
            return 0.0;
        }
        let mut cuts = self.config().distance_cuts.clone();
        cuts.sort_unstable();
        let mut group = 0;
        while group < cuts.len() && i.abs_diff(j) >= cuts[group] {
            group += 1;
        }
        self.ternary(if j > i { group } else { group + cuts.len() + 1 }, a, b, c)
    }

    fn roots(&self) -> usize {
        usize::from(self.config().root_labels.is_some())
    }

    fn features(&self, channel: usize) -> usize {
        match self.config().globals {
            Some(globals)
                if globals.design != GlobalDesign::FirstChannels || channel < globals.channels =>
            {
                globals.features
            }
            _ => 0,
        }
    }

    fn mask(&self, logits: &mut [Grid]) {
        for channel in logits {
            for (i, row) in channel.iter_mut().enumerate() {
                row[self.roots() + i] -= 1e9;
                for j in 0..self.words.len() {
                    if !self.words[i] || !self.words[j] {
                        row[self.roots() + j] = -1e9;
                    }
                }
                if self.roots() == 1 && !self.words[i] {
                    row[0] = -1e9;
                }
            }
        }
    }

    fn head_beliefs(&self, logits: &[Grid]) -> Vec<Grid> {
        let joint = self.config().globals.is_none_or(|g| g.design == GlobalDesign::AllAttention);
        let normaliser = self.config().normaliser;
        let row = |row: &Vec<f64>| {
            let cut = if joint { row.len() } else { self.roots() + self.words.len() };
            let (words, features) = row.split_at(cut);
            [normalise(normaliser, words), normalise(normaliser, features)].concat()
        };
        let channel = |channel: &Grid| channel.iter().map(row).collect();
        logits.iter().map(channel).collect()
    }

    /// Message F with its factors.
    fn head_update(&self, q: &Grid, q_root: &[f64]) -> Vec<Grid> {
        let (config, sites) = (self.config(), &self.case.sites);
        let (own, base) = (config.width as f64, self.case.base.width as f64);
        let (words_factor, features_factor) = match config.logit_factor {
            LogitFactor::OwnWidth => (own, own),
            LogitFactor::BaseWidth => (base * sites.attention_logits, base),
        };
        let labels = 0..config.width;
        let candidates = |c: usize, i: usize| {
            let mut row = Vec::new();
            if self.roots() == 1 {
                let table = self.table("root_ternary");
                let pairs = labels.clone().flat_map(|a| (0..q_root.len()).map(move |r| (a, r)));
                let sum: f64 = pairs.map(|(a, r)| q[i][a] * q_root[r] * table.at(&[a, r, c])).sum();
                row.push(sum * words_factor);
            }
            for j in 0..self.words.len() {
                let mut sum = 0.0;
                for a in labels.clone() {
                    for b in labels.clone() {
                        sum += q[i][a] * q[j][b] * self.score(i, j, a, b, c);
                    }
                }
                row.push(sum * words_factor);
            }
            for k in 0..self.features(c) {
                let sum: f64 = labels.clone().map(|a| q[i][a] * self.global(k, a, c)).sum();
                row.push(sum * features_factor);
            }
            row
        };
        let words = 0..self.words.len();
        let channel = |c| words.clone().map(|i| candidates(c, i)).collect();
        (0..config.channels).map(channel).collect()
    }

    /// Message G to label a of word i.
    fn label_message(&self, q: &Grid, q_root: &[f64], p: &[Grid], i: usize, a: usize) -> f64 {
        let (config, roots, n) = (self.config(), self.roots(), self.words.len());
        let mut sum = 0.0;
        for (c, p) in p.iter().enumerate() {
            for (j, heard) in q.iter().enumerate() {
                for (b, belief) in heard.iter().enumerate() {
                    sum += p[i][roots + j] * belief * self.score(i, j, a, b, c);
                    if !config.head_message_only {
                        sum += p[j][roots + i] * belief * self.score(j, i, b, a, c);
                    }
                }
            }
            for k in 0..self.features(c) {
                sum += self.case.sites.topic * p[i][roots + n + k] * self.global(k, a, c);
            }
            for (r, belief) in q_root.iter().enumerate() {
                sum += p[i][0] * belief * self.table("root_ternary").at(&[a, r, c]);
            }
        }
        sum * self.case.sites.message
    }

    /// Message G to label r of the root.
    fn root_message(&self, q: &Grid, p: &[Grid], r: usize) -> f64 {
        let table = self.table("root_ternary");
        let mut sum = 0.0;
        for (c, p) in p.iter().enumerate() {
            for (row, q) in p.iter().zip(q) {
                for (b, belief) in q.iter().enumerate() {
                    sum += row[0] * belief * table.at(&[b, r, c]);
                }
            }
        }
        sum * self.case.sites.message
    }

    fn silent(&self, q: &Grid) -> Grid {
        let speak = |(row, &word): (&Vec<f64>, &bool)| {
            row.iter().map(|belief| if word { *belief } else { 0.0 }).collect()
        };
        q.iter().zip(self.words).map(speak).collect()
    }

    fn start(&self) -> State {
        let config = self.config();
        let candidates = |c: usize| self.roots() + self.words.len() + self.features(c);
        let channel = |c: usize| vec![vec![1.0; candidates(c)]; self.words.len()];
        let mut logits: Vec<Grid> = (0..config.channels).map(channel).collect();
        self.mask(&mut logits);
        let z = self.silent(&self.unary);
        let root = vec![0.0; config.root_labels.unwrap_or(0)];
        let q = z.iter().map(|z| normalise(config.normaliser, z)).collect();
        let q_root = normalise(config.normaliser, &root);
        let p = self.head_beliefs(&logits);
        State { z, root, logits, q, q_root, p }
    }

    fn iterate(&self, state: &State, first: bool) -> State {
        let config = self.config();
        let synchronous = config.order == UpdateOrder::Synchronous;
        let steps = synchronous || !first;
        let (keep_q, keep_p) =
            if steps { (1.0 - config.label_step, 1.0 - config.head_step) } else { (0.0, 0.0) };
        let label_belief =
            |old: &[f64], z: &[f64]| mix(old, &normalise(config.normaliser, z), keep_q);
        let q: Grid = state.q.iter().zip(&state.z).map(|(old, z)| label_belief(old, z)).collect();
        let q_root = label_belief(&state.q_root, &state.root);
        let scaled = |row: &[f64]| row.iter().map(|q| q * self.case.sites.belief).collect();
        let said: Grid = self.silent(&q).iter().map(|row| scaled(row)).collect();
        let said_root: Vec<f64> = scaled(&q_root);
        let mut before = state.logits.clone();
        if synchronous {
            self.mask(&mut before);
        }
        let update = self.head_update(&said, &said_root);
        let divide = |row: &[f64]| row.iter().map(|a| a / config.head_lambda).collect::<Vec<_>>();
        let damp = |(old, new): (&Grid, &Grid)| -> Grid {
            let rows = old.iter().zip(new);
            rows.map(|(old, new)| mix(old, &divide(new), config.head_damping)).collect()
        };
        let mut logits: Vec<Grid> = before.iter().zip(&update).map(damp).collect();
        if !synchronous {
            self.mask(&mut logits);
        }
        let chosen = self.head_beliefs(if synchronous { &before } else { &logits });
        let blend = |(old, new): (&Grid, &Grid)| -> Grid {
            old.iter().zip(new).map(|(old, new)| mix(old, new, keep_p)).collect()
        };
        let p: Vec<Grid> = state.p.iter().zip(&chosen).map(blend).collect();
        let word = |i: usize| {
            let update = |a: usize| {
                let message = self.label_message(&said, &said_root, &p, i, a);
                (self.unary[i][a] + message) / config.label_lambda
            };
            let new: Vec<f64> = (0..config.width).map(update).collect();
            mix(&state.z[i], &new, config.label_damping)
        };
        let z = (0..self.words.len()).map(word).collect();
        let root_update = |r: usize| self.root_message(&said, &p, r) / config.label_lambda;
        let new: Vec<f64> = (0..state.root.len()).map(root_update).collect();
        let root = mix(&state.root, &new, config.label_damping);
        State { z, root, logits, q, q_root, p }
    }

    fn run(&self) -> Answer {
        let config = self.config();
        let mut state = self.start();
        for iteration in 0..config.iterations {
            state = self.iterate(&state, iteration == 0);
        }
        let mut posterior = state.p.clone();
        if config.order == UpdateOrder::Synchronous {
            self.mask(&mut state.logits);
            let new = self.head_beliefs(&state.logits);
            for (p, new) in posterior.iter_mut().zip(&new) {
                for (p, new) in p.iter_mut().zip(new) {
                    *p = mix(p, new, 1.0 - config.head_step);
                }
            }
        }
        let labels = if config.output_probability {
            let pairs = state.q.iter().zip(&state.z);
            pairs
                .map(|(q, z)| mix(q, &normalise(config.normaliser, z), 1.0 - config.label_step))
                .collect()
        } else {
            state.z
        };
        Answer { labels, root: state.root, posterior }
    }
}
