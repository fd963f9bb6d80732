//! Files that somebody gave: read whole, but never more of them than they may hold.
//!
//! A size that the system states is not enough: `/dev/zero`, or a link to it in a folder from
//! elsewhere, has size 0 and no end.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Take};
use std::path::Path;

/// Largest configuration, definition or table that is read, in bytes.
pub const TEXT_BYTES_MAX: u64 = 16 << 20;
/// Largest tokenizer definition that is read, in bytes.
pub const TOKENIZER_BYTES_MAX: u64 = 256 << 20;
/// Largest record of a run (manifest or CSV) that is read, in bytes.
pub const RECORD_BYTES_MAX: u64 = 4 << 30;

/// All bytes of the file at `path`.
///
/// # Errors
/// If it cannot be read, or has more than `limit` bytes.
pub fn bytes(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path, limit.saturating_add(1))?.read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        let problem = format!("holds more than the {limit} bytes that are read");
        return Err(io::Error::new(ErrorKind::FileTooLarge, problem));
    }
    Ok(content)
}

/// The file at `path` as text.
///
/// # Errors
/// As [`bytes`]; also if it is not UTF-8.
pub fn text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(bytes(path, limit)?).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        io::Error::new(ErrorKind::InvalidData, format!("not UTF-8 text at byte {place}"))
    })
}

/// The file at `path` as a stream that ends after `limit` bytes.
///
/// # Errors
/// If it cannot be opened.
pub fn open(path: &Path, limit: u64) -> io::Result<BufReader<Take<File>>> {
    Ok(BufReader::new(File::open(path)?.take(limit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_no_more_is_read_than_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(text(&path, 5).unwrap(), "12345");
        assert_eq!(text(&path, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
        std::fs::write(&path, b"ab\xff").unwrap();
        assert!(text(&path, 5).unwrap_err().to_string().contains("byte 2"));
        // A file without an end, whose size is said to be 0.
        let endless = Path::new("/dev/zero");
        if endless.exists() {
            assert_eq!(bytes(endless, 1 << 16).unwrap_err().kind(), ErrorKind::FileTooLarge);
        }
    }
}
