//! Sums over all trees of a sentence.
//!
//! With `e(h; c, k)` the likelihood of what is seen at place h if a word of category c and class k
//! stands there, three kinds of sums over spans `[i, j)` are filled by length:
//!
//! - *inside* `I(c; i, j)[k] = Σ_h left(c; i, h)[k] e(h; c, k) right(c; h + 1, j)[k]`: a head with
//!   all its dependents covers the span;
//! - *attached* `A(p; i, j)[k] = Σ_l P(l | k, p) I(c_p; i, j)[l]`: the same as the dependent in
//!   place p of a head of class k;
//! - *halves*: the first s places of one side cover the span,
//!   `half_s = (1 - chance) half_{s-1} + chance Σ_m A(i, m) half_{s-1}(m, j)`, mirrored on the
//!   right. `half_0` is 1 for the empty span.
//!
//! `Z = Σ_k I(root; 0, n)[k] / K`. Its derivative by `e(h; c, k)`, from the same recursions
//! backwards, is the joint probability of the head at h and of what is seen everywhere else.
//! `O(n^3 K)` times the number of places.
//!
//! All terms are positive, so nothing cancels. They are kept as plain numbers: callers give
//! likelihoods that are at most 1 and not tiny, and a sum of products of a few dozen of them is far
//! from the smallest float64; taking logarithms would only add rounding.

use super::grammar::{Grammar, Place};

/// Sums of one kind: rows of spans of classes.
#[derive(Debug, Clone)]
struct Table {
    ends: usize,
    classes: usize,
    cells: Vec<f64>,
}

impl Table {
    fn new(rows: usize, length: usize, classes: usize) -> Self {
        let ends = length + 1;
        Self { ends, classes, cells: vec![0.0; rows * ends * ends * classes] }
    }

    fn range(&self, row: usize, start: usize, end: usize) -> std::ops::Range<usize> {
        let first = ((row * self.ends + start) * self.ends + end) * self.classes;
        first..first + self.classes
    }

    fn at(&self, row: usize, start: usize, end: usize) -> &[f64] {
        &self.cells[self.range(row, start, end)]
    }

    fn at_mut(&mut self, row: usize, start: usize, end: usize) -> &mut [f64] {
        let range = self.range(row, start, end);
        &mut self.cells[range]
    }
}

/// One side of a category: its places and where their rows lie.
struct Half<'g> {
    /// Whether it is left of its head.
    left: bool,
    places: &'g [Place],
    /// Row of no place; that of the first s places is s further.
    row: usize,
    /// Row of the first place among the attached.
    attached: usize,
}

/// The rows of a grammar.
struct Plan<'g> {
    grammar: &'g Grammar,
    /// Left and right of every category.
    halves: Vec<[Half<'g>; 2]>,
    /// Every place in the order of its row.
    places: Vec<&'g Place>,
    half_rows: usize,
}

impl<'g> Plan<'g> {
    fn new(grammar: &'g Grammar) -> Self {
        let (mut places, mut half_rows) = (Vec::new(), 0);
        let mut half = |left: bool, own: &'g [Place]| {
            let half = Half { left, places: own, row: half_rows, attached: places.len() };
            half_rows += own.len() + 1;
            places.extend(own);
            half
        };
        let halves = grammar
            .categories
            .iter()
            .map(|category| [half(true, &category.left), half(false, &category.right)])
            .collect();
        Self { grammar, halves, places, half_rows }
    }

    /// Rows of all places of either side of `category`.
    fn complete(&self, category: usize) -> (usize, usize) {
        let [left, right] = &self.halves[category];
        (left.row + left.places.len(), right.row + right.places.len())
    }
}

struct Sums {
    inside: Table,
    attached: Table,
    halves: Table,
}

impl Sums {
    fn new(plan: &Plan, length: usize) -> Self {
        let classes = plan.grammar.classes;
        Self {
            inside: Table::new(plan.grammar.categories.len(), length, classes),
            attached: Table::new(plan.places.len(), length, classes),
            halves: Table::new(plan.half_rows, length, classes),
        }
    }
}

/// What is known of a sentence.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// Σ over all trees of probability times likelihoods.
    pub total: f64,
    /// Derivative of it by the likelihood at `[place][category][class]`.
    pub cavity: Vec<f64>,
}

/// Sums over all trees of `length` words with likelihoods `[place][category][class]`.
pub fn posterior(grammar: &Grammar, likelihood: &[f64], length: usize) -> Posterior {
    let states = grammar.categories.len() * grammar.classes;
    assert_eq!(likelihood.len(), length * states, "one likelihood for every state of a place");
    let plan = Plan::new(grammar);
    let sums = forward(&plan, likelihood, length);
    let share = 1.0 / grammar.classes as f64;
    let total = share * sums.inside.at(grammar.root, 0, length).iter().sum::<f64>();
    let cavity = backward(&plan, &sums, (likelihood, share), length);
    Posterior { total, cavity }
}

