//! The masked language model: unary table, encoder, decoder.

use candle_core::Tensor;

use super::config::{FAMILY, Pt2023Config, TernaryForm};
use super::encoder::{Encoder, MeanFieldInput};
use super::layout;
use crate::architecture::{Architecture, Encoded, ForwardFlops, Probe, TensorBatch, Weights};
use crate::error::Result;
use crate::family::FamilyConfig;
use crate::layers;
use crate::parameters::Layout;
use crate::parametrization::{Dimensions, SiteScales};

/// The Probabilistic Transformer of 2023 with its MLM head at one shape.
pub struct Pt2023 {
    encoder: Encoder,
    layout: Layout,
}

impl Pt2023 {
    /// The encoder, callable on given unary scores.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }
}

impl Pt2023Config {
    /// Parameters of the encoder alone, for calls with given unary scores.
    pub fn encoder_layout(&self) -> Result<Layout> {
        self.validate()?;
        Ok(Layout::new(layout::encoder(self)))
    }
}

impl FamilyConfig for Pt2023Config {
    type Model = Pt2023;

    fn layout(&self) -> Result<Layout> {
        layout::model(self)
    }

    fn dimensions(&self) -> Dimensions {
        Dimensions {
            width: self.width,
            head_dim: self.effective_rank(),
            topics: self.globals.map_or(1, |globals| globals.features),
            depth: self.iterations,
        }
    }

    fn at_width(&self, width: usize) -> Self {
        let mut scaled = Self { width, ..self.clone() };
        if self.fixed_rank {
            return scaled;
        }
        let follow = |size: usize| {
            ((size as f64 * width as f64 / self.width as f64).round() as usize).max(1)
        };
        scaled.rank = follow(self.rank);
        scaled.root_labels = self.root_labels.map(follow);
        if let Some(globals) = &mut scaled.globals {
            globals.features = follow(globals.features);
            globals.rank = follow(globals.rank);
        }
        scaled
    }

    fn model(&self, base: &Self, sites: &SiteScales) -> Result<Pt2023> {
        Ok(Pt2023 { encoder: Encoder::new(self, base, sites)?, layout: self.layout()? })
    }
}

impl Architecture for Pt2023 {
    fn family(&self) -> &'static str {
        FAMILY
    }

    fn vocab(&self) -> usize {
        self.encoder.config().vocab
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn dimensions(&self) -> Dimensions {
        self.encoder.config().dimensions()
    }

    fn encode(&self, w: &Weights, batch: &TensorBatch, probe: &mut dyn Probe) -> Result<Encoded> {
        let unary = layers::embedding(&w.get("unary")?, &batch.ids)?;
        probe.record("unary", 0, &unary)?;
        let input = MeanFieldInput {
            unary: &unary,
            attention: batch.attention.as_ref(),
            dropout: batch.dropout,
        };
        let mean_field = self.encoder.run(w, &input, probe)?;
        Ok(Encoded { hidden: mean_field.labels, auxiliary: mean_field.auxiliary })
    }

    fn head(&self, w: &Weights, rows: &Tensor, _: &mut dyn Probe) -> Result<Tensor> {
        let (weight, bias) = (w.get("head.decoder.weight")?, w.get("head.decoder.bias")?);
        layers::linear(rows, &weight, Some(&bias))
    }

    fn forward_flops(&self, length: usize) -> ForwardFlops {
        let config = self.encoder.config();
        let per_iteration = encoder_products(config, length);
        let iterations = config.iterations as f64;
        ForwardFlops {
            encoder_per_token: per_iteration
                .into_iter()
                .map(|(part, products)| (part, 2.0 * iterations * products))
                .collect(),
            head_per_target: 2.0 * config.width as f64 * config.decoder_entries() as f64,
        }
    }
}

