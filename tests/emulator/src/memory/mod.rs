//! The two memories of a kernel, each of which knows what was written and by whom.

pub mod device;
pub mod shared;
