//! The Probabilistic Transformer of 2026.
