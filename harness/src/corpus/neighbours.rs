//! What two adjacent tokens tell: smoothed counts of training text.
//!
//! With `l` and `r` left and right of x, `c` counts in the text and `u` the frequencies:
//!
//! - one neighbour: `p(x | l) = (c(l x) + a u(x)) / (c(l) + a)`, and the same for r;
//! - both, as if each told something of its own: `q(x) ∝ p(x | l) p(x | r) / u(x)`;
//! - both together: `p(x | l, r) = (c(l x r) + b q(x)) / (c(l · r) + b)`.
//!
//! An absent or masked neighbour tells nothing: `p(x | l) = u(x)`. The weights a and b are those
//! of [`WEIGHTS`] that predict the last tenth of the text best from counts of the rest; then all of
//! it is counted. Held-out text plays no part. Another predictor may do better, so its loss is an
//! upper estimate of what neighbours allow.

use super::Corpus;
use super::lines::shares;

/// Training tokens that are counted at most: the first ones.
const TOKENS_MAX: usize = 1 << 22;
/// Values tried for a and b, in tokens.
const WEIGHTS: [f64; 9] = [0.25, 1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0];
/// Places of the last tenth that a and b are chosen on, evenly spread.
const PLACES: usize = 4096;

/// Counts of pairs and triples, and how far they are trusted.
pub struct Neighbours {
    counts: Counts,
    /// a and b.
    weights: [f64; 2],
}

impl Neighbours {
    /// Counts the training split of `corpus` and chooses a and b.
    pub fn fit(corpus: &Corpus, mask_unknown: bool) -> Self {
        let targets = corpus.vocabulary().maskable(mask_unknown);
        let tokens = &corpus.train.tokens;
        let mut text = Vec::new();
        tokens.copy_into(0..tokens.len().min(TOKENS_MAX), &mut text);
        Self { weights: choose(&text, &targets), counts: Counts::of(&text, &targets) }
    }

    /// Predictions between `left` and `right`.
    pub fn beside(&self, left: Option<u32>, right: Option<u32>) -> Choice<'_> {
        Choice {
            counts: &self.counts,
            weights: self.weights,
            beside: [left, right],
            pair: self.counts.pair([left, right]),
        }
    }
}

/// Predictions between two given tokens.
pub struct Choice<'a> {
    counts: &'a Counts,
    weights: [f64; 2],
    beside: [Option<u32>; 2],
    pair: Pair,
}

impl Choice<'_> {
    /// `p(id | l, r)`.
    pub fn probability(&self, id: u32) -> f64 {
        let unigram = self.counts.unigram[id as usize];
        self.pair.probability(self.counts.word(self.beside, id), unigram, self.weights)
    }
}

/// What is counted of one pair of neighbours.
#[derive(Debug, Clone, Copy)]
struct Pair {
    /// c(l), c(r), c(l · r) over the ids that may be targets.
    totals: [f64; 3],
    /// `Σ_x c(l x) c(x r) / u(x)`.
    product: f64,
}

impl Pair {
    /// `p(x | l, r)` from c(l x), c(x r), c(l x r) and u(x). The normaliser of q is
    /// `product + a (c(l) + c(r)) + a²`, over the same `(c(l) + a) (c(r) + a)` as each summand.
    fn probability(&self, word: [f64; 3], unigram: f64, [a, b]: [f64; 2]) -> f64 {
        let [left, right, both] = word;
        let normaliser = self.product + a * (self.totals[0] + self.totals[1]) + a * a;
        let each = (left + a * unigram) * (right + a * unigram) / unigram / normaliser;
        (both + b * each) / (self.totals[2] + b)
    }
}

/// Counts of a text.
struct Counts {
    unigram: Vec<f64>,
    targets: Vec<bool>,
    /// c(x y) by `[x, y]`.
    pairs: Tally<2>,
    /// c(x y z) by `[x, z, y]`: what stands between two neighbours is one range.
    triples: Tally<3>,
    /// c(l) by l and c(r) by r.
    totals: [Vec<f64>; 2],
}

