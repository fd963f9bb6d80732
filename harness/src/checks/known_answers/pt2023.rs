//! Known answers of the Probabilistic Transformer of 2023.

use candle_core::{DType, Device, Tensor, Var};
use models::ModelError;
use models::architecture::{NoProbe, Weights};
use models::parametrization::SiteScales;
use models::pt2023::{
    Encoder, GlobalConfig, GlobalDesign, GlobalForm, MeanField, MeanFieldInput, Normaliser,
    Pt2023Config, TernaryForm, UpdateOrder, published_name,
};

use super::{Computed, KnownAnswer, KnownFamily};
use crate::error::Result;

/// The family `pt2023`.
pub struct Pt2023;

fn file_name(name: &str) -> &'static str {
    published_name(name).expect("every encoder parameter has a published name")
}

impl KnownFamily for Pt2023 {
    fn name(&self) -> &'static str {
        "pt2023"
    }

    fn recognises(&self, file: &KnownAnswer) -> bool {
        let potentials = ["param.U", "param.U1", "param.ternary"];
        file.has_tensor("unary") && potentials.iter().any(|name| file.has_tensor(name))
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["unary", "cotangent"]
    }

    fn compute(&self, file: &KnownAnswer, dtype: DType) -> Result<Vec<Computed>> {
        Case::read(file)?.compute(file, dtype)
    }
}

/// The text of `key` without blanks, `default` if it is absent.
fn text_or(file: &KnownAnswer, key: &str, default: &str) -> Result<String> {
    let text = if file.has_key(key) { file.text(key)? } else { default };
    Ok(text.replace(' ', ""))
}

/// A decomposition: its name and rank, e.g. `uv:5`; `no` has rank 1.
fn decomposition(file: &KnownAnswer, key: &str, text: &str) -> Result<(String, usize)> {
    if text == "no" {
        return Ok((text.to_owned(), 1));
    }
    let parsed = text.split_once(':').and_then(|(kind, rank)| {
        let rank = rank.parse().ok().filter(|&rank| rank > 0)?;
        Some((kind.to_owned(), rank))
    });
    parsed.ok_or_else(|| {
        file.error(&format!("metadata '{key}' is '{text}'"), "expected no or <kind>:<rank>")
    })
}

fn ternary(file: &KnownAnswer) -> Result<(TernaryForm, usize)> {
    let text = file.text("use_td")?.replace(' ', "");
    let (kind, rank) = decomposition(file, "use_td", &text)?;
    let form = match kind.as_str() {
        "no" => TernaryForm::Dense,
        "uv" if file.has_tensor("param.U1") => TernaryForm::DistanceShared,
        "uv" => TernaryForm::Uv,
        "uvw" => TernaryForm::Uvw,
        _ => {
            let problem = format!("metadata 'use_td' is '{text}'");
            return Err(file.error(&problem, "known are no, uv:<rank>, uvw:<rank>"));
        }
    };
    Ok((form, rank))
}

fn globals(file: &KnownAnswer) -> Result<Option<GlobalConfig>> {
    if !["param.global_", "param.U_global"].iter().any(|name| file.has_tensor(name)) {
        return Ok(None);
    }
    let mode = file.text("mode")?.replace(' ', "").replace('_', "-");
    let counted = mode.strip_suffix("-channel").and_then(|count| count.parse().ok());
    let (design, channels) = match (mode.as_str(), counted) {
        ("all-attn", _) => (GlobalDesign::AllAttention, 1),
        ("attn-split", _) => (GlobalDesign::SplitAttention, 1),
        ("single-channel", _) => (GlobalDesign::FirstChannels, 1),
        (_, Some(channels)) => (GlobalDesign::FirstChannels, channels),
        _ => {
            let hint = "known are all-attn, attn-split, single-channel, <k>-channel";
            return Err(file.error(&format!("metadata 'mode' is '{mode}'"), hint));
        }
    };
    let text = text_or(file, "use_td_global", "no")?;
    let (kind, rank) = decomposition(file, "use_td_global", &text)?;
    let form = match kind.as_str() {
        "no" => GlobalForm::Dense,
        "uv" => GlobalForm::Product,
        "norm" => GlobalForm::NormalisedProduct,
        _ => {
            let problem = format!("metadata 'use_td_global' is '{text}'");
            return Err(file.error(&problem, "known are no, uv:<rank>, norm:<rank>"));
        }
    };
    Ok(Some(GlobalConfig { design, features: file.number("n_global")?, channels, form, rank }))
}