fn forward(plan: &Plan, likelihood: &[f64], length: usize) -> Sums {
    let mut sums = Sums::new(plan, length);
    for [left, right] in &plan.halves {
        for half in [left, right] {
            for at in 0..=length {
                let mut chance = 1.0;
                sums.halves.at_mut(half.row, at, at).fill(chance);
                for (number, place) in (1..).zip(half.places) {
                    chance *= 1.0 - place.chance;
                    sums.halves.at_mut(half.row + number, at, at).fill(chance);
                }
            }
        }
    }
    for span in 1..=length {
        for start in 0..=length - span {
            forward_span(plan, &mut sums, likelihood, (start, start + span));
        }
    }
    sums
}

fn forward_span(plan: &Plan, sums: &mut Sums, likelihood: &[f64], (start, end): (usize, usize)) {
    let grammar = plan.grammar;
    let (classes, categories) = (grammar.classes, grammar.categories.len());
    for category in 0..categories {
        let (left, right) = plan.complete(category);
        let target = sums.inside.at_mut(category, start, end);
        for head in start..end {
            let seen = &likelihood[(head * categories + category) * classes..][..classes];
            let before = sums.halves.at(left, start, head);
            let after = sums.halves.at(right, head + 1, end);
            for class in 0..classes {
                target[class] += before[class] * seen[class] * after[class];
            }
        }
    }
    for (row, place) in plan.places.iter().enumerate() {
        let inside = sums.inside.at(place.category, start, end);
        let any = (1.0 - grammar.agreement) / classes as f64 * inside.iter().sum::<f64>();
        for (class, sum) in sums.attached.at_mut(row, start, end).iter_mut().enumerate() {
            *sum = grammar.agreement * inside[(class + place.shift) % classes] + any;
        }
    }
    let mut sum = vec![0.0; classes];
    for half in plan.halves.iter().flatten() {
        for (number, place) in half.places.iter().enumerate() {
            sum.fill(0.0);
            for middle in start..=end {
                let Some((outer, inner)) = parts(half, (start, middle, end)) else { continue };
                let dependent = sums.attached.at(half.attached + number, outer.0, outer.1);
                let rest = sums.halves.at(half.row + number, inner.0, inner.1);
                for class in 0..classes {
                    sum[class] += dependent[class] * rest[class];
                }
            }
            let fewer = half.row + number;
            for (class, sum) in sum.iter().enumerate() {
                let skipped = sums.halves.at(fewer, start, end)[class];
                sums.halves.at_mut(fewer + 1, start, end)[class] =
                    (1.0 - place.chance) * skipped + place.chance * sum;
            }
        }
    }
}

/// The span of the outermost dependent and that of the places nearer to the head, where the two
/// meet at `middle`; a dependent has a word.
fn parts(
    half: &Half,
    (start, middle, end): (usize, usize, usize),
) -> Option<((usize, usize), (usize, usize))> {
    let (first, second) = ((start, middle), (middle, end));
    let (outer, inner) = if half.left { (first, second) } else { (second, first) };
    (outer.0 < outer.1).then_some((outer, inner))
}

fn backward(plan: &Plan, sums: &Sums, (likelihood, share): (&[f64], f64), n: usize) -> Vec<f64> {
    let mut slopes = Sums::new(plan, n);
    let mut cavity = vec![0.0; likelihood.len()];
    slopes.inside.at_mut(plan.grammar.root, 0, n).fill(share);
    for span in (1..=n).rev() {
        for start in 0..=n - span {
            let ends = (start, start + span);
            backward_halves(plan, sums, &mut slopes, ends);
            backward_inside(plan, (sums, likelihood), (&mut slopes, &mut cavity), ends);
        }
    }
    cavity
}

