//! The protocol: what is chosen on one part of a treebank is scored on another.

use std::collections::BTreeMap;

use super::arcs::{Attachment, Gold, Hits, difference, offset_heads, strongest_heads, tree_heads};
use super::categories::{Categories, categories};
use super::conllu::Sentence;
use super::read::{Choice, Item, Reader, items, longest};
use crate::config::run::RunConfig;
use crate::error::{HarnessError, Result};
use crate::whitebox::Opened;

/// Offsets that are tried, to either side.
const OFFSETS: isize = 10;

/// One prediction rule with its scores.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Scored {
    /// The matrix it reads; `None` for rules without a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
    /// Words to the right, of rules that look no further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<isize>,
    /// Scores with intervals.
    #[serde(flatten)]
    pub attachment: Attachment,
}

/// What any score must be compared with.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Baselines {
    /// Every word's head is the word before it.
    pub left: Scored,
    /// Every word's head is the word after it.
    pub right: Scored,
    /// The best fixed offset of the choosing part.
    pub offset: Scored,
    /// The same model before its training, its best channel chosen alike; of an exported file,
    /// which does not keep seed and parametrization, another draw.
    pub untrained: Scored,
}

/// Scores after one iteration or layer.
#[derive(Debug, Clone, serde::Serialize)]
pub struct OfIteration {
    /// From 1.
    pub iteration: usize,
    /// Best channel, chosen on the other part.
    pub uas: f64,
    /// The same, undirected.
    pub uuas: f64,
    /// That channel.
    pub best: Scored,
    /// Mean over channels.
    pub average: Scored,
    /// Heaviest tree of the best channel.
    pub tree: Scored,
    /// Heaviest tree of the mean.
    pub average_tree: Scored,
    /// Every channel's own score, read in its better direction on the choosing part.
    pub channels: Vec<f64>,
}

/// Arcs of one kind.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Kind {
    /// Relation, or distance in words.
    pub kind: String,
    /// Arcs of it.
    pub arcs: usize,
    /// Score of the best channel.
    pub uas: f64,
    /// The same, undirected.
    pub uuas: f64,
    /// Score of the best fixed offset.
    pub offset_uas: f64,
}

/// All that is said about a model.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Evaluation {
    /// The best channel of all iterations.
    #[serde(flatten)]
    pub best: Scored,
    /// Best channel less best fixed offset, with an interval over sentences.
    pub above_offset: (f64, Option<[f64; 2]>),
    /// Mean over channels after the last iteration.
    pub average: Scored,
    /// Heaviest tree of the best channel.
    pub tree: Scored,
    /// What to compare with.
    pub baselines: Baselines,
    /// Every iteration or layer.
    pub per_iteration: Vec<OfIteration>,
    /// The best channel's arcs by relation, most frequent first.
    pub by_relation: Vec<Kind>,
    /// By distance between word and head.
    pub by_distance: Vec<Kind>,
    /// Parts of speech.
    pub categories: Categories,
    /// Sentences scored.
    pub sentences: usize,
    /// Arcs scored: words but roots and punctuation.
    pub arcs: usize,
    /// Sentences of no token, or of more than the model can read.
    pub left_out: usize,
}

/// Sentences with their items.
pub(super) type Part<'a> = Vec<(&'a Sentence, Item)>;

