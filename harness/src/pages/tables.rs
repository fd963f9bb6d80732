//! The tables of a `reproduce` report.

use reports::{Cell, Column, Estimate, Provenance, Table};

use crate::error::Result;
use crate::experiment::design::ladder::rows::{self, Contrast, SizeAxis};
use crate::experiment::design::ladder::{Cell as LadderCell, Study};
use crate::experiment::design::transfer::TransferOutcome;
use crate::experiment::rate_search::RateSearch;
use crate::experiment::words::title;
use crate::runs::record::RunRecord;
use crate::statistics::{self, EQUIVALENCE_MARGIN_NATS, VERDICT_RULE};
use crate::train::context::CONTEXT_MARGIN_NATS;

/// Mean and interval over seeds, as a cell; `div` if any seed diverged.
pub fn loss_estimate(runs: &[RunRecord]) -> Option<Estimate> {
    let losses: Option<Vec<f64>> = runs.iter().map(|run| run.loss_nats).collect();
    estimate(&losses?)
}

fn estimate(values: &[f64]) -> Option<Estimate> {
    statistics::estimate(values).map(shown)
}

/// An estimate for the reports crate.
pub fn shown(found: statistics::Estimate) -> Estimate {
    let interval = found.interval.map(|interval| (interval.low, interval.high));
    Estimate { mean: found.mean, interval, n: found.n }
}

fn ids<'a>(runs: impl IntoIterator<Item = &'a RunRecord>) -> Vec<String> {
    runs.into_iter().map(|run| run.id.clone()).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    if values.is_empty() { f64::NAN } else { values[values.len() / 2] }
}

/// Families that are compared at sizes of their own.
fn own_sizes(study: &Study) -> Vec<String> {
    let families = study.ladder.families.iter();
    families.filter(|family| study.ladder.has_own_sizes(family)).cloned().collect()
}

/// What the losses of a study are compared at.
pub fn caption(study: &Study) -> &'static str {
    if own_sizes(study).is_empty() {
        "Held-out masked-language-modelling loss at matched total parameters"
    } else {
        "Held-out masked-language-modelling loss at published sizes"
    }
}

fn comparison_columns() -> Vec<Column> {
    vec![
        Column::number("budget", "budget", ""),
        Column::text("family", "model"),
        Column::text("parametrization", "parametrization"),
        Column::number("width", "width", ""),
        Column::number("depth", "depth", "layers or iterations"),
        Column::number("parameters_total", "parameters", "total"),
        Column::number("parameters_non_embedding", "parameters", "non-embedding"),
        Column::number("flops_per_token", "training FLOPs", "per token"),
        Column::number("tokens", "tokens", ""),
        Column::number("seeds", "seeds", ""),
        Column::estimate("loss_nats", "held-out MLM loss", "nats"),
        Column::number("perplexity", "perplexity", ""),
        Column::number("unigram_loss_nats", "unigram", "nats"),
        Column::number("own_token_loss_nats", "own token", "nats"),
        Column::number("neighbour_loss_nats", "neighbours", "nats"),
        Column::text("reads_context", "reads its context"),
        Column::number("learning_rate", "learning rate", ""),
        Column::number("tokens_per_second", "speed", "tokens/s"),
        Column::number("wall_seconds", "time", "s per run"),
    ]
}

