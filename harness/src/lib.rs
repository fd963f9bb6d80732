//! Trains Probabilistic Transformers and Transformers at matched budgets, proves the muP
//! invariants and reports masked-language-modelling losses with intervals.

pub mod benchmark;
pub mod cmd;
pub mod config;
pub mod coordcheck;
pub mod corpus;
pub mod device;
pub mod error;
pub mod experiment;
pub mod guard;
pub mod launch;
pub mod ledger;
pub mod parity;
pub mod process;
pub mod statistics;
pub mod train;
pub mod weights;

pub use error::{HarnessError, Result};
