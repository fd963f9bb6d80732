//! Fused CPU engines of the baselines.
