//! Coverage-guided inputs for one reader, see `crossscale_tests::hostile`.

#![no_main]

use crossscale_tests::hostile::fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz("treebanks", data));
