//! What a model computes on the way for one sequence: head posteriors or attention, states,
//! topics.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use models::architecture::Probe;
use models::pt2023::UpdateOrder;

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
    kind: Kind,
}

/// What a family shows of itself.
///
/// PT records the beliefs before an iteration, so those after the last are the ones before another:
/// one iteration more is run than was trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// PT of 2026.
    Pt,
    /// PT of 2023.
    Pt2023 {
        /// Head posteriors are those before an iteration as well.
        synchronous: bool,
        /// A root stands before the words as a head.
        root: bool,
    },
    /// Attention and hidden states.
    Transformer,
}

impl Kind {
    fn of(model: &ModelConfig) -> Self {
        match model {
            ModelConfig::Pt(_) => Self::Pt,
            ModelConfig::Pt2023(config) => Self::Pt2023 {
                synchronous: config.order == UpdateOrder::Synchronous,
                root: config.root_labels.is_some(),
            },
            ModelConfig::Bert(_) | ModelConfig::Preln(_) | ModelConfig::Ut(_) => Self::Transformer,
        }
    }

    /// Place of the first word among the columns of a head posterior. Global features stand behind
    /// the words.
    fn first_column(self) -> usize {
        usize::from(matches!(self, Self::Pt2023 { root: true, .. }))
    }
}

impl Lens {
    /// The model of `run` with these weights.
    pub fn new(run: &RunConfig, parameters: &[f32]) -> Result<Self> {
        let kind = Kind::of(&run.model);
        let model = if kind == Kind::Transformer {
            TrainedModel::new(run, parameters, DType::F32)?
        } else {
            let depth = run.model.dimensions().depth + 1;
            let (run, parameters) = at_depth(run, parameters, depth)?;
            TrainedModel::new(&run, &parameters, DType::F32)?
        };
        Ok(Self { model, kind })
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
        let squares = |tensor: &Tensor| squares(tensor, (self.kind.first_column(), length));
        let mut arcs: Vec<_> = all(&ARCS).iter().map(squares).collect::<Result<_>>()?;
        let mut states: Vec<_> = all(&STATES).iter().map(rows).collect::<Result<_>>()?;
        let mut topics: Vec<_> = all(&[TOPICS]).iter().map(rows).collect::<Result<_>>()?;
        if self.kind != Kind::Transformer {
            states.remove(0);
            topics.pop();
            if matches!(self.kind, Kind::Pt2023 { synchronous: true, .. }) {
                arcs.remove(0);
            } else {
                arcs.pop();
            }
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

/// `(1, C, n, k)` as C matrices of the n columns from `first` on.
fn squares(tensor: &Tensor, (first, length): (usize, usize)) -> Result<Vec<Square>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn run(more: &str) -> (RunConfig, Vec<f32>) {
        let text = format!(
            "path = \"reference\"\n[parametrization]\nbase_width = 12\n[model.pt2023]\n\
             vocab = 20\nwidth = 12\nchannels = 2\nrank = 3\niterations = 2\n{more}"
        );
        let layer = toml::from_str(&text).unwrap();
        let run = RunConfig::resolve("pt2023", vec![layer], &[]).unwrap();
        let built = run.build().unwrap();
        (run, built.resolved.initialise(&built.layout, &built.base_layout, 5).unwrap())
    }

    const IDS: [u32; 4] = [1, 7, 7, 19];

    /// No word is its own head: the diagonal tells whether the columns are those of the words.
    #[test]
    fn invariant_columns_of_a_root_and_of_features_are_no_words() {
        let root = "root_labels = 3\n";
        let features = |count| format!("[model.pt2023.globals]\nfeatures = {count}\n");
        let both = |count| root.to_owned() + &features(count);
        for more in [String::new(), root.to_owned(), features(1), both(1), both(3)] {
            let (run, parameters) = run(&more);
            let reading = Lens::new(&run, &parameters).unwrap().read(&IDS).unwrap();
            assert_eq!(reading.arcs.len(), 2);
            for matrix in reading.arcs.iter().flatten() {
                for word in 0..IDS.len() {
                    assert!(matrix.at(word, word) < 1e-12, "{more}: {matrix:?}");
                    let sum: f64 = matrix.row(word).iter().sum();
                    assert!(sum > 0.0 && sum < 1.0 + 1e-5, "{more}: {sum}");
                }
            }
        }
    }

    /// The last states and arcs are those that the model itself ends with.
    #[test]
    fn invariant_states_and_arcs_are_those_after_the_last_iteration() {
        for order in ["asynchronous", "synchronous"] {
            let (run, parameters) = run(&format!("order = \"{order}\"\noutput_probability = true"));
            let reading = Lens::new(&run, &parameters).unwrap().read(&IDS).unwrap();
            let sites = ["out", "last_head_posterior"];
            let mut probe = KeepingProbe::new(&sites);
            let model = TrainedModel::new(&run, &parameters, DType::F64).unwrap();
            model.read(&IDS, &mut probe).unwrap();
            let own_states = rows(probe.get("out", 1).unwrap()).unwrap();
            let own_arcs = squares(probe.get("last_head_posterior", 1).unwrap(), (0, IDS.len()));
            assert_eq!((reading.states.len(), reading.arcs.len()), (2, 2));
            let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
            for (found, own) in reading.states[1].iter().zip(&own_states) {
                assert!(close(found, own), "{order}: {found:?} {own:?}");
            }
            for (found, own) in reading.arcs[1].iter().zip(&own_arcs.unwrap()) {
                assert!(close(&found.values, &own.values), "{order}: {found:?} {own:?}");
            }
        }
    }
}
