//! Coverage-guided inputs for one reader, see `crossscale_tests::hostile`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| crossscale_tests::hostile::fuzz(
    "parametrizations",
    data
));
