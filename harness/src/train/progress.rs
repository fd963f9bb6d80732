//! One line per running job on stderr: live on a terminal, plain now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::evaluate::Evaluation;
use super::observer::{Observer, StepMetrics};
use super::outcome::TrainOutcome;
use crate::error::Result;

/// Time between plain lines of one job.
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);
/// Time over which the rate forgets.
const SMOOTHING_SECONDS: f64 = 10.0;
/// Time before a rate is shown.
const SETTLING_SECONDS: f64 = 1.0;

/// The lines of all jobs. Cheap to clone; jobs of several threads share it.
#[derive(Debug, Clone)]
pub struct Progress {
    display: Display,
}

#[derive(Debug, Clone)]
enum Display {
    Live(Arc<MultiProgress>),
    Plain,
    Hidden,
}

impl Progress {
    /// Live lines if stderr is a terminal that can move its cursor, plain lines otherwise.
    pub fn stderr() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let live = std::io::stderr().is_terminal() && !dumb;
        let display =
            if live { Display::Live(Arc::new(MultiProgress::new())) } else { Display::Plain };
        Self { display }
    }

    /// Shows nothing.
    pub fn hidden() -> Self {
        Self { display: Display::Hidden }
    }

    /// A line for a job called `label` of `steps` steps.
    pub fn job(&self, label: &str, steps: u64) -> JobProgress {
        let bar = if let Display::Live(bars) = &self.display {
            let style = ProgressStyle::with_template("{wide_msg}").expect("the template is valid");
            bars.add(ProgressBar::new(steps).with_style(style))
        } else {
            ProgressBar::hidden()
        };
        JobProgress {
            progress: self.clone(),
            bar,
            label: label.to_owned(),
            steps,
            begun: Instant::now(),
            shown: None,
            rate: Rate::default(),
            evaluation_loss_nats: None,
        }
    }

    /// Prints a line above the live ones.
    pub fn print(&self, line: &str) {
        // Decorations never fail a run: a closed stderr is ignored.
        match &self.display {
            Display::Live(bars) => drop(bars.println(line)),
            Display::Plain => drop(writeln!(std::io::stderr(), "{line}")),
            Display::Hidden => {}
        }
    }
}

/// The line of one job.
pub struct JobProgress {
    progress: Progress,
    bar: ProgressBar,
    label: String,
    steps: u64,
    begun: Instant,
    shown: Option<Instant>,
    rate: Rate,
    evaluation_loss_nats: Option<f64>,
}

impl JobProgress {
    fn line(&self, metrics: &StepMetrics) -> String {
        let StepMetrics { step, loss_nats, .. } = metrics;
        let held_out = self.evaluation_loss_nats.map(|loss| format!(" held-out {loss:.3}"));
        let rate = self.rate.per_second().map(|(steps, tokens)| {
            let remaining = self.steps.saturating_sub(*step) as f64 / steps;
            format!(", {} tokens/s, {} left", compact(tokens), clock(remaining))
        });
        let (held_out, rate) = (held_out.unwrap_or_default(), rate.unwrap_or_default());
        let loss = loss_nats.map_or("no target".to_owned(), |loss| format!("loss {loss:.3}"));
        format!("{} {step}/{} {loss}{held_out}{rate}", self.label, self.steps)
    }
}

impl Observer for JobProgress {
    fn step(&mut self, metrics: &StepMetrics, _: f64) -> Result<()> {
        self.rate.observe(self.begun.elapsed().as_secs_f64(), metrics.step, metrics.tokens);
        match self.progress.display {
            Display::Live(_) => self.bar.set_message(self.line(metrics)),
            Display::Plain => {
                let waited = self.shown.unwrap_or(self.begun).elapsed();
                if waited >= PLAIN_INTERVAL {
                    self.shown = Some(Instant::now());
                    self.progress.print(&self.line(metrics));
                }
            }
            Display::Hidden => {}
        }
        Ok(())
    }

    fn evaluation(&mut self, _: u64, evaluation: &Evaluation) -> Result<()> {
        self.evaluation_loss_nats = Some(evaluation.loss_nats);
        Ok(())
    }

