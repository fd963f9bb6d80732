//! The `[data]` table.
