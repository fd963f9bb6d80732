//! One sentence, seen through a trained model.

use super::energy::{Descent, Energy};
use super::opened::Opened;
use super::reading::Lens;
use super::words::{Square, members, split_words};
use crate::config::model::ModelConfig;
use crate::error::{HarnessError, Result};

/// Labels or topics that are named of a word.
const NAMED: usize = 3;

/// A category with its share.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Share {
    /// Its index.
    pub index: usize,
    /// Its share of the word's belief or activation.
    pub share: f64,
}

/// What a model makes of one sentence.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Family of the model.
    pub family: &'static str,
    /// What is drawn as one item: words, or the tokens themselves.
    pub words: Vec<String>,
    /// Number of tokens.
    pub tokens: usize,
    /// By iteration or layer, then channel or head: over words.
    pub arcs: Vec<Vec<Square>>,
    /// The largest labels of every word after the last iteration; empty without labels.
    pub labels: Vec<Vec<Share>>,
    /// The largest topics of every word in the last iteration; empty without topics.
    pub topics: Vec<Vec<Share>>,
    /// The objective after every iteration; `None` for families without one that is computed.
    pub descent: Option<Descent>,
}

impl Inspection {
    /// Reads `text`; words are runs of letters and digits, other characters by themselves, unless
    /// `by_token`.
    ///
    /// # Errors
    /// If the text holds no or too many tokens, or the model cannot run them.
    pub fn of(opened: &Opened, text: &str, by_token: bool) -> Result<Self> {
        let tokenizer = &opened.tokenizer;
        let placed = tokenizer.encode_with_places(text)?;
        opened.check_length(placed.len())?;
        let (ids, places): (Vec<u32>, Vec<_>) = placed.into_iter().unzip();
        let (words, members): (Vec<String>, Vec<Vec<usize>>) = if by_token {
            let spelled = ids.iter().map(|&id| tokenizer.token(id)).collect::<Result<Vec<_>>>()?;
            (spelled, (0..ids.len()).map(|token| vec![token]).collect())
        } else {
            let words =
                if tokenizer.splits_at_spaces() { places.clone() } else { split_words(text) };
            let spelled = words.iter().map(|word| text[word.clone()].to_owned());
            let members = members(&words, &places);
            // A word that the tokenizer dropped is no item.
            spelled.zip(members).filter(|(_, tokens)| !tokens.is_empty()).unzip()
        };
        if words.is_empty() {
            return Err(HarnessError::config(
                "the text has no word",
                "give a sentence, or --tokens to see its tokens",
            ));
        }
        let reading = Lens::new(&opened.run, &opened.parameters)?.read(&ids)?;
        let to_words = |channels: &Vec<Square>| {
            channels.iter().map(|channel| channel.to_words(&members)).collect()
        };
        let named = |rows: Option<&Vec<Vec<f64>>>| {
            rows.map_or(Vec::new(), |rows| members.iter().map(|m| largest(rows, m)).collect())
        };
        let is_pt = matches!(opened.run.model, ModelConfig::Pt(_) | ModelConfig::Pt2023(_));
        let descent = match &opened.run.model {
            ModelConfig::Pt(config) => {
                let form = (config.rope, config.damping);
                let iterations = config.iterations;
                Some(Energy::new(&opened.run, &opened.parameters, form, iterations)?.of(&ids)?)
            }
            _ => None,
        };
        Ok(Self {
            family: opened.run.model.family(),
            tokens: ids.len(),
            arcs: reading.arcs.iter().map(to_words).collect(),
            labels: named(reading.states.last().filter(|_| is_pt)),
            topics: named(reading.topics.last()),
            words,
            descent,
        })
    }

    /// The mean over channels at `iteration`.
    pub fn average(&self, iteration: usize) -> Square {
        Square::mean(&self.arcs[iteration]).unwrap_or_else(|| Square::zeros(self.words.len()))
    }
}

/// The largest entries of the mean of the rows of `members`.
fn largest(rows: &[Vec<f64>], members: &[usize]) -> Vec<Share> {
    let size = rows.first().map_or(0, Vec::len);
    let mut mean = vec![0.0; size];
    for &token in members {
        for (sum, value) in mean.iter_mut().zip(&rows[token]) {
            *sum += value / members.len() as f64;
        }
    }
    let mut shares: Vec<Share> =
        mean.into_iter().enumerate().map(|(index, share)| Share { index, share }).collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share));
    shares.truncate(NAMED);
    shares
}
