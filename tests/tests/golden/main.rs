//! Recorded expectations.

mod minilm;