impl Counts {
    fn of(text: &[u32], targets: &[bool]) -> Self {
        let mut counts: Vec<u64> = targets.iter().map(|&target| u64::from(target)).collect();
        for &id in text {
            counts[id as usize] += u64::from(targets[id as usize]);
        }
        let mut totals = [(); 2].map(|()| vec![0f64; targets.len()]);
        for pair in text.windows(2) {
            let [x, y] = [pair[0] as usize, pair[1] as usize];
            totals[0][x] += f64::from(u8::from(targets[y]));
            totals[1][y] += f64::from(u8::from(targets[x]));
        }
        let between = text.windows(3).filter(|words| targets[words[1] as usize]);
        Self {
            unigram: shares(&counts),
            targets: targets.to_vec(),
            pairs: tally(text.windows(2).map(|pair| [pair[0], pair[1]]).collect()),
            triples: tally(between.map(|words| [words[0], words[2], words[1]]).collect()),
            totals,
        }
    }

    fn pair(&self, [left, right]: [Option<u32>; 2]) -> Pair {
        let total =
            |side: usize, id: Option<u32>| id.map_or(0.0, |id| self.totals[side][id as usize]);
        let (mut product, mut both) = (0.0, 0.0);
        if let (Some(left), Some(right)) = (left, right) {
            for &([_, between], count) in range(&self.pairs, [left]) {
                if self.targets[between as usize] {
                    let after = number(&self.pairs, [between, right]);
                    product += f64::from(count) * after / self.unigram[between as usize];
                }
            }
            let found = range(&self.triples, [left, right]).iter();
            both = found.map(|&(_, count)| f64::from(count)).sum();
        }
        Pair { totals: [total(0, left), total(1, right), both], product }
    }

    /// c(l x), c(x r), c(l x r).
    fn word(&self, [left, right]: [Option<u32>; 2], id: u32) -> [f64; 3] {
        let both = left.zip(right).map_or(0.0, |(l, r)| number(&self.triples, [l, r, id]));
        [
            left.map_or(0.0, |left| number(&self.pairs, [left, id])),
            right.map_or(0.0, |right| number(&self.pairs, [id, right])),
            both,
        ]
    }
}

/// Different keys in increasing order, each with its number.
type Tally<const N: usize> = Vec<([u32; N], u32)>;

fn tally<const N: usize>(mut keys: Vec<[u32; N]>) -> Tally<N> {
    keys.sort_unstable();
    keys.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u32)).collect()
}

/// The entries whose key begins with `start`.
fn range<const N: usize, const K: usize>(tally: &Tally<N>, start: [u32; K]) -> &[([u32; N], u32)] {
    let first = tally.partition_point(|(key, _)| key[..K] < start[..]);
    let length = tally[first..].partition_point(|(key, _)| key[..K] == start[..]);
    &tally[first..first + length]
}

fn number<const N: usize>(tally: &Tally<N>, key: [u32; N]) -> f64 {
    range(tally, key).first().map_or(0.0, |&(_, count)| f64::from(count))
}