    fn finished(&mut self, outcome: &TrainOutcome) -> Result<()> {
        self.bar.finish_and_clear();
        let label = &self.label;
        let result = match (&outcome.divergence, &outcome.final_evaluation) {
            (Some(divergence), _) => format!("diverged: {divergence}"),
            (None, Some(evaluation)) => format!("held-out loss {:.4} nats", evaluation.loss_nats),
            (None, None) => "no evaluation".to_owned(),
        };
        let (steps, rate) = (outcome.steps, compact(outcome.tokens_per_second()));
        let time = clock(outcome.seconds);
        self.progress.print(&format!("{label} {result}, {steps} steps in {time}, {rate} tokens/s"));
        Ok(())
    }
}

/// Removes the line of a job that was interrupted.
impl Drop for JobProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Steps and tokens per second, the past forgotten exponentially.
#[derive(Debug, Clone, Copy, Default)]
struct Rate {
    first: Option<f64>,
    last: Option<(f64, u64, u64)>,
    seconds: f64,
    steps: f64,
    tokens: f64,
}

impl Rate {
    /// `step` steps and `tokens` tokens are done at time `now`, in seconds.
    fn observe(&mut self, now: f64, step: u64, tokens: u64) {
        self.first.get_or_insert(now);
        if let Some((then, old_step, old_tokens)) = self.last {
            let passed = now - then;
            let keep = (-passed / SMOOTHING_SECONDS).exp();
            self.seconds = keep * self.seconds + passed;
            self.steps = keep * self.steps + step.saturating_sub(old_step) as f64;
            self.tokens = keep * self.tokens + tokens.saturating_sub(old_tokens) as f64;
        }
        self.last = Some((now, step, tokens));
    }

    /// Steps and tokens per second, once they have settled.
    fn per_second(&self) -> Option<(f64, f64)> {
        let watched = self.last?.0 - self.first?;
        let settled = watched >= SETTLING_SECONDS && self.steps > 0.0;
        settled.then(|| (self.steps / self.seconds, self.tokens / self.seconds))
    }
}

/// `1234567` as `1.23M`.
fn compact(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.2}G", v / 1e9),
        v if v >= 1e6 => format!("{:.2}M", v / 1e6),
        v if v >= 1e3 => format!("{:.1}k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

/// Seconds as `m:ss` or `h:mm:ss`.
fn clock(seconds: f64) -> String {
    let seconds = seconds.round().max(0.0) as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_the_rate_settles_and_follows_changes() {
        let mut rate = Rate::default();
        let mut now = 0.0;
        // Continues after step 500: what was done before does not count.
        for step in 500..=505 {
            rate.observe(now, step, step * 100);
            now += 0.1;
        }
        assert_eq!(rate.per_second(), None);
        for step in 506..600 {
            rate.observe(now, step, step * 100);
            now += 0.1;
        }
        let (steps, tokens) = rate.per_second().unwrap();
        assert!((steps - 10.0).abs() < 1e-9 && (tokens - 1000.0).abs() < 1e-6);
        for step in 600..800 {
            rate.observe(now, step, step * 100);
            now += 0.5;
        }
        assert!((rate.per_second().unwrap().0 - 2.0).abs() < 0.01);
    }

    #[test]
    fn invariant_a_line_says_step_loss_rate_and_time_left() {
        let mut job = Progress::hidden().job("pt-64 seed 1", 1000);
        let (tokens, loss_nats, auxiliary) = (40_000, Some(5.4321), 0.0);
        let (gradient_norm, learning_rate) = (1.0, 0.1);
        let step = 400;
        let metrics =
            StepMetrics { step, tokens, loss_nats, auxiliary, gradient_norm, learning_rate };
        assert_eq!(job.line(&metrics), "pt-64 seed 1 400/1000 loss 5.432");
        job.rate.observe(0.0, 396, 0);
        job.rate.observe(2.0, 400, 24_690);
        job.evaluation_loss_nats = Some(5.5);
        let expected = "pt-64 seed 1 400/1000 loss 5.432 held-out 5.500, 12.3k tokens/s, 5:00 left";
        assert_eq!(job.line(&metrics), expected);
        let idle = StepMetrics { loss_nats: None, ..metrics };
        assert!(job.line(&idle).starts_with("pt-64 seed 1 400/1000 no target held-out"));
    }

    #[test]
    fn invariant_numbers_are_short() {
        assert_eq!([12.0, 1234.0, 2.5e6, 3e9].map(compact), ["12", "1.2k", "2.50M", "3.00G"]);
        assert_eq!([0.4, 61.0, 3661.0].map(clock), ["0:00", "1:01", "1:01:01"]);
    }
}
