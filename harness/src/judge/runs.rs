//! One number per run, collected from rows in any order.
//!
//! A row takes 48 bytes here. When twice as many rows as there were different runs have come in,
//! repetitions are merged, so that memory follows the number of different runs: ten million rows
//! that are all different take half a gigabyte, a log of ten million steps of a hundred runs next
//! to nothing.

use std::collections::BTreeMap;

use super::notes::Notes;

/// Rows collected before repetitions are looked for.
const FIRST_MERGE: usize = 1 << 16;

/// Texts as small numbers, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Names {
    index: BTreeMap<String, u32>,
    names: Vec<String>,
}

impl Names {
    /// The number of `text`.
    pub fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.index.get(text) {
            return number;
        }
        let number = u32::try_from(self.names.len()).expect("fewer than 2^32 different labels");
        self.index.insert(text.to_owned(), number);
        self.names.push(text.to_owned());
        number
    }

    /// The text of `number`.
    pub fn text(&self, number: u32) -> &str {
        &self.names[number as usize]
    }

    /// All texts in order.
    pub fn all(&self) -> &[String] {
        &self.names
    }
}

/// Seeds as numbers: whole numbers are themselves, other texts get numbers that no seed has.
#[derive(Debug, Clone, Default)]
pub struct Seeds(Names);

impl Seeds {
    /// The number of the seed written `text`.
    pub fn number(&mut self, text: &str) -> u64 {
        let whole = super::cells::number(text).filter(|v| v.fract() == 0.0 && v.abs() < 9e15);
        match whole {
            Some(value) => (value as i64).cast_unsigned(),
            None => (1 << 62) + u64::from(self.0.number(text)),
        }
    }
}

/// One row of a run.
#[derive(Debug, Clone, Copy)]
struct Entry<K> {
    key: K,
    seed: u64,
    /// Steps or tokens at which it was measured; the last counts.
    order: f64,
    /// NaN for a run that diverged.
    value: f64,
    /// Rows of which `value` is the mean.
    times: u32,
    line: u32,
}

/// The runs of one cell: seed and value, `None` if it diverged.
pub type Cell = Vec<(u64, Option<f64>)>;

/// Rows by cell.
pub struct Collector<K> {
    entries: Vec<Entry<K>>,
    limit: usize,
    /// Whether the table says which seed a row is of.
    seeded: bool,
    repeated: Repeats,
}

#[derive(Debug, Clone, Copy, Default)]
struct Repeats {
    earlier: (u64, u32),
    equal: (u64, u32),
    different: (u64, u32),
}

fn count((number, first): &mut (u64, u32), times: u32, line: u32) {
    *first = if *number == 0 { line } else { (*first).min(line) };
    *number += u64::from(times);
}

impl<K: Ord + Copy> Collector<K> {
    /// An empty one; `seeded` says whether rows name their seed.
    pub fn new(seeded: bool) -> Self {
        Self { entries: Vec::new(), limit: FIRST_MERGE, seeded, repeated: Repeats::default() }
    }

    /// Adds a row; without seeds, every row of a cell is a run of its own.
    pub fn push(&mut self, key: K, seed: u64, order: f64, value: Option<f64>, line: u64) {
        if self.entries.len() >= self.limit {
            self.merge();
            self.limit = (2 * self.entries.len()).max(FIRST_MERGE);
            self.entries.reserve_exact(self.limit - self.entries.len());
        }
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        let seed = if self.seeded { seed } else { u64::from(line) };
        let value = value.unwrap_or(f64::NAN);
        self.entries.push(Entry { key, seed, order, value, times: 1, line });
    }

