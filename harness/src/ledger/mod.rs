//! The record of all runs: content addresses, manifests, claims.

pub mod atomic;
