//! Trains every (rate, width, seed) of a plan under one table and reads every site.

use std::sync::Arc;
use std::time::Duration;

use candle_core::Device;
use models::architecture::{Architecture, Probe, TensorBatch, Weights, tensors};
use models::batch::Batch;
use models::parameters::Layout;
use models::parametrization::{Parametrization, Resolved};

use super::ablation::{self, Logits, Pass};
use super::alignment::Matrices;
use super::plan::Plan;
use super::recorder::{Baseline, Recorder};
use super::row::{Reading, Row};
use super::weights::{Buffers, LastStep, weight_readings};
use crate::config::model::BuiltModel;
use crate::config::train::TrainConfig;
use crate::corpus::{Corpus, TrainingBatches};
use crate::error::{HarnessError, Result};
use crate::train::context;
use crate::train::optimiser::global_norm;
use crate::train::update::Update;
use crate::workers;

/// One training of the check.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Job {
    factor: f64,
    width: usize,
    seed: u64,
}

/// Text and probe of a plan, loaded once and shared by every table measured under it.
pub struct Bench {
    /// The plan, its vocabulary set to that of the text.
    plan: Plan,
    corpus: Arc<Corpus>,
    probe: Batch,
    /// The probe with the words around the targets in another order.
    shuffled: Batch,
    unigram_loss_nats: f64,
    /// Trainings at a time; results do not depend on it.
    jobs: usize,
}

impl Bench {
    /// Loads the text of `plan`; `jobs` trainings run at a time, one thread each.
    ///
    /// # Errors
    /// A plan that cannot be used, or a text that cannot be read.
    pub fn new(plan: Plan, jobs: usize) -> Result<Self> {
        let corpus = Arc::new(Corpus::load(&plan.run.data, None)?);
        Self::with_corpus(plan, corpus, jobs)
    }

    /// As [`Bench::new`] with a text that is loaded already; `plan.run.data` must name it.
    ///
    /// # Errors
    /// A plan that cannot be used.
    pub fn with_corpus(mut plan: Plan, corpus: Arc<Corpus>, jobs: usize) -> Result<Self> {
        plan.run.model = plan.run.model.with_vocab(corpus.vocabulary().size);
        plan.validate()?;
        let (probe, unigram_loss_nats) = plan.probe(&corpus)?;
        let shuffled = context::shuffled(&probe, 0);
        Ok(Self { plan, corpus, probe, shuffled, unigram_loss_nats, jobs: jobs.max(1) })
    }

    /// The plan that is measured.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Readings of every run under `table`, ordered by rate factor, width, seed, step and site.
    /// A function of the plan and the table only.
    ///
    /// # Errors
    /// Whatever model, engine or data refuse.
    pub fn measure(&self, table: &Parametrization) -> Result<Vec<Row>> {
        let mut jobs = Vec::new();
        for &factor in &self.plan.learning_rate_factors {
            for &width in &self.plan.widths {
                jobs.extend((1..=self.plan.seeds).map(|seed| Job { factor, width, seed }));
            }
        }
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        order.sort_by_key(|&index| (std::cmp::Reverse(jobs[index].width), index));
        let run = |index: usize| self.run_alone(table, jobs[index]).map(Some);
        let rows = workers::complete(order.into(), self.jobs, Duration::ZERO, run)?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// One job in a pool of one thread.
    fn run_alone(&self, table: &Parametrization, job: Job) -> Result<Vec<Row>> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .map_err(|error| HarnessError::config(error.to_string(), "use fewer jobs"))?;
        pool.install(|| self.run(table, job))
    }

    fn batches(&self, job: Job) -> Result<TrainingBatches> {
        let run = &self.plan.run;
        TrainingBatches::new(self.corpus.clone(), &run.data, run.train.batch, job.seed)
    }