/// Budget, model, sizes, cost and held-out loss.
pub fn comparison(study: &Study, command: &str) -> Result<Table> {
    let columns = comparison_columns();
    let own = own_sizes(study);
    let sizes = if own.is_empty() {
        "its parameters are within 1 % of the budget".to_owned()
    } else {
        let own: Vec<&str> = own.iter().map(|family| title(family)).collect();
        format!("the budgets of {} are their own sizes, not matched", own.join(" and "))
    };
    let keep_best = study.setting.train.keep_best;
    let when = if keep_best { "at its best evaluation" } else { "after the last step" };
    let mut table = Table::new("comparison", caption(study), columns)
        .with_rule(format!(
            "Each row is one model at one budget; {sizes}. \
             Loss is the mean over fixed masked positions of the validation text {when}, \
             with a 95 % Student-t interval over seeds. Parameters are matched, compute is \
             not: PT and UT reuse their weights, see the FLOPs column. Speed and time depend on \
             the machine and on what ran beside. {}",
            reads_context_rule(),
        ))
        .with_provenance(Provenance::new(
            command,
            ids(study.cells.iter().flat_map(|cell| &cell.runs)),
        ));
    for cell in &study.cells {
        let Some(run) = cell.runs.first() else { continue };
        let dimensions = run.config.model.dimensions();
        let loss = loss_estimate(&cell.runs);
        let seconds = median(cell.runs.iter().map(|run| run.seconds).collect());
        table.push(vec![
            Cell::count(study.budget(cell) as u64),
            Cell::text(title(&cell.family)),
            Cell::text(&run.config.parametrization.name),
            Cell::count(dimensions.width),
            Cell::count(dimensions.depth),
            Cell::count(run.parameters_total),
            Cell::count(run.parameters_non_embedding),
            Cell::significant(run.flops_per_token, 3),
            Cell::count(run.tokens),
            Cell::count(cell.runs.len()),
            loss.map_or(Cell::Diverged, Cell::Estimate),
            loss.map_or(Cell::Diverged, |loss| match statistics::perplexity(loss.mean) {
                Some(perplexity) => Cell::decimals(perplexity, 2),
                None => Cell::text(statistics::perplexity_words(loss.mean)),
            }),
            Cell::decimals(run.unigram_loss_nats, 4),
            line(run.lines.map(|lines| lines.own_token_nats)),
            line(run.lines.map(|lines| lines.neighbour_nats)),
            Cell::text(cell.reads_context().to_string()),
            Cell::significant(run.config.train.learning_rate, 3),
            Cell::significant(median(speeds(&cell.runs)), 3),
            Cell::decimals(seconds, 1),
        ])?;
    }
    Ok(table)
}

/// A loss without a model; missing where the text is not at hand.
fn line(loss_nats: Option<f64>) -> Cell {
    Cell::or_missing(loss_nats, |loss| Cell::decimals(loss, 4))
}

/// What the column `reads_context` says.
pub fn reads_context_rule() -> String {
    format!(
        "A model reads its context if every seed ends at least {CONTEXT_MARGIN_NATS} nats below \
         the own-token line (the best guess from the target's own place) and shuffling the words \
         around the targets costs it as much; runs that did not measure the second are judged by \
         the line alone. Where a side does not, the verdict is `plateau`."
    )
}

fn speeds(runs: &[RunRecord]) -> Vec<f64> {
    runs.iter().map(RunRecord::tokens_per_second).collect()
}

/// One row per budget, one loss per family that is trained there: the table of the front page.
pub fn summary(study: &Study, command: &str) -> Result<Table> {
    let mut columns = vec![Column::number("budget", "total parameters", "")];
    let own = own_sizes(study);
    let families = || study.ladder.families.iter().filter(|family| !own.contains(family));
    for family in families() {
        columns.push(Column::estimate(&format!("{family}_loss_nats"), title(family), "nats"));
    }
    columns.push(Column::number("unigram_loss_nats", "unigram", "nats"));
    let runs = || study.cells.iter().flat_map(|cell| &cell.runs);
    // Its numbers are those of the first table of the report, whose file it names.
    let mut table = Table::new("comparison", caption(study), columns)
        .with_provenance(Provenance::new(command, ids(runs())));
    for (index, budget) in study.ladder.budgets.iter().enumerate() {
        let mut row = vec![Cell::count(*budget as u64)];
        for family in families() {
            let cell =
                study.cells.iter().find(|cell| cell.index == index && cell.family == *family);
            let loss = cell.and_then(|cell| loss_estimate(&cell.runs));
            row.push(loss.map_or(Cell::Diverged, Cell::Estimate));
        }
        let unigram = runs().next().map(|run| run.unigram_loss_nats);
        row.push(Cell::or_missing(unigram, |loss| Cell::decimals(loss, 4)));
        table.push(row)?;
    }
    Ok(table)
}

