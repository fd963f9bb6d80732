//! Parametrizations as data: exponents of width ratios, resolved to one rule per tensor.

mod resolve;
mod table;

pub use resolve::{Dimensions, Resolved, Rule, SiteScales};
pub use table::{Parametrization, RoleExponents, SiteExponents, TrainingExponents};
