//! What of a table was left out or understood in a way that must be said.

use std::collections::BTreeMap;

/// Rows that were not used, by reason, with the first line of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    left_out: BTreeMap<&'static str, (u64, u64)>,
    remarks: Vec<String>,
}

impl Notes {
    /// Counts a row (or cell) in `line` that `reason` kept out; the reason completes
    /// "N rows were left out: …".
    pub fn leave_out(&mut self, reason: &'static str, line: u64) {
        let entry = self.left_out.entry(reason).or_insert((0, line));
        entry.0 += 1;
        entry.1 = entry.1.min(line);
    }

    /// A sentence about how the table was understood.
    pub fn remark(&mut self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        if !self.remarks.contains(&sentence) {
            self.remarks.push(sentence);
        }
    }

    /// Rows left out altogether.
    pub fn rows(&self) -> u64 {
        self.left_out.values().map(|(count, _)| count).sum()
    }

    /// Everything as sentences: remarks first, then what was left out.
    pub fn sentences(&self) -> Vec<String> {
        let left_out = self.left_out.iter().map(|(reason, (count, line))| {
            let rows = if *count == 1 { "1 row was" } else { &format!("{count} rows were") };
            format!("{rows} left out: {reason} (first in line {line})")
        });
        self.remarks.iter().cloned().chain(left_out).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_reasons_are_counted_with_their_first_line() {
        let mut notes = Notes::default();
        notes.leave_out("no width", 7);
        notes.leave_out("no width", 3);
        notes.remark("read once");
        notes.remark("read once");
        assert_eq!(notes.rows(), 2);
        let expected = ["read once", "2 rows were left out: no width (first in line 3)"];
        assert_eq!(notes.sentences(), expected);
    }
}
