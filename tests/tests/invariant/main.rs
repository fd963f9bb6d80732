//! Properties that hold for every model and shape.

mod baselines;
mod pt2023;
mod pt2026;
mod tidy;
mod training;
