//! The `[model]` table: one family and its shape, and what can be built from it.

use baselines::blocks::Positions;
use baselines::fused::FusedEngine;
use candle_core::DType;
use models::architecture::{Architecture, ForwardFlops};
use models::engine::Engine;
use models::family::{FamilyConfig, Parametrised, parametrise};
use models::parameters::Layout;
use models::parametrization::{Dimensions, Parametrization, Resolved};
use models::reference::ReferenceEngine;
use models::standard_form::{StandardForm, Standardise};
use serde::{Deserialize, Serialize};
use toml::Table;

use super::compute::Compute;
use super::head_dim::head_dim;
use crate::error::{HarnessError, Result};

/// One family with its shape; exactly one sub-table of `[model]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum ModelConfig {
    /// Probabilistic Transformer, 2026 form.
    Pt(models::pt2026::Pt2026Config),
    /// Probabilistic Transformer, 2023 form; reference path only.
    Pt2023(models::pt2023::Pt2023Config),
    /// BERT, post-LN.
    Bert(baselines::BertConfig),
    /// Pre-LN Transformer with RoPE.
    Preln(baselines::PreLnConfig),
    /// Universal Transformer.
    Ut(baselines::UtConfig),
}

/// Which implementation computes losses and gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ComputePath {
    /// Hand-written CPU kernels, f32.
    #[default]
    Fused,
    /// candle operations with candle's autograd.
    Reference,
}

/// A model with its rules, ready to be initialised.
pub struct BuiltModel {
    /// Parameters at this shape.
    pub layout: Layout,
    /// Parameters at the base shape.
    pub base_layout: Layout,
    /// One rule per parameter.
    pub resolved: Resolved,
    /// Cost of a forward pass.
    pub flops: ForwardFlops,
    /// Computes losses and gradients.
    pub engine: Box<dyn Engine>,
}

/// Runs `$body` with `$config` bound to the family's own configuration.
macro_rules! each_family {
    ($model:expr, $config:ident => $body:expr) => {
        match $model {
            ModelConfig::Pt($config) => $body,
            ModelConfig::Pt2023($config) => $body,
            ModelConfig::Bert($config) => $body,
            ModelConfig::Preln($config) => $body,
            ModelConfig::Ut($config) => $body,
        }
    };
}

impl ModelConfig {
    /// The family called `family` with default sizes.
    pub fn of_family(family: &str) -> Result<Self> {
        let table = Table::from_iter([(family.to_owned(), toml::Value::Table(Table::new()))]);
        table.try_into().map_err(|_| {
            let known = super::overrides::FAMILIES;
            let guess = super::suggest::did_you_mean(family, known);
            HarnessError::config(
                format!("no model family '{family}'"),
                format!("{guess}families are {}", known.join(", ")),
            )
        })
    }

    /// Reads `{family: {keys}}`.
    pub fn from_table(table: Table) -> Result<Self> {
        table.try_into().map_err(|error: toml::de::Error| {
            let guess = super::suggest::from_message(error.message());
            HarnessError::config(
                format!("[model]: {}", super::suggest::plain(error.to_string().trim_end())),
                format!("{guess}crossscale plan --help lists the families"),
            )
        })
    }

    /// Reads the table of `family` from its JSON text.
    pub fn from_json(family: &str, text: &str) -> Result<Self> {
        let invalid = |error: serde_json::Error| {
            HarnessError::config(format!("[model.{family}]: {error}"), "check keys and values")
        };
        let table: serde_json::Value = serde_json::from_str(text).map_err(invalid)?;
        serde_json::from_value(serde_json::json!({ family: table })).map_err(invalid)
    }

    /// The family's own table as JSON.
    pub fn table_json(&self) -> Result<serde_json::Value> {
        let table = each_family!(self, config => serde_json::to_value(config));
        table.map_err(|error| HarnessError::Invariant(error.to_string()))
    }

    /// The table `model.<family>` as a configuration layer.
    pub fn table_toml(&self) -> Result<Table> {
        let model = toml::Value::try_from(self)
            .map_err(|error| HarnessError::Invariant(error.to_string()))?;
        Ok(Table::from_iter([("model".to_owned(), model)]))
    }

    /// This model under `table` relative to `base`, written without parametrization.
    pub fn standard_form(
        &self,
        base: &Self,
        table: &Parametrization,
    ) -> Result<StandardForm<Self>> {
        Ok(match (self, base) {
            (Self::Pt(config), Self::Pt(base)) => standardise(config, base, table, Self::Pt)?,
            (Self::Pt2023(config), Self::Pt2023(base)) => {
                standardise(config, base, table, Self::Pt2023)?
            }
            (Self::Bert(config), Self::Bert(base)) => standardise(config, base, table, Self::Bert)?,
            (Self::Preln(config), Self::Preln(base)) => {
                standardise(config, base, table, Self::Preln)?
            }
            (Self::Ut(config), Self::Ut(base)) => standardise(config, base, table, Self::Ut)?,
            _ => return Err(self.other_family(base)),
        })
    }