/// Cut points such as `2, 3, 4`; an empty text is one group per side.
fn distance_cuts(file: &KnownAnswer) -> Result<Vec<usize>> {
    let text = file.text("dists")?;
    let points = text.split(',').map(str::trim).filter(|point| !point.is_empty());
    points
        .map(|point| {
            point.parse().map_err(|_| {
                let problem = format!("metadata 'dists' is '{text}'");
                file.error(&problem, "expected numbers with commas between them")
            })
        })
        .collect()
}

fn config(file: &KnownAnswer) -> Result<Pt2023Config> {
    let (ternary, rank) = ternary(file)?;
    let normaliser = match text_or(file, "norm", "softmax")?.as_str() {
        "softmax" => Normaliser::Softmax,
        "relu" => Normaliser::Relu,
        other => {
            let problem = format!("metadata 'norm' is '{other}'");
            return Err(file.error(&problem, "known are softmax, relu"));
        }
    };
    let order = if file.flag_or("async_update", true)? {
        UpdateOrder::Asynchronous
    } else {
        UpdateOrder::Synchronous
    };
    let root_labels = if file.has_tensor("param.root_ternary") {
        let (shape, _) = file.floats("param.root_ternary")?;
        shape.get(1).copied()
    } else {
        None
    };
    Ok(Pt2023Config {
        width: file.number("d_model")?,
        channels: file.number("n_head")?,
        rank,
        iterations: file.number("n_iter")?,
        distance_cuts: distance_cuts(file)?,
        ternary,
        normaliser,
        order,
        head_damping: file.number_or("damping_H", 0.0)?,
        label_damping: file.number_or("damping_Z", 0.0)?,
        head_step: file.number_or("stepsize_H", 1.0)?,
        label_step: file.number_or("stepsize_Z", 1.0)?,
        head_lambda: file.number_or("regularize_H", 1.0)?,
        label_lambda: file.number_or("regularize_Z", 1.0)?,
        head_message_only: file.flag_or("block_msg", false)?,
        output_probability: file.flag_or("output_prob", false)?,
        globals: globals(file)?,
        root_labels,
        frobenius_coefficient: 0.0,
        ..Pt2023Config::default()
    })
}

/// One encoder call.
struct Case {
    config: Pt2023Config,
    sequences: usize,
    length: usize,
    /// 1 where a word stands, `(B, n)`.
    mask: Vec<bool>,
    /// Whether the root's scores are the output instead of the words'.
    root_output: bool,
}

impl Case {
    fn read(file: &KnownAnswer) -> Result<Self> {
        let config = config(file)?;
        config.validate()?;
        let (shape, mask) = file.integers("mask")?;
        let &[sequences, length] = shape else {
            let problem = format!("tensor 'mask' has shape {shape:?}");
            return Err(file.error(&problem, "expected (B, n)"));
        };
        // Absent in files without a root; with one, the cotangent says whose scores are recorded.
        let (cotangent, _) = file.floats("cotangent")?;
        let one_row = cotangent.get(1) == Some(&1);
        let root_output = config.root_labels.is_some() && file.flag_or("output_root", one_row)?;
        let mask = mask.iter().map(|&flag| flag != 0).collect();
        Ok(Self { config, sequences, length, mask, root_output })
    }

