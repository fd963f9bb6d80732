//! A model's labels or states against parts of speech.

use super::conllu::Sentence;
use super::evaluate::Part;
use super::labels::{Agreement, agreement, k_means};
use super::read::{Reader, items, longest};
use crate::error::Result;
use crate::whitebox::Opened;

const K_MEANS_SEED: u64 = 24;

/// Labels or clusters against parts of speech.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Categories {
    /// The largest label of every word; `None` for families without labels.
    pub labels: Option<Agreement>,
    /// k-means of the model's own states.
    pub states: Agreement,
    /// k-means of the states of the model that was named beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<Agreement>,
    /// One category for all words.
    pub one_category: Agreement,
}

/// How well the categories of `opened` on `test` tell parts of speech; `states` are those of its
/// words, `beside` is a baseline that it is compared with.
pub(super) fn categories(
    opened: &Opened,
    test: &Part,
    states: &[Vec<Vec<f32>>],
    beside: Option<&Opened>,
) -> Result<Categories> {
    let tags = |part: &Part| -> Vec<String> {
        part.iter().flat_map(|(sentence, _)| sentence.tags.clone()).collect()
    };
    let own_tags = tags(test);
    let own_tags: Vec<&str> = own_tags.iter().map(String::as_str).collect();
    let points: Vec<Vec<f32>> = states.concat();
    let width = opened.run.model.dimensions().width;
    let has_labels = opened.run.model.family().starts_with("pt");
    let largest = |point: &Vec<f32>| {
        let mut best = 0;
        for (place, value) in point.iter().enumerate() {
            if *value > point[best] {
                best = place;
            }
        }
        best
    };
    let labels: Vec<usize> = points.iter().map(largest).collect();
    let labels = has_labels.then(|| agreement(&labels, &own_tags));
    // As many clusters as labels are anybody's largest, so that counts do not decide.
    let clusters = labels.map_or(width, |agreement| agreement.clusters);
    let of_points = |points: &[Vec<f32>], tags: &[&str]| {
        agreement(&k_means(points, clusters, K_MEANS_SEED), tags)
    };
    let beside = match beside {
        None => None,
        Some(opened) => {
            let sentences: Vec<Sentence> = test.iter().map(|(s, _)| (*s).clone()).collect();
            let part = items(&sentences, &opened.tokenizer, longest(&opened.run.model))?;
            let reader = Reader::new(&opened.run, &opened.parameters)?;
            let states = reader.map(&part, |_, reading| reading.states)?.concat();
            let tags = tags(&part);
            let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
            Some(of_points(&states, &tags))
        }
    };
    Ok(Categories {
        labels,
        states: of_points(&points, &own_tags),
        beside,
        one_category: agreement(&vec![0; own_tags.len()], &own_tags),
    })
}
