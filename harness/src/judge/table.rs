//! A table from anywhere as a stream of rows.
//!
//! Comma, semicolon, tab, pipe or blank separate fields; a byte order mark, CRLF, an unnamed index
//! column, lines of comment before the header, quotes and gzip are all in order. Rows are read one
//! at a time, and no record may be longer than [`RECORD_BYTES_MAX`]: a quote that is never closed
//! ends in an error with its line instead of in all of the memory.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::cells;
use super::names::{Mapping, Selection, Wanted, folded};
use super::notes::Notes;
use super::opening::{decoded, header_line, separator, split};
use crate::error::{HarnessError, Result};

/// Most bytes of one record.
pub(super) const RECORD_BYTES_MAX: u64 = 1 << 20;
/// Most columns named in a message.
const NAMED: usize = 12;

/// A table that cannot be judged.
pub fn unreadable(path: &Path, problem: impl std::fmt::Display, hint: &str) -> HarnessError {
    HarnessError::config(format!("{}: {problem}", path.display()), hint)
}

/// Bytes of the file that count towards the current record.
struct Guarded {
    bytes: Box<dyn BufRead>,
    since_record: Rc<Cell<u64>>,
}

impl Read for Guarded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.bytes.read(out)?;
        self.since_record.set(self.since_record.get() + count as u64);
        if self.since_record.get() > RECORD_BYTES_MAX {
            return Err(io::Error::other("longer than any row: is a quote never closed?"));
        }
        Ok(count)
    }
}

/// An opened table, standing before its first row or on a row.
pub struct Reader {
    path: PathBuf,
    records: csv::Reader<Guarded>,
    since_record: Rc<Cell<u64>>,
    header: Vec<String>,
    separator: u8,
    /// Lines above the first that `records` sees.
    lines_above: u64,
    /// 1 if rows begin with a name that the header has no column for.
    shift: Option<usize>,
    row: csv::ByteRecord,
    wanted_rows: Vec<(usize, String)>,
    started: u64,
    kept: u64,
    ragged: u64,
    /// Fields and line of the last row that has another number of fields than the header.
    last_ragged: (usize, u64),
}

impl Reader {
    /// Opens the table at `path`, of which only rows of `selection` are read.
    ///
    /// # Errors
    /// No such file, no header, another kind of file, or a column of `selection` that is not there.
    pub fn open(path: &Path, selection: &Selection) -> Result<Self> {
        let (mut bytes, lines_before) = decoded(path)?;
        let (line, lines_above) = header_line(path, &mut bytes, lines_before)?;
        let separator = separator(&line);
        let header = split(&line, separator);
        if header.iter().all(|name| cells::number(name).is_some()) {
            return Err(unreadable(
                path,
                format!("line {lines_above} has numbers where names of columns belong"),
                "put a header line first, for instance parametrization,width,learning_rate,loss",
            ));
        }
        let since_record = Rc::new(Cell::new(0));
        let guarded = Guarded { bytes, since_record: Rc::clone(&since_record) };
        let records = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(separator)
            .from_reader(guarded);
        let mut reader = Self {
            path: path.to_owned(),
            records,
            since_record,
            header,
            separator,
            lines_above,
            shift: None,
            row: csv::ByteRecord::new(),
            wanted_rows: Vec::new(),
            started: 0,
            kept: 0,
            ragged: 0,
            last_ragged: (0, 0),
        };
        for (column, value) in &selection.0 {
            let place = reader.place_of(column)?.ok_or_else(|| reader.no_column(column))?;
            reader.wanted_rows.push((place, value.clone()));
        }
        Ok(reader)
    }

