//! What a run learns from its own evaluations: when to lower the rate, and which was best.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::train::AnnealingConfig;
use crate::error::{HarnessError, Result};
use crate::weights::TensorFile;
use crate::weights::file;

/// Parameters of the best evaluation so far, inside a run folder.
const BEST_FILE: &str = "best.safetensors";

/// Follows held-out losses in order. A function of those losses alone, so that a resumed run
/// rebuilds it from `evaluation.csv`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plateau {
    config: Option<AnnealingConfig>,
    best: Option<(u64, f64)>,
    bad: u64,
    factor: f64,
}

impl Plateau {
    /// Before the first evaluation.
    pub fn new(config: Option<AnnealingConfig>) -> Self {
        Self { config, best: None, bad: 0, factor: 1.0 }
    }

    /// Takes the evaluation after `step` steps; whether it is the best so far. Only a lower loss
    /// is better: with equal losses the earlier stays.
    pub fn observe(&mut self, step: u64, loss_nats: f64) -> bool {
        if self.best.is_none_or(|(_, best)| loss_nats < best) {
            self.best = Some((step, loss_nats));
            self.bad = 0;
            return true;
        }
        self.bad += 1;
        if let Some(config) = &self.config
            && self.bad > config.patience
        {
            self.factor *= config.factor;
            self.bad = 0;
        }
        false
    }

    /// Factor on the learning rate.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Whether a run at `learning_rate` (before annealing) is over.
    pub fn is_over(&self, learning_rate: f64) -> bool {
        let least = self.config.map_or(0.0, |config| config.learning_rate_min);
        learning_rate * self.factor < least
    }

    /// Step of the best evaluation.
    pub fn best_step(&self) -> Option<u64> {
        self.best.map(|(step, _)| step)
    }

    /// Step and loss of the best evaluation.
    pub fn best(&self) -> Option<(u64, f64)> {
        self.best
    }
}

/// Writes the best parameters, whole or not at all.
pub(super) fn save_best(
    folder: &Path,
    config_hash: &str,
    (step, parameters): (u64, &[f32]),
) -> Result<()> {
    let metadata = BTreeMap::from([
        ("config_hash".to_owned(), config_hash.to_owned()),
        ("step".to_owned(), step.to_string()),
    ]);
    let shape = [parameters.len()];
    file::write(&folder.join(BEST_FILE), &metadata, &[("parameters".into(), &shape, parameters)])
}

/// Reads the parameters of the evaluation after `step` steps back.
pub(super) fn load_best(
    folder: &Path,
    config_hash: &str,
    (step, count): (u64, usize),
) -> Result<Vec<f32>> {
    let path = folder.join(BEST_FILE);
    let mut file = TensorFile::open(&path)?;
    let value = |key: &str| file.metadata().get(key).cloned().unwrap_or_default();
    if value("config_hash") != config_hash || value("step") != step.to_string() {
        return Err(HarnessError::input(
            &path,
            format!("is not the best state, which was after step {step}"),
            "delete the run folder and run again",
        ));
    }
    file.read("parameters", &[count])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_a_damaged_best_state_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        save_best(folder.path(), "hash", (7, &[1.0, 2.0, 3.0])).unwrap();
        let load = |hash: &str, step: u64| load_best(folder.path(), hash, (step, 3));
        assert_eq!(load("hash", 7).unwrap(), [1.0, 2.0, 3.0]);
        let mut problems = vec![load("other", 7).unwrap_err(), load("hash", 8).unwrap_err()];
        let path = folder.path().join(BEST_FILE);
        let whole = std::fs::read(&path).unwrap();
        for damaged in [&whole[..whole.len() - 1], &b"junk"[..], &[]] {
            std::fs::write(&path, damaged).unwrap();
            problems.push(load("hash", 7).unwrap_err());
        }
        for problem in problems.iter().map(ToString::to_string) {
            assert!(problem.contains(BEST_FILE) && problem.contains("hint: "), "{problem}");
        }
    }

    #[test]
    fn golden_plateau_by_hand() {
        let config = AnnealingConfig { factor: 0.5, patience: 1, learning_rate_min: 0.2 };
        let mut plateau = Plateau::new(Some(config));
        let losses = [3.0, 2.0, 2.0, 2.5, 2.1, 1.9, 2.0, 2.0, 2.0, 2.0];
        let mut seen = Vec::new();
        for (step, loss) in (1..).zip(losses) {
            seen.push((plateau.observe(step, loss), plateau.factor()));
        }
        // Patience 1: the second bad evaluation in a row anneals, then counting begins anew.
        let factors = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125];
        let better = [true, true, false, false, false, true, false, false, false, false];
        assert_eq!(seen, better.into_iter().zip(factors).collect::<Vec<_>>());
        assert_eq!(plateau.best_step(), Some(6));
        assert!(plateau.is_over(1.0) && !plateau.is_over(1.6));
    }
}
