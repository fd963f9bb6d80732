//! Compressed files that are several compressed streams one after the other.

use std::io::{self, BufRead, Cursor, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// Bytes of text that a frame may look back, 2 GiB: as far as `zstd --long=31`, its longest. Memory
/// is taken as text comes, so a frame that only claims so much costs nothing.
const WINDOW_BYTES_MAX: u64 = 1 << 31;
/// First byte of a gzip member (RFC 1952, 2.3.1).
const GZIP_FIRST: u8 = 0x1f;
/// Skippable frames begin with any of sixteen numbers (RFC 8878, 3.1.2).
const SKIPPABLE: u32 = 0x184D_2A50;
const SKIPPABLE_MASK: u32 = 0xFFFF_FFF0;

/// What a whole file asks for and does not get here.
#[derive(Debug, thiserror::Error)]
pub(super) enum TooDemanding {
    /// A frame looks further back than the limit.
    #[error("its window of {0} bytes is larger than {WINDOW_BYTES_MAX}, the largest that is read")]
    Window(u64),
    /// A frame needs a dictionary that is not part of the file.
    #[error("it is compressed with dictionary {0}, which is not part of it")]
    Dictionary(u32),
}

impl TooDemanding {
    /// How the file at `path` becomes readable.
    pub(super) fn hint(&self, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::Window(_) => {
                format!("compress it anew: zstd -dc --memory=4GB {path} | zstd -o smaller.zst")
            }
            Self::Dictionary(_) => format!("decompress it first: zstd -d -D DICTIONARY {path}"),
        }
    }
}

/// All members of a gzip file; zeros after the last one are padding, as for gzip itself.
pub(super) struct GzipMembers<R: BufRead> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> GzipMembers<R> {
    pub(super) fn new(source: R) -> Self {
        Self { member: Some(GzDecoder::new(source)) }
    }
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            let count = member.read(out)?;
            if count > 0 {
                return Ok(count);
            }
            let Some(member) = self.member.take() else { break };
            let mut source = member.into_inner();
            let padded = skip_zeros(&mut source)?;
            if source.fill_buf()?.is_empty() {
                break;
            }
            if padded {
                return Err(io::Error::other("something follows the zeros after its last member"));
            }
            if source.fill_buf()?[0] != GZIP_FIRST {
                return Err(io::Error::other("something that is no gzip follows its last member"));
            }
            self.member = Some(GzDecoder::new(source));
        }
        Ok(0)
    }
}

/// Reads on to the first byte that is not zero; whether there were zeros.
fn skip_zeros(source: &mut impl BufRead) -> io::Result<bool> {
    let mut any = false;
    loop {
        let bytes = source.fill_buf()?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let done = zeros < bytes.len() || bytes.is_empty();
        source.consume(zeros);
        any |= zeros > 0;
        if done {
            return Ok(any);
        }
    }
}

/// The first bytes of a frame, which have been read, and the rest.
type Begun<R> = io::Chain<Cursor<[u8; 4]>, R>;

/// All frames of a Zstandard file with their checksums compared; skippable frames are skipped.
pub(super) struct ZstandardFrames<R: BufRead> {
    source: Option<R>,
    frame: Option<StreamingDecoder<Begun<R>, FrameDecoder>>,
}

impl<R: BufRead> ZstandardFrames<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source: Some(source), frame: None }
    }

    /// The next frame with text; `None` at the end of the file.
    fn next(mut source: R) -> io::Result<Option<StreamingDecoder<Begun<R>, FrameDecoder>>> {
        loop {
            if source.fill_buf()?.is_empty() {
                return Ok(None);
            }
            let mut magic = [0; 4];
            source.read_exact(&mut magic)?;
            if u32::from_le_bytes(magic) & SKIPPABLE_MASK != SKIPPABLE {
                let begun = Cursor::new(magic).chain(source);
                let frame = StreamingDecoder::new_with_max_window_size(begun, WINDOW_BYTES_MAX);
                return frame.map(Some).map_err(explained);
            }
            let mut length = [0; 4];
            source.read_exact(&mut length)?;
            let length = u64::from(u32::from_le_bytes(length));
            if io::copy(&mut source.by_ref().take(length), &mut io::sink())? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn explained(problem: FrameDecoderError) -> io::Error {
    match problem {
        FrameDecoderError::WindowSizeTooBig { requested, .. } => {
            io::Error::other(TooDemanding::Window(requested))
        }
        FrameDecoderError::DictNotProvided { dict_id } => {
            io::Error::other(TooDemanding::Dictionary(dict_id))
        }
        other => io::Error::other(other.to_string()),
    }
}

impl<R: BufRead> Read for ZstandardFrames<R> {
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
                self.source = Some(frame.into_inner().into_inner().1);
            }
            let Some(source) = self.source.take() else { return Ok(0) };
            let Some(frame) = Self::next(source)? else { return Ok(0) };
            self.frame = Some(frame);
        }
    }
}
