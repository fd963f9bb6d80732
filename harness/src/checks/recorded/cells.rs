//! The small models on which recorded statistics and the mutation matrix stand.

use std::sync::Arc;

use models::batch::Batch;
use models::parametrization::Parametrization;
use serde::{Deserialize, Serialize};

use super::subject::{tied, with_depth};
use crate::config::data::{DataConfig, TokenizerConfig};
use crate::config::model::ModelConfig;
use crate::config::train::{ScheduleConfig, TrainConfig};
use crate::corpus::{Corpus, TrainingBatches};
use crate::error::Result;

/// Families with cells, each with a recorded file.
pub const FAMILIES: [&str; 5] = ["pt", "bert", "preln", "ut", "pt2023"];
/// Families, and forms of them with their options on, that have a [`base`]: what properties are
/// tested on.
pub const FORMS: [&str; 7] = ["pt", "bert", "preln", "ut", "pt2023", "ut-looped", "preln-qk-norm"];
/// Width at which every table is the standard one.
pub const BASE_WIDTH: usize = 32;
/// Widths of the plain cells: below the base and above it.
pub const WIDTHS: [usize; 3] = [16, 64, 128];
/// Layers, iterations or steps of the base and of plain cells; deep cells have twice as many.
pub const BASE_DEPTH: usize = 2;
/// Steps after which statistics are taken.
pub const RECORDED_STEPS: [u64; 4] = [0, 1, 3, 10];
/// Training steps.
pub const STEPS: usize = 10;
/// Seed of initial parameters and of data.
pub const SEED: u64 = 1;
/// Tokens per sequence.
const LENGTH: usize = 16;
/// Sequences per step and in the probe batch.
const SEQUENCES: usize = 4;
/// Smallest byte-level vocabulary with some merges.
const VOCAB: usize = 320;

/// What a cell has besides its width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Depth of the base, untied decoder.
    Plain,
    /// Twice the depth of the base: shows the rules of depth.
    Deep,
    /// The token table is the decoder: shows the rule of tied logits.
    Tied,
}

/// One small model under one table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    /// Model family.
    pub family: String,
    /// Built-in table.
    pub table: String,
    /// Width.
    pub width: usize,
    /// What else.
    pub variant: Variant,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let variant = match self.variant {
            Variant::Plain => "",
            Variant::Deep => " deep",
            Variant::Tied => " tied",
        };
        write!(f, "{} {} width {}{variant}", self.family, self.table, self.width)
    }
}

impl Cell {
    fn new(family: &str, table: &str, width: usize, variant: Variant) -> Self {
        Self { family: family.to_owned(), table: table.to_owned(), width, variant }
    }

    /// The model and its base.
    pub fn models(&self, vocab: usize) -> Result<(ModelConfig, ModelConfig)> {
        let base = base(&self.family, vocab)?;
        let model = base.at_width(self.width);
        Ok(match self.variant {
            Variant::Plain => (model, base),
            Variant::Deep => (with_depth(model, 2 * BASE_DEPTH), base),
            Variant::Tied => (tied(model), tied(base)),
        })
    }

    /// Optimiser constants. Everything a table scales is switched on and large enough to be seen
    /// in ten steps: decay of every tensor, an epsilon of the size of the gradients, a clip below
    /// their norm, a schedule with warm-up and floor.
    pub fn train(&self) -> TrainConfig {
        let learning_rate = match self.family.as_str() {
            "pt" | "pt2023" => 0.02,
            _ => 0.01,
        };
        TrainConfig {
            steps: STEPS as u64,
            batch: SEQUENCES,
            learning_rate,
            schedule: ScheduleConfig {
                warmup_share: 0.2,
                floor_share: 0.1,
                ..ScheduleConfig::default()
            },
            beta2: 0.98,
            epsilon: 1e-3,
            weight_decay: 0.5,
            decay_vectors: true,
            gradient_clip: 0.5,
            ..TrainConfig::default()
        }
    }
}

