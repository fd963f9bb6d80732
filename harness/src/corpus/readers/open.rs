//! Files as streams of decompressed bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::members::{GzipMembers, TooDemanding, ZstandardFrames};
use super::{Budget, Compression};
use crate::error::{HarnessError, Result};

/// Opens `path`; reading gives at most one byte more than `budget` has left.
pub(super) fn open(
    path: &Path,
    compression: Compression,
    budget: &mut Budget,
) -> Result<BufReader<io::Take<Box<dyn Read>>>> {
    let file = File::open(path).map_err(|problem| {
        HarnessError::input(path, problem.to_string(), "check the path in [data.paths]")
    })?;
    if compression == Compression::None {
        // Too large a file is refused before any of it is read.
        let size = file.metadata().map_err(HarnessError::io(path))?.len();
        budget.clone().spend(path, size)?;
    }
    let file: Box<dyn BufRead> = Box::new(BufReader::new(file));
    let bytes: Box<dyn Read> = match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(GzipMembers::new(file)),
        Compression::Zstandard => Box::new(ZstandardFrames::new(file)),
    };
    Ok(BufReader::new(bytes.take(budget.left.saturating_add(1))))
}

/// What to tell of a read error.
pub(super) fn damaged(path: &Path, compression: Compression, problem: &io::Error) -> HarnessError {
    let inner = problem.get_ref().and_then(|inner| inner.downcast_ref::<TooDemanding>());
    let hint = match (inner, compression) {
        (Some(whole), _) => whole.hint(path),
        (None, Compression::None) => "check the disk".to_owned(),
        (None, Compression::Gzip) => {
            "the file may be cut off: try `gzip -t` on it, fetch it again".to_owned()
        }
        (None, Compression::Zstandard) => {
            "the file may be cut off: try `zstd -t` on it, fetch it again".to_owned()
        }
    };
    HarnessError::input(path, format!("cannot be read: {problem}"), hint)
}