    fn run(&self, table: &Parametrization, job: Job) -> Result<Vec<Row>> {
        let plan = &self.plan;
        let run = &plan.run;
        let (model, base) = (run.model.at_width(job.width), run.base_model());
        let built = model.build(&base, table, run.path, run.data.length)?;
        let (architecture, _) = model.architecture(&base, table)?;
        let source = self.batches(job)?;
        let tensor = |batch| TensorBatch::new(batch, candle_core::DType::F32, &Device::Cpu);
        let (probe, shuffled) = (tensor(&self.probe)?, tensor(&self.shuffled)?);
        let mut baseline = Baseline::new();
        let mut rows = Vec::new();
        let mut training = Training::new(built, plan, job)?;
        for step in 0..=plan.steps[plan.steps.len() - 1] {
            let mut readings = Vec::new();
            let wanted = plan.steps.contains(&step);
            if step > 0 {
                training.step(&source.batch(step - 1), wanted)?;
            }
            if wanted {
                let built = &training.built;
                let matrices = Matrices {
                    layout: &built.layout,
                    initial: &training.initial,
                    now: &training.parameters,
                };
                let mut recorder = Recorder::new(&mut baseline, step == 0).with_matrices(matrices);
                let weights = (&built.layout, &built.resolved, training.parameters.as_slice());
                let losses = forward(architecture.as_ref(), weights, &probe, &mut recorder)?;
                let mut other = Logits::default();
                let ablated = forward(architecture.as_ref(), weights, &shuffled, &mut other)?;
                let plain = Pass { logits: recorder.logits(), losses: &losses };
                let ablated = Pass { logits: &other.0, losses: &ablated };
                let context = ablation::readings(plain, ablated, self.unigram_loss_nats);
                readings.extend(recorder.into_readings());
                readings.extend(context);
                readings.extend(training.readings(step));
            }
            rows.extend(readings.into_iter().map(|reading| Row {
                arch: run.model.family(),
                parametrization: table.name.clone(),
                learning_rate_factor: job.factor,
                width: job.width,
                depth: model.dimensions().depth,
                seed: job.seed,
                step,
                reading,
            }));
        }
        Ok(rows)
    }
}

/// Runs `batch` through the reference definition, dropout off; the loss of each target, nats.
fn forward(
    architecture: &dyn Architecture,
    (layout, resolved, parameters): (&Layout, &Resolved, &[f32]),
    batch: &TensorBatch,
    probe: &mut dyn Probe,
) -> Result<Vec<f32>> {
    let tensors = tensors(layout, parameters, &Device::Cpu)?;
    let weights = Weights::new(layout, &tensors, Some(resolved));
    let (losses, _) = architecture.target_losses(&weights, batch, probe)?;
    Ok(losses.to_vec1().map_err(models::ModelError::from)?)
}

/// The state of one training, a step at a time: the trainer's own update without its evaluation,
/// checkpoints and metrics.
struct Training {
    built: BuiltModel,
    initial: Vec<f32>,
    parameters: Vec<f32>,
    /// Parameters before the last step that is read.
    before: Vec<f32>,
    gradients: Vec<f32>,
    update: Update<f32>,
}

impl Training {
    fn new(built: BuiltModel, plan: &Plan, job: Job) -> Result<Self> {
        let config = &plan.run.train;
        let rate = config.learning_rate * job.factor;
        let config = TrainConfig { learning_rate: rate, ..config.clone() };
        let initial = built.resolved.initialise(&built.layout, &built.base_layout, job.seed)?;
        Ok(Self {
            parameters: initial.clone(),
            before: Vec::new(),
            gradients: vec![0.0; initial.len()],
            initial,
            update: Update::new(&built.layout, &built.resolved, &config),
            built,
        })
    }

    /// Takes a step; the training loss before it.
    fn step(&mut self, batch: &Batch, read: bool) -> Result<f64> {
        if read {
            self.before.clone_from(&self.parameters);
        }
        let engine = &mut self.built.engine;
        let loss = engine.loss_and_gradients(&self.parameters, batch, &mut self.gradients)?;
        let (norm, rate) = (global_norm(&self.gradients), self.update.learning_rate(1.0));
        self.update.step(&mut self.parameters, &mut self.gradients, norm, rate);
        Ok(loss.loss_nats)
    }

