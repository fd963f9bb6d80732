//! Runs: where they are kept found again, how they are done, what they say.

pub mod corpora;
pub mod execute;
pub mod fetched_text;
pub mod kin;
pub mod record;
pub mod runner;
pub mod source;
pub mod table;
