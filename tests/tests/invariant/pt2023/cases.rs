//! Random small cases of the 2023 model: every option, alone and combined.

use candle_core::{Device, Tensor};
use models::architecture::{NoProbe, Weights};
use models::batch::DropoutKey;
use models::parameters::Layout;
use models::parametrization::SiteScales;
use models::pt2023::{
    Encoder, GlobalConfig, GlobalDesign, GlobalForm, LogitFactor, MeanField, MeanFieldInput,
    Normaliser, Pt2023Config, TernaryForm, UpdateOrder,
};
use models::random::{Purpose, Stream};

/// One encoder call with random parameters.
pub struct Case {
    pub config: Pt2023Config,
    pub base: Pt2023Config,
    pub sites: SiteScales,
    pub layout: Layout,
    pub parameters: Vec<Tensor>,
    pub unary: Tensor,
    /// `true` where a word stands, `(B, n)`.
    pub words: Vec<bool>,
    pub sequences: usize,
    pub length: usize,
}

fn pick<T: Copy>(stream: &mut Stream, choices: &[T]) -> T {
    choices[stream.below(choices.len() as u64) as usize]
}

fn chance(stream: &mut Stream, probability: f64) -> bool {
    stream.unit() < probability
}

fn size(stream: &mut Stream, least: usize, most: usize) -> usize {
    least + stream.below((most - least + 1) as u64) as usize
}

/// A value other than `off` in half of the cases.
fn sometimes(stream: &mut Stream, off: f64, (least, most): (f64, f64)) -> f64 {
    if chance(stream, 0.5) { off } else { least + (most - least) * stream.unit() }
}

fn globals(stream: &mut Stream, channels: usize) -> GlobalConfig {
    let designs =
        [GlobalDesign::AllAttention, GlobalDesign::SplitAttention, GlobalDesign::FirstChannels];
    let forms = [GlobalForm::Dense, GlobalForm::Product, GlobalForm::NormalisedProduct];
    GlobalConfig {
        design: pick(stream, &designs),
        features: size(stream, 1, 4),
        channels: size(stream, 1, channels),
        form: pick(stream, &forms),
        rank: size(stream, 1, 3),
    }
}

/// Configuration number `index`: options are drawn independently of each other.
pub fn random_config(index: u64) -> Pt2023Config {
    let mut stream = Stream::named(0, Purpose::Test, "pt2023.config", index);
    let s = &mut stream;
    let forms =
        [TernaryForm::Uv, TernaryForm::Uvw, TernaryForm::Dense, TernaryForm::DistanceShared];
    let channels = size(s, 1, 3);
    Pt2023Config {
        vocab: 7,
        width: size(s, 2, 5),
        channels,
        rank: size(s, 1, 3),
        iterations: size(s, 1, 3),
        distance_cuts: pick(s, &[&[][..], &[2], &[3, 2], &[2, 3, 4], &[3, 6]]).to_vec(),
        ternary: pick(s, &forms),
        normaliser: pick(s, &[Normaliser::Softmax, Normaliser::Softmax, Normaliser::Relu]),
        order: pick(s, &[UpdateOrder::Asynchronous, UpdateOrder::Synchronous]),
        head_damping: sometimes(s, 0.0, (0.1, 0.9)),
        label_damping: sometimes(s, 0.0, (0.1, 0.9)),
        head_step: sometimes(s, 1.0, (0.2, 0.9)),
        label_step: sometimes(s, 1.0, (0.2, 0.9)),
        head_lambda: sometimes(s, 1.0, (0.5, 3.0)),
        label_lambda: sometimes(s, 1.0, (0.5, 3.0)),
        logit_factor: pick(s, &[LogitFactor::BaseWidth, LogitFactor::OwnWidth]),
        head_message_only: chance(s, 0.3),
        output_probability: chance(s, 0.3),
        globals: chance(s, 0.5).then(|| globals(s, channels)),
        root_labels: chance(s, 0.4).then(|| size(s, 1, 4)),
        dropout: 0.0,
        frobenius_coefficient: 0.0,
        ..Pt2023Config::default()
    }
}

impl Case {
    /// Case number `index`: a random configuration on a random input.
    pub fn random(index: u64) -> Self {
        Self::of(random_config(index), index)
    }

    /// `config` on random input number `index`.
    pub fn of(config: Pt2023Config, index: u64) -> Self {
        let mut stream = Stream::named(0, Purpose::Test, "pt2023.input", index);
        let (sequences, length) = (size(&mut stream, 1, 3), size(&mut stream, 1, 6));
        // Without padding in a third of the cases; sentences of one word and none occur.
        let padding = sometimes(&mut stream, 0.0, (0.2, 0.9));
        let words = (0..sequences * length).map(|_| !chance(&mut stream, padding)).collect();
        let mut normal = |shape: &[usize], std: f64| {
            let values: Vec<f64> =
                (0..shape.iter().product()).map(|_| stream.normal() * std).collect();
            Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
        };
        let layout = config.encoder_layout().unwrap();
        let parameters = layout.specs().iter().map(|spec| normal(spec.shape(), 0.6)).collect();
        let unary = normal(&[sequences, length, config.width], 1.0);
        let mut scale = || 0.5 + stream.unit();
        let sites = SiteScales {
            attention_logits: scale(),
            belief: scale(),
            topic: scale(),
            message: scale(),
            ..SiteScales::BASE
        };
        let base = Pt2023Config { width: config.width + 1, ..config.clone() };
        Self { config, base, sites, layout, parameters, unary, words, sequences, length }
    }

    /// Runs the encoder with other parameters (layout order) and unary scores.
    pub fn run_with(
        &self,
        parameters: &[Tensor],
        unary: &Tensor,
        dropout: Option<DropoutKey>,
    ) -> models::Result<MeanField> {
        let encoder = Encoder::new(&self.config, &self.base, &self.sites)?;
        let flags: Vec<f64> = self.words.iter().map(|&word| f64::from(u8::from(word))).collect();
        let attention = Tensor::from_vec(flags, (self.sequences, self.length), &Device::Cpu)?;
        // Both ways to say that there is no padding.
        let attention = (!self.words.iter().all(|&word| word) || self.length.is_multiple_of(2))
            .then_some(&attention);
        let weights = Weights::new(&self.layout, parameters, None);
        encoder.run(&weights, &MeanFieldInput { unary, attention, dropout }, &mut NoProbe)
    }

    /// Runs the encoder without dropout.
    pub fn run(&self) -> MeanField {
        self.run_with(&self.parameters, &self.unary, None).unwrap()
    }
}
