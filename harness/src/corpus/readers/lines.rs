//! `.txt` and `.jsonl`.

use std::io::{BufRead, Read};
use std::path::Path;

use super::open::{damaged, open};
use super::{Budget, Compression, encoding, json};
use crate::config::data::TextDocument;
use crate::corpus::documents::Document;
use crate::error::{HarnessError, Result};

/// Some editors begin UTF-8 files with it; it is no part of the text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a text file; documents of nothing but white space are left out.
pub(super) fn read_text(
    path: &Path,
    compression: Compression,
    unit: TextDocument,
    budget: &mut Budget,
    documents: &mut Vec<Document>,
) -> Result<()> {
    let mut bytes = Vec::new();
    open(path, compression, budget)?
        .read_to_end(&mut bytes)
        .map_err(|problem| damaged(path, compression, &problem))?;
    budget.spend(path, bytes.len() as u64)?;
    let mark = if bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    if let Some((problem, hint)) = encoding::foreign(&bytes) {
        return Err(HarnessError::input(path, problem, hint));
    }
    bytes.drain(..mark);
    let mut text = String::from_utf8(bytes).map_err(|problem| {
        let offset = problem.utf8_error().valid_up_to();
        let before = problem.as_bytes()[..offset].split(|byte| *byte == b'\n');
        not_utf8(path, before.count() as u64, (mark + offset) as u64)
    })?;
    // Lines of classic Mac OS and of some exports end in this alone.
    if unit != TextDocument::File && !text.contains('\n') {
        text = text.replace('\r', "\n");
    }
    let mut push = |line: usize, text: String| {
        if !text.trim().is_empty() {
            documents.push(Document { name: format!("{}:{line}", path.display()), text });
        }
    };
    match unit {
        TextDocument::File => push(1, text),
        TextDocument::Line => {
            text.lines().enumerate().for_each(|(line, text)| push(line + 1, text.to_owned()));
        }
        TextDocument::Paragraph => {
            let (mut first, mut paragraph) = (1, Vec::new());
            for (line, text) in text.lines().chain([""]).enumerate() {
                if !text.trim().is_empty() {
                    paragraph.push(text);
                    continue;
                }
                push(first, paragraph.join("\n"));
                paragraph.clear();
                first = line + 2;
            }
        }
    }
    Ok(())
}

/// Reads one JSON object per line and takes the string `field` of each; blank lines and empty
/// strings are left out.
pub(super) fn read_json(
    path: &Path,
    compression: Compression,
    field: &str,
    budget: &mut Budget,
    documents: &mut Vec<Document>,
) -> Result<()> {
    let mut reader = open(path, compression, budget)?;
    let (mut line, mut number, mut offset) = (Vec::new(), 0u64, 0u64);
    // Lines that were read: a bad one among them is no sign of another format.
    let mut good = 0u64;
    loop {
        line.clear();
        let read = reader
            .read_until(b'\n', &mut line)
            .map_err(|problem| damaged(path, compression, &problem))?;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        budget.spend(path, read as u64)?;
        if number == 1
            && let Some((problem, hint)) = encoding::foreign(&line)
        {
            return Err(HarnessError::input(path, problem, hint));
        }
        let content = std::str::from_utf8(&line)
            .map_err(|problem| not_utf8(path, number, offset + problem.valid_up_to() as u64))?;
        // The byte order mark, as a character.
        let content = if number == 1 { content.trim_start_matches('\u{feff}') } else { content };
        if !content.trim().is_empty() {
            let text = json::field_of(content, field, good > 0)
                .map_err(|(problem, hint)| bad_line(path, number, &problem, hint))?;
            good += 1;
            if !text.trim().is_empty() {
                documents.push(Document { name: format!("{}:{number}", path.display()), text });
            }
        }
        offset += read as u64;
    }
}

fn bad_line(path: &Path, line: u64, problem: &str, hint: String) -> HarnessError {
    HarnessError::input(path, format!("line {line}: {problem}"), hint)
}

fn not_utf8(path: &Path, line: u64, offset: u64) -> HarnessError {
    let problem = format!("not UTF-8 at byte {offset}");
    let hint = "convert it, e.g. from Latin-1: iconv -f ISO-8859-1 -t UTF-8 FILE > NEW.txt; \
                `file FILE` guesses the encoding";
    bad_line(path, line, &problem, hint.into())
}
