//! Helpers shared by the tests.

pub mod known_answer;
pub mod pt2026_by_hand;
