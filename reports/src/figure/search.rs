//! Random search: every trial and the best so far.

use super::axis::{Axis, Scale};
use super::data::{SearchFigure, SearchSeries};
use super::page::{Mark, Panel};
use super::style;
use super::{Figure, Parts, Reference, escape_caption, ordinary};
use crate::{Cell, Column, Result, Table};

/// Best loss so far against the number of trials, a line per family, with every trial as a hollow
/// marker: how much of a family's result is search, and whether the search had ended.
///
/// # Errors
/// No finite loss.
pub fn search_progress(data: &SearchFigure, name: &str) -> Result<Figure> {
    let finite = || data.series.iter().flat_map(|series| &series.losses_nats).filter_map(|l| *l);
    super::require_points(name, finite().filter(|&loss| ordinary(loss)).count())?;
    let losses: Vec<f64> = finite().filter(|&loss| ordinary(loss)).collect();
    let unigram = Reference::new(data.unigram_loss_nats, &losses);
    let most = data.series.iter().map(|series| series.losses_nats.len()).max().unwrap_or(0);
    let panel = Panel {
        title: String::new(),
        x: Axis::around(&[0.0, most.saturating_sub(1) as f64], 0.03, Scale::Linear, "trial"),
        y: unigram.axis(&losses),
        marks: unigram.mark().into_iter().chain(marks(&data.series)).collect(),
    };
    let legend = unigram.legend(data.series.iter().map(|series| &series.family));
    let caption = format!(
        "Lines are the best loss so far; hollow markers are single trials (n = 1 seed each), \
         crosses at the upper edge trials that diverged. Trial 0 is the start.{} Setting: {}.",
        unigram.caption(),
        escape_caption(&data.setting),
    );
    let parts = Parts { name, title: "Best loss against search effort", caption };
    Ok(parts.figure(&[panel], &legend, 1, table(name, data)?))
}

/// Best loss after every trial; nothing before the first that did not diverge.
fn best_so_far(series: &SearchSeries) -> Vec<Option<f64>> {
    let mut best: Option<f64> = None;
    let mut follow = |loss: &Option<f64>| {
        let loss = loss.filter(|&loss| ordinary(loss));
        best = best.into_iter().chain(loss).reduce(f64::min);
        best
    };
    series.losses_nats.iter().map(&mut follow).collect()
}

fn marks(all: &[SearchSeries]) -> Vec<Mark> {
    let mut marks = Vec::new();
    for (series, place) in all.iter().zip(0..) {
        let look = style::family(place);
        for (trial, loss) in series.losses_nats.iter().enumerate() {
            let x = trial as f64;
            marks.push(match loss.filter(|&loss| ordinary(loss)) {
                Some(loss) => Mark::Point { at: (x, loss), style: look.clone(), hollow: true },
                None => Mark::Edge { x, rank: place, colour: look.colour.clone() },
            });
        }
    }
    for (series, place) in all.iter().zip(0..) {
        let mut steps: Vec<(f64, f64)> = Vec::new();
        for (trial, best) in best_so_far(series).into_iter().enumerate() {
            let Some(best) = best else { continue };
            steps.extend(steps.last().map(|last| (trial as f64, last.1)));
            steps.push((trial as f64, best));
        }
        marks.push(Mark::Line { points: steps, style: style::family(place), width: 2.0 });
    }
    marks
}

fn table(name: &str, data: &SearchFigure) -> Result<Table> {
    let columns = vec![
        Column::text("family", "family"),
        Column::number("trial", "trial", ""),
        Column::number("loss_nats", "loss", "nats"),
        Column::number("best_so_far_nats", "best so far", "nats"),
    ];
    let mut table = Table::new(name, "", columns).with_provenance(data.provenance.clone());
    for series in &data.series {
        for (trial, (loss, best)) in series.losses_nats.iter().zip(best_so_far(series)).enumerate()
        {
            table.push(vec![
                Cell::text(&series.family),
                Cell::count(trial),
                loss.filter(|&loss| ordinary(loss))
                    .map_or(Cell::Diverged, |loss| Cell::decimals(loss, 4)),
                Cell::or_missing(best, |best| Cell::decimals(best, 4)),
            ])?;
        }
    }
    Ok(table)
}
