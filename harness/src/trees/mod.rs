//! Text with a known answer: sentences of a dependency grammar, their trees, and the lowest masked
//! loss that any model can have on them.
//!
//! [`grammar`] says what is said, [`sample`] draws sentences, [`chart`] sums over all trees of a
//! sentence, [`predict`] makes the best prediction of it, [`optimum`] its loss on evaluation sets,
//! [`folder`] writes everything where training finds it.

pub mod chart;
#[cfg(test)]
mod enumerate;
pub mod folder;
pub mod grammar;
pub mod optimum;
pub mod predict;
pub mod sample;
