//! What bytes are that are no UTF-8 text, by how they begin or by zeros among them.

use std::path::Path;

/// How files begin that are no text, what they are, and how they become text or readable.
const BEGINNINGS: [(&[u8], &str, &str); 12] = [
    (b"\xff\xfe\0\0", "UTF-32", "iconv -f UTF-32 -t UTF-8 FILE > NEW.txt"),
    (b"\xff\xfe", "UTF-16", "iconv -f UTF-16 -t UTF-8 FILE > NEW.txt"),
    (b"\xfe\xff", "UTF-16", "iconv -f UTF-16 -t UTF-8 FILE > NEW.txt"),
    (b"\0\0\xfe\xff", "UTF-32", "iconv -f UTF-32 -t UTF-8 FILE > NEW.txt"),
    (b"\x1f\x8b", "gzip data", "give its name the ending .gz, or once more: gzip -d FILE.gz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard data", "give its name the ending .zst"),
    (b"BZh", "bzip2 data", "decompress it: bzip2 -dc FILE > NEW.txt"),
    (b"\xfd7zXZ\0", "xz data", "decompress it: xz -dc FILE > NEW.txt"),
    (b"PK\x03\x04", "a zip archive", "unpack it: unzip FILE"),
    (b"%PDF-", "a PDF document", "take the text out: pdftotext FILE NEW.txt"),
    (b"PAR1", "a Parquet file", "give its name the ending .parquet"),
    (b"\x89PNG", "a picture", "name files of text"),
];

/// What `bytes`, the beginning or all of a file, are instead of UTF-8 text, and the remedy.
pub(super) fn foreign(bytes: &[u8]) -> Option<(String, String)> {
    let begins = BEGINNINGS.iter().find(|(beginning, ..)| bytes.starts_with(beginning));
    // Letters of a text may begin it like an archive; its zeros tell.
    let binary = || bytes.contains(&0) || std::str::from_utf8(bytes).is_err();
    if let Some((_, what, remedy)) = begins.filter(|_| binary()) {
        return Some((format!("is {what}, not UTF-8 text"), (*remedy).to_owned()));
    }
    // Zeros are valid UTF-8, so that text of two bytes a letter would pass for text with gaps.
    let zero = bytes.iter().position(|byte| *byte == 0)?;
    let zeros = bytes.iter().map(|byte| u64::from(*byte == 0)).sum::<u64>();
    let (odd, all) = (zero % 2 == 1, bytes.len() as u64);
    let remedy = if 3 * zeros >= all {
        let order = if odd { "LE" } else { "BE" };
        format!("text of two bytes a letter? iconv -f UTF-16{order} -t UTF-8 FILE > NEW.txt")
    } else {
        "is it text? leave the zeros out: tr -d '\\000' < FILE > NEW.txt".to_owned()
    };
    Some((format!("holds {zeros} zero bytes, the first at byte {zero}: no text"), remedy))
}

/// Endings of files that hold text in another form, and how it is taken out.
const ENDINGS: [(&[&str], &str); 7] = [
    (&["bz2"], "decompress it: bzip2 -d FILE; "),
    (&["xz", "lzma"], "decompress it: xz -d FILE; "),
    (&["lz4"], "decompress it: lz4 -d FILE; "),
    (&["zip", "tar", "tgz", "7z", "rar"], "unpack it; "),
    (&["json"], "of a list of objects: jq -c '.[]' FILE > NEW.jsonl; "),
    (&["csv", "tsv", "xlsx", "arrow", "feather"], "write its column of text to a .jsonl file; "),
    (&["pdf", "html", "htm", "xml", "docx", "epub"], "take the text out of it first; "),
];

/// What to do about the file at `path`, whose name does not say a format that is read.
pub(super) fn by_name(path: &Path) -> &'static str {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    let known = ENDINGS.iter().find(|(endings, _)| {
        ending.as_ref().is_some_and(|ending| endings.contains(&ending.as_str()))
    });
    known.map_or("rename it if it is text; ", |(_, remedy)| remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_what_is_no_utf8_text_is_told_by_name() {
        let sixteen = |text: &str, order: fn(u16) -> [u8; 2]| -> Vec<u8> {
            text.encode_utf16().flat_map(order).collect()
        };
        let marked = sixteen("\u{feff}some text", u16::to_le_bytes);
        for (bytes, what, help) in [
            (&marked[..], "is UTF-16", "iconv -f UTF-16 "),
            (&sixteen("\u{feff}some text", u16::to_be_bytes), "is UTF-16", "iconv -f UTF-16 "),
            (&sixteen("some text", u16::to_le_bytes), "zero bytes", "iconv -f UTF-16LE "),
            (&sixteen("some text", u16::to_be_bytes), "zero bytes", "iconv -f UTF-16BE "),
            (b"some text and\0more", "holds 1 zero bytes, the first at byte 13", "tr -d"),
            (b"BZh91AY&SY\xff", "is bzip2", "bzip2 -dc"),
            (b"%PDF-1.4\n\xe2\xe3", "is a PDF", "pdftotext"),
            (b"PK\x03\x04\0", "zip", "unzip"),
        ] {
            let (problem, remedy) = foreign(bytes).unwrap();
            assert!(problem.contains(what) && remedy.contains(help), "{problem}: {remedy}");
        }
        for text in ["", "some text", "BZhang wrote this", "%PDF-1.4 is a format", "\u{feff}é"] {
            assert_eq!(foreign(text.as_bytes()), None, "{text}");
        }
        assert_eq!(foreign(b"caf\xe9"), None, "the reader says where");
    }
}
