//! One training step after another on random tokens.

use models::batch::{Batch, Target};
use models::fused::stage::{Stage, enter};
use models::parametrization::Parametrization;
use models::random::{Purpose, Stream};

use super::Workload;
use crate::config::compute::Compute;
use crate::config::model::BuiltModel;
use crate::error::{HarnessError, Result};
use crate::train::optimiser::{AdamConstants, AdamW, clip_factor, global_norm, groups};

/// Small enough that the loss stays finite however many steps are timed.
const LEARNING_RATE: f64 = 1e-4;
/// As in most training recipes; clipping costs a pass over all gradients.
const CLIP: f64 = 1.0;
const ADAM: AdamConstants =
    AdamConstants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };

/// A model in training.
pub struct StepLoop {
    built: BuiltModel,
    parameters: Vec<f32>,
    gradients: Vec<f32>,
    optimiser: AdamW<f32>,
    stream: Stream,
    batch: Batch,
    /// Every position, in an order that each step shuffles from the front.
    positions: Vec<u32>,
    targets: usize,
    vocab: usize,
    model_flops: f64,
    last_loss_nats: f64,
}

impl StepLoop {
    /// The model of `workload` with initial parameters.
    ///
    /// # Errors
    /// If the model cannot be built or not as `compute` says.
    pub fn new(workload: &Workload, compute: impl Into<Compute>) -> Result<Self> {
        let table = Parametrization::built_in("standard")?;
        let (model, compute) = (&workload.model, compute.into());
        let built = model.build_as(model, &table, &compute, workload.length)?;
        let parameters = built.resolved.initialise(&built.layout, &built.base_layout, 1)?;
        let (tokens, targets) = (workload.tokens(), workload.targets());
        let share = targets as f64 / tokens as f64;
        Ok(Self {
            model_flops: tokens as f64 * built.flops.training_per_token(share),
            gradients: vec![0.0; parameters.len()],
            optimiser: AdamW::new(groups(&built.layout, &built.resolved, true), ADAM),
            stream: Stream::new(1, Purpose::Test, 0),
            batch: Batch {
                ids: vec![0; tokens],
                attention: None,
                targets: Vec::with_capacity(targets),
                sequences: workload.sequences,
                length: workload.length,
                dropout: None,
            },
            positions: (0..tokens as u32).collect(),
            targets,
            vocab: workload.model.vocab(),
            last_loss_nats: f64::NAN,
            parameters,
            built,
        })
    }

    /// One training step.
    ///
    /// # Errors
    /// If the loss is not a number.
    pub fn step(&mut self) -> Result<()> {
        let stage = enter(Stage::Batch);
        self.draw();
        drop(stage);
        let engine = &mut self.built.engine;
        let loss = engine.loss_and_gradients(&self.parameters, &self.batch, &mut self.gradients)?;
        self.last_loss_nats = loss.loss_nats;
        let stage = enter(Stage::GradientNorm);
        let factor = clip_factor(global_norm(&self.gradients), CLIP);
        drop(stage);
        let _stage = enter(Stage::Optimiser);
        self.optimiser.step(&mut self.parameters, &self.gradients, LEARNING_RATE, factor);
        if self.last_loss_nats.is_finite() {
            return Ok(());
        }
        Err(HarnessError::Numerical {
            tensor: "loss".to_owned(),
            step: self.optimiser.steps,
            hint: "the engine is broken at this shape: compare with --path reference".to_owned(),
        })
    }

    /// Random ids, and targets at random positions in increasing order.
    fn draw(&mut self) {
        let vocab = self.vocab as u64;
        for id in &mut self.batch.ids {
            *id = self.stream.below(vocab) as u32;
        }
        let tokens = self.positions.len();
        for place in 0..self.targets {
            let other = place + self.stream.below((tokens - place) as u64) as usize;
            self.positions.swap(place, other);
        }
        let chosen = &mut self.positions[..self.targets];
        chosen.sort_unstable();
        let ids = &self.batch.ids;
        let target = |&position: &u32| Target { position, label: ids[position as usize] };
        self.batch.targets.clear();
        self.batch.targets.extend(chosen.iter().map(target));
    }

    /// Operations of one step by the model's definition.
    pub fn model_flops(&self) -> f64 {
        self.model_flops
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.parameters.len()
    }

    /// Mean loss of the last step.
    pub fn last_loss_nats(&self) -> f64 {
        self.last_loss_nats
    }
}
