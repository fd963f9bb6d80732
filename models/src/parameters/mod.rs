//! Parameters by role: shapes only, nothing allocated until a buffer is asked for.

mod layout;
mod role;
mod spec;

pub use layout::Layout;
pub use role::Role;
pub use spec::{Init, ParameterSpec, sinusoid};
