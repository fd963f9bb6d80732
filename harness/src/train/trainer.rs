//! The training loop.

use std::sync::atomic::Ordering;

use models::batch::Batch;

use super::annealing::{Plateau, load_best, save_best};
use super::checkpoint::{self, SnapshotView};
use super::context::ContextLosses;
use super::crew::{Crew, Start};
use super::evaluate::{Evaluation, evaluate_together, require_targets};
use super::judgement::{self, End, Overfitting};
use super::observer::Observer;
use super::optimiser::global_norm;
use super::outcome::{Divergence, TrainJob, TrainOutcome};
use super::recorder::Recorder;
use super::update::Update;
use crate::collective::{Alone, Collective};
use crate::error::{HarnessError, Result};
use crate::weights::finite::first_bad;

/// Trains one model inside a thread pool of its own.
///
/// With a run folder, the newest usable checkpoint is continued bit-exactly and metrics are
/// written as the run goes on. A diverged run is an outcome, not an error (see
/// [`TrainOutcome::require_converged`]). Call it from a plain thread rather than from inside
/// another rayon pool, whose worker would be blocked.
///
/// # Errors
/// [`HarnessError::Interrupted`] if `stop` was set (with a run folder: after a checkpoint);
/// otherwise whatever configuration, engine or file system refuse.
pub fn run(job: TrainJob<'_>, observer: &mut dyn Observer) -> Result<TrainOutcome> {
    run_together(job, &Alone, observer)
}

/// As [`run`], on every rank of `collective` with the same job. Only rank 0 has a run folder and
/// resumes from it; the others begin where it does. A signal on any rank stops all after the same
/// step.
///
/// # Errors
/// Also [`HarnessError::Config`] if `train.ranks` is not the number of ranks. An error that not
/// all ranks meet leaves the others waiting: the caller ends them ([`Collective::abort`]).
pub fn run_together(
    job: TrainJob<'_>,
    collective: &dyn Collective,
    observer: &mut dyn Observer,
) -> Result<TrainOutcome> {
    job.config.validate()?;
    let crew = Crew::new(collective, job.config.ranks)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(job.threads.max(1))
        .build()
        .map_err(|error| HarnessError::config(error.to_string(), "use fewer threads or jobs"))?;
    pool.install(|| Trainer::start(job, crew)?.train(observer))
}

mod step;

struct Trainer<'a> {
    job: TrainJob<'a>,
    crew: Crew<'a>,
    parameters: Vec<f32>,
    gradients: Vec<f32>,
    /// Gradients of one part, when a batch is computed in several.
    partial: Vec<f32>,
    /// The parts of a step's batch; their memory is reused.
    batches: Vec<Batch>,
    update: Update<f32>,
    plateau: Plateau,
    /// Parameters of the best evaluation, if they are wanted and known.
    best: Option<Vec<f32>>,
    recorder: Option<Recorder>,
    tokens: u64,
    seconds: f64,
    first_loss_nats: f64,
    last_loss_nats: f64,
    overfitted: Option<Overfitting>,
}

impl<'a> Trainer<'a> {
    fn start(mut job: TrainJob<'a>, crew: Crew<'a>) -> Result<Self> {
        let config = job.config;
        // Before the first step, not after the last.
        require_targets(job.source.evaluation())?;
        let total = job.layout.total();
        let mut parameters = std::mem::take(&mut job.initial_parameters);
        assert_eq!(parameters.len(), total, "initial parameters do not fit the layout");
        let mut update = Update::new(job.layout, job.resolved, config);
        let optimiser = &mut update.optimiser;
        let (mut steps, mut tokens) = (0, 0);
        let mut recorder = None;
        if let Some(folder) = job.folder {
            if let Some(snapshot) = checkpoint::newest(folder.path, job.layout, folder.config_hash)?
            {
                let [weights, first, second] = snapshot.buffers;
                parameters = weights;
                (optimiser.first_moment, optimiser.second_moment) = (first, second);
                (steps, tokens) = (snapshot.step, snapshot.tokens);
            }
            checkpoint::drop_after(folder.path, steps)?;
            recorder = Some(Recorder::open(folder.path, steps)?);
        }
        let recorded = |pick: fn(&Recorder) -> Option<f64>| recorder.as_ref().and_then(pick);
        let mut start = Start {
            steps,
            idle: recorder.as_ref().map_or(0, |recorder| recorder.idle),
            tokens,
            first_loss_nats: recorded(|recorder| recorder.first_loss_nats).unwrap_or(f64::NAN),
            last_loss_nats: recorded(|recorder| recorder.last_loss_nats).unwrap_or(f64::NAN),
            evaluations: recorder.iter().flat_map(|r| r.evaluations.clone()).collect(),
        };
        let seconds = recorded(|recorder| Some(recorder.seconds)).unwrap_or(0.0);
        let moments = (&mut optimiser.first_moment, &mut optimiser.second_moment);
        crew.share(&mut start, [&mut parameters, moments.0, moments.1])?;
        update.resume(start.steps, start.idle);
        let mut plateau = Plateau::new(config.annealing);
        for &(step, loss) in &start.evaluations {
            plateau.observe(step, loss);
        }
        Ok(Self {
            parameters,
            gradients: vec![0.0; total],
            partial: vec![0.0; if config.parts() > 1 { total } else { 0 }],
            batches: vec![Batch::default(); config.parts()],
            update,
            plateau,
            best: None,
            recorder,
            tokens: start.tokens,
            seconds,
            first_loss_nats: start.first_loss_nats,
            last_loss_nats: start.last_loss_nats,
            overfitted: None,
            job,
            crew,
        })
    }