    /// Family name on the command line.
    pub fn family(&self) -> &'static str {
        match self {
            Self::Pt(_) => "pt",
            Self::Pt2023(_) => "pt2023",
            Self::Bert(_) => "bert",
            Self::Preln(_) => "preln",
            Self::Ut(_) => "ut",
        }
    }

    /// Vocabulary size.
    pub fn vocab(&self) -> usize {
        each_family!(self, config => config.vocab)
    }

    /// The same model over another vocabulary.
    #[must_use]
    pub fn with_vocab(mut self, vocab: usize) -> Self {
        each_family!(&mut self, config => config.vocab = vocab);
        self
    }

    /// The same model at another width; sizes given as ratios of width follow.
    #[must_use]
    pub fn at_width(&self, width: usize) -> Self {
        match self {
            Self::Pt(config) => Self::Pt(config.at_width(width)),
            Self::Pt2023(config) => Self::Pt2023(config.at_width(width)),
            Self::Bert(config) => Self::Bert(config.at_width(width)),
            Self::Preln(config) => Self::Preln(config.at_width(width)),
            Self::Ut(config) => Self::Ut(config.at_width(width)),
        }
    }

    /// Widths that a budget search tries are multiples of this.
    pub fn width_step(&self) -> usize {
        match self {
            // The rank is a quarter of the width and must be even for RoPE.
            Self::Pt(config) if config.rank.is_none() && config.rank_share.is_none() => 8,
            Self::Pt(_) | Self::Pt2023(_) => 4,
            Self::Bert(_) | Self::Preln(_) | Self::Ut(_) => 2,
        }
    }

    /// The same family at width `width` with inner width (topics, feed-forward) `inner`
    /// (`None`: four times the width); `None` if the family has no such shape. The head width
    /// becomes the divisor of `width` closest to the template's, unless heads are fixed.
    pub fn with_shape(&self, width: usize, inner: Option<usize>) -> Option<Self> {
        let mut model = self.clone();
        match &mut model {
            Self::Pt(config) => {
                config.width = width;
                config.topics = inner;
            }
            Self::Pt2023(config) => {
                *config = config.at_width(width);
                if inner.is_some_and(|inner| inner != 4 * width) {
                    return None;
                }
            }
            Self::Bert(config) => {
                config.head_dim = head_dim((config.heads, config.head_dim), width, 1)?;
                (config.width, config.feed_forward_width) = (width, inner);
            }
            Self::Preln(config) => {
                config.head_dim = head_dim((config.heads, config.head_dim), width, 2)?;
                (config.width, config.feed_forward_width) = (width, inner);
            }
            Self::Ut(config) => {
                let pairs = if config.positions == Positions::Rotary { 2 } else { 1 };
                config.head_dim = head_dim((config.heads, config.head_dim), width, pairs)?;
                (config.width, config.feed_forward_width) = (width, inner);
            }
        }
        model.layout().is_ok().then_some(model)
    }

    /// Probability of dropping an entry while training; 0 for families without dropout.
    pub fn dropout(&self) -> f64 {
        match self {
            Self::Pt2023(config) => config.dropout,
            Self::Pt(_) | Self::Bert(_) | Self::Preln(_) | Self::Ut(_) => 0.0,
        }
    }

    /// Dependency-head channels or attention heads.
    pub fn heads(&self) -> usize {
        match self {
            Self::Pt(config) => config.channels,
            Self::Pt2023(config) => config.channels,
            _ => {
                let dimensions = self.dimensions();
                dimensions.width / dimensions.head_dim.max(1)
            }
        }
    }

    /// Width, head width, inner width and depth.
    pub fn dimensions(&self) -> Dimensions {
        each_family!(self, config => config.dimensions())
    }

    /// Parameters at this shape; nothing is allocated.
    pub fn layout(&self) -> Result<Layout> {
        Ok(each_family!(self, config => config.layout())?)
    }

    /// Forward cost at sequence length `length`.
    pub fn forward_flops(&self, length: usize) -> Result<ForwardFlops> {
        let base = models::parametrization::SiteScales::BASE;
        Ok(each_family!(self, config => config.model(config, &base)?.forward_flops(length)))
    }

    /// The reference definition under `table` relative to `base`, with one rule per parameter.
    pub fn architecture(
        &self,
        base: &Self,
        table: &Parametrization,
    ) -> Result<(Box<dyn Architecture>, Resolved)> {
        match (self, base) {
            (Self::Pt(config), Self::Pt(base)) => architecture_of(config, base, table),
            (Self::Pt2023(config), Self::Pt2023(base)) => architecture_of(config, base, table),
            (Self::Bert(config), Self::Bert(base)) => architecture_of(config, base, table),
            (Self::Preln(config), Self::Preln(base)) => architecture_of(config, base, table),
            (Self::Ut(config), Self::Ut(base)) => architecture_of(config, base, table),
            _ => Err(self.other_family(base)),
        }
    }

    fn other_family(&self, base: &Self) -> HarnessError {
        HarnessError::config(
            format!("base is a {} model, the run is {}", base.family(), self.family()),
            "give base the same family as model",
        )
    }

    /// Builds the model under `table` relative to `base`, computed by `path`.
    pub fn build(
        &self,
        base: &Self,
        table: &Parametrization,
        path: ComputePath,
        length: usize,
    ) -> Result<BuiltModel> {
        self.build_as(base, table, &path.into(), length)
    }

    /// Builds the model under `table` relative to `base`, computed as `compute` says.
    pub fn build_as(
        &self,
        base: &Self,
        table: &Parametrization,
        compute: &Compute,
        length: usize,
    ) -> Result<BuiltModel> {
        let (again, precision) = (compute.recompute, compute.precision);
        match (self, base) {
            (Self::Pt(config), Self::Pt(base)) => {
                build_family(config, base, table, (compute, length), |built| {
                    let (model, rules) = (&built.model, &built.resolved);
                    let engine = models::pt2026::FusedPt2026::new(model, rules)?;
                    Ok(Box::new(engine.with_recomputation(again).with_precision(precision)?))
                })
            }
            (Self::Pt2023(config), Self::Pt2023(base)) => {
                build_family(config, base, table, (compute, length), |_| {
                    Err(models::ModelError::Unsupported {
                        what: "pt2023".to_owned(),
                        by: "the fused path".to_owned(),
                        hint: "use the reference path: --set path=reference".to_owned(),
                    })
                })
            }
            (Self::Bert(config), Self::Bert(base)) => {
                build_family(config, base, table, (compute, length), |built| {
                    let engine = FusedEngine::bert(&built.model, &built.resolved)?;
                    Ok(Box::new(engine.with_recomputation(again).with_precision(precision)?))
                })
            }
            (Self::Preln(config), Self::Preln(base)) => {
                build_family(config, base, table, (compute, length), |built| {
                    let engine = FusedEngine::preln(&built.model, &built.resolved)?;
                    Ok(Box::new(engine.with_recomputation(again).with_precision(precision)?))
                })
            }
            (Self::Ut(config), Self::Ut(base)) => {
                build_family(config, base, table, (compute, length), |built| {
                    let engine = FusedEngine::universal(&built.model, &built.resolved)?;
                    Ok(Box::new(engine.with_recomputation(again).with_precision(precision)?))
                })
            }
            _ => Err(self.other_family(base)),
        }
    }
}

