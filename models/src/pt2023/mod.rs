//! The Probabilistic Transformer of 2023.