    /// Leaves one entry per run.
    fn merge(&mut self) {
        let seeded = self.seeded;
        self.entries.sort_unstable_by(|a, b| {
            let seeds = if seeded { a.seed.cmp(&b.seed) } else { std::cmp::Ordering::Equal };
            let last = b.order.total_cmp(&a.order);
            a.key.cmp(&b.key).then(seeds).then(last).then(a.line.cmp(&b.line))
        });
        let repeated = &mut self.repeated;
        // The one that is kept comes first: `dedup_by` hands the later entry as its first argument.
        self.entries.dedup_by(|next, kept| {
            if next.key != kept.key || (seeded && next.seed != kept.seed) {
                return false;
            }
            if next.order.total_cmp(&kept.order).is_ne() {
                count(&mut repeated.earlier, next.times, next.line);
                return true;
            }
            if !seeded {
                return false;
            }
            if next.value.to_bits() == kept.value.to_bits() {
                count(&mut repeated.equal, next.times, next.line);
            } else {
                count(&mut repeated.different, next.times, next.line);
                let (a, b) = (f64::from(kept.times), f64::from(next.times));
                kept.value = (a * kept.value + b * next.value) / (a + b);
                kept.times += next.times;
            }
            true
        });
    }

    /// The cells in order of their keys.
    pub fn finish(mut self, notes: &mut Notes) -> Vec<(K, Cell)> {
        self.merge();
        let say = |notes: &mut Notes, (number, line): (u64, u32), what: &str| {
            if number > 0 {
                let rows = if number == 1 { "1 row" } else { &format!("{number} rows") };
                notes.remark(format!("{rows} {what} (first in line {line})"));
            }
        };
        say(notes, self.repeated.earlier, "of earlier steps or fewer tokens of a run left out");
        say(notes, self.repeated.equal, "written twice counted once");
        let different = "with another value for a run that has one: the mean counts";
        say(notes, self.repeated.different, different);
        let mut cells: Vec<(K, Cell)> = Vec::new();
        for Entry { key, seed, value, .. } in self.entries {
            let value = (seed, value.is_finite().then_some(value));
            match cells.last_mut().filter(|(last, _)| *last == key) {
                Some((_, cell)) => cell.push(value),
                None => cells.push((key, vec![value])),
            }
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_the_last_step_counts_and_repetitions_are_told() {
        let mut runs = Collector::new(true);
        for step in 0..200_000u64 {
            let value = if step == 199_999 { 2.0 } else { 3.0 };
            runs.push(7, 1, step as f64, Some(value), step + 2);
        }
        assert!(runs.entries.capacity() < 4 * FIRST_MERGE, "{}", runs.entries.capacity());
        runs.push(7, 1, 199_999.0, Some(2.0), 300_000);
        runs.push(7, 2, 5.0, Some(1.0), 300_001);
        runs.push(7, 2, 5.0, Some(2.0), 300_002);
        runs.push(7, 3, 0.0, None, 300_003);
        let mut notes = Notes::default();
        let cells = runs.finish(&mut notes);
        assert_eq!(cells, [(7, vec![(1, Some(2.0)), (2, Some(1.5)), (3, None)])]);
        let said = notes.sentences().join("\n");
        for part in ["199999 rows of earlier", "1 row written twice", "line 300002"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn invariant_without_seeds_every_row_is_a_run() {
        let mut runs = Collector::new(false);
        for (line, value) in [(2, 1.0), (3, 1.0), (4, 2.0)] {
            runs.push((1, 1), 0, 0.0, Some(value), line);
        }
        let cells = runs.finish(&mut Notes::default());
        assert_eq!(cells[0].1.len(), 3);
    }

    #[test]
    fn invariant_different_seeds_have_different_numbers() {
        let mut seeds = Seeds::default();
        let numbers = ["0", "1", "1.0", "-1", "a", "b", "a", "2"].map(|text| seeds.number(text));
        let distinct: std::collections::BTreeSet<u64> = numbers.into_iter().collect();
        assert_eq!(distinct.len(), 6, "{numbers:?}");
        assert_eq!((numbers[0], numbers[1], numbers[7]), (0, 1, 2));
    }
}
