//! Recorded expectations.

mod activations;
mod coordinate_check;
mod memory;
mod minilm;
mod speed;
