//! Recorded expectations.

mod activations;
mod coordinate_check;
mod first_ten_losses;
mod memory;
mod minilm;
mod search_bytes;
mod speed;
mod treebank;
mod trees;