/// The a and b with which counts of the first nine tenths of `text` predict the rest best.
fn choose(text: &[u32], targets: &[bool]) -> [f64; 2] {
    let (known, rest) = text.split_at(text.len() - text.len() / 10);
    let counts = Counts::of(known, targets);
    let mut losses = [[0.0; WEIGHTS.len()]; WEIGHTS.len()];
    let places = rest.len().saturating_sub(2);
    for index in 0..places.min(PLACES) {
        let at = index * places / places.min(PLACES);
        let [left, id, right] = [rest[at], rest[at + 1], rest[at + 2]];
        if !targets[id as usize] {
            continue;
        }
        let beside = [Some(left), Some(right)];
        let (pair, word) = (counts.pair(beside), counts.word(beside, id));
        for (losses, a) in losses.iter_mut().zip(WEIGHTS) {
            for (loss, b) in losses.iter_mut().zip(WEIGHTS) {
                *loss -= pair.probability(word, counts.unigram[id as usize], [a, b]).ln();
            }
        }
    }
    let each = WEIGHTS
        .iter()
        .zip(&losses)
        .flat_map(|(&a, losses)| WEIGHTS.iter().zip(losses).map(move |(&b, &loss)| (loss, [a, b])));
    each.min_by(|a, b| a.0.total_cmp(&b.0)).map_or([1.0; 2], |(_, weights)| weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids 0 and 1 are no targets.
    const TARGETS: [bool; 5] = [false, false, true, true, true];
    const TEXT: [u32; 12] = [2, 3, 4, 2, 3, 2, 1, 3, 4, 4, 3, 4];

    #[test]
    fn invariant_predictions_between_two_words_are_a_distribution() {
        let counts = Counts::of(&TEXT, &TARGETS);
        for weights in [[1.0, 1.0], [0.25, 16.0], [1024.0, 4.0]] {
            for left in [None, Some(1), Some(2), Some(3)] {
                for right in [None, Some(2), Some(4)] {
                    let pair = counts.pair([left, right]);
                    let of = |id: u32| {
                        let word = counts.word([left, right], id);
                        pair.probability(word, counts.unigram[id as usize], weights)
                    };
                    let total: f64 = (2..5).map(of).sum();
                    assert!((total - 1.0).abs() < 1e-12, "{left:?} {right:?}: {total}");
                }
            }
        }
    }

    #[test]
    fn invariant_predictions_between_two_words_follow_the_formula() {
        let counts = Counts::of(&TEXT, &TARGETS);
        // Words 2, 3, 4 stand 3, 4 and 4 times, the separator once; one is added to targets.
        let unigram = [0.0, 0.0, 4.0 / 14.0, 5.0 / 14.0, 5.0 / 14.0];
        assert_eq!(counts.unigram, unigram);
        let (a, b) = (4.0, 16.0);
        // After 2: 3 twice (its other successor is no target). Before 4: 3 three times, 4 once.
        let after = |id: usize| (if id == 3 { 2.0 } else { 0.0 } + a * unigram[id]) / (2.0 + a);
        let before = |id: usize| {
            let count = [0.0, 0.0, 0.0, 3.0, 1.0][id];
            (count + a * unigram[id]) / (4.0 + a)
        };
        let product = |id: usize| after(id) * before(id) / unigram[id];
        let normaliser: f64 = (2..5).map(product).sum();
        // Between 2 and 4 stands 3, once.
        for (id, &share) in unigram.iter().enumerate().skip(2) {
            let both = if id == 3 { 1.0 } else { 0.0 };
            let expected = (both + b * product(id) / normaliser) / (1.0 + b);
            let beside = [Some(2), Some(4)];
            let word = counts.word(beside, id as u32);
            let found = counts.pair(beside).probability(word, share, [a, b]);
            assert!((found - expected).abs() < 1e-12, "{id}: {found} for {expected}");
        }
        // Without neighbours the frequencies are left.
        let (pair, word) = (counts.pair([None, None]), counts.word([None, None], 4));
        assert!((pair.probability(word, unigram[4], [a, b]) - unigram[4]).abs() < 1e-12);
    }

    #[test]
    fn invariant_weights_follow_the_text() {
        // Each word is the successor of the one before: counts deserve all trust.
        let chain: Vec<u32> = (0..3000).map(|i| 2 + i % 3).collect();
        let [a, b] = choose(&chain, &TARGETS);
        assert!(a <= 1.0 || b <= 1.0, "a {a}, b {b}");
        // Forty words at random: pairs and triples are rare and tell nothing.
        let mut stream =
            models::random::Stream::named(0, models::random::Purpose::Test, "words", 0);
        let noise: Vec<u32> = (0..3000).map(|_| stream.below(40) as u32).collect();
        let [a, b] = choose(&noise, &[true; 40]);
        assert!(a >= 256.0 && b >= 256.0, "a {a}, b {b}");
    }
}
