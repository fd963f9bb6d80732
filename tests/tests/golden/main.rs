//! Recorded expectations.
