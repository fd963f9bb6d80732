//! Helpers shared by the tests.

pub mod known_answer;
