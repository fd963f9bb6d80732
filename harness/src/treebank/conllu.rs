//! Treebanks in CoNLL-U (<https://universaldependencies.org/format.html>).

use std::ops::Range;
use std::path::Path;

use super::arcs::Gold;
use crate::error::{HarnessError, Result};
use crate::input;

/// Largest treebank file that is read, in bytes.
pub const TREEBANK_BYTES_MAX: u64 = 256 << 20;
/// Words of one sentence at most.
const WORDS_MAX: usize = 1024;
const COLUMNS: usize = 10;

/// One sentence with its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// The sentence as it was written, from its tokens and the spaces between them.
    pub text: String,
    /// Bytes of every word in `text`, in order.
    pub places: Vec<Range<usize>>,
    /// Part of speech of every word (UPOS).
    pub tags: Vec<String>,
    /// Heads and relations.
    pub gold: Gold,
}

/// Reads the treebank at `path`.
///
/// # Errors
/// If it cannot be read, is too large, holds no sentence, or a line is damaged: the message names
/// the line.
pub fn read(path: &Path) -> Result<Vec<Sentence>> {
    let hint = "give a treebank in CoNLL-U: ten columns separated by tabs, every sentence a tree";
    let bad = |problem: String| HarnessError::input(path, problem, hint);
    let text = input::text(path, TREEBANK_BYTES_MAX).map_err(|error| bad(error.to_string()))?;
    let sentences = parse(&text).map_err(bad)?;
    if sentences.is_empty() { Err(bad("holds no sentence".to_owned())) } else { Ok(sentences) }
}

/// The second, fourth, … sentence to score, the others to choose on.
pub fn every_second(sentences: Vec<Sentence>) -> (Vec<Sentence>, Vec<Sentence>) {
    let (mut scored, mut choosing) = (Vec::new(), Vec::new());
    for (place, sentence) in sentences.into_iter().enumerate() {
        if place % 2 == 0 { choosing.push(sentence) } else { scored.push(sentence) }
    }
    (scored, choosing)
}

/// The sentences of a treebank's text.
///
/// Comments and empty nodes (`8.1`) are passed over. Words of a multiword token (`1-2`) stand in
/// the text as the token is written if their forms joined are that; else as their own forms.
///
/// # Errors
/// What is wrong, with its line.
pub fn parse(text: &str) -> std::result::Result<Vec<Sentence>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut sentences, mut open) = (Vec::new(), Builder::default());
    let mut number = 0;
    for line in text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)) {
        number += 1;
        let at = |problem: String| format!("line {number}: {problem}");
        if line.trim().is_empty() {
            if let Some(sentence) = std::mem::take(&mut open).finish().map_err(at)? {
                sentences.push(sentence);
            }
        } else if !line.starts_with('#') {
            open.line(line).map_err(at)?;
        }
    }
    let last = open.finish().map_err(|problem| format!("line {number}: {problem}"))?;
    sentences.extend(last);
    Ok(sentences)
}

/// A sentence of which some lines were read.
#[derive(Debug, Default)]
struct Builder {
    forms: Vec<String>,
    tags: Vec<String>,
    /// 0 is the root.
    heads: Vec<usize>,
    relations: Vec<String>,
    space_after: Vec<bool>,
    /// Surface of a multiword token, its words and whether a space follows.
    tokens: Vec<(String, Range<usize>, bool)>,
}

impl Builder {
    fn line(&mut self, line: &str) -> std::result::Result<(), String> {
        let columns: Vec<&str> = line.split('\t').collect();
        if columns.len() != COLUMNS {
            return Err(format!("has {} columns, not {COLUMNS}", columns.len()));
        }
        let (id, form) = (columns[0], columns[1]);
        if form.is_empty() {
            return Err("has no form".to_owned());
        }
        let space = !columns[9].split('|').any(|entry| entry == "SpaceAfter=No");
        let count = self.forms.len();
        if let Some((first, last)) = id.split_once('-') {
            let range = (first.parse::<usize>().ok(), last.parse::<usize>().ok());
            let (Some(first), Some(last)) = range else {
                return Err(format!("'{id}' is no word, range of words or empty node"));
            };
            let behind = self.tokens.last().map_or(0, |token| token.1.end);
            if first != count + 1 || last <= first || last > WORDS_MAX || behind > count {
                return Err(format!("range {id} does not follow word {count}"));
            }
            self.tokens.push((form.to_owned(), count..last, space));
            return Ok(());
        }
        if let Some((word, place)) = id.split_once('.') {
            let known = word.parse::<usize>().is_ok_and(|word| word <= count);
            let sound = known && place.parse::<usize>().is_ok();
            return if sound { Ok(()) } else { Err(format!("empty node {id} is out of place")) };
        }
        if id.parse() != Ok(count + 1) {
            return Err(format!("word '{id}' where {} should stand", count + 1));
        }
        if count >= WORDS_MAX {
            return Err(format!("the sentence has more than {WORDS_MAX} words"));
        }
        let head = columns[6].parse();
        self.heads.push(head.map_err(|_| format!("head '{}' is no number", columns[6]))?);
        self.forms.push(form.to_owned());
        self.tags.push(columns[3].to_owned());
        self.relations.push(columns[7].to_owned());
        self.space_after.push(space);
        Ok(())
    }