/// Multiply-adds of one iteration per token, by part. Every distance group has factors of its
/// own, but a pair of words belongs to one group only.
fn encoder_products(config: &Pt2023Config, length: usize) -> Vec<(&'static str, f64)> {
    let [groups, width, channels, rank, length] =
        [config.distance_groups(), config.width, config.channels, config.effective_rank(), length]
            .map(|size| size as f64);
    let messages = if config.head_message_only { 1.0 } else { 2.0 };
    // Matrices that map labels to rank vectors, or back, for one side of T.
    let side = match config.ternary {
        TernaryForm::Uv | TernaryForm::Dense => groups * width * rank * channels,
        TernaryForm::Uvw => groups * width * rank,
        TernaryForm::DistanceShared => (width - 1.0) * rank * channels + groups * rank,
    };
    // A dense T has no factor on the head's side.
    let dense = config.ternary == TernaryForm::Dense;
    let (reads, writes) = if dense { (1.0, 1.0) } else { (2.0, messages) };
    let mut parts = vec![
        ("ternary projections", side * (reads + writes)),
        ("head logits", length * rank * channels),
        ("label messages", messages * length * rank * channels),
    ];
    if let Some(globals) = &config.globals {
        let scores = (globals.features * config.global_channels()) as f64 * width;
        parts.push(("global features", 2.0 * scores));
    }
    if let Some(labels) = config.root_labels {
        let per_sequence = 2.0 * width * channels * labels as f64;
        parts.push(("root", 3.0 * width * channels + per_sequence / length));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pt2023::{GlobalConfig, LogitFactor};

    #[test]
    fn invariant_sizes_follow_the_width_unless_fixed() {
        let config = Pt2023Config {
            globals: Some(GlobalConfig::default()),
            root_labels: Some(384),
            ..Pt2023Config::default()
        };
        let doubled = config.at_width(768);
        let globals = doubled.globals.unwrap();
        assert_eq!((doubled.width, doubled.rank, doubled.channels), (768, 128, 16));
        assert_eq!((globals.features, globals.rank, doubled.root_labels), (128, 128, Some(768)));
        assert_eq!(doubled.at_width(384), config);
        assert_eq!(config.at_width(1).rank, 1);
        let fixed = Pt2023Config { fixed_rank: true, ..config.clone() };
        assert_eq!(fixed.at_width(768), Pt2023Config { width: 768, ..fixed });
    }

    #[test]
    fn golden_flops_count_the_matrix_products_of_one_token() {
        let config = Pt2023Config::default();
        let model = config.model(&config, &SiteScales::BASE).unwrap();
        let flops = model.forward_flops(32);
        // Per iteration: u and v and their two ways back, 4 K d r h; scores and two messages
        // with 32 words, 3 n r h. Multiply-adds count twice, T = 5.
        let products = 4.0 * 8.0 * 384.0 * 64.0 * 16.0 + 3.0 * 32.0 * 64.0 * 16.0;
        let encoder: f64 = flops.encoder_per_token.iter().map(|(_, flops)| flops).sum();
        assert!((encoder - 10.0 * products).abs() < 1e-6 * encoder, "{encoder}");
        assert!((flops.head_per_target - 2.0 * 384.0 * 10_000.0).abs() < 1e-6);
        // A dense T is read once and written once: on the head side it is the identity.
        let dense = Pt2023Config { ternary: TernaryForm::Dense, ..config };
        let [(_, projections), ..] = encoder_products(&dense, 32)[..] else { unreachable!() };
        assert!((projections - 2.0 * 8.0 * 384.0 * 384.0 * 16.0).abs() < 1.0, "{projections}");
    }

    #[test]
    fn invariant_published_logit_factor_is_the_own_width_at_any_base() {
        let base = Pt2023Config { vocab: 5, width: 6, ..Pt2023Config::default() };
        let scaled = base.at_width(12);
        let sites = SiteScales { attention_logits: 0.5, ..SiteScales::BASE };
        let factors = |logit_factor| {
            let config = Pt2023Config { logit_factor, ..scaled.clone() };
            let model = config.model(&base, &sites).unwrap();
            let constants = model.encoder().constants();
            [constants.word_logits, constants.feature_logits].map(|factor| factor as usize)
        };
        assert_eq!(factors(LogitFactor::BaseWidth), [3, 6]);
        assert_eq!(factors(LogitFactor::OwnWidth), [12, 12]);
    }
}
