//! Recorded expectations.

mod activations;
mod minilm;
