//! The `[model]` table.
