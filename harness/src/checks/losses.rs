//! Losses of short trainings inside bands measured from seeds and from rounding
//! (`crossscale regress`, `ci/gates.toml`).

use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::json;

use super::recorded::file;
use super::thresholds;
use crate::config::run::RunConfig;
use crate::error::{HarnessError, Result};
use crate::runs::record::RunRecord;
use crate::runs::runner::Runner;
use crate::train::recorder::METRICS_FILE;
use crate::{input, statistics};

/// Training steps whose losses are recorded.
const FIRST_STEPS: [u64; 6] = [1, 5, 10, 20, 40, 50];

/// The gates file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gates {
    /// Arithmetic of the recording machine (`recorded::file::arithmetic`).
    pub arithmetic: String,
    /// Seed whose losses are judged.
    seed: u64,
    /// Keys of every run.
    run: toml::Table,
    /// One training per entry.
    pub training: Vec<Training>,
}

/// One short training.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Name in the table of verdicts.
    pub name: String,
    family: String,
    #[serde(default)]
    run: toml::Table,
    #[expect(dead_code, reason = "says how the bands were measured; read by people")]
    seeds: usize,
    #[expect(dead_code, reason = "the reason for the gate; read by people")]
    reason: String,
    /// Training losses of the first steps.
    #[serde(default)]
    first: Vec<FirstStep>,
    /// Bands along the training.
    #[serde(default)]
    band: Vec<Band>,
}

/// Training loss of one of the first steps, before the training has enlarged any rounding.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstStep {
    step: u64,
    /// Loss of the judged seed when it was recorded.
    recorded_nats: f64,
    /// How far a learning rate one f32 rounding higher moves that loss.
    rounding_nats: f64,
}

impl FirstStep {
    fn limits(&self, here: bool) -> (f64, f64) {
        let allowed = &thresholds::committed().short_trainings;
        let least = allowed.first_rounding_min_nats.value;
        near(self.recorded_nats, self.rounding_nats.max(least), here)
    }
}

/// A recorded loss and so many roundings around it.
fn near(recorded_nats: f64, rounding_nats: f64, here: bool) -> (f64, f64) {
    let allowed = &thresholds::committed().short_trainings;
    let roundings = if here { &allowed.roundings } else { &allowed.roundings_elsewhere };
    let half = roundings.value * rounding_nats;
    (recorded_nats - half, recorded_nats + half)
}

/// Mean and standard deviation over seeds of the held-out loss after `step` steps.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Band {
    step: u64,
    loss_nats_mean: f64,
    loss_nats_sd: f64,
    /// Loss of the judged seed when the bands were recorded.
    recorded_nats: f64,
    /// How far a learning rate one f32 rounding higher moves that loss.
    rounding_nats: f64,
}

impl Band {
    /// What is allowed: within the seeds' band, and as close to the recorded loss of this very
    /// seed as `roundings` times what rounding does.
    fn limits(&self, here: bool) -> (f64, f64) {
        let allowed = &thresholds::committed().short_trainings;
        let half = allowed.sigmas.value * self.loss_nats_sd;
        let rounding = self.rounding_nats.max(allowed.rounding_min_nats.value);
        let (low, high) = near(self.recorded_nats, rounding, here);
        ((self.loss_nats_mean - half).max(low), (self.loss_nats_mean + half).min(high))
    }
}

