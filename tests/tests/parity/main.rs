//! Agreement with independent implementations and known answers.
mod pt2026;