/// Scores `opened` on the sentences `scored`; channels, directions and the offset are chosen on
/// `choosing`.
///
/// # Errors
/// If a part has no arc to score, or a model cannot run.
pub fn evaluate(
    opened: &Opened,
    (scored, choosing): (&[Sentence], &[Sentence]),
    beside: Option<&Opened>,
) -> Result<Evaluation> {
    let longest = longest(&opened.run.model);
    let part = |sentences| items(sentences, &opened.tokenizer, longest);
    let (test, chosen_on) = (part(scored)?, part(choosing)?);
    for part in [&test, &chosen_on] {
        if part.iter().all(|(_, item)| item.gold.scored().next().is_none()) {
            return Err(HarnessError::config(
                "the treebank has no arc to score",
                "give sentences of several words",
            ));
        }
    }
    let reader = Reader::new(&opened.run, &opened.parameters)?;
    let found = reader.hits_by_choice(&chosen_on)?;
    let best = best(found.iter().copied().filter(|(choice, _)| choice.channel.is_some()))?;
    let best_offset = best_offset(&chosen_on);
    let (per_iteration, readings) = per_iteration(&reader, &test, &found)?;
    let of_best = scored_by(&test, &readings.heads[&best]);
    let offsets = |offset| scored_offset(&test, offset);
    let (left, right, offset) = (offsets(-1), offsets(1), offsets(best_offset));
    let above_offset = difference(&of_best.1, &offset.1);
    let baselines = Baselines {
        left: left.0,
        right: right.0,
        offset: offset.0,
        untrained: untrained(&opened.run, &test, &chosen_on)?,
    };
    let last = per_iteration.last().expect("a model has an iteration").clone();
    let (by_relation, by_distance) = kinds(&test, &readings.heads[&best], best_offset);
    Ok(Evaluation {
        best: Scored { choice: Some(best), ..of_best.0 },
        above_offset,
        average: last.average,
        tree: Scored { choice: Some(best), ..scored_by(&test, &readings.trees[&best]).0 },
        baselines,
        per_iteration,
        by_relation,
        by_distance,
        categories: categories(opened, &test, &readings.states, beside)?,
        sentences: test.len(),
        arcs: test.iter().map(|(_, item)| item.gold.scored().count()).sum(),
        left_out: scored.len() - test.len(),
    })
}

/// The choice with the best directed score, the first of equals.
pub(super) fn best(choices: impl Iterator<Item = (Choice, Hits)>) -> Result<Choice> {
    let mut best: Option<(Choice, Hits)> = None;
    for (choice, hits) in choices {
        if best.is_none_or(|(_, most)| hits.directed > most.directed) {
            best = Some((choice, hits));
        }
    }
    let none = || HarnessError::Invariant("a model without channels was scored".to_owned());
    Ok(best.ok_or_else(none)?.0)
}

type Heads = Vec<Option<usize>>;

/// Predictions of the chosen matrices for every sentence.
struct Readings {
    heads: BTreeMap<Choice, Vec<Heads>>,
    trees: BTreeMap<Choice, Vec<Heads>>,
    states: Vec<Vec<Vec<f32>>>,
}

fn per_iteration(
    reader: &Reader,
    test: &Part,
    found: &[(Choice, Hits)],
) -> Result<(Vec<OfIteration>, Readings)> {
    let iterations = found.iter().map(|(choice, _)| choice.iteration).max().unwrap_or(0);
    // Of every iteration the better direction of each channel and of the mean.
    let mut chosen: Vec<Choice> = Vec::new();
    for iteration in 1..=iterations {
        let mut channels: Vec<Option<usize>> =
            found.iter().filter(|f| f.0.iteration == iteration).map(|f| f.0.channel).collect();
        channels.dedup();
        for channel in channels {
            let own = found
                .iter()
                .copied()
                .filter(|(choice, _)| (choice.iteration, choice.channel) == (iteration, channel));
            chosen.push(best(own)?);
        }
    }
    let best_of: Vec<Choice> = (1..=iterations)
        .map(|iteration| {
            let own = |(choice, _): &(Choice, Hits)| {
                choice.iteration == iteration && choice.channel.is_some()
            };
            best(found.iter().copied().filter(own))
        })
        .collect::<Result<_>>()?;
    let with_tree = |choice: &Choice| choice.channel.is_none() || best_of.contains(choice);
    let read = reader.map(test, |_, reading| {
        let predicted: Vec<(Heads, Option<Heads>)> = chosen
            .iter()
            .map(|&choice| {
                let matrix = reading.arcs.chosen(choice);
                (strongest_heads(&matrix), with_tree(&choice).then(|| tree_heads(&matrix)))
            })
            .collect();
        (predicted, reading.states)
    })?;
    let mut readings =
        Readings { heads: BTreeMap::new(), trees: BTreeMap::new(), states: Vec::new() };
    for (predicted, states) in read {
        for (&choice, (heads, tree)) in chosen.iter().zip(predicted) {
            readings.heads.entry(choice).or_default().push(heads);
            if let Some(tree) = tree {
                readings.trees.entry(choice).or_default().push(tree);
            }
        }
        readings.states.push(states);
    }
    let rows = best_of.iter().map(|&best| row(test, &readings, (best, &chosen))).collect();
    Ok((rows, readings))
}