/// PT minus every baseline at every budget, paired by seed; baselines with sizes of their own are
/// interpolated at PT's.
pub fn differences(study: &Study, command: &str) -> Result<Table> {
    let own = own_sizes(study);
    let mut columns = vec![
        Column::number("budget", "budget", ""),
        Column::text("baseline", "baseline"),
        Column::estimate("difference_nats", "PT − baseline", "nats"),
        Column::number("p_value_holm", "p", "Holm"),
        Column::text("verdict", "PT is"),
        Column::number("seeds_to_resolve", "seeds to decide", ""),
    ];
    let mut rule = format!("{VERDICT_RULE} The margin is {EQUIVALENCE_MARGIN_NATS} nats.");
    if !own.is_empty() {
        columns.insert(2, Column::text("range", "baseline taken"));
        rule.push_str(rows::INTERPOLATION_RULE);
    }
    let mut table =
        Table::new("differences", "Paired differences at equal total parameters", columns)
            .with_rule(rule)
            .with_provenance(Provenance::new(
                command,
                ids(study.cells.iter().flat_map(|cell| &cell.runs)),
            ));
    let mut contrasts = matched_rows(study)?;
    contrasts.extend(rows::axis_rows(study, "pt", &own, &[SizeAxis::TotalParameters]));
    for (row, comparison) in contrasts.iter().zip(rows::comparisons(&contrasts)) {
        let mut cells = vec![
            Cell::count(row.size as u64),
            Cell::text(title(&row.baseline)),
            estimate(&row.differences).map_or(Cell::Diverged, Cell::Estimate),
            Cell::or_missing(comparison.p_value_holm, |p| Cell::significant(p, 2)),
            Cell::verdict(comparison.verdict),
            Cell::or_missing(comparison.seeds_to_resolve, Cell::count),
        ];
        if !own.is_empty() {
            cells.insert(2, Cell::text(row.baseline_taken()));
        }
        table.push(cells)?;
    }
    Ok(table)
}

/// PT minus the baselines at the same budget, finished seeds only.
fn matched_rows(study: &Study) -> Result<Vec<Contrast>> {
    let mut rows = Vec::new();
    let matched = |cell: &&LadderCell| !study.ladder.has_own_sizes(&cell.family);
    for cell in study.cells.iter().filter(|cell| cell.family != "pt").filter(matched) {
        let pt = study.cells.iter().find(|other| other.family == "pt" && other.index == cell.index);
        let Some(pt) = pt else { continue };
        let pairing = statistics::pair_common_seeds(&pt.losses(), &cell.losses())?;
        rows.push(Contrast {
            budget: cell.index,
            baseline: cell.family.clone(),
            axis: None,
            size: study.budget(cell),
            bound: None,
            differences: pairing.differences(),
            reads_context: pt.reads_context() && cell.reads_context(),
        });
    }
    Ok(rows)
}

/// Every rate that a search tried.
pub fn rates(name: &str, caption: &str, searches: &[RateSearch], command: &str) -> Result<Table> {
    let columns = vec![
        Column::text("family", "model"),
        Column::text("parametrization", "parametrization"),
        Column::number("width", "width", ""),
        Column::number("learning_rate", "learning rate", ""),
        Column::estimate("loss_nats", "held-out MLM loss", "nats"),
        Column::text("chosen", "chosen"),
    ];
    let runs = searches.iter().flat_map(RateSearch::runs);
    let mut table = Table::new(name, caption, columns)
        .with_rule(
            "One rule for all: three neighbouring rates, then one more on whichever side of the \
             best has too few neighbours, until both sides have enough or the limit is reached. \
             `div` is a diverged run.",
        )
        .with_provenance(Provenance::new(command, ids(runs)));
    for search in searches {
        for (rate, runs) in &search.points {
            let chosen = match (search.best == Some(*rate), search.bracketed) {
                (true, true) => "yes",
                (true, false) => "yes, at the edge of the rates tried",
                (false, _) => "",
            };
            table.push(vec![
                Cell::text(title(&search.family)),
                Cell::text(&search.parametrization),
                Cell::count(search.width),
                Cell::significant(*rate, 3),
                loss_estimate(runs).map_or(Cell::Diverged, Cell::Estimate),
                Cell::text(chosen),
            ])?;
        }
    }
    Ok(table)
}

/// The curve of one search for the statistics.
pub fn curve(search: &RateSearch) -> statistics::LearningRateCurve {
    let points = search
        .points
        .iter()
        .map(|(rate, runs)| statistics::LearningRatePoint {
            log2_learning_rate: rate.log2(),
            losses: runs.iter().map(|run| (run.config.seed, run.loss_nats)).collect(),
        })
        .collect();
    statistics::LearningRateCurve { width: search.width, points }
}

