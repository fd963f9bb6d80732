//! Gold arcs, predicted ones and how many agree. Knows neither files nor models.

use crate::statistics::bootstrap;
use crate::whitebox::words::Square;

/// Relation whose words are not scored: where punctuation hangs is a convention of the treebank.
pub const UNSCORED: &str = "punct";
/// Resamples of a bootstrap.
const REPLICATES: usize = 1000;
const BOOTSTRAP_SEED: u64 = 24;
/// The smallest share that counts in a tree, so that its logarithm is finite.
const SMALLEST_SHARE: f64 = 1e-30;

/// The arcs of one sentence: from a treebank, or from a grammar that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gold {
    /// Head of every word; `None` for the root.
    pub heads: Vec<Option<usize>>,
    /// Relation of every word to its head.
    pub relations: Vec<String>,
}

impl Gold {
    /// Words that are scored with their heads: all but the root and punctuation.
    pub fn scored(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let scored = |word: &usize| self.relations[*word] != UNSCORED;
        let words = (0..self.heads.len()).filter(scored);
        words.filter_map(|word| self.heads[word].map(|head| (word, head)))
    }

    /// The relation of `word` without its subtype: `nmod` of `nmod:poss`.
    pub fn relation(&self, word: usize) -> &str {
        let relation = &self.relations[word];
        relation.split(':').next().unwrap_or(relation)
    }
}

/// Which way an arc of a matrix is read.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// A word's head is the largest entry of its row: what it chooses or attends to.
    ToHead,
    /// A word's head is the largest entry of its column: what chooses or attends to it.
    FromHead,
}

/// Both.
pub const DIRECTIONS: [Direction; 2] = [Direction::ToHead, Direction::FromHead];

impl Direction {
    /// `matrix` with heads in rows.
    pub fn of(self, matrix: &Square) -> Square {
        match self {
            Self::ToHead => matrix.clone(),
            Self::FromHead => matrix.transposed(),
        }
    }
}

/// The head of every word by its largest entry; `None` for a word without any.
pub fn strongest_heads(matrix: &Square) -> Vec<Option<usize>> {
    (0..matrix.size).map(|word| matrix.strongest(word)).collect()
}

/// The heads of the tree with the largest product of shares.
pub fn tree_heads(matrix: &Square) -> Vec<Option<usize>> {
    super::tree::maximum_spanning_tree(matrix.size, |word, head| {
        matrix.at(word, head).max(SMALLEST_SHARE).ln()
    })
}

/// Every word's head `offset` words further right (left if negative), where there is a word.
pub fn offset_heads(count: usize, offset: isize) -> Vec<Option<usize>> {
    let at = |word: usize| word.checked_add_signed(offset).filter(|&head| head < count);
    (0..count).map(at).collect()
}

/// Arcs of one sentence, or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hits {
    /// Scored arcs.
    pub arcs: usize,
    /// Those whose dependent has its head.
    pub directed: usize,
    /// Those whose dependent has its head or whose head has its dependent as head.
    pub undirected: usize,
}

impl Hits {
    /// Counts what `predicted` has right of `gold`.
    pub fn of(gold: &Gold, predicted: &[Option<usize>]) -> Self {
        let mut hits = Self::default();
        for (word, head) in gold.scored() {
            hits.add(word, head, predicted);
        }
        hits
    }

    /// Counts the gold arc of `word` to `head`.
    pub fn add(&mut self, word: usize, head: usize, predicted: &[Option<usize>]) {
        let directed = predicted[word] == Some(head);
        self.arcs += 1;
        self.directed += usize::from(directed);
        self.undirected += usize::from(directed || predicted[head] == Some(word));
    }

    /// All of them together.
    pub fn sum<'a>(hits: impl Iterator<Item = &'a Self>) -> Self {
        hits.fold(Self::default(), |sum, hits| Self {
            arcs: sum.arcs + hits.arcs,
            directed: sum.directed + hits.directed,
            undirected: sum.undirected + hits.undirected,
        })
    }

    /// Unlabelled attachment score, directed; 0 without arcs.
    pub fn uas(&self) -> f64 {
        self.directed as f64 / self.arcs.max(1) as f64
    }

    /// Unlabelled attachment score, undirected.
    pub fn uuas(&self) -> f64 {
        self.undirected as f64 / self.arcs.max(1) as f64
    }
}

/// 95 % intervals of a bootstrap over sentences (percentiles).
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Intervals {
    /// Of the directed score.
    pub uas: Option<[f64; 2]>,
    /// Of the undirected score.
    pub uuas: Option<[f64; 2]>,
}

/// Both scores with their intervals.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Attachment {
    /// Directed.
    pub uas: f64,
    /// Undirected.
    pub uuas: f64,
    /// How far they could be others for other sentences of this kind.
    pub intervals: Intervals,
}

