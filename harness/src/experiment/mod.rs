//! From a definition to runs to an answer: budgets, learning-rate search, runner, reports.

pub mod claims_report;
pub mod definition;
pub mod document;
pub mod figures;
pub mod plan;
pub mod registered;
pub mod reproduce;
pub mod search;
pub mod setting;
pub mod status;
pub mod study;
pub mod sweep;
pub mod tables;

#[cfg(test)]
mod paper_tests;
#[cfg(test)]
mod published_tests;
