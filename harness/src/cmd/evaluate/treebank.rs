//! `evaluate --treebank`: arcs and categories of a model against a treebank.

use std::path::{Path, PathBuf};

use reports::{Cell, Column, Table};

use crate::cmd::{print, print_table};
use crate::error::{HarnessError, Result};
use crate::treebank::arcs::{Direction, Intervals};
use crate::treebank::conllu;
use crate::treebank::evaluate;
use crate::treebank::evaluate::{Evaluation, Kind, Scored};
use crate::treebank::labels::Agreement;
use crate::treebank::read::Choice;
use crate::whitebox::Opened;

/// Options of `evaluate` about treebanks.
#[derive(Debug, clap::Args)]
pub struct TreebankOptions {
    /// Score arcs and labels on this treebank, in CoNLL-U
    #[arg(long, value_name = "FILE", conflicts_with_all = ["energy", "iterations", "context"])]
    #[arg(conflicts_with_all = ["split", "text", "config", "sets"])]
    treebank: Option<PathBuf>,
    /// Treebank on which choices are made
    #[arg(long, value_name = "FILE", requires = "treebank", hide_short_help = true)]
    select: Option<PathBuf>,
    /// Run whose states are clustered beside the labels
    #[arg(long, value_name = "RUN", requires = "treebank", hide_short_help = true)]
    beside: Option<PathBuf>,
    /// tokenizer.json, or a run folder whose tokenizer it is; with --treebank
    #[arg(long, value_name = "PATH", requires = "treebank", hide_short_help = true)]
    tokenizer: Option<PathBuf>,
}

impl TreebankOptions {
    /// Runs the model in `weights` over the treebank, if one was given, and says how it did.
    pub fn run(&self, weights: &Path, as_json: bool) -> Option<Result<()>> {
        let file = self.treebank.as_deref()?;
        Some(self.score(weights, file, as_json))
    }

    fn score(&self, weights: &Path, file: &Path, as_json: bool) -> Result<()> {
        let sentences = conllu::read(file)?;
        let (scored, choosing) = match &self.select {
            Some(path) => (sentences, conllu::read(path)?),
            None => conllu::every_second(sentences),
        };
        let opened = Opened::open(weights, self.tokenizer.as_deref())?;
        let beside = self.beside.as_ref().map(|path| Opened::open(path, None)).transpose()?;
        let evaluation = evaluate(&opened, (&scored, &choosing), beside.as_ref())?;
        if as_json {
            let json = serde_json::to_string(&evaluation);
            return print(&json.map_err(|error| HarnessError::Invariant(error.to_string()))?);
        }
        describe(&opened, &evaluation)
    }
}

fn describe(opened: &Opened, evaluation: &Evaluation) -> Result<()> {
    let family = opened.run.model.family();
    print(&format!(
        "{family}: {} arcs of {} sentences, {} left out; channels, directions and the offset were \
         chosen on other sentences",
        evaluation.arcs, evaluation.sentences, evaluation.left_out
    ))?;
    print_table(&scores(evaluation)?)?;
    let (gain, interval) = evaluation.above_offset;
    let interval = interval
        .map_or(String::new(), |[low, high]| format!(" [{:.1}, {:.1}]", 100.0 * low, 100.0 * high));
    print(&format!("best channel less best offset: {:.1}{interval} points", 100.0 * gain))?;
    print_table(&by_iteration(evaluation)?)?;
    print_table(&kinds("relation", &evaluation.by_relation)?)?;
    print_table(&kinds("distance", &evaluation.by_distance)?)?;
    print_table(&categories(evaluation)?)
}

fn spelled(choice: &Choice) -> String {
    let channel =
        choice.channel.map_or_else(|| "mean".to_owned(), |channel| format!("channel {channel}"));
    let direction = match choice.direction {
        Direction::ToHead => "rows",
        Direction::FromHead => "columns",
    };
    format!("iteration {}, {channel}, {direction}", choice.iteration)
}

fn percent(value: f64) -> Cell {
    Cell::decimals(100.0 * value, 1)
}

fn between(interval: Option<[f64; 2]>) -> Cell {
    Cell::or_missing(interval, |[low, high]| {
        Cell::text(format!("{:.1} to {:.1}", 100.0 * low, 100.0 * high))
    })
}

