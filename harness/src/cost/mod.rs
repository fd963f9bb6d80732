//! What a model or an experiment costs before it runs: shapes, memory, operations, hours.

pub mod budget;
pub mod device;
pub mod gpu_table;
pub mod memory;
pub mod plan;
pub mod plan_text;