fn architecture_of<F>(
    config: &F,
    base: &F,
    table: &Parametrization,
) -> Result<(Box<dyn Architecture>, Resolved)>
where
    F: FamilyConfig,
    F::Model: 'static,
{
    let built = parametrise(config, base, table)?;
    Ok((Box::new(built.model), built.resolved))
}

fn standardise<F: Standardise>(
    config: &F,
    base: &F,
    table: &Parametrization,
    wrap: fn(F) -> ModelConfig,
) -> Result<StandardForm<ModelConfig>> {
    let built = parametrise(config, base, table)?;
    let StandardForm { config, factors } = config.standard_form(base, &built.resolved)?;
    Ok(StandardForm { config: wrap(config), factors })
}

type Fused = models::Result<Box<dyn Engine>>;

fn build_family<F>(
    config: &F,
    base: &F,
    table: &Parametrization,
    (compute, length): (&Compute, usize),
    fused: impl FnOnce(&Parametrised<F::Model>) -> Fused,
) -> Result<BuiltModel>
where
    F: FamilyConfig,
    F::Model: 'static,
{
    let built = parametrise(config, base, table)?;
    let layout = built.model.layout().clone();
    let flops = built.model.forward_flops(length);
    let resolved = built.resolved.clone();
    let base_layout = built.base_layout.clone();
    let engine: Box<dyn Engine> = match compute.path {
        ComputePath::Fused => fused(&built)?,
        ComputePath::Reference => {
            let device = crate::device::open(compute.device)?;
            Box::new(ReferenceEngine::new(built.model, built.resolved, DType::F32, device))
        }
    };
    Ok(BuiltModel { layout, base_layout, resolved, flops, engine })
}
