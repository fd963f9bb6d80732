//! A model and a data source small enough to train in a test.

use std::sync::{Arc, Mutex};

use models::batch::{Batch, DropoutKey, Target};
use models::engine::{BatchLoss, Engine};
use models::parameters::{Layout, ParameterSpec};
use models::parametrization::{Resolved, Rule, SiteScales};
use models::random::{Purpose, Stream};

use super::source::{BatchSource, EvaluationBatch};

/// Vocabulary; large enough that every matrix spans several chunks of parallel work.
pub const VOCAB: usize = 520;
const WIDTH: usize = 40;

/// Logits `W e(previous token) + b`: a bigram model with gradients written out by hand.
pub struct Bigram {
    /// Step from which the loss is NaN.
    pub broken_from: u64,
    /// Gradient evaluations so far.
    pub calls: u64,
    /// Dropout key of each gradient evaluation.
    pub keys: Arc<Mutex<Vec<Option<DropoutKey>>>>,
}

impl Bigram {
    /// A model that works.
    pub fn new() -> Self {
        Self { broken_from: u64::MAX, calls: 0, keys: Arc::default() }
    }

    /// Parameters.
    pub fn layout() -> Layout {
        Layout::new(vec![
            ParameterSpec::input("embedding", VOCAB, WIDTH, 0.3),
            ParameterSpec::output("decoder.weight", VOCAB, WIDTH, 0.3),
            ParameterSpec::bias("decoder.bias", VOCAB),
        ])
    }

    /// Initial parameters of `seed`.
    pub fn initial(seed: u64) -> Vec<f32> {
        let layout = Self::layout();
        let mut values = vec![0f32; layout.total()];
        for (position, spec) in layout.specs().iter().enumerate() {
            spec.initialise(&mut values[layout.range(position)], seed, 1.0);
        }
        values
    }

    fn rows(batch: &Batch, target: Target) -> usize {
        let position = target.position as usize;
        let previous =
            if position.is_multiple_of(batch.length) { position + 1 } else { position - 1 };
        batch.ids[previous] as usize
    }

    /// Loss of one target and the softmax of its logits.
    fn target(parameters: &[f32], row: usize, label: usize) -> (f64, Vec<f64>) {
        let (embedding, rest) = parameters.split_at(VOCAB * WIDTH);
        let (weight, bias) = rest.split_at(VOCAB * WIDTH);
        let e = &embedding[row * WIDTH..(row + 1) * WIDTH];
        let mut logits: Vec<f64> = (0..VOCAB)
            .map(|class| {
                let w = &weight[class * WIDTH..(class + 1) * WIDTH];
                let dot: f64 = w.iter().zip(e).map(|(&w, &e)| f64::from(w) * f64::from(e)).sum();
                dot + f64::from(bias[class])
            })
            .collect();
        let maximum = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|logit| (logit - maximum).exp()).sum();
        let loss = maximum + sum.ln() - logits[label];
        for logit in &mut logits {
            *logit = (*logit - maximum).exp() / sum;
        }
        (loss, logits)
    }
}

impl Engine for Bigram {
    fn loss_and_gradients(
        &mut self,
        parameters: &[f32],
        batch: &Batch,
        gradients: &mut [f32],
    ) -> models::Result<BatchLoss> {
        let broken = self.calls >= self.broken_from;
        self.calls += 1;
        self.keys.lock().unwrap().push(batch.dropout);
        let share = 1.0 / batch.targets.len() as f64;
        let mut sums = vec![0f64; gradients.len()];
        let mut total = 0.0;
        let matrix = VOCAB * WIDTH;
        for &target in &batch.targets {
            let row = Self::rows(batch, target);
            let (loss, mut slope) = Self::target(parameters, row, target.label as usize);
            total += share * loss;
            slope[target.label as usize] -= 1.0;
            for (class, slope) in slope.iter().enumerate() {
                for d in 0..WIDTH {
                    let (e, w) = (row * WIDTH + d, matrix + class * WIDTH + d);
                    sums[e] += share * slope * f64::from(parameters[w]);
                    sums[w] += share * slope * f64::from(parameters[e]);
                }
                sums[2 * matrix + class] += share * slope;
            }
        }
        for (gradient, sum) in gradients.iter_mut().zip(sums) {
            *gradient = sum as f32;
        }
        if broken {
            gradients[matrix + 3] = f32::NAN;
        }
        Ok(BatchLoss { loss_nats: total, auxiliary: 0.0 })
    }

    fn target_losses(&mut self, parameters: &[f32], batch: &Batch) -> models::Result<Vec<f32>> {
        assert_eq!(batch.dropout, None, "evaluation has no dropout");
        let loss = |&target: &Target| {
            Self::target(parameters, Self::rows(batch, target), target.label as usize).0 as f32
        };
        Ok(batch.targets.iter().map(loss).collect())
    }
}

/// Rules that differ by tensor, so that a mix-up of groups shows.
pub fn rules() -> Resolved {
    let rule = |lr_multiplier, weight_decay_multiplier, eps_multiplier| Rule {
        init_std: 0.3,
        init_std_factor: 1.0,
        forward_multiplier: 1.0,
        lr_multiplier,
        weight_decay_multiplier,
        eps_multiplier,
    };
    Resolved {
        parametrization: "test".to_owned(),
        rules: vec![rule(1.0, 1.0, 1.0), rule(0.5, 2.0, 0.5), rule(2.0, 1.0, 4.0)],
        sites: SiteScales::BASE,
        gradient_clip_multiplier: 1.5,
    }
}

/// Sequences in which each token is a fixed function of the one before, with some noise.
pub struct Chains {
    sequences: usize,
    micro_batches: usize,
    length: usize,
    evaluation: Vec<EvaluationBatch>,
}

impl Chains {
    /// Batches of `sequences` sequences in `micro_batches` parts.
    pub fn new(sequences: usize, micro_batches: usize) -> Self {
        let mut source = Self { sequences, micro_batches, length: 12, evaluation: Vec::new() };
        source.evaluation = (0..2)
            .map(|index| {
                let batch = source.batch(1 << 40, index * 4, 4);
                let owner = |target: &Target| target.position / 12 % 3;
                let documents = batch.targets.iter().map(owner).collect();
                EvaluationBatch { batch, documents }
            })
            .collect();
        source
    }

    fn batch(&self, step: u64, first: usize, sequences: usize) -> Batch {
        let mut ids = Vec::new();
        let mut targets = Vec::new();
        for sequence in first..first + sequences {
            let mut stream = Stream::named(step, Purpose::Test, "chains", sequence as u64);
            let mut token = stream.below(20);
            for _ in 0..self.length {
                // The numbers of targets differ between sequences, so that parts weigh unequally.
                if stream.below(2 + sequence as u64) == 0 {
                    targets.push(Target { position: ids.len() as u32, label: token as u32 });
                    ids.push(0);
                } else {
                    ids.push(token as u32);
                }
                let noise = stream.below(50);
                token = if noise == 0 { stream.below(20) } else { (3 * token + 1) % 20 };
            }
        }
        let (attention, dropout) = (None, None);
        Batch { ids, attention, targets, sequences, length: self.length, dropout }
    }
}

impl BatchSource for Chains {
    fn training_batch(&self, step: u64, micro: usize) -> Batch {
        let size = self.sequences / self.micro_batches;
        self.batch(step, micro * size, size)
    }

    fn evaluation(&self) -> &[EvaluationBatch] {
        &self.evaluation
    }
}