impl Gates {
    /// Reads a gates file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = input::text(path, input::TEXT_BYTES_MAX).map_err(|error| {
            let hint = "ci/gates.toml of the repository is one: run this at its root";
            HarnessError::input(path, error.to_string(), hint)
        })?;
        toml::from_str(&text).map_err(|error| {
            HarnessError::config(
                format!("{}: {}", path.display(), error.to_string().trim_end()),
                "compare with ci/gates.toml of the repository",
            )
        })
    }

    /// Leaves the trainings of `family` only.
    ///
    /// # Errors
    /// [`HarnessError::NothingSelected`] with the families that there are.
    pub fn only(&mut self, family: &str, path: &Path) -> Result<()> {
        let families: Vec<String> =
            self.training.iter().map(|training| training.family.clone()).collect();
        self.training.retain(|training| training.family == family);
        if self.training.is_empty() {
            return Err(HarnessError::NothingSelected(format!(
                "no training of '{family}'\nhint: {} has trainings of {}",
                path.display(),
                families.join(", ")
            )));
        }
        Ok(())
    }

    fn config(
        &self,
        training: &Training,
        (seed, sets): (u64, &[String]),
        runner: &Runner,
    ) -> Result<RunConfig> {
        let seeds = toml::Table::from_iter([
            ("seed".to_owned(), toml::Value::Integer(seed as i64)),
            ("data_seed".to_owned(), toml::Value::Integer(seed as i64)),
        ]);
        let layers = vec![self.run.clone(), training.run.clone(), seeds];
        let mut run = RunConfig::resolve(&training.family, layers, sets)?;
        run.model = run.model.with_vocab(runner.corpus(&run.data)?.vocabulary().size);
        run.validate()?;
        Ok(run)
    }

    /// Trains all (under `sets`, in runs below `folder`): every recorded loss beside what it is
    /// now, per training.
    pub fn judge(
        &self,
        sets: &[String],
        (runner, folder): (&Runner, &Path),
    ) -> Result<Vec<(&Training, Vec<Judged>)>> {
        let runs = self.training.iter();
        let runs = runs
            .map(|training| self.config(training, (self.seed, sets), runner))
            .collect::<Result<Vec<_>>>()?;
        let records = runner.run_all(&runs)?;
        let here = file::arithmetic()? == self.arithmetic;
        let judged = self.training.iter().zip(&records);
        let judged = judged
            .map(|(training, record)| Ok((training, compare(training, record, (folder, here))?)));
        judged.collect()
    }

    /// Bands of `training` as they stand in a gates file: losses of seeds 1 to `seeds`, and of the
    /// judged seed with a learning rate that is one f32 rounding higher, which shows how far
    /// roundings are carried.
    pub fn measure(
        &self,
        training: &Training,
        (seeds, sets): (u64, &[String]),
        (runner, folder): (&Runner, &Path),
    ) -> Result<String> {
        let runs = (1..=seeds)
            .map(|seed| self.config(training, (seed, sets), runner))
            .collect::<Result<Vec<_>>>()?;
        let records = runner.run_all(&runs)?;
        let judged = self.config(training, (self.seed, sets), runner)?;
        let mut rounded = judged.clone();
        rounded.train.learning_rate *= 1.0 + f64::from(f32::EPSILON);
        let pair = runner.run_all(&[judged, rounded])?;
        let early = [training_losses(folder, &pair[0])?, training_losses(folder, &pair[1])?];
        Ok(format!("# {}\n{}{}", training.name, first_steps(&early), bands(&records, &pair)))
    }
}

/// The losses of the first steps, of the judged run and of the one a rounding away.
fn first_steps([judged, rounded]: &[Vec<(u64, f64)>; 2]) -> String {
    let mut text = String::new();
    for (&(step, recorded), (_, rounded)) in judged.iter().zip(rounded) {
        if FIRST_STEPS.contains(&step) {
            let rounding = (rounded - recorded).abs();
            write!(
                text,
                "[[training.first]]\nstep = {step}\nrecorded_nats = {recorded:.9}\n\
                 rounding_nats = {rounding:.1e}\n\n"
            )
            .expect("writing to a string cannot fail");
        }
    }
    text
}

/// The held-out losses of `seeds`, and of the judged run and the one a rounding away.
fn bands(seeds: &[RunRecord], pair: &[RunRecord]) -> String {
    let mut text = String::new();
    for (place, &(step, recorded)) in pair[0].evaluations.iter().enumerate() {
        let loss = |record: &RunRecord| record.evaluations.get(place).map(|(_, loss)| *loss);
        let losses: Vec<f64> = seeds.iter().filter_map(loss).collect();
        let mean = statistics::mean(&losses).unwrap_or(f64::NAN);
        let deviation = statistics::standard_deviation(&losses).unwrap_or(f64::NAN);
        let rounding = loss(&pair[1]).map_or(f64::NAN, |other| (other - recorded).abs());
        write!(
            text,
            "[[training.band]]\nstep = {step}\nloss_nats_mean = {mean:.4}\n\
             loss_nats_sd = {deviation:.4}\nrecorded_nats = {recorded:.6}\n\
             rounding_nats = {rounding:.1e}\n\n"
        )
        .expect("writing to a string cannot fail");
    }
    text
}

