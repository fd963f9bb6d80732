//! Properties that hold for every model and shape.

mod baselines;
mod hostile;
mod looped;
mod parametrization;
mod positions;
mod precision;
mod products;
mod pt2023;
mod pt2026;
mod supply;
mod symmetries;
mod tidy;
mod training;
mod weights;
