//! Known answers of this project's own Transformers, under their layout's names.

use candle_core::DType;
use models::parametrization::Parametrization;

use super::mlm::{self, MlmCase, MlmRun};
use super::{Computed, KnownAnswer, KnownFamily};
use crate::config::model::ModelConfig;
use crate::error::Result;

/// The families `preln` and `ut`: metadata `family` and `config`, the family's table as JSON.
pub struct Transformers;

/// Files of these families carry their own table.
const FAMILIES: [&str; 2] = ["preln", "ut"];

impl KnownFamily for Transformers {
    fn name(&self) -> &'static str {
        "preln, ut"
    }

    fn recognises(&self, file: &KnownAnswer) -> bool {
        file.text("family").is_ok_and(|family| FAMILIES.contains(&family))
    }

    fn compute(&self, file: &KnownAnswer, dtype: DType) -> Result<Vec<Computed>> {
        let config = ModelConfig::from_json(file.text("family")?, file.text("config")?)?;
        let table = Parametrization::built_in("standard")?;
        let (model, _) = config.architecture(&config, &table)?;
        let own_name = |name: &str| name.to_owned();
        let parameters = mlm::parameters(file, &*model, dtype, own_name)?;
        let case = MlmCase::read(file, config.vocab())?;
        let run = MlmRun::new(&*model, &case, &parameters)?;
        let mut computed = run.computed(&*model, &case, own_name)?;
        let words = case.words();
        computed.push(Computed::at("hidden.0", run.probe("embedding", 0), &words)?);
        for depth in 0..config.dimensions().depth {
            let hidden = run.probe("residual_stream", depth);
            computed.push(Computed::at(format!("hidden.{}", depth + 1), hidden, &words)?);
        }
        Ok(computed)
    }
}
