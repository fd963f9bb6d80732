//! Writes whole files of every kind, which the fuzzer begins with, to CROSSSCALE_FUZZ_CORPUS. A
//! target like the others, for it is built with their instrumentation and needs libFuzzer's main.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        let folder = std::env::var_os("CROSSSCALE_FUZZ_CORPUS").expect("CROSSSCALE_FUZZ_CORPUS");
        crossscale_tests::hostile::write_corpus(folder.as_ref()).expect("a folder to write to");
    },
    |_data: &[u8]| {}
);
