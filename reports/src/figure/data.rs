//! What the figures are drawn from.

use crate::Provenance;

/// A mean loss at some size, with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossPoint {
    /// Parameters, training FLOPs or seconds; positive.
    pub size: f64,
    /// Mean held-out loss, nats.
    pub loss_nats: f64,
    /// Lower and upper end of its 95 % interval; `None` for one seed.
    pub interval: Option<(f64, f64)>,
    /// Number of seeds.
    pub n: usize,
}

/// The points of one model family.
#[derive(Debug, Clone, PartialEq)]
pub struct LossSeries {
    /// Name in the legend, e.g. `PT (muP)`. The order of the series decides colour and marker, so
    /// keep it the same in all figures of a report.
    pub family: String,
    /// Points in any order.
    pub points: Vec<LossPoint>,
}

/// Loss against a size, one line per family.
#[derive(Debug, Clone, PartialEq)]
pub struct SizeFigure {
    /// Families, in the report's fixed order.
    pub series: Vec<LossSeries>,
    /// Loss of predicting every masked token by its frequency in the training text, nats.
    pub unigram_loss_nats: Option<f64>,
    /// Corpus and setting, for the caption, e.g. `sotu, 15 % masking`.
    pub setting: String,
    /// Command and runs.
    pub provenance: Provenance,
}

/// All seeds at one learning rate.
#[derive(Debug, Clone, PartialEq)]
pub struct RatePoint {
    /// log2 of the learning rate.
    pub log2_learning_rate: f64,
    /// Final loss of every seed that did not diverge, nats.
    pub losses_nats: Vec<f64>,
    /// Seeds that diverged.
    pub diverged: usize,
}

/// Loss against learning rate at one width.
#[derive(Debug, Clone, PartialEq)]
pub struct RateCurve {
    /// Model width.
    pub width: usize,
    /// Points in any order.
    pub points: Vec<RatePoint>,
    /// Fitted minimum as (log2 learning rate, loss in nats), if it is bracketed.
    pub minimum: Option<(f64, f64)>,
}

/// The curves of one parametrization.
#[derive(Debug, Clone, PartialEq)]
pub struct TransferPanel {
    /// Heading, e.g. `standard` or `mup`.
    pub parametrization: String,
    /// One curve per width, in any order.
    pub curves: Vec<RateCurve>,
}

/// Learning-rate transfer: parametrizations side by side on the same axes.
#[derive(Debug, Clone, PartialEq)]
pub struct TransferFigure {
    /// Panels, left to right.
    pub panels: Vec<TransferPanel>,
    /// Model and setting, for the caption.
    pub setting: String,
    /// Command and runs.
    pub provenance: Provenance,
}

/// Held-out loss during training of one model, all seeds.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingCurve {
    /// Name in the legend.
    pub label: String,
    /// `(tokens, loss in nats of each seed at that point)`, in any order.
    pub points: Vec<(f64, Vec<f64>)>,
}

/// Training curves of several models.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingFigure {
    /// Curves, in the report's fixed order of families.
    pub curves: Vec<TrainingCurve>,
    /// Loss of predicting every masked token by its frequency in the training text, nats.
    pub unigram_loss_nats: Option<f64>,
    /// Budget and setting, for the caption.
    pub setting: String,
    /// Command and runs.
    pub provenance: Provenance,
}

/// Trials of one family's search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchSeries {
    /// Name in the legend.
    pub family: String,
    /// Loss of every trial in the order tried, nats; absent where it diverged.
    pub losses_nats: Vec<Option<f64>>,
}

/// Searches of several families, with the same number of trials.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchFigure {
    /// Families, in the report's fixed order.
    pub series: Vec<SearchSeries>,
    /// Loss of predicting every masked token by its frequency in the training text, nats.
    pub unigram_loss_nats: Option<f64>,
    /// Budget and setting, for the caption.
    pub setting: String,
    /// Command and runs.
    pub provenance: Provenance,
}

/// One perturbed hyper-parameter set, run at two widths.
#[derive(Debug, Clone, PartialEq)]
pub struct PerturbationPoint {
    /// What was perturbed, for the CSV.
    pub label: String,
    /// Loss at the small width, nats.
    pub small_loss_nats: f64,
    /// Loss at the large width, nats.
    pub large_loss_nats: f64,
    /// Whether this is the unperturbed set.
    pub base: bool,
}

/// Losses of perturbed hyper-parameters at a small width against those at a large width.
#[derive(Debug, Clone, PartialEq)]
pub struct PerturbationFigure {
    /// Points in any order.
    pub points: Vec<PerturbationPoint>,
    /// The small width.
    pub small_width: usize,
    /// The large width.
    pub large_width: usize,
    /// Rank correlation with the ends of its 95 % interval, for the caption.
    pub rank_correlation: Option<(f64, Option<(f64, f64)>)>,
    /// Model and setting, for the caption.
    pub setting: String,
    /// Command and runs.
    pub provenance: Provenance,
}

/// One statistic at one training step over widths.
#[derive(Debug, Clone, PartialEq)]
pub struct CoordinateLine {
    /// Optimiser step the statistic was taken at.
    pub step: u64,
    /// `(width, statistic)`; the statistic is positive and drawn on a log2 axis.
    pub points: Vec<(usize, f64)>,
    /// Slope per octave of width with the ends of its 95 % interval, for the CSV.
    pub slope: Option<(f64, Option<(f64, f64)>)>,
}

/// One site of one parametrization, a line per step.
#[derive(Debug, Clone, PartialEq)]
pub struct CoordinatePanel {
    /// Heading, e.g. `mup: logits`.
    pub title: String,
    /// One line per step, in any order.
    pub lines: Vec<CoordinateLine>,
}

/// Coordinate check: size of activations against width.
#[derive(Debug, Clone, PartialEq)]
pub struct CoordinateFigure {
    /// Panels, row by row, two per row on a wide page.
    pub panels: Vec<CoordinatePanel>,
    /// What the statistic is, for the axis label, e.g. `mean |activation|`.
    pub statistic: String,
    /// Model and setting, for the caption.
    pub setting: String,
    /// Number of seeds averaged over.
    pub seeds: usize,
    /// Command and runs.
    pub provenance: Provenance,
}
