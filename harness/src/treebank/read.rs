//! A model's arcs and states for the words of sentences.

use std::ops::Range;

use baselines::blocks::Positions;
use rayon::prelude::*;

use super::arcs::{DIRECTIONS, Direction, Gold, Hits, strongest_heads};
use super::conllu::Sentence;
use crate::checks::recorded::subject::Subject;
use crate::config::model::ModelConfig;
use crate::config::run::RunConfig;
use crate::corpus::Tokenizer;
use crate::error::{HarnessError, Result};
use crate::whitebox::TOKENS_MAX;
use crate::whitebox::reading::Lens;
use crate::whitebox::words::{Square, members};

/// One sentence as a model is given it: its tokens and which words they make up.
#[derive(Debug, Clone)]
pub struct Item {
    /// Tokens.
    pub ids: Vec<u32>,
    /// Tokens of every word.
    pub members: Vec<Vec<usize>>,
    /// Its arcs.
    pub gold: Gold,
}

impl Item {
    /// A text with words at `places`.
    pub fn new(
        text: &str,
        places: &[Range<usize>],
        gold: Gold,
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        let placed = tokenizer.encode_with_places(text)?;
        let (ids, token_places): (Vec<u32>, Vec<Range<usize>>) = placed.into_iter().unzip();
        Ok(Self { members: members(places, &token_places), ids, gold })
    }
}

/// Sentences as items; those of no or of more than `longest` tokens are left out.
pub fn items<'a>(
    sentences: &'a [Sentence],
    tokenizer: &Tokenizer,
    longest: usize,
) -> Result<Vec<(&'a Sentence, Item)>> {
    let item = |sentence: &'a Sentence| {
        let item = Item::new(&sentence.text, &sentence.places, sentence.gold.clone(), tokenizer)?;
        Ok((sentence, item))
    };
    let all: Vec<_> = sentences.par_iter().map(item).collect::<Result<_>>()?;
    Ok(all.into_iter().filter(|(_, item)| (1..=longest).contains(&item.ids.len())).collect())
}

/// The most tokens that `model` can read.
pub fn longest(model: &ModelConfig) -> usize {
    let table = match model {
        ModelConfig::Bert(config) => config.max_length,
        ModelConfig::Ut(config) if config.positions == Positions::Learned => config.max_length,
        _ => TOKENS_MAX,
    };
    table.min(TOKENS_MAX)
}

/// A matrix of arcs: which one, read in which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Choice {
    /// Iteration or layer, from 1.
    pub iteration: usize,
    /// Channel or head, from 1; `None` for the mean over them.
    pub channel: Option<usize>,
    /// How heads are read.
    pub direction: Direction,
}

/// Arcs of one sentence over words, by iteration and channel, the mean last.
#[derive(Debug, Clone)]
pub struct WordArcs(pub Vec<Vec<Square>>);

impl WordArcs {
    /// The matrix of `choice` with heads in rows.
    pub fn chosen(&self, choice: Choice) -> Square {
        let channels = &self.0[choice.iteration - 1];
        let place = choice.channel.unwrap_or(channels.len()) - 1;
        choice.direction.of(&channels[place])
    }

    /// Every matrix that can be chosen, in a fixed order.
    pub fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        for (iteration, channels) in self.0.iter().enumerate() {
            for channel in 0..channels.len() {
                for direction in DIRECTIONS {
                    let mean = channel + 1 == channels.len();
                    let channel = (!mean).then_some(channel + 1);
                    choices.push(Choice { iteration: iteration + 1, channel, direction });
                }
            }
        }
        choices
    }
}

/// What a model says about one sentence.
#[derive(Debug, Clone)]
pub struct WordReading {
    /// Arcs.
    pub arcs: WordArcs,
    /// The mean of the last states (label beliefs, hidden states) of every word's tokens; zeros
    /// for a word without tokens.
    pub states: Vec<Vec<f32>>,
}

/// A model over sentences.
pub struct Reader {
    lens: Lens,
}

impl Reader {
    /// The model of `run` with these weights.
    pub fn new(run: &RunConfig, parameters: &[f32]) -> Result<Self> {
        Ok(Self { lens: Lens::new(run, parameters)? })
    }

    /// The model of `run` before its training.
    pub fn untrained(run: &RunConfig) -> Result<Self> {
        let table = run.parametrization.table()?;
        let subject = Subject::new(&run.model, &run.base_model(), &table)?;
        Self::new(run, &subject.initial(run.seed)?)
    }

    /// Reads one sentence.
    pub fn read(&self, item: &Item) -> Result<WordReading> {
        let reading = self.lens.read(&item.ids)?;
        let arcs = reading.arcs.iter().map(|channels| {
            let mut words: Vec<Square> =
                channels.iter().map(|channel| channel.to_words(&item.members)).collect();
            words.extend(Square::mean(&words));
            words
        });
        let last = reading
            .states
            .last()
            .ok_or_else(|| HarnessError::Invariant("a model without states was read".to_owned()))?;
        let width = last.first().map_or(0, Vec::len);
        let state = |tokens: &Vec<usize>| {
            let mut mean = vec![0f32; width];
            for &token in tokens {
                for (sum, value) in mean.iter_mut().zip(&last[token]) {
                    *sum += (value / tokens.len() as f64) as f32;
                }
            }
            mean
        };
        let states = item.members.iter().map(state).collect();
        Ok(WordReading { arcs: WordArcs(arcs.collect()), states })
    }

    /// `of` every sentence's reading, in order.
    pub fn map<T: Send>(
        &self,
        items: &[(&Sentence, Item)],
        of: impl Fn(&Item, WordReading) -> T + Sync,
    ) -> Result<Vec<T>> {
        items.par_iter().map(|(_, item)| Ok(of(item, self.read(item)?))).collect()
    }

    /// Hits of every choice, summed over `items`: what choices are made by.
    pub fn hits_by_choice(&self, items: &[(&Sentence, Item)]) -> Result<Vec<(Choice, Hits)>> {
        let hits = self.map(items, |item, reading| {
            let choices = reading.arcs.choices();
            let hits = |&choice: &Choice| {
                Hits::of(&item.gold, &strongest_heads(&reading.arcs.chosen(choice)))
            };
            let hits: Vec<Hits> = choices.iter().map(hits).collect();
            (choices, hits)
        })?;
        let Some((choices, _)) = hits.first() else { return Ok(Vec::new()) };
        let sum = |place: usize| Hits::sum(hits.iter().map(|(_, hits)| &hits[place]));
        Ok(choices.iter().enumerate().map(|(place, choice)| (*choice, sum(place))).collect())
    }
}

#[cfg(test)]
mod tests {
    use baselines::{BertConfig, UtConfig};

    use super::*;

    #[test]
    fn invariant_only_a_position_table_bounds_sentences() {
        let ut = UtConfig { max_length: 7, ..UtConfig::default() };
        assert_eq!(longest(&ModelConfig::Ut(ut.clone())), 7);
        let rotary = UtConfig { positions: Positions::Rotary, ..ut };
        assert_eq!(longest(&ModelConfig::Ut(rotary)), TOKENS_MAX);
        let bert = BertConfig { max_length: 2 * TOKENS_MAX, ..BertConfig::default() };
        assert_eq!(longest(&ModelConfig::Bert(bert)), TOKENS_MAX);
    }
}