    fn compute(&self, file: &KnownAnswer, dtype: DType) -> Result<Vec<Computed>> {
        let layout = self.config.encoder_layout()?;
        let names: Vec<String> =
            layout.specs().iter().map(|spec| file_name(spec.name()).to_owned()).collect();
        for name in file.tensors().keys().filter_map(|name| name.strip_prefix("param.")) {
            if !names.iter().any(|known| known == name) {
                let hint = format!("its parameters are {}", names.join(", "));
                return Err(file.error(&format!("the model has no parameter '{name}'"), &hint));
            }
        }
        let width = self.config.width;
        let variable = |name: &str, shape: &[usize]| -> Result<Var> {
            let tensor = file.load(name, shape, dtype)?;
            Ok(Var::from_tensor(&tensor).map_err(ModelError::from)?)
        };
        let unary = variable("unary", &[self.sequences, self.length, width])?;
        let parameters = layout
            .specs()
            .iter()
            .zip(&names)
            .map(|(spec, name)| variable(&format!("param.{name}"), spec.shape()))
            .collect::<Result<Vec<_>>>()?;
        let tensors: Vec<Tensor> = parameters.iter().map(|v| v.as_tensor().clone()).collect();
        let weights = Weights::new(&layout, &tensors, None);
        let result = self.run(&unary, &weights, dtype)?;
        let out = match &result.root {
            Some(root) if self.root_output => root,
            _ => &result.labels,
        };
        let cotangent = file.load("cotangent", out.dims(), dtype)?;
        let store = (out * cotangent)
            .and_then(|product| product.sum_all()?.backward())
            .map_err(ModelError::from)?;
        let mut computed = self.outputs(&result)?;
        let named = names.iter().map(String::as_str).zip(&parameters);
        for (name, variable) in named.chain([("unary", &unary)]) {
            let gradient = match store.get(variable) {
                Some(gradient) => gradient.clone(),
                None => variable.zeros_like().map_err(ModelError::from)?,
            };
            computed.push(Computed::new(format!("grad.{name}"), &gradient)?);
        }
        Ok(computed)
    }

    fn run(&self, unary: &Tensor, weights: &Weights, dtype: DType) -> models::Result<MeanField> {
        let encoder = Encoder::new(&self.config, &self.config, &SiteScales::BASE)?;
        let flags: Vec<f32> = self.mask.iter().map(|&word| f32::from(u8::from(word))).collect();
        let shape = (self.sequences, self.length);
        let attention = Tensor::from_vec(flags, shape, &Device::Cpu)?.to_dtype(dtype)?;
        let input = MeanFieldInput { unary, attention: Some(&attention), dropout: None };
        encoder.run(weights, &input, &mut NoProbe)
    }

    /// `out` at words and the head posteriors of words, whole and in parts.
    fn outputs(&self, result: &MeanField) -> Result<Vec<Computed>> {
        let out = match &result.root {
            Some(root) if self.root_output => Computed::new("out", root)?,
            _ => Computed::at("out", &result.labels, &self.mask)?,
        };
        let rows = |channels: usize| -> Vec<bool> {
            let each = self.mask.chunks(self.length);
            each.flat_map(|row| std::iter::repeat_n(row, channels).flatten().copied()).collect()
        };
        let posterior = &result.head_posterior;
        let channels = self.config.channels;
        let mut computed = vec![out, Computed::at("post.q_h", posterior, &rows(channels))?];
        if let Some(globals) = &self.config.globals {
            let part = |channels, start, size| {
                let part = posterior.narrow(1, 0, channels).and_then(|p| p.narrow(3, start, size));
                part.map_err(ModelError::from)
            };
            let start = posterior.dim(3).map_err(ModelError::from)? - globals.features;
            let words = part(channels, start - self.length, self.length)?;
            computed.push(Computed::at("post.q_h1", &words, &rows(channels))?);
            let channels = self.config.global_channels();
            let features = part(channels, start, globals.features)?;
            computed.push(Computed::at("post.q_h2", &features, &rows(channels))?);
        }
        Ok(computed)
    }
}