    /// A checkpoint of step k is taken before the evaluation after step k, so that a resumed run
    /// repeats that evaluation and nothing else.
    fn train(mut self, observer: &mut dyn Observer) -> Result<TrainOutcome> {
        let config = self.job.config;
        loop {
            let done = self.update.done();
            let last = done == config.steps;
            if last || (done > 0 && is_due(done, config.evaluate_every)) {
                if let Some(tensor) = self.first_bad_parameter() {
                    let divergence = Divergence::NotFinite { tensor, step: done };
                    return self.finish(None, Some(divergence), observer);
                }
                let evaluation = self.evaluate(done, observer)?;
                if !evaluation.loss_nats.is_finite() {
                    let tensor = "evaluation loss".to_owned();
                    let divergence = Divergence::NotFinite { tensor, step: done };
                    return self.finish(None, Some(divergence), observer);
                }
                self.follow(done, &evaluation)?;
                if last || self.plateau.is_over(config.learning_rate) {
                    let evaluation = self.result(done, evaluation)?;
                    return self.judge(evaluation, observer);
                }
            }
            if let Some(divergence) = self.step(observer)? {
                return self.finish(None, Some(divergence), observer);
            }
            let stop = self.crew.stops(stop_asked(&self.job));
            let done = self.update.done();
            if (stop || is_due(done, config.checkpoint_every) || self.is_final_checkpoint())
                && let Some(tensor) = self.save()?
            {
                let divergence = Divergence::NotFinite { tensor, step: done };
                return self.finish(None, Some(divergence), observer);
            }
            if stop {
                // No rank leaves before rank 0 has saved: launchers end all with the first.
                self.crew.collective().barrier()?;
                return Err(HarnessError::Interrupted);
            }
        }
    }

    /// Learns from an evaluation; the best parameters are kept at once, for a resumed run does not
    /// compute them again.
    fn follow(&mut self, done: u64, evaluation: &Evaluation) -> Result<()> {
        let better = self.plateau.observe(done, evaluation.loss_nats);
        if better && self.job.config.keep_best {
            if let Some(folder) = self.job.folder {
                save_best(folder.path, folder.config_hash, (done, &self.parameters))?;
            }
            self.best = Some(self.parameters.clone());
        }
        Ok(())
    }

    /// The evaluation that counts, after `done` steps: with `keep_best` that of the best
    /// parameters, which become the run's.
    fn result(&mut self, done: u64, last: Evaluation) -> Result<Evaluation> {
        let best = self.plateau.best_step().filter(|_| self.job.config.keep_best);
        let Some(step) = best.filter(|&step| step != done) else { return Ok(last) };
        let count = self.parameters.len();
        self.parameters = match (self.best.take(), self.job.folder) {
            (Some(parameters), _) => parameters,
            (None, Some(folder)) => load_best(folder.path, folder.config_hash, (step, count))?,
            // Only a run with a folder is resumed: rank 0 has it and sends what it reads.
            (None, None) => std::mem::take(&mut self.parameters),
        };
        self.crew.collective().broadcast_f32(&mut self.parameters)?;
        self.held_out()
    }

    fn is_final_checkpoint(&self) -> bool {
        let config = self.job.config;
        config.checkpoint_every > 0 && self.update.done() == config.steps
    }

