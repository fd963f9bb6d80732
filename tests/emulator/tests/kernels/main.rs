//! The committed PTX of our kernels, interpreted: against formulas in float64, and with faults
//! planted.

mod adamw;
mod faults;
mod head_selection;
mod manifest;
mod oracle;
mod rotary;
mod rows;
mod sanitizer;
mod support;
