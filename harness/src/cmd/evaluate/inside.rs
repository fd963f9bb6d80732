//! `evaluate --iterations` and `--energy`: a trained model over other numbers of iterations.

use std::ops::RangeInclusive;

use reports::{Cell, Column, Table};
use serde_json::json;

use crate::cmd::{print, print_table};
use crate::config::run::RunConfig;
use crate::corpus::EvaluationSet;
use crate::error::{HarnessError, Result};
use crate::train::{EvaluationBatch, evaluate};
use crate::whitebox::at_depth;
use crate::whitebox::descents::{Form, forms};

/// Iterations that may be asked for.
const ITERATIONS_MAX: usize = 256;

/// Options of `evaluate` about iterations.
#[derive(Debug, clap::Args)]
pub struct InsideOptions {
    /// Losses at these numbers of iterations, both included
    #[arg(long, value_name = "FIRST..LAST", value_parser = range, conflicts_with = "context")]
    iterations: Option<RangeInclusive<usize>>,
    /// The mean-field objective after every iteration, up to the last of --iterations
    #[arg(long, conflicts_with = "context")]
    energy: bool,
}

impl InsideOptions {
    /// Does what was asked for; `None` if nothing was.
    pub fn run(
        &self,
        model: (&RunConfig, &[f32]),
        set: &EvaluationSet,
        as_json: bool,
    ) -> Option<Result<()>> {
        if self.energy {
            let last = self.iterations.as_ref().map(|range| *range.end());
            return Some(energy(model, set, last, as_json));
        }
        Some(iterations(model, set, self.iterations.clone()?, as_json))
    }
}

/// `FIRST..LAST`, both included, or one number.
fn range(text: &str) -> std::result::Result<RangeInclusive<usize>, String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let number = |text: &str| text.trim_start_matches('=').parse::<usize>().ok();
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first >= 1 && first <= last && last <= ITERATIONS_MAX => {
            Ok(first..=last)
        }
        _ => Err(format!("give FIRST..LAST from 1 to {ITERATIONS_MAX}, e.g. 1..16")),
    }
}

/// Losses of the model at every number of iterations in `range`.
fn iterations(
    (run, parameters): (&RunConfig, &[f32]),
    set: &EvaluationSet,
    range: RangeInclusive<usize>,
    as_json: bool,
) -> Result<()> {
    let batches: Vec<EvaluationBatch> = set.batches(run.train.evaluation_batch).collect();
    let trained = run.model.dimensions().depth;
    let mut losses = Vec::new();
    for depth in range {
        let (plain, parameters) = at_depth(run, parameters, depth)?;
        let mut built = plain.build()?;
        losses.push((depth, evaluate(built.engine.as_mut(), &parameters, &batches)?));
    }
    let unigram = set.unigram_loss_nats();
    if as_json {
        let rows: Vec<_> = losses
            .iter()
            .map(|(depth, result)| json!({ "iterations": depth, "loss_nats": result.loss_nats }))
            .collect();
        let targets = losses.first().map_or(0, |(_, result)| result.targets);
        return print(
            &json!({
                "family": run.model.family(), "trained_iterations": trained, "iterations": rows,
                "unigram_loss_nats": unigram, "targets": targets,
            })
            .to_string(),
        );
    }
    let columns = vec![
        Column::number("iterations", "iterations", ""),
        Column::number("loss_nats", "held-out loss", "nats"),
        Column::text("trained", ""),
    ];
    let mut table = Table::new("iterations", "", columns);
    for (depth, result) in &losses {
        let trained = if *depth == trained { "as trained" } else { "" };
        table.push(vec![
            Cell::count(*depth as u64),
            Cell::decimals(result.loss_nats, 4),
            Cell::text(trained),
        ])?;
    }
    print_table(&table)?;
    print(&format!("unigram {unigram:.4}"))
}

/// The objective after every iteration, under every form of the updates.
fn energy(
    (run, parameters): (&RunConfig, &[f32]),
    set: &EvaluationSet,
    iterations: Option<usize>,
    as_json: bool,
) -> Result<()> {
    let iterations = iterations.unwrap_or(run.model.dimensions().depth);
    let mut sequences = Vec::new();
    for EvaluationBatch { batch, .. } in set.batches(run.train.evaluation_batch) {
        for (row, ids) in batch.ids.chunks(batch.length).enumerate() {
            let word = |place: usize| batch.is_word(row * batch.length + place);
            let words = ids.iter().enumerate().filter(|(place, _)| word(*place));
            sequences.push(words.map(|(_, &id)| id).collect::<Vec<u32>>());
        }
    }
    let forms = forms(run, parameters, &sequences, iterations)?;
    if as_json {
        let json = serde_json::to_string(&json!({ "energy": forms }));
        return print(&json.map_err(|error| HarnessError::Invariant(error.to_string()))?);
    }
    for form in &forms {
        print_form(form)?;
    }
    Ok(())
}

fn print_form(form: &Form) -> Result<()> {
    let rope = match form.rope {
        models::pt2026::Rope::Exact => "exact rotation",
        models::pt2026::Rope::Published => "published rotation",
        models::pt2026::Rope::None => "no rotation",
    };
    let trained = if form.trained { ", as trained" } else { "" };
    print(&format!(
        "{rope}, damping {}{trained}: {:.4} nats per word at first; falls throughout in {:.1} % of \
         {} sequences",
        form.damping,
        form.initial_nats,
        100.0 * form.share_falling_throughout,
        form.sequences
    ))?;
    let columns = vec![
        Column::number("iteration", "iteration", ""),
        Column::number("objective_nats", "objective", "nats"),
        Column::number("share_falling", "falls in", "%"),
        Column::number("change_by_heads_nats", "by heads", "nats").left_out(1),
        Column::number("change_by_topics_nats", "by topics", "nats").left_out(1),
        Column::number("change_by_labels_nats", "by labels", "nats").left_out(1),
        Column::number("moved", "moved", "").left_out(2),
        Column::number("moved_in_two", "in two", "").left_out(2),
    ];
    let mut table = Table::new("energy", "", columns);
    for step in &form.iterations {
        table.push(vec![
            Cell::count(step.iteration as u64),
            Cell::decimals(step.objective_nats, 4),
            Cell::decimals(100.0 * step.share_falling, 1),
            Cell::decimals(step.change_by_heads, 4),
            Cell::decimals(step.change_by_topics, 4),
            Cell::decimals(step.change_by_labels, 4),
            Cell::decimals(step.moved, 4),
            Cell::decimals(step.moved_in_two, 4),
        ])?;
    }
    print_table(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_ranges_of_iterations() {
        assert_eq!(range("1..16"), Ok(1..=16));
        assert_eq!((range("4"), range("2..=3")), (Ok(4..=4), Ok(2..=3)));
        for wrong in ["", "0..3", "3..2", "a..b", "1..9999", ".."] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
