//! Texts out of the layouts that packages keep them in.

use std::collections::BTreeSet;
use std::io::Read;

use flate2::bufread::ZlibDecoder;

use super::archive::Files;

/// A text, or `None` where the layout is not the expected one.
type Text = Option<String>;

/// The three parts of the Penn Treebank out of `treebank/__init__.py`, which assigns each a
/// string literal of one sentence per line.
pub fn treebank(source: &[u8]) -> Option<[String; 3]> {
    let source = std::str::from_utf8(source).ok()?.replace('\r', "");
    let part = |name: &str| -> Text {
        let opening = format!("penn['{name}'] = \"\"\"");
        let start = source.find(&opening)? + opening.len();
        let end = start + source[start..].find("\n\"\"\"")?;
        let lines = source[start..end].lines().filter(|line| !line.trim().is_empty());
        Some(lines.collect::<Vec<_>>().join("\n") + "\n")
    };
    Some([part("train")?, part("valid")?, part("test")?])
}

/// A SWORD module's text: entries of all verses in order, without markup. `verse_bytes` is the
/// size of a verse's index entry, 10 or 12.
pub fn sword(files: &Files, folder: &str, verse_bytes: usize) -> Text {
    let mut entries = Vec::new();
    for testament in ["ot", "nt"] {
        for kind in ["b", "c"] {
            let part = |letter: &str| files.get(&format!("{folder}/{testament}.{kind}z{letter}"));
            if let (Some(blocks), Some(data), Some(verses)) = (part("s"), part("z"), part("v")) {
                read_testament(blocks, data, (verses, verse_bytes), &mut entries)?;
            }
        }
    }
    (!entries.is_empty()).then(|| entries.join("\n"))
}

fn little(bytes: &[u8], at: usize, size: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + size)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte)))
}

/// Block index: offset, packed size, size, u32 each. Verse index: block u32, start u32, size u16
/// or u32.
fn read_testament(
    blocks: &[u8],
    data: &[u8],
    (verses, verse_bytes): (&[u8], usize),
    entries: &mut Vec<String>,
) -> Option<()> {
    let mut seen = BTreeSet::new();
    let mut unpacked: Option<(usize, Vec<u8>)> = None;
    for verse in verses.chunks_exact(verse_bytes) {
        let (block, start) = (little(verse, 0, 4)?, little(verse, 4, 4)?);
        let size = little(verse, 8, verse_bytes - 8)?;
        if size == 0 || !seen.insert((block, start)) {
            continue;
        }
        if unpacked.as_ref().is_none_or(|(known, _)| *known != block) {
            let offset = little(blocks, 12 * block, 4)?;
            let packed = little(blocks, 12 * block + 4, 4)?;
            let mut text = Vec::new();
            let packed = data.get(offset..offset + packed)?;
            ZlibDecoder::new(packed).read_to_end(&mut text).ok()?;
            unpacked = Some((block, text));
        }
        let (_, text) = unpacked.as_ref()?;
        let end = (start + size).min(text.len());
        entries.push(plain(&String::from_utf8_lossy(text.get(start..end)?)));
    }
    Some(())
}

/// Elements that are left out with everything inside.
const DROPPED: [&str; 4] = ["note", "title", "catchWord", "rdg"];
/// Elements that begin a new line.
const BREAKS: [&str; 8] = ["l", "lb", "p", "div", "row", "item", "list", "lg"];

/// Text without markup, blanks and line ends reduced.
fn plain(marked: &str) -> String {
    let mut text = marked.to_owned();
    for name in DROPPED {
        text = without_element(&text, name);
    }
    let mut bare = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(open) = rest.find('<') {
        let Some(length) = rest[open..].find('>').filter(|&length| length > 1) else { break };
        bare.push_str(&rest[..open]);
        if BREAKS.contains(&element(&rest[open + 1..])) {
            bare.push('\n');
        }
        rest = &rest[open + length + 1..];
    }
    bare.push_str(rest);
    tidy(&unescape(&bare))
}