/// A loss beside what is allowed of it.
pub struct Judged {
    /// Training or held-out.
    pub what: &'static str,
    /// After this step.
    pub step: u64,
    /// `None` if the run diverged.
    pub loss_nats: Option<f64>,
    /// What it was.
    pub recorded_nats: f64,
    /// What is allowed, both ends included.
    pub limits: (f64, f64),
}

impl Judged {
    /// Whether it is allowed.
    pub fn inside(&self) -> bool {
        self.loss_nats.is_some_and(|loss| (self.limits.0..=self.limits.1).contains(&loss))
    }

    /// The row of `--json`.
    pub fn json(&self, training: &str) -> serde_json::Value {
        let Self { what, step, loss_nats, recorded_nats, limits: (low, high) } = self;
        json!({
            "training": training, "loss": what, "step": step, "loss_nats": loss_nats,
            "low": low, "high": high, "recorded_nats": recorded_nats, "inside": self.inside(),
        })
    }
}

/// Every recorded loss of `training` beside that of `record`, whose folder is below `folder`.
fn compare(
    training: &Training,
    record: &RunRecord,
    (folder, here): (&Path, bool),
) -> Result<Vec<Judged>> {
    let first = training_losses(folder, record)?;
    let of_step = |losses: &[(u64, f64)], wanted: u64| {
        let found = losses.iter().find(|(step, _)| *step == wanted);
        found.filter(|_| record.divergence.is_none()).map(|(_, loss)| *loss)
    };
    let early = training.first.iter().map(|recorded| Judged {
        what: "training",
        step: recorded.step,
        loss_nats: of_step(&first, recorded.step),
        recorded_nats: recorded.recorded_nats,
        limits: recorded.limits(here),
    });
    let late = training.band.iter().map(|band| Judged {
        what: "held-out",
        step: band.step,
        loss_nats: of_step(&record.evaluations, band.step),
        recorded_nats: band.recorded_nats,
        limits: band.limits(here),
    });
    Ok(early.chain(late).collect())
}

/// `(step, loss)` of every training step with targets of `record`, whose folder is below `folder`.
fn training_losses(folder: &Path, record: &RunRecord) -> Result<Vec<(u64, f64)>> {
    let path = folder.join("runs").join(&record.id).join(METRICS_FILE);
    let damaged = |error: csv::Error| {
        HarnessError::input(&path, error.to_string(), "delete the run folder and run again")
    };
    let mut reader = csv::Reader::from_path(&path).map_err(damaged)?;
    let rows = reader.deserialize::<(u64, u64, Option<f64>, f64, f64, f64)>();
    let losses = rows.map(|row| row.map(|(step, _, loss, ..)| Some((step, loss?))));
    losses.filter_map(|row| row.map_err(damaged).transpose()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest change of a first training loss of seed 1, in nats, by each of three changes that
    /// held-out losses after a hundred steps hide among roundings (ci/README.md).
    const SEEN: [(&str, [f64; 3]); 4] = [
        ("pt", [1.5e-2, 1.2e-3, 8.9e-3]),
        ("bert", [5.0e-3, 7.8e-3, 6.6e-5]),
        ("preln", [1.5e-2, 1.6e-2, 1.2e-4]),
        ("ut", [1.0e-2, 5.6e-3, 8.1e-5]),
    ];

    #[test]
    fn golden_first_losses_leave_no_room_for_a_wrong_rate_clip_or_decay() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/gates.toml");
        let gates = Gates::read(&path).unwrap();
        for (name, changes) in SEEN {
            let training = gates.training.iter().find(|training| training.name == name).unwrap();
            assert_eq!(
                training.first.iter().map(|first| first.step).collect::<Vec<_>>(),
                FIRST_STEPS
            );
            let half = |first: &FirstStep| first.limits(true).1 - first.recorded_nats;
            let widest = training.first.iter().map(half).fold(0.0, f64::max);
            for change in changes {
                assert!(change > 2.0 * widest, "{name}: {change} is hardly outside {widest}");
            }
        }
    }
}