/// Best rate per width and its shift, per parametrization.
pub fn transfer(outcome: &TransferOutcome, command: &str) -> Result<Table> {
    let columns = vec![
        Column::text("parametrization", "parametrization"),
        Column::number("width", "width", ""),
        Column::number("learning_rate_best", "best rate", ""),
        Column::number("log2_learning_rate_best", "best rate", "log2"),
        Column::number("shift_octaves_per_octave", "shift slope", "octaves per octave of width"),
        Column::text("shift_ci", "95 % interval"),
    ];
    let mut table = Table::new("transfer", "Best learning rate against width", columns)
        .with_rule(
            "Best rate = vertex of the parabola through the at most five tried rates nearest the \
             lowest loss; `–` if the minimum is not bracketed. Shift slope = least-squares slope \
             of log2 best rate on log2 width: 0 is perfect transfer, −1 halves the rate whenever \
             the width doubles. Its interval resamples seeds; with one seed there is none.",
        )
        .with_provenance(Provenance::new(command, ids(outcome.runs())));
    for parametrization in &outcome.plan.parametrizations {
        let shift = outcome.slope(parametrization);
        for (position, (width, optimum)) in shift.optima.iter().enumerate() {
            let best = optimum.as_ref().ok().map(|vertex| vertex.log2_learning_rate);
            let last = position + 1 == shift.optima.len();
            let slope = shift.slope.filter(|_| last);
            let interval = shift.bootstrap.as_ref().filter(|_| last).map(|bootstrap| {
                format!("[{:.2}, {:.2}]", bootstrap.interval.low, bootstrap.interval.high)
            });
            table.push(vec![
                Cell::text(parametrization),
                Cell::count(*width),
                Cell::or_missing(best, |best| Cell::significant(best.exp2(), 3)),
                Cell::or_missing(best, |best| Cell::decimals(best, 2)),
                Cell::or_missing(slope, |slope| Cell::decimals(slope, 2)),
                interval.map_or(Cell::Missing, Cell::Text),
            ])?;
        }
    }
    Ok(table)
}

/// Every run of the study once, in id order.
pub fn runs(study: &Study, command: &str) -> Result<Table> {
    let columns = vec![
        Column::text("run", "run"),
        Column::text("family", "model"),
        Column::text("parametrization", "parametrization"),
        Column::number("width", "width", ""),
        Column::number("inner_width", "inner width", ""),
        Column::number("head_dim", "head width", ""),
        Column::number("depth", "depth", ""),
        Column::number("parameters_total", "parameters", ""),
        Column::number("seed", "seed", ""),
        Column::number("learning_rate", "learning rate", ""),
        Column::number("steps", "steps", ""),
        Column::number("tokens", "tokens", ""),
        Column::text("status", "status"),
        Column::number("loss_nats", "held-out MLM loss", "nats"),
        Column::number("wall_seconds", "time", "s"),
    ];
    let mut all: Vec<&RunRecord> = study.runs().collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all.dedup_by(|a, b| a.id == b.id);
    let mut table = Table::new("runs", "All runs", columns)
        .with_provenance(Provenance::new(command, Vec::<String>::new()));
    for run in all {
        let dimensions = run.config.model.dimensions();
        table.push(vec![
            Cell::text(&run.id),
            Cell::text(run.config.model.family()),
            Cell::text(&run.config.parametrization.name),
            Cell::count(dimensions.width),
            Cell::count(dimensions.topics),
            Cell::count(dimensions.head_dim),
            Cell::count(dimensions.depth),
            Cell::count(run.parameters_total),
            Cell::count(run.config.seed),
            Cell::significant(run.config.train.learning_rate, 4),
            Cell::count(run.config.train.steps),
            Cell::count(run.tokens),
            Cell::text(run.divergence.as_deref().unwrap_or("finished")),
            run.loss_nats.map_or(Cell::Diverged, |loss| Cell::decimals(loss, 4)),
            Cell::decimals(run.seconds, 1),
        ])?;
    }
    Ok(table)
}