    /// Names of the columns, as the file spells them.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Place of the column that `mapping` or its names say is `wanted`.
    ///
    /// # Errors
    /// A column that `mapping` names and the table lacks, or a name that occurs twice.
    pub fn find(&self, wanted: &Wanted, mapping: &Mapping) -> Result<Option<usize>> {
        if let Some(theirs) = mapping.theirs(wanted) {
            return self.place_of(theirs)?.ok_or_else(|| self.no_column(theirs)).map(Some);
        }
        for name in std::iter::once(&wanted.name).chain(wanted.others) {
            if let Some(place) = self.place_of(name)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// As [`Self::find`] for a column that must be there.
    ///
    /// # Errors
    /// Also if there is none.
    pub fn require(&self, wanted: &Wanted, mapping: &Mapping) -> Result<usize> {
        self.find(wanted, mapping)?.ok_or_else(|| self.no_column(wanted.name))
    }

    /// The error for a missing column.
    pub fn no_column(&self, name: &str) -> HarnessError {
        let known: Vec<&str> = self.header.iter().take(NAMED).map(String::as_str).collect();
        let more = if self.header.len() > NAMED { ", …" } else { "" };
        unreadable(
            &self.path,
            format!("there is no column '{name}'; it has {}{more}", known.join(", ")),
            &format!("name the column that holds it: --column {name}=THEIRS"),
        )
    }

    /// Place of the column that the file calls `name`.
    ///
    /// # Errors
    /// No such column, or several.
    pub fn place_named(&self, name: &str) -> Result<usize> {
        self.place_of(name)?.ok_or_else(|| self.no_column(name))
    }

    fn place_of(&self, name: &str) -> Result<Option<usize>> {
        let exact = self.header.iter().position(|known| known == name);
        let name = folded(name);
        let mut places = (0..self.header.len()).filter(|&at| folded(&self.header[at]) == name);
        match (exact, places.next(), places.next()) {
            (None, Some(_), Some(_)) => Err(unreadable(
                &self.path,
                format!("the header has several columns '{name}'"),
                "rename one of them",
            )),
            (exact, first, _) => Ok(exact.or(first)),
        }
    }

    /// Moves to the next row; false at the end. Rows with another number of fields than the header
    /// are left out and counted in `notes`.
    ///
    /// # Errors
    /// A file that cannot be read any further.
    pub fn advance(&mut self, notes: &mut Notes) -> Result<bool> {
        loop {
            self.since_record.set(0);
            let line = self.lines_above + self.records.position().line();
            let more = self.records.read_byte_record(&mut self.row).map_err(|error| {
                unreadable(
                    &self.path,
                    format!("line {line} cannot be read: {error}"),
                    "look at that line; close its quotes or write the table anew",
                )
            })?;
            if !more {
                return self.end();
            }
            self.started += 1;
            let shift = *self.shift.get_or_insert_with(|| {
                // What R writes: a name before each row that the header says nothing of.
                let named = self.row.len() == self.header.len() + 1 && self.separator != b',';
                usize::from(named)
            });
            let expected = self.header.len() + shift;
            let surplus =
                self.row.iter().skip(expected).any(|field| !field.trim_ascii().is_empty());
            if self.row.len() < expected || surplus {
                if self.row.iter().any(|field| !field.trim_ascii().is_empty()) {
                    let reason = "they have more or fewer fields than the header";
                    notes.leave_out(reason, self.line());
                    self.ragged += 1;
                    self.last_ragged = (self.row.len(), self.line());
                }
                continue;
            }
            if self.row.iter().any(|field| field.contains(&0)) {
                return Err(self.nothing("it holds bytes that no text has: it is no table"));
            }
            let fits = |(place, value): &(usize, String)| {
                let text = self.text(*place);
                text == value
                    || cells::number(text).is_some_and(|have| cells::number(value) == Some(have))
            };
            if self.wanted_rows.iter().all(fits) {
                self.kept += 1;
                return Ok(true);
            }
        }
    }

    /// What the end of the table means: an error if no row was of use.
    fn end(&self) -> Result<bool> {
        match () {
            () if self.kept > 0 => Ok(false),
            () if self.started == 0 => Err(self.nothing("it has a header and no rows")),
            () if self.ragged == self.started => Err(self.all_ragged()),
            () => Err(self.nothing("no row is as --where asks")),
        }
    }

    fn nothing(&self, problem: &str) -> HarnessError {
        unreadable(&self.path, problem, "write the table as CSV with a header and a row per run")
    }

    fn all_ragged(&self) -> HarnessError {
        let (have, line) = self.last_ragged;
        let header = self.header.len();
        let problem = format!(
            "every row has another number of fields than the header ({have} against {header}, \
             line {line})"
        );
        let hint = if self.separator == b',' {
            "decimal commas need quotes or ; between fields"
        } else {
            "write the table anew with the same fields in every row"
        };
        unreadable(&self.path, problem, hint)
    }

    /// Line of the current row, from 1.
    pub fn line(&self) -> u64 {
        self.lines_above + self.row.position().map_or(0, csv::Position::line)
    }

    /// The field of column `place` without blanks around it; bytes that are no UTF-8 are none.
    pub fn text(&self, place: usize) -> &str {
        let field = self.row.get(place + self.shift.unwrap_or(0)).unwrap_or_default();
        let text = std::str::from_utf8(field).unwrap_or("\u{fffd}").trim();
        text.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(text).trim()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::names::{LABEL, LOSS, WIDTH};

    /// The cells of `wanted` in every row of a table with these bytes, and what was said of it.
    fn read(bytes: &[u8], wanted: &[Wanted]) -> Result<(Vec<Vec<String>>, Notes)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, bytes).unwrap();
        let mut reader = Reader::open(&path, &Selection::default())?;
        let mapping = Mapping::default();
        let places: Vec<usize> =
            wanted.iter().map(|w| reader.require(w, &mapping)).collect::<Result<_>>()?;
        let (mut rows, mut notes) = (Vec::new(), Notes::default());
        while reader.advance(&mut notes)? {
            rows.push(places.iter().map(|&place| reader.text(place).to_owned()).collect());
        }
        Ok((rows, notes))
    }

    #[test]
    fn invariant_the_same_table_in_every_dress_reads_the_same() {
        let plain = "width,loss\n64,3.5\n128,3.25\n";
        let expected = read(plain.as_bytes(), &[WIDTH, LOSS]).unwrap().0;
        let dresses: [&[u8]; 10] = [
            b"\xef\xbb\xbfwidth,loss\r\n64,3.5\r\n128,3.25\r\n",
            b"width;loss\n64;3.5\n128;3.25\n",
            b"width\tloss\n64\t3.5\n128\t3.25",
            b"width | loss\n64 | 3.5\n128 | 3.25\n",
            b"# a comment\n\nwidth, loss\n64, 3.5\n\n128, \"3.25\"\n",
            b",Width,Loss\n0,64,3.5\n1,128,3.25\n",
            b"width loss\nr1 64 3.5\nr2 128 3.25\n",
            b"sep=;\nd_model;val loss\n64;3.5\n128;3.25\n",
            b"width\rloss\r",
            b"width,loss,,\n64,3.5,,\n128,3.25,,\n",
        ];
        for (index, dress) in dresses.iter().enumerate() {
            if index == 8 {
                // Carriage returns alone end lines as well: here there is one column only.
                assert!(read(dress, &[LOSS]).is_err());
                continue;
            }
            let name = Wanted { name: "loss", others: &["val_loss"] };
            let (rows, notes) = read(dress, &[WIDTH, name]).unwrap();
            assert_eq!((rows, notes.rows()), (expected.clone(), 0), "dress {index}");
        }
    }

    #[test]
    fn invariant_ragged_rows_are_counted_with_their_line() {
        let (rows, notes) = read(b"width,loss\n64,3.5\n128\n1,2,3\n256,3.0\n", &[WIDTH]).unwrap();
        assert_eq!(rows.len(), 2);
        let said = notes.sentences().join("\n");
        assert!(said.contains("2 rows") && said.contains("line 3"), "{said}");
        // Decimal commas without quotes make every row ragged.
        let message = read(b"width,loss\n64,3,5\n128,3,25\n", &[WIDTH]).unwrap_err().to_string();
        assert!(message.contains("line 3") && message.contains("decimal commas"), "{message}");
    }

    #[test]
    fn invariant_what_is_no_table_says_what_it_is() {
        let cases: [(&[u8], &str); 8] = [
            (b"", "empty"),
            (b"PK\x03\x04aaaa", "CSV"),
            (b"PAR1....", "to_csv"),
            (b"\xff\xfew\x00", "UTF-8"),
            (b"1,2,3\n4,5,6\n", "names of columns"),
            (b"width,loss\n", "no rows"),
            (b"width,loss\n64,\x00\n", "no table"),
            (b"wide,loss\n64,1\n", "no column 'width'; it has wide, loss"),
        ];
        for (bytes, part) in cases {
            let error = read(bytes, &[WIDTH]).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn invariant_a_quote_that_is_never_closed_is_an_error_with_its_line() {
        let mut bytes = b"width,loss\n64,3.5\n\"128,3.25\n".to_vec();
        bytes.extend(b"256,3.0\n".repeat(400_000));
        let message = read(&bytes, &[WIDTH]).unwrap_err().to_string();
        assert!(message.contains("line 3") && message.contains("quote"), "{message}");
    }

    #[test]
    fn invariant_labels_may_hold_separators_and_any_letters() {
        let text = "parametrization,width,loss\n\"µP, table 8\",64,1\n";
        let (rows, _) = read(text.as_bytes(), &[LABEL]).unwrap();
        assert_eq!(rows, [["µP, table 8"]]);
    }
}