/// Name of the element whose tag goes on with `tag` (after `<`); empty for closing tags.
fn element(tag: &str) -> &str {
    let end = tag.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(tag.len());
    &tag[..end]
}

/// Leaves out `<name …>…</name>`, to the first closing tag. Any name that begins with `note`
/// counts as a note.
fn without_element(text: &str, name: &str) -> String {
    let (opening, closing) = (format!("<{name}"), format!("</{name}>"));
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find(&opening) {
        let exact = name == "note" || element(&rest[open + 1..]) == name;
        let close = rest[open..].find(&closing).filter(|_| exact);
        let Some(close) = close else {
            kept.push_str(&rest[..open + opening.len()]);
            rest = &rest[open + opening.len()..];
            continue;
        };
        kept.push_str(&rest[..open]);
        rest = &rest[open + close + closing.len()..];
    }
    kept + rest
}

fn unescape(text: &str) -> String {
    let mut plain = text.to_owned();
    for (entity, letter) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'")] {
        plain = plain.replace(entity, letter);
    }
    plain.replace("&amp;", "&")
}

/// Runs of blanks become one; a line end takes the blanks before it (one is left by then) and all
/// white space after it; none at the ends.
fn tidy(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => {
                if tidy.ends_with(' ') {
                    tidy.pop();
                }
                if !tidy.ends_with('\n') {
                    tidy.push('\n');
                }
            }
            ' ' | '\t' if tidy.ends_with(' ') || tidy.ends_with('\n') => {}
            '\t' => tidy.push(' '),
            other if other.is_whitespace() && tidy.ends_with('\n') => {}
            other => tidy.push(other),
        }
    }
    tidy.trim().to_owned()
}

/// Books of an R lazy-load database: big-endian length and zlib stream, each a serialised
/// character vector; vectors of more than a thousand lines are books.
pub fn r_database(bytes: &[u8]) -> Option<Vec<String>> {
    let mut books = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let mut decoder = ZlibDecoder::new(bytes.get(at + 4..)?);
        let mut object = Vec::new();
        decoder.read_to_end(&mut object).ok()?;
        at += 4 + decoder.total_in() as usize;
        books.extend(character_vector(&object));
    }
    Some(books)
}

/// The lines of a serialised character vector of more than a thousand; XDR, so big-endian.
fn character_vector(object: &[u8]) -> Text {
    const CHARACTER_VECTOR: i32 = 16;
    let number = |at: usize| -> Option<i32> {
        Some(i32::from_be_bytes(object.get(at..at + 4)?.try_into().ok()?))
    };
    let mut at = 14;
    if number(2)? == 3 {
        at = 18 + usize::try_from(number(14)?).ok()?;
    }
    if !object.starts_with(b"X\n") || number(at)? & 255 != CHARACTER_VECTOR {
        return None;
    }
    let count = number(at + 4)?;
    at += 8;
    let mut lines = Vec::new();
    for _ in 0..count {
        // Length -1 is R's missing value.
        let length = usize::try_from(number(at + 4)?).unwrap_or(0);
        at += 8;
        lines.push(std::str::from_utf8(object.get(at..at + length)?).ok()?);
        at += length;
    }
    (count > 1000).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_markup_goes_and_lines_stay() {
        let marked = "  <title type=\"x\">Head</title>One <notex>aside</note>two<lb/>  \t three \
                      &amp; <hi>four</hi><p>five</p>\n\n six < seven";
        assert_eq!(plain(marked), "One two\nthree & four\nfive\nsix < seven");
        assert_eq!(plain("<listing>a</listing> <titles>b</titles>"), "a b");
    }

    #[test]
    fn invariant_treebank_literals_are_found() {
        let source = b"penn = {}\r\n\r\npenn['train'] = \"\"\" a b \r\n c \r\n\"\"\"\r\n\
            penn['valid'] = \"\"\" d \r\n\"\"\"\r\npenn['test'] = \"\"\" e \r\n\"\"\"\r\n";
        let parts = treebank(source).unwrap();
        assert_eq!(parts, [" a b \n c \n", " d \n", " e \n"]);
        assert!(treebank(b"penn['train'] = 3").is_none());
    }
}