fn scores(evaluation: &Evaluation) -> Result<Table> {
    let columns = vec![
        Column::text("heads", "heads by"),
        Column::number("uas", "directed", "%"),
        Column::text("uas_interval", "95 %"),
        Column::number("uuas", "undirected", "%"),
        Column::text("uuas_interval", "95 %").left_out(1),
        Column::text("matrix", "read from").left_out(2),
    ];
    let mut table = Table::new("attachment", "", columns);
    let last = evaluation.per_iteration.last();
    let average_tree = last.map(|row| ("tree of the mean", &row.average_tree));
    let rows = [("best channel", &evaluation.best), ("tree of the best channel", &evaluation.tree)];
    let means = [("mean of channels", &evaluation.average)].into_iter().chain(average_tree);
    let baselines = &evaluation.baselines;
    let others = [
        ("word before", &baselines.left),
        ("word after", &baselines.right),
        ("best offset", &baselines.offset),
        ("untrained model", &baselines.untrained),
    ];
    for (name, scored) in rows.into_iter().chain(means).chain(others) {
        let Scored { choice, offset, attachment } = scored;
        let Intervals { uas, uuas } = attachment.intervals;
        let read = match (choice, offset) {
            (Some(choice), _) => spelled(choice),
            (None, Some(offset)) => format!("{offset:+} words"),
            (None, None) => String::new(),
        };
        table.push(vec![
            Cell::text(name),
            percent(attachment.uas),
            between(uas),
            percent(attachment.uuas),
            between(uuas),
            Cell::text(read),
        ])?;
    }
    Ok(table)
}

fn by_iteration(evaluation: &Evaluation) -> Result<Table> {
    let number = |name: &str, title: &str| Column::number(name, title, "%");
    let columns = vec![
        Column::number("iteration", "iteration", ""),
        number("uas", "best channel"),
        number("uuas", "undirected"),
        number("tree_uas", "its tree"),
        number("average_uas", "mean of channels"),
        number("average_tree_uas", "tree of the mean"),
        number("channels_mean", "channels one by one, mean").left_out(1),
    ];
    let mut table = Table::new("iterations", "", columns);
    for row in &evaluation.per_iteration {
        let mean = row.channels.iter().sum::<f64>() / row.channels.len().max(1) as f64;
        let scores = [
            row.uas,
            row.uuas,
            row.tree.attachment.uas,
            row.average.attachment.uas,
            row.average_tree.attachment.uas,
            mean,
        ];
        let first = vec![Cell::count(row.iteration as u64)];
        table.push([first, scores.map(percent).to_vec()].concat())?;
    }
    Ok(table)
}

fn kinds(name: &str, kinds: &[Kind]) -> Result<Table> {
    let columns = vec![
        Column::text(name, name),
        Column::number("arcs", "arcs", ""),
        Column::number("uas", "best channel", "%"),
        Column::number("uuas", "undirected", "%"),
        Column::number("offset_uas", "best offset", "%"),
    ];
    let mut table = Table::new(name, "", columns);
    for kind in kinds {
        table.push(vec![
            Cell::text(&kind.kind),
            Cell::count(kind.arcs as u64),
            percent(kind.uas),
            percent(kind.uuas),
            percent(kind.offset_uas),
        ])?;
    }
    Ok(table)
}

fn categories(evaluation: &Evaluation) -> Result<Table> {
    let columns = vec![
        Column::text("categories", "categories"),
        Column::number("clusters", "number", ""),
        Column::number("many_to_one", "many to one", "%"),
        Column::number("v_measure", "V-measure", "%"),
    ];
    let mut table = Table::new("categories", "", columns);
    let categories = &evaluation.categories;
    let rows: [(&str, Option<&Agreement>); 4] = [
        ("largest label", categories.labels.as_ref()),
        ("k-means of its states", Some(&categories.states)),
        ("k-means of the states beside", categories.beside.as_ref()),
        ("one for all", Some(&categories.one_category)),
    ];
    for (name, agreement) in rows {
        let Some(agreement) = agreement else { continue };
        table.push(vec![
            Cell::text(name),
            Cell::count(agreement.clusters as u64),
            percent(agreement.many_to_one),
            percent(agreement.v_measure),
        ])?;
    }
    Ok(table)
}
