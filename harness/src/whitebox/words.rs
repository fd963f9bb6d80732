//! Words of a text, the tokens that make them up, and matrices over both.

use std::ops::Range;

/// A square matrix; row i is about item i.
#[derive(Debug, Clone, PartialEq)]
pub struct Square {
    /// Rows.
    pub size: usize,
    /// Entries, row by row.
    pub values: Vec<f64>,
}

impl Square {
    /// A matrix of zeros.
    pub fn zeros(size: usize) -> Self {
        Self { size, values: vec![0.0; size * size] }
    }

    /// Entry of row `row` and column `column`.
    pub fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.size + column]
    }

    /// Row `row`.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.size..(row + 1) * self.size]
    }

    /// Rows as columns.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let mut out = Self::zeros(self.size);
        for row in 0..self.size {
            for column in 0..self.size {
                out.values[column * self.size + row] = self.at(row, column);
            }
        }
        out
    }

    /// The mean of `matrices`, which must be of one size; `None` of none.
    pub fn mean(matrices: &[Self]) -> Option<Self> {
        let mut out = Self::zeros(matrices.first()?.size);
        let share = 1.0 / matrices.len() as f64;
        for matrix in matrices {
            for (sum, value) in out.values.iter_mut().zip(&matrix.values) {
                *sum += value * share;
            }
        }
        Some(out)
    }

    /// From tokens to words: the weight of a word is the sum over its tokens, that of a word's
    /// row the mean over its tokens (Clark et al. 2019). `members[w]` are the tokens of word w;
    /// a word without tokens has zeros.
    #[must_use]
    pub fn to_words(&self, members: &[Vec<usize>]) -> Self {
        let mut out = Self::zeros(members.len());
        for (row, rows) in members.iter().enumerate() {
            for (column, columns) in members.iter().enumerate() {
                let of_token = |&i: &usize| columns.iter().map(|&j| self.at(i, j)).sum::<f64>();
                let sum: f64 = rows.iter().map(of_token).sum();
                out.values[row * members.len() + column] = sum / rows.len().max(1) as f64;
            }
        }
        out
    }

    /// The column of row `row` with the largest entry, its own left out; the first of equals.
    /// `None` if no entry is above zero.
    pub fn strongest(&self, row: usize) -> Option<usize> {
        let mut best: Option<usize> = None;
        for column in (0..self.size).filter(|&column| column != row) {
            let value = self.at(row, column);
            if value > 0.0 && best.is_none_or(|best| value > self.at(row, best)) {
                best = Some(column);
            }
        }
        best
    }
}

/// Words of plain text: runs of letters, digits and apostrophes between them; any other
/// character that is no white space is a word of its own.
pub fn split_words(text: &str) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut open = false;
    for (start, letter) in text.char_indices() {
        let end = start + letter.len_utf8();
        let following = text[end..].chars().next();
        let inside = letter.is_alphanumeric()
            || (open
                && matches!(letter, '\'' | '’')
                && following.is_some_and(char::is_alphanumeric));
        match words.last_mut() {
            Some(word) if open && inside => word.end = end,
            _ if !letter.is_whitespace() => words.push(start..end),
            _ => {}
        }
        open = inside;
    }
    words
}

/// The tokens of every word: a token belongs to the word with which it shares most bytes, the
/// first of equals; one of white space to the word that follows, the last ones to the last word.
/// `words` are in order and do not overlap.
pub fn members(words: &[Range<usize>], places: &[Range<usize>]) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); words.len()];
    if words.is_empty() {
        return members;
    }
    for (token, place) in places.iter().enumerate() {
        let shared = |word: &Range<usize>| {
            word.end.min(place.end).saturating_sub(word.start.max(place.start))
        };
        let first = words.partition_point(|word| word.end <= place.start);
        let mut chosen = first.min(words.len() - 1);
        for candidate in first..words.len() {
            if words[candidate].start >= place.end {
                break;
            }
            if shared(&words[candidate]) > shared(&words[chosen]) {
                chosen = candidate;
            }
        }
        members[chosen].push(token);
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_words_of_a_text() {
        let text = "I don't know, 'yes'";
        let words: Vec<&str> = split_words(text).into_iter().map(|word| &text[word]).collect();
        assert_eq!(words, ["I", "don't", "know", ",", "'", "yes", "'"]);
        assert!(split_words(" \n").is_empty());
    }

    #[test]
    fn golden_tokens_go_to_the_words_they_overlap() {
        // "a bc, d" with tokens "a", " b", "c,", " ", "d", " ".
        let words = [0..1, 2..4, 4..5, 6..7];
        let places = [0..1, 1..3, 3..5, 5..6, 6..7, 7..8];
        assert_eq!(members(&words, &places), [vec![0], vec![1, 2], vec![], vec![3, 4, 5]]);
    }

    #[test]
    fn golden_tokens_are_summed_into_words_by_hand() {
        let tokens = Square { size: 3, values: vec![0.1, 0.2, 0.7, 0.5, 0.1, 0.4, 0.6, 0.3, 0.1] };
        let words = tokens.to_words(&[vec![0, 1], vec![2]]);
        let expected = [0.45, 0.55, 0.9, 0.1];
        assert!(words.values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{words:?}");
        assert_eq!((words.strongest(0), words.strongest(1)), (Some(1), Some(0)));
        assert!((words.transposed().at(0, 1) - words.at(1, 0)).abs() < 1e-15);
        assert_eq!(Square::zeros(2).strongest(0), None);
        assert_eq!(tokens.to_words(&[vec![], vec![0]]).row(0), [0.0, 0.0]);
    }
}
