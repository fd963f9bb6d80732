//! From a definition to runs to an answer: budgets, learning-rate search, runner, reports.

pub mod budget;
pub mod claims_report;
pub mod corpora;
pub mod definition;
pub mod document;
pub mod execute;
pub mod figures;
pub mod gpu_table;
pub mod memory;
pub mod plan;
pub mod plan_text;
pub mod record;
pub mod registered;
pub mod reproduce;
pub mod runner;
pub mod search;
pub mod setting;
pub mod source;
pub mod status;
pub mod study;
pub mod sweep;
pub mod tables;

#[cfg(test)]
mod paper_tests;
#[cfg(test)]
mod published_tests;