    fn evaluate(&mut self, done: u64, observer: &mut dyn Observer) -> Result<Evaluation> {
        self.crew.agree("norm of the parameters", global_norm(&self.parameters))?;
        let evaluation = self.held_out()?;
        if let Some(recorder) = &mut self.recorder {
            recorder.evaluation(done, &evaluation)?;
        }
        observer.evaluation(done, &evaluation)?;
        if evaluation.loss_nats.is_finite() {
            observer.parameters(done, &self.parameters)?;
        }
        Ok(evaluation)
    }

    fn held_out(&mut self) -> Result<Evaluation> {
        let batches = self.job.source.evaluation();
        let engine = self.job.engine.as_mut();
        evaluate_together(engine, &self.parameters, batches, self.crew.collective())
    }

    fn context_losses(&mut self) -> Result<Option<ContextLosses>> {
        let batches = self.job.source.evaluation();
        let engine = self.job.engine.as_mut();
        ContextLosses::measure(engine, &self.parameters, batches, self.crew.collective())
    }

    /// Ends a run that came to its last evaluation, as [`judgement`] calls it.
    fn judge(
        mut self,
        evaluation: Evaluation,
        observer: &mut dyn Observer,
    ) -> Result<TrainOutcome> {
        let done = self.update.done();
        let end = End {
            parameters: &self.parameters,
            held_out: (done, evaluation.loss_nats),
            best: self.plateau.best(),
            first_loss_nats: self.first_loss_nats,
            trained: (done, self.batches.len()),
            vocab: self.job.vocab,
        };
        let TrainJob { engine, source, .. } = &mut self.job;
        let collective = self.crew.collective();
        let (divergence, overfitted) =
            judgement::judge(&end, *source, engine.as_mut(), collective)?;
        self.overfitted = overfitted;
        self.finish(Some(evaluation), divergence, observer)
    }

    /// Saves a checkpoint, unless a parameter is not finite: then its name.
    fn save(&mut self) -> Result<Option<String>> {
        if self.job.folder.is_none() && self.crew.is_alone() {
            return Ok(None);
        }
        // Every rank looks, since every rank has to end the run.
        let bad = self.first_bad_parameter();
        if let (None, Some(folder)) = (&bad, self.job.folder) {
            if let Some(recorder) = &self.recorder {
                recorder.sync()?;
            }
            let moments =
                (&self.update.optimiser.first_moment, &self.update.optimiser.second_moment);
            let view = SnapshotView {
                step: self.update.done(),
                tokens: self.tokens,
                buffers: [&self.parameters, moments.0, moments.1],
            };
            checkpoint::save(folder.path, self.job.layout, &view, folder.config_hash)?;
        }
        Ok(bad)
    }

    fn finish(
        mut self,
        final_evaluation: Option<Evaluation>,
        divergence: Option<Divergence>,
        observer: &mut dyn Observer,
    ) -> Result<TrainOutcome> {
        if let Some(recorder) = &self.recorder {
            if let Some(evaluation) = &final_evaluation {
                recorder.documents(evaluation)?;
            }
            recorder.sync()?;
        }
        let measured = final_evaluation.is_some().then(|| self.context_losses());
        let context = measured.transpose()?.flatten();
        let outcome = TrainOutcome {
            final_evaluation,
            context,
            parameters: self.parameters,
            divergence,
            overfitted: self.overfitted,
            steps: self.update.done(),
            idle_steps: self.update.idle,
            tokens: self.tokens,
            first_loss_nats: self.first_loss_nats,
            last_loss_nats: self.last_loss_nats,
            seconds: self.seconds,
        };
        observer.finished(&outcome)?;
        Ok(outcome)
    }

    fn first_bad_parameter(&self) -> Option<String> {
        self.first_bad_in(&self.parameters)
    }

    fn first_bad_in(&self, values: &[f32]) -> Option<String> {
        if global_norm(values).is_finite() {
            return None;
        }
        first_bad(self.job.layout, values).map(ToOwned::to_owned)
    }

    /// Names the first tensor that is not finite: parameters before gradients before the loss.
    fn first_bad(&self) -> String {
        let gradient =
            || self.first_bad_in(&self.gradients).map(|name| format!("gradient of {name}"));
        self.first_bad_parameter().or_else(gradient).unwrap_or_else(|| "loss".to_owned())
    }
}

fn stop_asked(job: &TrainJob) -> bool {
    job.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
}

fn is_due(done: u64, every: u64) -> bool {
    every > 0 && done.is_multiple_of(every)
}
