//! Trains Probabilistic Transformers and Transformers at matched budgets, proves the muP
//! invariants and reports masked-language-modelling losses with intervals.
//!
//! ```
//! use harness::config::run::RunConfig;
//!
//! // Layers, then `--set`s; every key can be reached, and a wrong one is refused by name.
//! let sets = ["model.width=64".to_owned(), "train.steps=200".to_owned()];
//! let run = RunConfig::resolve("pt", Vec::new(), &sets)?;
//! assert_eq!(run.train.steps, 200);
//! assert_eq!(run.model.layout()?.specs()[0].name(), "unary");
//! let wrong = RunConfig::resolve("pt", Vec::new(), &["train.stepz=200".to_owned()]);
//! assert!(wrong.unwrap_err().to_string().contains("did you mean steps?"));
//! # Ok::<(), harness::HarnessError>(())
//! ```

pub mod benchmark;
pub mod checks;
pub mod claims;
pub mod cmd;
pub mod collective;
pub mod config;
pub mod corpus;
pub mod cost;
pub mod device;
pub mod error;
pub mod experiment;
pub mod input;
pub mod judge;
pub mod launch;
pub mod ledger;
pub mod pages;
pub mod process;
pub mod runs;
pub mod shapes;
pub mod statistics;
pub mod train;
pub mod treebank;
pub mod trees;
pub mod weights;
pub mod whitebox;
pub mod workers;

pub use error::{HarnessError, Result};
