//! The crossscale binary.

fn main() {}