impl Attachment {
    /// The scores of sentences with these hits.
    pub fn of(hits: &[Hits]) -> Self {
        let sum = Hits::sum(hits.iter());
        let interval = |score: fn(&Hits) -> f64| {
            interval(hits.len(), |chosen| {
                let sum = Hits::sum(chosen.iter().map(|&sentence| &hits[sentence]));
                (sum.arcs > 0).then(|| score(&sum))
            })
        };
        let intervals = Intervals { uas: interval(Hits::uas), uuas: interval(Hits::uuas) };
        Self { uas: sum.uas(), uuas: sum.uuas(), intervals }
    }
}

/// Interval of the difference in directed scores of two predictions on the same sentences.
pub fn difference(a: &[Hits], b: &[Hits]) -> (f64, Option<[f64; 2]>) {
    let of = |chosen: &mut dyn Iterator<Item = usize>| {
        let (mut first, mut second) = (Hits::default(), Hits::default());
        for sentence in chosen {
            first = Hits::sum([first, a[sentence]].iter());
            second = Hits::sum([second, b[sentence]].iter());
        }
        (first.arcs > 0).then(|| first.uas() - second.uas())
    };
    let whole = of(&mut (0..a.len())).unwrap_or(0.0);
    (whole, interval(a.len(), |chosen| of(&mut chosen.iter().copied())))
}

fn interval(
    sentences: usize,
    statistic: impl Fn(&[usize]) -> Option<f64> + Sync,
) -> Option<[f64; 2]> {
    let resampled = bootstrap(sentences, REPLICATES, BOOTSTRAP_SEED, statistic)?;
    Some([resampled.percentile.low, resampled.percentile.high])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gold() -> Gold {
        let relations = ["det", "nsubj", "root", "obl:tmod", "punct"].map(str::to_owned).to_vec();
        Gold { heads: vec![Some(1), Some(2), None, Some(2), Some(2)], relations }
    }

    #[test]
    fn golden_scores_by_hand() {
        // Right for word 0; word 1 has word 0; word 2 has word 1; word 3 has none; the last is
        // punctuation.
        let predicted = [Some(1), Some(0), Some(1), None, Some(2)];
        let hits = Hits::of(&gold(), &predicted);
        assert_eq!(hits, Hits { arcs: 3, directed: 1, undirected: 2 });
        assert_eq!(gold().relation(3), "obl");
        assert_eq!(offset_heads(3, -1), [None, Some(0), Some(1)]);
        assert_eq!(offset_heads(3, 2), [Some(2), None, None]);
    }

    /// A posterior set by hand to the gold arcs scores exactly one, in rows and in columns, by
    /// its largest entries and as a tree; one set to other words exactly zero.
    #[test]
    fn golden_a_planted_pattern_scores_exactly() {
        let gold = gold();
        let mut planted = Square::zeros(5);
        for (word, head) in gold.heads.iter().enumerate() {
            for other in (0..5).filter(|&other| other != word) {
                let share = if *head == Some(other) { 0.4 } else { 0.2 };
                planted.values[word * 5 + other] = share;
            }
        }
        for (matrix, direction) in
            [(planted.clone(), Direction::ToHead), (planted.transposed(), Direction::FromHead)]
        {
            let heads = direction.of(&matrix);
            let hits = Hits::of(&gold, &strongest_heads(&heads));
            assert_eq!(hits, Hits { arcs: 3, directed: 3, undirected: 3 });
            assert_eq!(tree_heads(&heads), gold.heads);
        }
        let mut wrong = Square::zeros(5);
        for (word, head) in [(0, 3), (1, 3), (2, 4), (3, 0), (4, 0)] {
            wrong.values[word * 5 + head] = 1.0;
        }
        let hits = Hits::of(&gold, &strongest_heads(&wrong));
        assert_eq!(hits, Hits { arcs: 3, directed: 0, undirected: 0 });
    }

    #[test]
    fn invariant_intervals_hold_the_score_and_differences_of_equals_are_none() {
        let hits: Vec<Hits> =
            (0..60).map(|i| Hits { arcs: 5, directed: i % 4, undirected: i % 4 + 1 }).collect();
        let score = Attachment::of(&hits);
        assert!((score.uas - 0.3).abs() < 1e-12 && (score.uuas - 0.5).abs() < 1e-12);
        let [low, high] = score.intervals.uas.unwrap();
        assert!(low < 0.3 && 0.3 < high && high - low < 0.2, "{low} {high}");
        assert_eq!(difference(&hits, &hits), (0.0, Some([0.0, 0.0])));
        assert_eq!(Attachment::of(&hits[..1]).intervals.uas, None);
    }
}
