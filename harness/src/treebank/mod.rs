//! Arcs and categories of a model against a treebank: no training, no labels seen.
//!
//! [`conllu`] reads treebanks, [`arcs`] counts (it knows neither files nor models, so that arcs of
//! another origin are scored alike), [`tree`] decodes, [`labels`] compares categories,
//! [`evaluate`] runs a model over sentences, [`follow`] scores one while it trains.

pub mod arcs;
pub mod categories;
pub mod conllu;
pub mod evaluate;
pub mod follow;
pub mod labels;
pub mod read;
pub mod tree;

pub use evaluate::{Evaluation, evaluate};
