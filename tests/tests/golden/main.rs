//! Recorded expectations.

mod activations;
mod memory;
mod minilm;
mod speed;