fn backward_halves(plan: &Plan, sums: &Sums, slopes: &mut Sums, (start, end): (usize, usize)) {
    let classes = plan.grammar.classes;
    for half in plan.halves.iter().flatten() {
        for (number, place) in half.places.iter().enumerate().rev() {
            let fewer = half.row + number;
            let slope = slopes.halves.at(fewer + 1, start, end).to_vec();
            if slope.iter().all(|&value| value == 0.0) {
                continue;
            }
            for (target, slope) in slopes.halves.at_mut(fewer, start, end).iter_mut().zip(&slope) {
                *target += (1.0 - place.chance) * slope;
            }
            for middle in start..=end {
                let Some((outer, inner)) = parts(half, (start, middle, end)) else { continue };
                let attached = half.attached + number;
                let dependent = sums.attached.at(attached, outer.0, outer.1);
                let rest = sums.halves.at(fewer, inner.0, inner.1);
                let target = slopes.attached.at_mut(attached, outer.0, outer.1);
                for class in 0..classes {
                    target[class] += place.chance * slope[class] * rest[class];
                }
                let target = slopes.halves.at_mut(fewer, inner.0, inner.1);
                for class in 0..classes {
                    target[class] += place.chance * slope[class] * dependent[class];
                }
            }
        }
    }
}

fn backward_inside(
    plan: &Plan,
    (sums, likelihood): (&Sums, &[f64]),
    (slopes, cavity): (&mut Sums, &mut [f64]),
    (start, end): (usize, usize),
) {
    let grammar = plan.grammar;
    let (classes, categories) = (grammar.classes, grammar.categories.len());
    for (row, place) in plan.places.iter().enumerate() {
        let slope = slopes.attached.at(row, start, end);
        let any = (1.0 - grammar.agreement) / classes as f64 * slope.iter().sum::<f64>();
        let target = slopes.inside.at_mut(place.category, start, end);
        for (class, slope) in slope.iter().enumerate() {
            target[(class + place.shift) % classes] += grammar.agreement * slope;
        }
        for target in target {
            *target += any;
        }
    }
    for category in 0..categories {
        let (left, right) = plan.complete(category);
        let slope = slopes.inside.at(category, start, end);
        for head in start..end {
            let states = (head * categories + category) * classes;
            let seen = &likelihood[states..][..classes];
            let before = sums.halves.at(left, start, head);
            let after = sums.halves.at(right, head + 1, end);
            for class in 0..classes {
                let beside = before[class] * after[class];
                cavity[states + class] += slope[class] * beside;
                let own = slope[class] * seen[class];
                let range = slopes.halves.range(left, start, head);
                slopes.halves.cells[range.start + class] += own * after[class];
                let range = slopes.halves.range(right, head + 1, end);
                slopes.halves.cells[range.start + class] += own * before[class];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::enumerate::strings;
    use super::super::grammar::published;
    use super::super::grammar::tests::small;
    use super::super::sample::sentence;
    use super::*;

    #[test]
    fn invariant_totals_equal_enumeration() {
        let grammar = small();
        let categories = grammar.categories.len();
        for (words, expected) in strings(&grammar) {
            let mut likelihood = vec![0.0; words.len() * categories * grammar.classes];
            for (place, &word) in words.iter().enumerate() {
                for category in 0..categories {
                    for class in 0..grammar.classes {
                        let rank = word.checked_sub(grammar.first_word(category, class));
                        let share = rank.and_then(|r| grammar.shares(category).get(r).copied());
                        likelihood[(place * categories + category) * grammar.classes + class] =
                            share.unwrap_or(0.0);
                    }
                }
            }
            let found = posterior(&grammar, &likelihood, words.len());
            let error = (found.total / expected - 1.0).abs();
            assert!(error < 1e-12, "{words:?}: {} for {expected}", found.total);
            // The total is linear in the likelihoods of every place.
            let states = categories * grammar.classes;
            for place in 0..words.len() {
                let range = place * states..(place + 1) * states;
                let pairs = likelihood[range.clone()].iter().zip(&found.cavity[range]);
                let sum: f64 = pairs.map(|(value, slope)| value * slope).sum();
                assert!((sum / found.total - 1.0).abs() < 1e-12, "{words:?} at {place}");
            }
        }
    }

    #[test]
    fn invariant_lengths_are_as_frequent_as_the_chart_says() {
        let grammar = published();
        let states = grammar.categories.len() * grammar.classes;
        let lengths = grammar.shortest..=grammar.longest;
        let chance = |n: usize| posterior(&grammar, &vec![1.0; n * states], n).total;
        let chances: Vec<f64> = lengths.clone().map(chance).collect();
        let total: f64 = chances.iter().sum();
        assert!(total > 0.8 && total < 1.0, "{total} of all sentences are short enough");
        let count = 4000;
        let mut found = vec![0.0; chances.len()];
        for index in 0..count {
            found[sentence(&grammar, 5, index).len() - grammar.shortest] += 1.0;
        }
        for ((length, chance), found) in lengths.zip(&chances).zip(&found) {
            let expected = chance / total * count as f64;
            // Five standard deviations of a count.
            assert!((found - expected).abs() < 5.0 * expected.sqrt() + 1.0, "{length}: {found}");
        }
    }
}