/// The row of the iteration of `best`.
fn row(test: &Part, readings: &Readings, (best, chosen): (Choice, &[Choice])) -> OfIteration {
    let scored = |choice: Choice, predicted: &[Heads]| Scored {
        choice: Some(choice),
        ..scored_by(test, predicted).0
    };
    let own: Vec<Choice> =
        chosen.iter().copied().filter(|choice| choice.iteration == best.iteration).collect();
    let average = *own.iter().find(|choice| choice.channel.is_none()).expect("the mean is chosen");
    let of_best = scored(best, &readings.heads[&best]);
    let channels = own.iter().filter(|choice| choice.channel.is_some());
    let plain = |choice: &Choice| {
        let predicted = &readings.heads[choice];
        Hits::sum(hits(test, predicted).iter()).uas()
    };
    OfIteration {
        iteration: best.iteration,
        uas: of_best.attachment.uas,
        uuas: of_best.attachment.uuas,
        best: of_best,
        average: scored(average, &readings.heads[&average]),
        tree: scored(best, &readings.trees[&best]),
        average_tree: scored(average, &readings.trees[&average]),
        channels: channels.map(plain).collect(),
    }
}

fn hits(test: &Part, predicted: &[Heads]) -> Vec<Hits> {
    test.iter().zip(predicted).map(|((_, item), heads)| Hits::of(&item.gold, heads)).collect()
}

fn scored_by(test: &Part, predicted: &[Heads]) -> (Scored, Vec<Hits>) {
    let hits = hits(test, predicted);
    (Scored { choice: None, offset: None, attachment: Attachment::of(&hits) }, hits)
}

fn scored_offset(test: &Part, offset: isize) -> (Scored, Vec<Hits>) {
    let heads = |gold: &Gold| offset_heads(gold.heads.len(), offset);
    let predicted: Vec<Heads> = test.iter().map(|(_, item)| heads(&item.gold)).collect();
    let (scored, hits) = scored_by(test, &predicted);
    (Scored { offset: Some(offset), ..scored }, hits)
}

fn best_offset(choosing: &Part) -> isize {
    let score = |offset: isize| {
        let hits = choosing.iter().map(|(_, item)| {
            Hits::of(&item.gold, &offset_heads(item.gold.heads.len(), offset)).directed
        });
        hits.sum::<usize>()
    };
    let offsets = (-OFFSETS..=OFFSETS).filter(|&offset| offset != 0);
    // Of equals the nearest, then the one to the left.
    offsets.max_by_key(|&offset| (score(offset), -offset.abs(), -offset)).unwrap_or(1)
}

fn untrained(run: &RunConfig, test: &Part, choosing: &Part) -> Result<Scored> {
    let reader = Reader::untrained(run)?;
    let found = reader.hits_by_choice(choosing)?;
    let best = best(found.into_iter().filter(|(choice, _)| choice.channel.is_some()))?;
    let predicted = reader.map(test, |_, reading| strongest_heads(&reading.arcs.chosen(best)))?;
    Ok(Scored { choice: Some(best), ..scored_by(test, &predicted).0 })
}

/// Scores by relation and by distance.
fn kinds(test: &Part, predicted: &[Heads], offset: isize) -> (Vec<Kind>, Vec<Kind>) {
    let mut relations: BTreeMap<String, [Hits; 2]> = BTreeMap::new();
    let mut distances: BTreeMap<String, [Hits; 2]> = BTreeMap::new();
    for ((_, item), heads) in test.iter().zip(predicted) {
        let fixed = offset_heads(heads.len(), offset);
        for (word, head) in item.gold.scored() {
            let distance = match word.abs_diff(head) {
                near @ 1..=4 => near.to_string(),
                5..=9 => "5 to 9".to_owned(),
                _ => "more than 9".to_owned(),
            };
            let relation = relations.entry(item.gold.relation(word).to_owned()).or_default();
            let distance = distances.entry(distance).or_default();
            for both in [relation, distance] {
                both[0].add(word, head, heads);
                both[1].add(word, head, &fixed);
            }
        }
    }
    let rows = |kinds: BTreeMap<String, [Hits; 2]>| -> Vec<Kind> {
        let row = |(kind, [own, fixed]): (String, [Hits; 2])| Kind {
            kind,
            arcs: own.arcs,
            uas: own.uas(),
            uuas: own.uuas(),
            offset_uas: fixed.uas(),
        };
        kinds.into_iter().map(row).collect()
    };
    let mut by_relation = rows(relations);
    by_relation.sort_by(|a, b| b.arcs.cmp(&a.arcs).then(a.kind.cmp(&b.kind)));
    (by_relation, rows(distances))
}
