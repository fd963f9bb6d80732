//! Intervals and tests on losses.
