//! An inspection as a page, as a terminal table and as JSON.

use std::collections::BTreeMap;

use reports::figure::{Arc, ArcFigure, HOW_TO_READ, arc_diagram};
use reports::{Block, Cell, Column, Document, Provenance, Section, Table};
use serde_json::json;

use super::inspect::{Inspection, Share};
use super::words::Square;
use crate::error::Result;

/// Words of the family for what is drawn.
struct Terms {
    arcs: &'static str,
    iteration: &'static str,
    channel: &'static str,
}

fn terms(inspection: &Inspection) -> Terms {
    if inspection.family.starts_with("pt") {
        Terms { arcs: "Head posterior", iteration: "iteration", channel: "channel" }
    } else if inspection.family == "ut" {
        Terms { arcs: "Attention", iteration: "step", channel: "head" }
    } else {
        Terms { arcs: "Attention", iteration: "layer", channel: "head" }
    }
}

fn figure(
    inspection: &Inspection,
    (name, title, caption): (String, String, String),
    matrix: &Square,
    provenance: &Provenance,
) -> Result<Block> {
    let mut arcs = Vec::new();
    for dependent in 0..matrix.size {
        for head in (0..matrix.size).filter(|&head| head != dependent) {
            arcs.push(Arc { dependent, head, weight: matrix.at(dependent, head) });
        }
    }
    let (words, provenance) = (inspection.words.clone(), provenance.clone());
    let figure = ArcFigure { name, title, caption, words, arcs, provenance };
    Ok(Block::Figure(arc_diagram(&figure)?))
}

/// The page about `text`, read by the run `run`.
pub fn page(inspection: &Inspection, text: &str, provenance: &Provenance) -> Result<Document> {
    let terms = terms(inspection);
    let (iterations, channels) = (inspection.arcs.len(), inspection.arcs[0].len());
    let (iteration, channel) = (terms.iteration, terms.channel);
    let counts = format!(
        "A {} with {iterations} {iteration}s and {channels} {channel}s reads {} tokens in {} \
         words. The share of a word is the sum over its tokens; the row of a word is the mean \
         over its tokens. What a word gives to itself is not drawn.",
        inspection.family,
        inspection.tokens,
        inspection.words.len()
    );
    let whole = Section::new("Sentence")
        .with(Block::Code(text.to_owned()))
        .with(Block::text(counts))
        .with(Block::text(HOW_TO_READ))
        .with(figure(
            inspection,
            (
                "arcs_average".to_owned(),
                format!("{}, mean over {channels} {channel}s", terms.arcs),
                format!("After {iteration} {iterations} of {iterations}."),
            ),
            &inspection.average(iterations - 1),
            provenance,
        )?);
    let mut by_channel = Section::new(format!("Every {channel}"));
    for (place, matrix) in inspection.arcs[iterations - 1].iter().enumerate() {
        let named = (
            format!("arcs_{channel}_{}", place + 1),
            format!("{}, {channel} {}", terms.arcs, place + 1),
            format!("After {iteration} {iterations} of {iterations}."),
        );
        by_channel = by_channel.with(figure(inspection, named, matrix, provenance)?);
    }
    let mut by_iteration = Section::new(format!("Every {iteration}"));
    for place in 0..iterations {
        let named = (
            format!("arcs_{iteration}_{}", place + 1),
            format!("{} in {iteration} {}", terms.arcs, place + 1),
            format!("Mean over {channels} {channel}s."),
        );
        let average = inspection.average(place);
        by_iteration = by_iteration.with(figure(inspection, named, &average, provenance)?);
    }
    let mut document = Document::new(format!("Inside a {}", inspection.family))
        .with_section(whole)
        .with_section(by_channel)
        .with_section(by_iteration);
    if let Some(table) = objective_table(inspection, provenance)? {
        document = document.with_section(Section::new("Objective").with(Block::Table(table)));
    }
    if !inspection.labels.is_empty() {
        let section = Section::new("Labels")
            .with(Block::Table(shares_table(inspection, "labels", &inspection.labels, provenance)?))
            .with(Block::Table(sharing_table(inspection, provenance)?));
        document = document.with_section(section);
    }
    if !inspection.topics.is_empty() {
        let table = shares_table(inspection, "topics", &inspection.topics, provenance)?;
        document = document.with_section(Section::new("Topics").with(Block::Table(table)));
    }
    Ok(document)
}

/// The objective after every iteration; `None` if there is none.
pub fn objective_table(inspection: &Inspection, provenance: &Provenance) -> Result<Option<Table>> {
    let Some(descent) = &inspection.descent else { return Ok(None) };
    let number = |name: &str, title: &str| Column::number(name, title, "nats per word");
    let columns = vec![
        Column::number("iteration", "iteration", ""),
        number("objective_nats", "objective"),
        number("change_by_heads_nats", "by heads").left_out(1),
        number("change_by_topics_nats", "by topics").left_out(1),
        number("change_by_labels_nats", "by labels").left_out(1),
        Column::number("moved", "beliefs moved", "share"),
    ];
    let rule = "The tempered mean-field objective; every update should lower it. Changes are those \
                of the three updates of an iteration, in their order. Beliefs moved: half the mean \
                of the summed differences of label beliefs.";
    let mut table = Table::new("objective", "Objective after every iteration", columns)
        .with_rule(rule)
        .with_provenance(provenance.clone());
    let missing = || vec![Cell::Missing; 4];
    let first = vec![Cell::count(0), Cell::decimals(descent.initial_nats, 4)];
    table.push([first, missing()].concat())?;
    for (place, step) in descent.iterations.iter().enumerate() {
        table.push(vec![
            Cell::count(place as u64 + 1),
            Cell::decimals(step.objective_nats, 4),
            Cell::decimals(step.change_by_heads, 4),
            Cell::decimals(step.change_by_topics, 4),
            Cell::decimals(step.change_by_labels, 4),
            Cell::decimals(step.moved, 4),
        ])?;
    }
    Ok(Some(table))
}

