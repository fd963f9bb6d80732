//! The `[train]` table.
