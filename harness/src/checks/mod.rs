//! What is held against expectations: activations over width, recorded values and rules, changed
//! rules, known answers, and losses of short trainings. Numbers and their reasons are in
//! `thresholds.toml`.

pub mod coordinates;
pub mod known_answers;
pub mod losses;
pub mod mutations;
pub mod recorded;
pub mod thresholds;
