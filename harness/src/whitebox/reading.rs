//! What a model computes on the way for one sequence: head posteriors or attention, states,
//! topics.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use models::architecture::Probe;

use super::depth::at_depth;
use super::opened::TrainedModel;
use super::words::Square;
use crate::config::model::ModelConfig;
use crate::config::run::RunConfig;
use crate::error::{HarnessError, Result};

/// Keeps the intermediate values of some sites.
#[derive(Debug)]
pub struct KeepingProbe<'a> {
    sites: &'a [&'a str],
    kept: BTreeMap<(String, usize), Tensor>,
}

impl<'a> KeepingProbe<'a> {
    /// A probe for `sites`.
    pub fn new(sites: &'a [&'a str]) -> Self {
        Self { sites, kept: BTreeMap::new() }
    }

    /// The value of `site` at `iteration`, if it was seen.
    pub fn get(&self, site: &str, iteration: usize) -> Option<&Tensor> {
        self.kept.get(&(site.to_owned(), iteration))
    }

    /// The values of `site` in order of their iterations.
    pub fn series(&self, site: &str) -> Vec<&Tensor> {
        self.kept.iter().filter(|((name, _), _)| name == site).map(|(_, value)| value).collect()
    }
}

impl Probe for KeepingProbe<'_> {
    fn record(&mut self, site: &str, iteration: usize, value: &Tensor) -> models::Result<()> {
        if self.sites.contains(&site) {
            self.kept.insert((site.to_owned(), iteration), value.detach());
        }
        Ok(())
    }
}

/// What was seen of one sequence of n tokens.
#[derive(Debug, Clone)]
pub struct Reading {
    /// By iteration (PT) or layer, then by channel (PT) or head: row i is the distribution over
    /// the head of token i, or over what it attends to.
    pub arcs: Vec<Vec<Square>>,
    /// By iteration or layer: a row per token; label beliefs that sum to one (PT), or hidden
    /// states.
    pub states: Vec<Vec<Vec<f64>>>,
    /// By iteration: a row of topic activations per token that sum to one; empty without topics.
    pub topics: Vec<Vec<Vec<f64>>>,
}

/// Sites that a reading is made of.
const ARCS: [&str; 2] = ["head_posterior", "attention_probabilities"];
const STATES: [&str; 2] = ["belief", "residual_stream"];
const TOPICS: &str = "topic_belief";

/// A trained model, ready to be read.
pub struct Lens {
    model: TrainedModel,
    /// One iteration more is run than was trained: PT records beliefs before an iteration, so
    /// those after the last are the ones before another.
    further: bool,
    beliefs: bool,
}

impl Lens {
    /// The model of `run` with these weights.
    pub fn new(run: &RunConfig, parameters: &[f32]) -> Result<Self> {
        let further = matches!(run.model, ModelConfig::Pt(_));
        let beliefs = further || matches!(run.model, ModelConfig::Pt2023(_));
        let model = if further {
            let depth = run.model.dimensions().depth + 1;
            let (run, parameters) = at_depth(run, parameters, depth)?;
            TrainedModel::new(&run, &parameters, DType::F32)?
        } else {
            TrainedModel::new(run, parameters, DType::F32)?
        };
        Ok(Self { model, further, beliefs })
    }

    /// Reads the sequence `ids`.
    ///
    /// # Errors
    /// If the model cannot run them.
    pub fn read(&self, ids: &[u32]) -> Result<Reading> {
        let sites = [ARCS[0], ARCS[1], STATES[0], STATES[1], TOPICS];
        let mut probe = KeepingProbe::new(&sites);
        self.model.read(ids, &mut probe)?;
        let all = |sites: &[&str]| -> Vec<Tensor> {
            sites.iter().flat_map(|site| probe.series(site)).cloned().collect()
        };
        let length = ids.len();
        let squares = |tensor: &Tensor| squares(tensor, length);
        let mut arcs: Vec<_> = all(&ARCS).iter().map(squares).collect::<Result<_>>()?;
        let mut states: Vec<_> = all(&STATES).iter().map(rows).collect::<Result<_>>()?;
        let mut topics: Vec<_> = all(&[TOPICS]).iter().map(rows).collect::<Result<_>>()?;
        if self.further {
            arcs.pop();
            topics.pop();
            states.remove(0);
        }
        if self.beliefs {
            for row in states.iter_mut().flatten() {
                normalise(row);
            }
        }
        for row in topics.iter_mut().flatten() {
            normalise(row);
        }
        Ok(Reading { arcs, states, topics })
    }
}

/// Divides by the sum.
fn normalise(row: &mut [f64]) {
    let sum: f64 = row.iter().sum();
    if sum > 0.0 {
        for value in row {
            *value /= sum;
        }
    }
}

/// `(1, C, n, k)` as C matrices. PT 2023 may put a root before the n words and features behind
/// them; those columns are left out.
fn squares(tensor: &Tensor, length: usize) -> Result<Vec<Square>> {
    let (_, _, _, columns) = tensor.dims4().map_err(models::ModelError::from)?;
    // One column more than words is the root, which stands first.
    let first = usize::from(columns == length + 1);
    let values = || -> candle_core::Result<Vec<Vec<Vec<f64>>>> {
        tensor.squeeze(0)?.narrow(2, first, length)?.to_dtype(DType::F64)?.to_vec3()
    };
    let channels = values().map_err(models::ModelError::from)?;
    let square = |rows: Vec<Vec<f64>>| Square { size: length, values: rows.concat() };
    Ok(channels.into_iter().map(square).collect())
}

/// `(1, n, D)` as n rows.
fn rows(tensor: &Tensor) -> Result<Vec<Vec<f64>>> {
    let values = || tensor.squeeze(0)?.to_dtype(DType::F64)?.to_vec2();
    values().map_err(|error| HarnessError::from(models::ModelError::from(error)))
}
