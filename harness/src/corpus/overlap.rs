//! Training text in held-out text.

use super::documents::{Document, DocumentSplits};

/// Shorter lines recur in any text (headings, "Yes."), so they say nothing.
const LINE_BYTES_MIN: usize = 32;
/// Share of held-out bytes in lines of the training text from which it is told.
const LINES_SHARE_MIN: f64 = 0.1;

/// Hash of the words of `text`: white space may differ.
fn words(text: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for word in text.split_whitespace() {
        hasher.update(word.as_bytes()).update(b" ");
    }
    let hash = hasher.finalize();
    u64::from_le_bytes(std::array::from_fn(|i| hash.as_bytes()[i]))
}

fn long_lines(documents: &[Document]) -> impl Iterator<Item = &str> {
    let lines = documents.iter().flat_map(|document| document.text.lines());
    lines.map(str::trim).filter(|line| line.len() >= LINE_BYTES_MIN)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Held-out text that was trained on.
#[derive(Debug, Clone, PartialEq)]
pub struct Repeated {
    /// Share of the documents that are copies, else of the bytes in lines of the training text.
    pub share: f64,
    /// The same in words.
    pub line: String,
}

/// Sorted hashes of whole documents.
fn hashed(documents: &[Document]) -> Vec<u64> {
    let mut hashes: Vec<u64> = documents.iter().map(|document| words(&document.text)).collect();
    hashes.sort_unstable();
    hashes
}

/// What of `held_out`, called `name`, is text of the documents `train`, whose hashes are `known`:
/// copies of whole documents, else, with `lines`, a good part of the lines.
fn repeated(
    (train, known): (&[Document], &[u64]),
    (name, held_out): (&str, &[Document]),
    lines: bool,
) -> Option<Repeated> {
    let copied = |document: &&Document| known.binary_search(&words(&document.text)).is_ok();
    let (copies, all) = (held_out.iter().filter(copied).count(), held_out.len());
    if copies > 0 {
        let share = copies as f64 / all as f64;
        let line = format!(
            "{copies} of {all} {name} documents ({}) are copies of training documents: losses on \
             them are not held out",
            percent(share)
        );
        return Some(Repeated { share, line });
    }
    let share = if lines { shared_lines(train, held_out) } else { 0.0 };
    (share >= LINES_SHARE_MIN).then(|| {
        let line = format!(
            "{} of the {name} text are lines of the training text: losses on them are not held out",
            percent(share)
        );
        Repeated { share, line }
    })
}

/// A line for each held-out split that repeats training text. Lines are looked at if `files` hold
/// the splits: documents that were divided by their hash share lines only as much as the text
/// repeats itself.
pub fn warnings(splits: &DocumentSplits, files: bool) -> Vec<String> {
    let train = (&splits.train[..], &hashed(&splits.train)[..]);
    [("validation", &splits.validation), ("test", &splits.test)]
        .into_iter()
        .filter_map(|(name, held_out)| repeated(train, (name, held_out), files))
        .map(|repeated| repeated.line)
        .collect()
}

/// What of `held_out`, which somebody evaluates, is among the documents `train`.
pub fn trained_on(train: &[Document], held_out: &[Document]) -> Option<Repeated> {
    repeated((train, &hashed(train)), ("evaluated", held_out), true)
}

/// Share of the bytes of long lines of `held_out` that are lines of `train`. Only the held-out
/// lines, which are fewer, are kept in memory.
fn shared_lines(train: &[Document], held_out: &[Document]) -> f64 {
    let mut wanted: Vec<(u64, usize)> =
        long_lines(held_out).map(|line| (words(line), line.len())).collect();
    wanted.sort_unstable();
    let bytes: usize = wanted.iter().map(|(_, bytes)| bytes).sum();
    let mut found = vec![false; wanted.len()];
    for line in long_lines(train) {
        let hash = words(line);
        let first = wanted.partition_point(|(other, _)| *other < hash);
        let same = wanted[first..].iter().take_while(|(other, _)| *other == hash).count();
        if same > 0 && !found[first] {
            found[first..first + same].fill(true);
        }
    }
    let repeated = wanted.iter().zip(&found).filter(|(_, found)| **found);
    let repeated: usize = repeated.map(|((_, bytes), _)| bytes).sum();
    repeated as f64 / bytes.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(texts: &[&str]) -> Vec<Document> {
        let document = |text: &&str| Document { name: "d".into(), text: (*text).to_owned() };
        texts.iter().map(document).collect()
    }

    fn told(train: &[&str], validation: &[&str], test: &[&str]) -> String {
        let (train, validation, test) = (documents(train), documents(validation), documents(test));
        warnings(&DocumentSplits { train, validation, test }, true).join("; ")
    }

    #[test]
    fn invariant_copies_are_told_with_their_share() {
        let long = |word: &str| format!("{word} and thirty-two bytes of further words");
        let (a, b, c) = (long("a"), long("b"), long("c"));
        let (a, b, c) = (a.as_str(), b.as_str(), c.as_str());
        assert_eq!(told(&[a, b], &[c], &["d"]), "");
        let quarter = told(&[a, b], &[c, "d", "e", a], &[]);
        assert!(quarter.starts_with("1 of 4 validation documents (25.0 %)"), "{quarter}");
        // Line ends of another system, and another split.
        let spaced = a.replace(' ', "\r\n ");
        assert!(told(&[a], &[c], &[&spaced]).contains("1 of 1 test documents (100.0 %)"));
        // Documents are whole files here, of which one holds a part of the other.
        let (whole, part) = (format!("{a}\n{b}\n{c}\n"), format!("{b}\n{}\n", long("x")));
        assert!(told(&[&whole], &[&part], &[]).starts_with("50.0 % of the validation text"));
        assert_eq!(told(&["Yes.\nNo.\nQuite another text"], &["Yes.\nNo."], &[]), "");
    }
}
