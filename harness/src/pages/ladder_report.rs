//! The report of a `reproduce`: summary, tables, figures, caveats.

use std::collections::BTreeMap;

use reports::{Block, Document, Section};

use super::chapter::registration;

use super::{figures, tables};
use crate::error::Result;
use crate::experiment::Experiment;
use crate::experiment::design::ladder::Study;
use crate::experiment::words::title;
use crate::runs::record;

/// Builds the whole report; `command` is printed under every table.
pub fn build(experiment: &Experiment, study: &Study, command: &str) -> Result<Document> {
    let ladder = &study.ladder;
    let own_sizes = ladder.families.iter().any(|family| ladder.has_own_sizes(family));
    let heading = if own_sizes { "Loss at published sizes" } else { "Loss at matched parameters" };
    let mut results = Section::new(heading).with(Block::text(&experiment.analysis));
    for warning in warnings(study) {
        results = results.with(Block::Warning(warning));
    }
    results = results
        .with(Block::Table(tables::comparison(study, command)?))
        .with(Block::Table(tables::differences(study, command)?))
        .with(Block::Figure(figures::loss_vs_parameters(study, command)?))
        .with(Block::Figure(figures::loss_vs_flops(study, command)?))
        .with(Block::Figure(figures::training_curves(study, command)?));
    let mut rates = Section::new("Learning rates").with(Block::text(rates_explained(study))).with(
        Block::Table(tables::rates(
            "learning_rates",
            if own_sizes {
                "Learning-rate searches"
            } else {
                "Learning-rate search of every family at the smallest budget"
            },
            &study.searches,
            command,
        )?),
    );
    if let (Some(transfer), Some(figure)) =
        (&study.transfer, figures::learning_rate_transfer(study, command)?)
    {
        rates = rates
            .with(Block::Table(tables::transfer(transfer, command)?))
            .with(Block::Figure(figure))
            .with(Block::Table(tables::rates(
                "transfer_rates",
                "Every rate of the transfer sweep",
                &transfer.curves,
                command,
            )?));
    }
    let mut document = Document::new(format!("crossscale: {}", experiment.name))
        .with_section(
            Section::new("What this is")
                .with(Block::text(format!(
                    "{} Made by `{command}`; methods are in docs/methodology.md of the repository.",
                    experiment.question
                )))
                .with(Block::List(registration(experiment))),
        )
        .with_section(results)
        .with_section(rates);
    if !experiment.deviations.is_empty() {
        let list = experiment.deviations.iter().map(ToString::to_string).collect();
        document = document.with_section(
            Section::new("Deviations from the published recipe").with(Block::List(list)),
        );
    }
    Ok(document
        .with_section(
            Section::new("Runs")
                .with(Block::text("Every run behind this report, diverged ones included."))
                .with(Block::Table(tables::runs(study, command)?)),
        )
        .with_section(
            Section::new("How to read the numbers")
                .with(Block::text(reports::format::ROUNDING_RULE)),
        ))
}

/// Which rate every family used and why.
fn rates_explained(study: &Study) -> String {
    let shown = |rate: Option<f64>| rate.map_or("none".to_owned(), |rate| format!("{rate:.3e}"));
    let found = study.searches.iter().map(|search| {
        let best = shown(search.best);
        format!("{} {best}", title(&search.family))
    });
    let entry = |family: &String| study.ladder.entry(family).ok();
    let families = || study.ladder.families.iter().filter_map(|f| Some((f, entry(f)?)));
    let given = families().filter(|(_, entry)| !entry.learning_rates.is_empty());
    let given = given.map(|(family, entry)| {
        let rates: Vec<String> = entry.learning_rates.iter().map(|&r| shown(Some(r))).collect();
        format!("{} {} (published)", title(family), rates.join(", "))
    });
    let used: Vec<String> = found.chain(given).collect();
    let apart = families().any(|(_, e)| e.tuned_at_every_size() || !e.learning_rates.is_empty());
    let rule = if apart {
        "Rates are the published ones where they are known. A family with one rate keeps it at \
         all sizes through its parametrization; one with a rate for every size needs none. The \
         others were tuned by the same rule, at every size where the published runs were"
    } else {
        "Every family was tuned by the same rule at the smallest budget and keeps its rate at the \
         larger ones through its parametrization"
    };
    format!(
        "{rule}: {}. Rates of different families are not \
         comparable: PT's hidden tensors use the rate over the base width.",
        used.join(", ")
    )
}

/// Everything a reader must know before believing the first table.
pub fn warnings(study: &Study) -> Vec<String> {
    let (mut warnings, mut plateau) = (Vec::new(), BTreeMap::<_, Vec<String>>::new());
    for search in study.searches.iter().filter(|search| !search.bracketed) {
        warnings.push(format!(
            "The learning-rate search of {} ended at the edge of the rates tried.",
            title(&search.family)
        ));
    }
    for cell in &study.cells {
        let name = title(&cell.family);
        let diverged = cell.runs.iter().filter(|run| run.loss_nats.is_none()).count();
        if diverged > 0 {
            warnings.push(format!(
                "{diverged} of {} runs of {name} at budget {} diverged.",
                cell.runs.len(),
                study.budget(cell)
            ));
        }
        let finished = cell.runs.iter().filter(|run| run.loss_nats.is_some());
        if !record::all_read(finished) {
            plateau.entry(name).or_default().push(study.budget(cell).to_string());
        }
    }
    warnings.extend(plateau.into_iter().map(|(name, budgets)| {
        format!(
            "{name} does not read its context at {}: it is on the plateau, and its loss there says \
             nothing about the architecture.",
            budgets.join(", ")
        )
    }));
    warnings
}