/// The base model of `family`, one of [`FORMS`]: heads are fixed in number, so that their width
/// grows.
pub fn base(family: &str, vocab: usize) -> Result<ModelConfig> {
    let text = match family {
        "pt" => format!("[pt]\nchannels = 2\niterations = {BASE_DEPTH}"),
        "pt2023" => {
            format!("[pt2023]\nchannels = 2\nrank = 8\ndropout = 0.0\niterations = {BASE_DEPTH}")
        }
        "bert" => format!(
            "[bert]\nheads = 2\nlayers = {BASE_DEPTH}\nmax_length = {LENGTH}\ninit_std = 0.1"
        ),
        "preln" => format!("[preln]\nheads = 2\nlayers = {BASE_DEPTH}\ninit_std = 0.1"),
        "ut" => {
            format!("[ut]\nheads = 2\nsteps = {BASE_DEPTH}\nmax_length = {LENGTH}\ninit_std = 0.1")
        }
        "ut-looped" => format!(
            "[ut]\nheads = 2\nsteps = {BASE_DEPTH}\npositions = \"rotary\"\ninjection = true\n\
             residual_scale = \"inverse-steps\"\ninit_std = 0.1"
        ),
        "preln-qk-norm" => format!(
            "[preln]\nheads = 2\nlayers = {BASE_DEPTH}\nactivation = \"swiglu\"\n\
             qk_norm = true\ninit_std = 0.1"
        ),
        other => return ModelConfig::of_family(other),
    };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        crate::error::HarnessError::Invariant(format!("base of {family}: {error}"))
    })?;
    let mut model = ModelConfig::from_table(table)?.with_vocab(vocab);
    // The ratio of rank to width is part of the base; at_width keeps it.
    match &mut model {
        ModelConfig::Pt(config) => config.width = BASE_WIDTH,
        ModelConfig::Pt2023(config) => config.width = BASE_WIDTH,
        ModelConfig::Bert(config) => config.width = BASE_WIDTH,
        ModelConfig::Preln(config) => config.width = BASE_WIDTH,
        ModelConfig::Ut(config) => config.width = BASE_WIDTH,
    }
    Ok(model)
}

/// All cells, in the order of the recorded files.
///
/// Plain cells at three widths for the tables that runs use, and for every built-in table a deep
/// and a tied cell, so that every exponent of every table acts in some cell.
pub fn all() -> Vec<Cell> {
    let plain: [(&str, &[&str]); 5] = [
        ("pt", &["pt-2026", "pt-2026-strict", "standard"]),
        ("bert", &["mup-table8", "standard"]),
        ("preln", &["mup-table8", "standard"]),
        ("ut", &["mup-table8", "standard"]),
        ("pt2023", &["pt-2023", "pt-2023-fixed-rank", "standard"]),
    ];
    let mut cells = Vec::new();
    for (family, tables) in plain {
        for table in tables {
            let at = |width: &usize| Cell::new(family, table, *width, Variant::Plain);
            cells.extend(WIDTHS.iter().map(at));
        }
        if matches!(family, "pt" | "preln") {
            for table in Parametrization::names() {
                cells.push(Cell::new(family, table, 64, Variant::Deep));
                cells.push(Cell::new(family, table, 64, Variant::Tied));
            }
        }
    }
    cells
}

/// Batches of every cell: the embedded text, so that tokenizer, order and masks are guarded too.
pub struct CellData {
    /// Vocabulary size V.
    pub vocab: usize,
    /// One batch per training step.
    pub training: Vec<Batch>,
    /// The batch that statistics are taken on; never trained on.
    pub probe: Batch,
}

impl CellData {
    /// Encodes the embedded text (about a second).
    pub fn load() -> Result<Self> {
        let tokenizer = TokenizerConfig { vocab: VOCAB, ..TokenizerConfig::default() };
        let config = DataConfig { length: LENGTH, tokenizer, ..DataConfig::default() };
        let corpus = Arc::new(Corpus::load(&config, None)?);
        let vocab = corpus.vocabulary().size;
        let batches = TrainingBatches::new(corpus, &config, SEQUENCES, SEED)?;
        let training = (0..STEPS as u64).map(|step| batches.batch(step)).collect();
        Ok(Self { vocab, training, probe: batches.batch(STEPS as u64) })
    }

    /// blake3 of ids and targets of all batches.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for batch in self.training.iter().chain([&self.probe]) {
            for id in &batch.ids {
                hasher.update(&id.to_le_bytes());
            }
            for target in &batch.targets {
                hasher.update(&target.position.to_le_bytes());
                hasher.update(&target.label.to_le_bytes());
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}
