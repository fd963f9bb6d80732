//! One training run: optimiser, schedule, loop, evaluation, metrics.
