//! Files as streams of decompressed bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

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
    let file = BufReader::new(file);
    let bytes: Box<dyn Read> = match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
        Compression::Zstandard => Box::new(Frames { source: Some(file), frame: None }),
    };
    Ok(BufReader::new(bytes.take(budget.left.saturating_add(1))))
}

/// What to tell of a read error.
pub(super) fn damaged(path: &Path, compression: Compression, problem: &io::Error) -> HarnessError {
    let hint = match compression {
        Compression::None => "check the disk",
        Compression::Gzip => "the file may be cut off: try `gzip -t` on it, fetch it again",
        Compression::Zstandard => "the file may be cut off: try `zstd -t` on it, fetch it again",
    };
    HarnessError::input(path, format!("cannot be read: {problem}"), hint)
}

/// All frames of a Zstandard file, one after the other, with their checksums compared.
struct Frames<R: BufRead> {
    source: Option<R>,
    frame: Option<StreamingDecoder<R, FrameDecoder>>,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(frame) = &mut self.frame {
                let count = frame.read(out)?;
                if count > 0 {
                    return Ok(count);
                }
            }
            if let Some(frame) = self.frame.take() {
                let stored = frame.decoder.get_checksum_from_data();
                if stored.is_some() && stored != frame.decoder.get_calculated_checksum() {
                    return Err(io::Error::other("a checksum does not fit the data"));
                }
                self.source = Some(frame.into_inner());
            }
            let Some(mut source) = self.source.take() else { return Ok(0) };
            if source.fill_buf()?.is_empty() {
                return Ok(0);
            }
            let frame = StreamingDecoder::new(source)
                .map_err(|problem| io::Error::other(problem.to_string()))?;
            self.frame = Some(frame);
        }
    }
}
