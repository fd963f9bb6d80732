//! Files that were damaged or made to do harm: every reader answers with a value or an error,
//! never with a panic, and believes no size that the file itself does not hold.
//!
//! `CROSSSCALE_HOSTILE_CASES` sets the cases per reader (default 150); `ci/fuzz` runs a million,
//! and `ci/fuzz_guided` gives the same readers to libFuzzer.

mod cases;
mod claims;
mod mutation;

/// Cases per reader.
fn cases() -> u32 {
    let cases = std::env::var("CROSSSCALE_HOSTILE_CASES").ok();
    cases.and_then(|cases| cases.parse().ok()).unwrap_or(150)
}
