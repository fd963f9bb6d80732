//! One training run: optimiser, schedule, loop, evaluation, metrics, checkpoints.
//!
//! [`run`] takes a [`TrainJob`] and gives a [`TrainOutcome`]. Everything but wall times is a
//! function of the job: the same bytes for any number of threads and any interruption.

mod annealing;
pub mod checkpoint;
pub mod context;
mod crew;
pub mod evaluate;
pub mod judgement;
pub mod observer;
pub mod optimiser;
pub mod outcome;
pub mod progress;
pub mod recorder;
pub mod schedule;
pub mod source;
pub mod stop;
mod trainer;
pub mod update;

pub use context::{ContextLosses, ReadsContext};
pub use crew::check_ranks;
pub use evaluate::{DocumentLoss, Evaluation, evaluate, evaluate_together};
pub use judgement::Overfitting;
pub use observer::{Observer, Silent, StepMetrics};
pub use outcome::{Divergence, RunFolder, TrainJob, TrainOutcome};
pub use progress::{JobProgress, Progress};
pub use source::{BatchSource, EvaluationBatch};
pub use trainer::{run, run_together};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