fn spelled(shares: &[Share]) -> String {
    let one = |share: &Share| format!("{} ({:.2})", share.index, share.share);
    shares.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn shares_table(
    inspection: &Inspection,
    name: &str,
    shares: &[Vec<Share>],
    provenance: &Provenance,
) -> Result<Table> {
    let columns = vec![
        Column::number("place", "place", ""),
        Column::text("word", "word"),
        Column::text(name, &format!("largest {name} with their shares")),
    ];
    let caption = format!("The largest {name} of every word after the last iteration");
    let mut table = Table::new(name, &caption, columns).with_provenance(provenance.clone());
    for (place, (word, shares)) in inspection.words.iter().zip(shares).enumerate() {
        table.push(vec![
            Cell::count(place as u64 + 1),
            Cell::text(word),
            Cell::text(spelled(shares)),
        ])?;
    }
    Ok(table)
}

/// Labels with the words whose largest they are.
fn sharing_table(inspection: &Inspection, provenance: &Provenance) -> Result<Table> {
    let mut words: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for (word, shares) in inspection.words.iter().zip(&inspection.labels) {
        if let Some(first) = shares.first() {
            words.entry(first.index).or_default().push(word);
        }
    }
    let columns = vec![Column::number("label", "label", ""), Column::text("words", "words")];
    let mut table =
        Table::new("label_words", "Labels with the words whose largest they are", columns)
            .with_provenance(provenance.clone());
    for (label, words) in words {
        table.push(vec![Cell::count(label as u64), Cell::text(words.join(" "))])?;
    }
    Ok(table)
}

/// One line a word for a terminal: its choices averaged over channels, its surest channel, its
/// labels.
pub fn terminal_table(inspection: &Inspection) -> Result<Table> {
    let terms = terms(inspection);
    let last = inspection.arcs.len() - 1;
    let average = inspection.average(last);
    let mut columns = vec![
        Column::number("place", "", ""),
        Column::text("word", "word"),
        Column::text("choices", &format!("chooses, mean over {}s", terms.channel)),
        Column::text("surest", &format!("surest {}", terms.channel)).left_out(1),
    ];
    if !inspection.labels.is_empty() {
        columns.push(Column::text("labels", "labels").left_out(2));
    }
    let mut table = Table::new("inspect", "", columns);
    for (word, text) in inspection.words.iter().enumerate() {
        let mut others: Vec<usize> = (0..average.size).filter(|&head| head != word).collect();
        others.sort_by(|&a, &b| average.at(word, b).total_cmp(&average.at(word, a)));
        let choice = |matrix: &Square, head: usize| {
            let arrow = if head > word { "→" } else { "←" };
            let (place, name) = (head + 1, &inspection.words[head]);
            format!("{arrow} {place} {name} {:.2}", matrix.at(word, head))
        };
        let shown = others.iter().take(2).filter(|&&head| average.at(word, head) >= 0.005);
        let shown: Vec<String> = shown.map(|&head| choice(&average, head)).collect();
        let surest = inspection.arcs[last].iter().enumerate().filter_map(|(channel, matrix)| {
            let head = matrix.strongest(word)?;
            Some((matrix.at(word, head), channel, choice(matrix, head)))
        });
        let surest = surest.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        let surest =
            surest.map_or(String::new(), |(_, channel, text)| format!("{}: {text}", channel + 1));
        let mut cells = vec![
            Cell::count(word as u64 + 1),
            Cell::text(text),
            Cell::text(shown.join(", ")),
            Cell::text(surest),
        ];
        if let Some(labels) = inspection.labels.get(word) {
            cells.push(Cell::text(spelled(labels)));
        }
        table.push(cells)?;
    }
    Ok(table)
}

/// Everything as JSON: matrices by iteration and channel, rows are words.
pub fn json(inspection: &Inspection) -> serde_json::Value {
    let matrix = |square: &Square| -> Vec<Vec<f64>> {
        (0..square.size).map(|row| square.row(row).to_vec()).collect()
    };
    let iteration = |place: usize| {
        let channels: Vec<_> = inspection.arcs[place].iter().map(matrix).collect();
        json!({ "average": matrix(&inspection.average(place)), "channels": channels })
    };
    let iterations: Vec<_> = (0..inspection.arcs.len()).map(iteration).collect();
    json!({
        "family": inspection.family, "words": inspection.words, "tokens": inspection.tokens,
        "iterations": iterations, "labels": inspection.labels, "topics": inspection.topics,
        "objective": inspection.descent,
    })
}