    /// The sentence; `None` if it has no words.
    fn finish(self) -> std::result::Result<Option<Sentence>, String> {
        let count = self.forms.len();
        if let Some((form, words, _)) = self.tokens.iter().find(|(_, words, _)| words.end > count) {
            let follow = count - words.start;
            return Err(format!("'{form}' spans {} words, {follow} follow", words.len()));
        }
        if count == 0 {
            return Ok(None);
        }
        let heads = tree(&self.heads)?;
        let (mut text, mut places) = (String::new(), Vec::new());
        let mut word = 0;
        while word < count {
            let token = self.tokens.iter().find(|(_, words, _)| words.start == word);
            let (group, joined, space) = match token {
                Some((surface, words, space)) => {
                    (words.clone(), self.forms[words.clone()].concat() == *surface, *space)
                }
                None => (word..word + 1, true, self.space_after[word]),
            };
            for member in group.clone() {
                let start = text.len();
                text.push_str(&self.forms[member]);
                places.push(start..text.len());
                let last = member + 1 == group.end;
                if member + 1 < count && if last { space } else { !joined } {
                    text.push(' ');
                }
            }
            word = group.end;
        }
        let gold = Gold { heads, relations: self.relations };
        Ok(Some(Sentence { text, places, tags: self.tags, gold }))
    }
}

/// Heads counted from 0, `None` for the root, of heads counted from 1; a tree with one root.
fn tree(heads: &[usize]) -> std::result::Result<Vec<Option<usize>>, String> {
    let count = heads.len();
    if let Some((word, head)) = heads.iter().enumerate().find(|(_, head)| **head > count) {
        return Err(format!("word {} has head {head} in a sentence of {count} words", word + 1));
    }
    let roots = heads.iter().filter(|head| **head == 0).count();
    if roots != 1 {
        return Err(format!("the sentence has {roots} roots"));
    }
    for start in 0..count {
        let (mut word, mut steps) = (start, 0);
        while heads[word] != 0 {
            word = heads[word] - 1;
            steps += 1;
            if steps > count {
                return Err(format!("word {} hangs on itself in the end", start + 1));
            }
        }
    }
    Ok(heads.iter().map(|head| head.checked_sub(1)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, form: &str, head: &str, misc: &str) -> String {
        format!("{id}\t{form}\t_\tNOUN\t_\t_\t{head}\tdep\t_\t{misc}\n")
    }

    #[test]
    fn golden_a_treebank_by_hand() {
        let mut text = "# sent_id = 1\n# text = I don't, zum\n".to_owned();
        text += &row("1", "I", "3", "_");
        text += &row("2-3", "don't", "_", "SpaceAfter=No").replace('\n', "\r\n");
        text += &row("2", "do", "3", "_");
        text += &row("3", "n't", "0", "_");
        text += &row("3.1", "hidden", "_", "_");
        text += &row("4", ",", "3", "Gloss=x|SpaceAfter=No");
        text += &row("5-6", "zum", "_", "_");
        text += &row("5", "zu", "6", "_");
        text += &row("6", "dem", "3", "_");
        let sentences =
            parse(&format!("\u{feff}\n{text}\n\n{}", row("1", "Go", "0", "_"))).unwrap();
        assert_eq!(sentences.len(), 2);
        let first = &sentences[0];
        assert_eq!(first.text, "I don't,zu dem");
        let words: Vec<&str> =
            first.places.iter().map(|place| &first.text[place.clone()]).collect();
        assert_eq!(words, ["I", "do", "n't", ",", "zu", "dem"]);
        assert_eq!(first.gold.heads, [Some(2), Some(2), None, Some(2), Some(5), Some(2)]);
        assert_eq!((sentences[1].text.as_str(), &sentences[1].gold.heads[..]), ("Go", &[None][..]));
    }

    #[test]
    fn invariant_damaged_treebanks_are_refused_by_line() {
        let good = row("1", "a", "0", "_");
        let cases = [
            ("a b c".to_owned(), "line 1: has 1 columns"),
            (row("2", "a", "0", "_"), "word '2' where 1"),
            (row("x-y", "a", "0", "_"), "'x-y'"),
            (row("1-1", "a", "0", "_"), "range 1-1"),
            (row("1-3", "ab", "_", "_") + &good, "spans 3 words, 1 follow"),
            (good.clone() + &row("2-3", "ab", "_", "_"), "spans 2 words, 0 follow"),
            (row("1-2", "ab", "_", "_") + &row("1-2", "ab", "_", "_"), "range 1-2"),
            (row("1", "a", "_", "_"), "head '_' is no number"),
            (row("1", "a", "7", "_"), "head 7 in a sentence of 1"),
            (row("1", "a", "1", "_"), "0 roots"),
            (good.clone() + &row("2", "b", "0", "_"), "2 roots"),
            (good.clone() + &row("2", "b", "3", "_") + &row("3", "c", "2", "_"), "hangs on itself"),
            (row("1", "", "0", "_"), "has no form"),
            (row("5.1", "a", "_", "_"), "out of place"),
            (good.repeat(2), "line 2: word '1' where 2"),
            (row("1-99999", "a", "_", "_"), "range"),
        ];
        for (text, part) in cases {
            let problem = parse(&text).unwrap_err();
            assert!(problem.contains(part) && problem.starts_with("line "), "{part}: {problem}");
        }
        assert!(parse("").unwrap().is_empty() && parse("# only\n\n\n").unwrap().is_empty());
    }
}
