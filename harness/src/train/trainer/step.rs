//! One step of a run: its parts, their gradients, the update, the row.

use std::time::Instant;

use models::batch::{Batch, DropoutKey};
use models::engine::BatchLoss;

use super::{Trainer, stop_asked};
use crate::config::train::PartGradients;
use crate::error::Result;
use crate::train::crew::add_scaled;
use crate::train::observer::{Observer, StepMetrics};
use crate::train::optimiser::global_norm;
use crate::train::outcome::Divergence;

impl Trainer<'_> {
    /// One step; the divergence if anything is not finite (recorded all the same).
    ///
    /// If no part has a target there is nothing to learn from: data, schedule and count of steps
    /// go on and the parameters stay, see [`Update::pass`](crate::train::update::Update::pass).
    pub(super) fn step(&mut self, observer: &mut dyn Observer) -> Result<Option<Divergence>> {
        let clock = Instant::now();
        let index = self.update.done();
        let loss = self.loss_and_gradients(index)?;
        let norm = global_norm(&self.gradients);
        let learning_rate = self.update.learning_rate(self.plateau.factor());
        let finite = loss.is_none_or(|loss| (loss.loss_nats + loss.auxiliary).is_finite());
        let divergence = (!finite || !norm.is_finite())
            .then(|| Divergence::NotFinite { tensor: self.first_bad(), step: index + 1 });
        match loss {
            None => self.update.pass(),
            Some(_) if divergence.is_some() => {}
            Some(_) => {
                let (parameters, gradients) = (&mut self.parameters, &mut self.gradients);
                self.update.step(parameters, gradients, norm, learning_rate);
            }
        }
        self.seconds += clock.elapsed().as_secs_f64();
        if let Some(BatchLoss { loss_nats, .. }) = loss {
            if self.first_loss_nats.is_nan() {
                self.first_loss_nats = loss_nats;
            }
            self.last_loss_nats = loss_nats;
        }
        let metrics = StepMetrics {
            step: index + 1,
            tokens: self.tokens,
            loss_nats: loss.map(|loss| loss.loss_nats),
            auxiliary: loss.map_or(0.0, |loss| loss.auxiliary),
            gradient_norm: norm,
            learning_rate,
        };
        if let Some(recorder) = &mut self.recorder {
            recorder.step(&metrics, self.seconds)?;
        }
        observer.step(&metrics, self.seconds)?;
        Ok(divergence)
    }

    /// Fills `gradients` with the gradient of the mean over all targets of the step: each part
    /// counts by its share of targets. An auxiliary objective is weighted the same way. With
    /// [`PartGradients::Sum`] gradients and auxiliary objectives are added up as they are; the
    /// loss reported is the mean all the same. Parts without a target count for nothing; `None`,
    /// and gradients of zero, if no part has one.
    fn loss_and_gradients(&mut self, index: u64) -> Result<Option<BatchLoss>> {
        self.draw(index);
        let Self { job, crew, batches, parameters, gradients, partial, .. } = self;
        let targets: usize = batches.iter().map(|batch| batch.targets.len()).sum();
        self.tokens += batches.iter().map(tokens).sum::<u64>();
        let engine = &mut job.engine;
        if let ([batch], 1..) = (batches.as_slice(), targets) {
            return Ok(Some(engine.loss_and_gradients(parameters, batch, gradients)?));
        }
        let mut total = BatchLoss { loss_nats: 0.0, auxiliary: 0.0 };
        gradients.fill(0.0);
        for batch in crew.own(batches).filter(|batch| !batch.targets.is_empty()) {
            let loss = engine.loss_and_gradients(parameters, batch, partial)?;
            let share = batch.targets.len() as f64 / targets as f64;
            total.loss_nats += share * loss.loss_nats;
            let weight = match job.config.part_gradients {
                PartGradients::Mean => share,
                PartGradients::Sum => 1.0,
            };
            total.auxiliary += weight * loss.auxiliary;
            add_scaled(gradients, partial, weight as f32);
        }
        // Ranks meet in a step without targets as well: a signal is told here.
        let total = crew.sum(total, gradients, stop_asked(job))?;
        Ok((targets > 0).then_some(total))
    }

    /// Makes `batches` the parts of step `index`.
    fn draw(&mut self, index: u64) {
        let first = index * self.batches.len() as u64;
        for (part, batch) in self.batches.iter_mut().enumerate() {
            self.job.source.refill(index, part, batch);
            let step = first + part as u64;
            batch.dropout = self.job.dropout_seed.map(|seed| DropoutKey { seed, step });
        }
    }
}

fn tokens(batch: &Batch) -> u64 {
    (0..batch.ids.len()).filter(|&place| batch.is_word(place)).count() as u64
}
