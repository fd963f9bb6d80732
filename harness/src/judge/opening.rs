//! The first bytes of a table: what kind of file it is, its header, what separates fields.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::table::{RECORD_BYTES_MAX, unreadable};
use crate::error::Result;

/// Separators that are looked for, in this order.
const SEPARATORS: [u8; 5] = [b'\t', b';', b'|', b',', b' '];

/// The decompressed bytes of a text file, and how many lines of its start are gone.
pub(super) fn decoded(path: &Path) -> Result<(Box<dyn BufRead>, u64)> {
    let problem = |error: io::Error| {
        unreadable(path, format!("cannot be read: {error}"), "give the path of a CSV file")
    };
    let file = File::open(path).map_err(problem)?;
    let mut bytes: Box<dyn BufRead> = Box::new(BufReader::with_capacity(1 << 16, file));
    if bytes.fill_buf().map_err(problem)?.starts_with(&[0x1f, 0x8b]) {
        bytes = Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(bytes)));
    }
    let start = bytes.fill_buf().map_err(problem)?;
    let kind = match start {
        [b'P', b'K', 3, 4, ..] => Some("a spreadsheet or zip file: save the sheet as CSV"),
        [b'P', b'A', b'R', b'1', ..] => Some("a Parquet file: df.to_csv('runs.csv', index=False)"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16 text: save it as UTF-8"),
        [] => Some("empty"),
        _ => None,
    };
    if let Some(kind) = kind {
        return Err(unreadable(path, format!("this is {kind}"), "give a CSV file in UTF-8"));
    }
    if start.starts_with(&[0xef, 0xbb, 0xbf]) {
        bytes.consume(3);
    }
    Ok((bytes, 0))
}

/// The first line that is not empty, a comment or `sep=…`, and its number.
pub(super) fn header_line(
    path: &Path,
    bytes: &mut Box<dyn BufRead>,
    above: u64,
) -> Result<(String, u64)> {
    for number in above + 1.. {
        let (line, more) = line(bytes).map_err(|error| {
            unreadable(path, format!("line {number} cannot be read: {error}"), "give a CSV file")
        })?;
        let text = String::from_utf8(line)
            .map_err(|_| unreadable(path, "the header is not UTF-8 text", "save it as UTF-8"))?;
        if text.contains('\0') {
            return Err(unreadable(path, "it holds bytes that no text has", "give a CSV file"));
        }
        let skipped = text.trim().is_empty() || text.starts_with('#') || text.starts_with("sep=");
        if !skipped {
            return Ok((text, number));
        }
        if !more {
            break;
        }
    }
    Err(unreadable(path, "it has no header", "put the names of the columns into the first line"))
}

/// One line without its end (`\n`, `\r\n` or `\r`), and whether there is more.
fn line(bytes: &mut Box<dyn BufRead>) -> io::Result<(Vec<u8>, bool)> {
    let mut line = Vec::new();
    loop {
        let buffer = bytes.fill_buf()?;
        if buffer.is_empty() {
            return Ok((line, false));
        }
        let end = buffer.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let taken = end.unwrap_or(buffer.len());
        line.extend_from_slice(&buffer[..taken]);
        let carriage = end.is_some_and(|at| buffer[at] == b'\r');
        bytes.consume(taken + usize::from(end.is_some()));
        if line.len() as u64 > RECORD_BYTES_MAX {
            return Err(io::Error::other("longer than any header"));
        }
        if end.is_some() {
            if carriage && bytes.fill_buf()?.first() == Some(&b'\n') {
                bytes.consume(1);
            }
            return Ok((line, !bytes.fill_buf()?.is_empty()));
        }
    }
}

/// The separator of a header line: of those that occur outside quotes the first known one.
pub(super) fn separator(line: &str) -> u8 {
    let mut quoted = false;
    let outside: Vec<u8> = line
        .bytes()
        .filter(|&byte| {
            quoted ^= byte == b'"';
            !quoted
        })
        .collect();
    let found = SEPARATORS.into_iter().find(|separator| outside.contains(separator));
    found.unwrap_or(b',')
}

pub(super) fn split(line: &str, separator: u8) -> Vec<String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .from_reader(line.as_bytes());
    let record = reader.records().next().and_then(std::result::Result::ok).unwrap_or_default();
    let clean = |field: &str| field.trim().trim_matches('"').trim().to_owned();
    record.iter().map(clean).collect()
}
