//! Ways to damage a file.

use crossscale_tests::hostile::border;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Words that readers have stumbled over: numbers out of range, syntax out of place, paths that
/// lead elsewhere, formulas, markup.
const WORDS: &[&str] = &[
    "nan",
    "-inf",
    "1e999",
    "-1",
    "0",
    "18446744073709551615",
    "9223372036854775808",
    "1e-320",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "=",
    ",",
    "\n",
    "\r\n",
    "\0",
    "\u{feff}",
    "\u{202e}",
    "[[data]]",
    "[model.pt]",
    "../../../etc/passwd",
    "/dev/zero",
    "C:\\x",
    "=1+1",
    "<script>",
    "null",
    "true",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "1152921504606846976",
    "width",
    "inf",
    "0.1.2",
    "#",
];

/// One change.
#[derive(Debug, Clone)]
pub enum Change {
    /// Replace so many bytes at a place by these.
    Replace(Index, usize, Vec<u8>),
    /// Flip one bit.
    Flip(Index, u8),
    /// Repeat a stretch.
    Repeat(Index, usize),
    /// Cut everything behind a place.
    Truncate(Index),
}

/// A few changes.
pub fn changes() -> impl Strategy<Value = Vec<Change>> {
    let word = select(WORDS).prop_map(|word| word.as_bytes().to_vec());
    let bytes = prop_oneof![3 => word, 1 => vec(any::<u8>(), 0..12)];
    let change = prop_oneof![
        4 => (any::<Index>(), 0usize..12, bytes)
            .prop_map(|(at, cut, new)| Change::Replace(at, cut, new)),
        2 => (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        1 => (any::<Index>(), 1usize..80).prop_map(|(at, length)| Change::Repeat(at, length)),
        1 => any::<Index>().prop_map(Change::Truncate),
    ];
    vec(change, 1..6)
}

/// `bytes` after `changes`.
pub fn damaged(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        let size = bytes.len();
        match change {
            Change::Replace(at, cut, new) => {
                let start = at.index(size);
                bytes.splice(start..(start + cut).min(size), new.iter().copied());
            }
            Change::Flip(at, bit) => bytes[at.index(size)] ^= 1 << bit,
            Change::Repeat(at, length) => {
                let start = at.index(size);
                let stretch = bytes[start..(start + length).min(size)].to_vec();
                bytes.splice(start..start, stretch);
            }
            Change::Truncate(at) => bytes.truncate(at.index(size)),
        }
    }
    bytes
}

/// A safetensors file with `changes`, `in_header` only there, with the length that it then has:
/// most of a file is numbers, the header is where harm is done.
pub fn damaged_safetensors(whole: &[u8], changes: &[Change], in_header: bool) -> Vec<u8> {
    if !in_header {
        return damaged(whole, changes);
    }
    let header = damaged(&whole[8..border(whole)], changes);
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], &header, &whole[border(whole)..]].concat()
}
