//! Known answers of the Probabilistic Transformer of 2026.

use candle_core::DType;
use models::family::FamilyConfig;
use models::parameters::ParameterSpec;
use models::parametrization::SiteScales;
use models::pt2026::{Pt2026Config, Rope};

use super::mlm::{self, MlmCase, MlmRun};
use super::training::{Trace, TraceSettings};
use super::{Computed, KnownAnswer, KnownFamily, Precision};
use crate::error::Result;

/// The family `pt`.
pub struct Pt2026;

/// Files with per-step losses record a training run instead of one pass.
fn is_trace(file: &KnownAnswer) -> bool {
    file.has_tensor("losses")
}

/// The configuration a file describes; only `one_way` may be absent (then the dependents'
/// message is on).
pub fn config(file: &KnownAnswer) -> Result<Pt2026Config> {
    let rope = match file.text("rope")? {
        "exact" => Rope::Exact,
        "published" => Rope::Published,
        "none" => Rope::None,
        other => {
            let problem = format!("metadata 'rope' is '{other}'");
            return Err(file.error(&problem, "known are exact, published, none"));
        }
    };
    Ok(Pt2026Config {
        vocab: file.number("vocab")?,
        width: file.number("width")?,
        iterations: file.number("iterations")?,
        channels: file.number("channels")?,
        rank: Some(file.number("rank")?),
        topics: Some(file.number("topics")?),
        rope,
        rope_theta: file.number("rope_theta")?,
        damping: file.number("damping")?,
        dependent_message: !file.flag_or("one_way", false)?,
        width_normalisation: file.flag("mup")?,
        lambda_z: file.number("lambda_z")?,
        lambda_h: file.number("lambda_h")?,
        lambda_g: file.number("lambda_g")?,
        ternary_weight: file.number("ternary_scale")?,
        binary_weight: file.number("binary_scale")?,
        logit_multiplier: file.number("logit_scale")?,
        epsilon: file.number("eps")?,
        ..Pt2026Config::default()
    })
}

impl KnownFamily for Pt2026 {
    fn name(&self) -> &'static str {
        "pt"
    }

    fn recognises(&self, file: &KnownAnswer) -> bool {
        file.has_tensor("param.unary") && file.has_tensor("param.ternary_u")
    }

    /// Ten Adam steps divide gradients by their own size, which lifts f32 rounding of the smallest
    /// ones to the size of the largest: traces are checked in f64 only.
    fn precisions(&self, file: &KnownAnswer) -> &'static [Precision] {
        if is_trace(file) { &[Precision::F64] } else { &Precision::ALL }
    }

    fn compute(&self, file: &KnownAnswer, dtype: DType) -> Result<Vec<Computed>> {
        let config = config(file)?;
        let model = config.model(&config, &SiteScales::BASE)?;
        let parameters = mlm::parameters(file, &model, dtype, str::to_owned)?;
        if is_trace(file) {
            let settings = TraceSettings::read(file)?;
            let cases = MlmCase::read_steps(file, config.vocab, 3)?;
            let layout = config.layout()?;
            let rates: Vec<f64> =
                layout.specs().iter().map(ParameterSpec::learning_rate_scale).collect();
            let trace = Trace::run(&model, &cases, &parameters, &rates, &settings, dtype)?;
            return Ok(trace.computed(&model, str::to_owned));
        }
        let case = MlmCase::read(file, config.vocab)?;
        let run = MlmRun::new(&model, &case, &parameters)?;
        let mut computed = run.computed(&model, &case, str::to_owned)?;
        computed.push(Computed::at("z", &run.hidden, &case.words())?);
        let posterior = run.probe("head_posterior", config.iterations - 1);
        let rows = case.word_rows(config.channels);
        computed.push(Computed::at("head_posterior", posterior, &rows)?);
        Ok(computed)
    }
}