    /// Readings of the weights after `step` steps, the last of which was one to be read.
    fn readings(&self, step: u64) -> Vec<Reading> {
        let last = LastStep { before: &self.before, gradients: &self.gradients };
        let buffers = Buffers {
            initial: &self.initial,
            now: &self.parameters,
            last: (step > 0).then_some(last),
        };
        weight_readings(&self.built.layout, &self.built.resolved, buffers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::coordinates::plan::Tier;
    use crate::corpus::{CorpusSource, Split};
    use crate::train::{self, Observer, StepMetrics, TrainJob};

    /// Keeps the loss of every step.
    struct Losses(Vec<f64>);

    impl Observer for Losses {
        fn step(&mut self, metrics: &StepMetrics, _: f64) -> Result<()> {
            self.0.extend(metrics.loss_nats);
            Ok(())
        }
    }

    /// A plan in which everything is on that an update depends on.
    fn plan(family: &str) -> Plan {
        let sets = [
            "parametrization.base_width=32",
            "train.steps=6",
            "train.batch=3",
            "train.weight_decay=0.1",
            "train.gradient_clip=0.3",
            "train.schedule.warmup_share=0.5",
            "train.schedule.decay=cosine",
        ];
        let mut plan = Plan::new(family, Tier::Ci, &sets.map(String::from)).unwrap();
        (plan.widths, plan.steps) = (vec![32, 64], vec![0, 6]);
        plan
    }

    #[test]
    fn invariant_the_check_takes_the_steps_of_the_trainer() {
        let corpus = Arc::new(Corpus::load(&plan("pt").run.data, None).unwrap());
        for (family, name) in [("pt", "pt-2026"), ("preln", "mup-table3"), ("ut", "standard")] {
            let bench = Bench::with_corpus(plan(family), corpus.clone(), 1).unwrap();
            let table = Parametrization::built_in(name).unwrap();
            let job = Job { factor: 1.0, width: 64, seed: 3 };

            let mut run = bench.plan.run.clone();
            run.model = run.model.at_width(job.width);
            run.base = Some(bench.plan.run.base_model());
            run.parametrization.name = String::from(name);
            (run.seed, run.data_seed) = (job.seed, job.seed);
            let built = run.build().unwrap();
            let source = CorpusSource::new(
                corpus.clone(),
                &run.data,
                &run.train,
                job.seed,
                Split::Validation,
            );
            let mut expected = Losses(Vec::new());
            let initial = built.resolved.initialise(&built.layout, &built.base_layout, job.seed);
            let trained = TrainJob {
                engine: built.engine,
                layout: &built.layout,
                resolved: &built.resolved,
                initial_parameters: initial.unwrap(),
                config: &run.train,
                source: &source.unwrap(),
                vocab: run.model.vocab(),
                dropout_seed: None,
                threads: 1,
                folder: None,
                stop: None,
            };
            let outcome = train::run(trained, &mut expected).unwrap();

            let model = bench.plan.run.model.at_width(job.width);
            let base = bench.plan.run.base_model();
            let built = model.build(&base, &table, run.path, run.data.length).unwrap();
            let mut training = Training::new(built, &bench.plan, job).unwrap();
            let batches = bench.batches(job).unwrap();
            let found: Vec<f64> =
                (0..6).map(|step| training.step(&batches.batch(step), true).unwrap()).collect();

            assert_eq!(expected.0.len(), 6);
            let bits = |losses: &[f64]| losses.iter().map(|l| l.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&found), bits(&expected.0), "{family}: {found:?} {:?}", expected.0);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert!(bits(&training.parameters) == bits(&outcome.parameters), "{family} parameters");
        }
    }
}
