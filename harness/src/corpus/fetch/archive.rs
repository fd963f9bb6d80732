//! Just enough of zip and tar to take files out of packages.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use flate2::Crc;
use flate2::read::{DeflateDecoder, GzDecoder};

use crate::error::{HarnessError, Result};

/// More unpacked bytes than this in one package are refused.
const BYTES_MAX: u64 = 1 << 30;
const TAR_BLOCK: usize = 512;

/// Files by their path inside the package.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Takes the files whose path satisfies `wanted` out of a wheel, an npm or a Debian package.
pub fn unpack(path: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Files> {
    let bytes = crate::input::bytes(path, BYTES_MAX).map_err(|error| {
        HarnessError::input(path, error.to_string(), "name an existing package file")
    })?;
    let name = path.to_string_lossy();
    let files = if name.ends_with(".whl") || name.ends_with(".zip") {
        zip(&bytes, wanted)
    } else if name.ends_with(".tgz") || name.ends_with(".tar.gz") {
        gunzip(&bytes).and_then(|bytes| tar(&bytes, wanted))
    } else if name.ends_with(".deb") {
        tar(&debian(path)?, wanted)
    } else {
        Err("is no .whl, .zip, .tgz or .deb".to_owned())
    };
    files.map_err(|problem| {
        HarnessError::input(path, problem, "fetch the package again; it may be cut off")
    })
}

type Found<T> = std::result::Result<T, String>;

fn cut_off() -> String {
    "ends in the middle of an entry".to_owned()
}

fn number(bytes: &[u8], at: usize, size: usize) -> Found<u64> {
    let end = at.checked_add(size).ok_or_else(cut_off)?;
    let bytes = bytes.get(at..end).ok_or_else(cut_off)?;
    Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

fn slice(bytes: &[u8], at: u64, size: u64) -> Found<&[u8]> {
    let end = at.checked_add(size).ok_or_else(cut_off)?;
    bytes.get(at as usize..end as usize).ok_or_else(cut_off)
}

/// Reads the central directory, which alone knows the sizes for certain.
fn zip(bytes: &[u8], wanted: &dyn Fn(&str) -> bool) -> Found<Files> {
    const END: &[u8] = b"PK\x05\x06";
    let tail = bytes.len().saturating_sub(22 + 65_535);
    let end = (tail..bytes.len().saturating_sub(21))
        .rev()
        .find(|&at| bytes[at..].starts_with(END))
        .ok_or("has no zip directory")?;
    let entries = number(bytes, end + 10, 2)?;
    let mut at = number(bytes, end + 16, 4)? as usize;
    let (mut files, mut left) = (Files::new(), BYTES_MAX);
    for _ in 0..entries {
        if number(bytes, at, 4)? != 0x0201_4b50 {
            return Err("has a damaged zip directory".to_owned());
        }
        let (method, crc) = (number(bytes, at + 10, 2)?, number(bytes, at + 16, 4)?);
        let (packed, size) = (number(bytes, at + 20, 4)?, number(bytes, at + 24, 4)?);
        let sizes = [28, 30, 32].map(|field| number(bytes, at + field, 2));
        let [name_size, extra, comment] = sizes;
        let (name_size, skipped) = (name_size?, extra? + comment?);
        let local = number(bytes, at + 42, 4)? as usize;
        let name = slice(bytes, at as u64 + 46, name_size)?;
        let name = String::from_utf8_lossy(name).into_owned();
        at += 46 + (name_size + skipped) as usize;
        if !wanted(&name) {
            continue;
        }
        left = left.checked_sub(size).ok_or("unpacks to more than 1 GiB")?;
        let skipped = number(bytes, local + 26, 2)? + number(bytes, local + 28, 2)?;
        let data = slice(bytes, local as u64 + 30 + skipped, packed)?;
        let mut content = Vec::new();
        match method {
            0 => content.extend_from_slice(data),
            8 => {
                let read = DeflateDecoder::new(data).take(size + 1).read_to_end(&mut content);
                read.map_err(|error| format!("{name}: {error}"))?;
            }
            other => return Err(format!("{name} is packed by unknown method {other}")),
        }
        let mut sum = Crc::new();
        sum.update(&content);
        if content.len() as u64 != size || u64::from(sum.sum()) != crc {
            return Err(format!("{name} is damaged"));
        }
        files.insert(name, content);
    }
    Ok(files)
}

fn gunzip(bytes: &[u8]) -> Found<Vec<u8>> {
    let mut unpacked = Vec::new();
    let read = GzDecoder::new(bytes).take(BYTES_MAX).read_to_end(&mut unpacked);
    read.map_err(|error| error.to_string())?;
    Ok(unpacked)
}

/// The files of a Debian package as a tar, by the registry's own tool.
fn debian(path: &Path) -> Result<Vec<u8>> {
    let output = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(path).output();
    let output = output.map_err(|error| HarnessError::Unavailable {
        what: format!("dpkg-deb ({error})"),
        hint: "unpack Debian packages on a Debian or Ubuntu machine".to_owned(),
    })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(HarnessError::input(path, message, "fetch the package again"));
    }
    Ok(output.stdout)
}

fn tar(bytes: &[u8], wanted: &dyn Fn(&str) -> bool) -> Found<Files> {
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
    };
    let mut files = Files::new();
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + TAR_BLOCK) {
        if header[0] == 0 {
            break;
        }
        let size = u64::from_str_radix(&text(&header[124..136]), 8)
            .map_err(|_| "has a damaged tar header".to_owned())?;
        let mut name = text(&header[..100]);
        let prefix = text(&header[345..500]);
        if header[257..].starts_with(b"ustar\0") && !prefix.is_empty() {
            name = format!("{prefix}/{name}");
        }
        let name = name.trim_start_matches("./").to_owned();
        let data = slice(bytes, (at + TAR_BLOCK) as u64, size)?;
        if matches!(header[156], b'0' | 0) && wanted(&name) {
            files.insert(name, data.to_vec());
        }
        at += TAR_BLOCK + (size as usize).next_multiple_of(TAR_BLOCK);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A zip of one stored file, written by hand.
    fn stored(name: &str, content: &[u8]) -> Vec<u8> {
        let mut sum = Crc::new();
        sum.update(content);
        let (crc, size) = (sum.sum().to_le_bytes(), (content.len() as u32).to_le_bytes());
        let name_size = (name.len() as u16).to_le_bytes();
        let common = [&[0u8; 4][..], &[0; 4], &crc, &size, &size, &name_size, &[0; 2]].concat();
        let local = [&b"PK\x03\x04\x14\0"[..], &common, name.as_bytes(), content].concat();
        let directory =
            [&b"PK\x01\x02\x14\0\x14\0"[..], &common, &[0; 14], name.as_bytes()].concat();
        let count = [0u8; 4].into_iter().chain([1, 0, 1, 0]);
        let start = (local.len() as u32).to_le_bytes();
        let size = (directory.len() as u32).to_le_bytes();
        let end: Vec<u8> = b"PK\x05\x06".iter().copied().chain(count).collect();
        [local, directory, end, size.to_vec(), start.to_vec(), vec![0; 2]].concat()
    }

    #[test]
    fn invariant_zip_entries_are_checked() {
        let whole = stored("a/b.txt", b"hello");
        let files = zip(&whole, &|name| name.starts_with("a/")).unwrap();
        assert_eq!(files["a/b.txt"], b"hello");
        assert!(zip(&whole, &|_| false).unwrap().is_empty());
        let mut damaged = whole.clone();
        let place = whole.windows(5).position(|bytes| bytes == b"hello").unwrap();
        damaged[place] ^= 1;
        assert!(zip(&damaged, &|_| true).unwrap_err().contains("damaged"));
        for cut in 0..whole.len() {
            assert!(zip(&whole[..cut], &|_| true).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn invariant_tar_files_are_found_and_cut_ones_refused() {
        let mut header = vec![0u8; TAR_BLOCK];
        header[..7].copy_from_slice(b"./a.txt");
        header[124..136].copy_from_slice(b"00000000005\0");
        header[156] = b'0';
        let mut bytes = [header, b"hello".to_vec()].concat();
        assert!(tar(&bytes[..514], &|_| true).is_err());
        bytes.resize(4 * TAR_BLOCK, 0);
        assert_eq!(tar(&bytes, &|_| true).unwrap()["a.txt"], b"hello");
    }
}
