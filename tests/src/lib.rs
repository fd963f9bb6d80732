//! Helpers shared by the tests.

pub mod hostile;
pub mod known_answer;
pub mod pt2026_by_hand;
