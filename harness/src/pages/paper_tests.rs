//! The published ladder on a made-up world whose truth is known.

use models::precision::Precision;
use models::pt2026::Pt2026Config;

use super::{ladder_report, tables};
use crate::config::compute::DeviceKind;
use crate::config::model::ModelConfig;
use crate::config::run::RunConfig;
use crate::cost::device::{self, DeviceStep};
use crate::cost::plan::{PlannedRuns, SpeedBasis};
use crate::cost::plan_text;
use crate::error::Result;
use crate::experiment::Experiment;
use crate::experiment::design::Outcome;
use crate::experiment::design::ladder::Study;
use crate::experiment::design::ladder::rows::{self, Bound, SizeAxis};
use crate::experiment::registry;
use crate::runs::record::RunRecord;
use crate::runs::source::RunSource;

const VOCAB: usize = 32_000;
/// What PT is better by in the made-up world, nats.
const EFFECT: f64 = 0.1;

/// Losses that fall linearly in the logarithm of size, so that interpolation is exact.
struct World;

impl RunSource for World {
    fn find(&self, run: &RunConfig) -> Result<Option<RunRecord>> {
        let layout = run.model.layout()?;
        let size = layout.total() as f64;
        let off_mean = 1e-4 * (run.seed as f64 - 2.0);
        let effect = if run.model.family() == "pt" { EFFECT + off_mean } else { 0.0 };
        let off_rate = (run.train.learning_rate / 4e-4).log2().powi(2);
        let off_rate = if run.model.family() == "ut" { 1e-9 * off_rate } else { 0.0 };
        let loss = 9.0 - 0.3 * size.ln() - effect + 0.01 * run.seed as f64 + off_rate;
        Ok(Some(RunRecord {
            id: blake3::hash(format!("{run:?}").as_bytes()).to_hex()[..16].to_owned(),
            config: run.clone(),
            parameters_total: layout.total(),
            parameters_non_embedding: layout.non_embedding(),
            flops_per_token: 1.0,
            tokens: 1,
            seconds: 1.0,
            loss_nats: Some(loss),
            divergence: None,
            remarks: Vec::new(),
            evaluations: vec![(run.train.steps, loss)],
            documents: vec![],
            unigram_loss_nats: 9.0,
            lines: None,
            context: None,
            arcs: Vec::new(),
        }))
    }
}

fn paper() -> Experiment {
    Experiment::registered("paper").unwrap()
}

fn complete() -> Study {
    let gathered = paper().gather(VOCAB, &World).unwrap();
    assert!(gathered.wanted.is_empty());
    let Outcome::Ladder(study) = gathered.outcome else { unreachable!() };
    *study
}

/// Tables i.2 and i.4 of the notes on arXiv 2604.25409: every published parameter count.
#[test]
fn golden_the_paper_preset_has_every_published_size() {
    let paper = paper();
    let totals: Vec<(String, Vec<usize>)> = paper
        .ladder()
        .unwrap()
        .shapes(&paper.setting, VOCAB)
        .unwrap()
        .into_iter()
        .map(|shapes| {
            let totals = shapes.models.iter().map(|model| model.layout().unwrap().total());
            (shapes.family, totals.collect())
        })
        .collect();
    let widths = [256, 512, 1024, 1536, 2560, 3840];
    let pt: Vec<usize> = widths.iter().map(|n| 10 * n * n + 64_003 * n + 32_000).collect();
    assert_eq!(pt[5], 393_259_520);
    let bert = vec![19_905_538, 46_201_602, 58_811_138, 135_623_170, 369_985_794];
    let ut = vec![17_537_025, 36_748_033, 57_665_025, 80_296_193, 187_823_361, 322_638_081];
    let expected = [("pt", pt), ("bert", bert), ("ut", ut)];
    assert_eq!(totals, expected.map(|(family, totals)| (family.to_owned(), totals)));
}

#[test]
fn invariant_published_recipes_reach_the_runs() {
    let study = complete();
    let runs = |family: &str| {
        let own = study.cells.iter().filter(|cell| cell.family == family);
        own.map(|cell| cell.runs[0].config.clone()).collect::<Vec<RunConfig>>()
    };
    let rates = |family| runs(family).iter().map(|run| run.train.learning_rate).collect::<Vec<_>>();
    assert_eq!(rates("pt"), [0.18; 6]);
    assert_eq!(rates("bert"), [3.95e-4, 3.5e-4, 2.75e-4, 2.05e-4, 1.4e-4]);
    // Nothing is carried from size to size where every size has its own rate, and PT's base is
    // its smallest model throughout.
    for run in [runs("bert"), runs("ut")].concat() {
        assert_eq!(run.base_model(), run.model);
        assert!((run.train.schedule.warmup_share - 0.15).abs() < 1e-12);
        assert!(run.train.weight_decay.abs() < 1e-12);
    }
    for run in runs("pt") {
        assert_eq!(run.base_model().dimensions().width, 256);
        assert_eq!((run.train.weight_decay, run.train.decay_vectors), (0.002, true));
        let built =
            run.model.architecture(&run.base_model(), &run.parametrization.table().unwrap());
        let ratio = run.model.dimensions().width as f64 / 256.0;
        let rules = built.unwrap().1;
        assert!((rules.gradient_clip_multiplier - ratio).abs() < 1e-12);
        for (spec, rule) in run.model.layout().unwrap().specs().iter().zip(&rules.rules) {
            // No axis of the decoder's bias grows with the width: a deviation that is listed.
            let grown = if spec.name() == "head.decoder.bias" { 1.0 } else { ratio.powf(0.35) };
            assert!((rule.weight_decay_multiplier - grown).abs() < 1e-9, "{}", spec.name());
        }
    }
    assert_eq!(study.searches.len(), 6, "UT's rates are searched for at every size, only they");
    assert!(study.searches.iter().all(|search| search.family == "ut" && search.bracketed));
    for run in study.runs() {
        assert_eq!(run.config.train.device, DeviceKind::Cuda);
    }
}

#[test]
fn invariant_unmatched_baselines_are_interpolated_and_never_extrapolated() {
    let study = complete();
    let baselines = ["bert".to_owned(), "ut".to_owned()];
    assert!(rows::rows(&study, "pt", &baselines).unwrap().is_empty(), "no size is shared");
    let found = rows::axis_rows(&study, "pt", &baselines, &[SizeAxis::TotalParameters]);
    assert_eq!(found.len(), 2 * 6);
    for row in &found {
        let mean = row.differences.iter().sum::<f64>() / row.differences.len() as f64;
        let end: f64 = match (row.baseline.as_str(), row.budget) {
            ("bert", 0) => 19_905_538.0,
            ("bert", 5) => 369_985_794.0,
            ("ut", 0) => 17_537_025.0,
            ("ut", 5) => 322_638_081.0,
            _ => row.size,
        };
        let bound = match row.budget {
            0 => Some(Bound::Smaller),
            5 => Some(Bound::Larger),
            _ => None,
        };
        assert_eq!(row.bound, bound, "{row:?}");
        let expected = -EFFECT - 0.3 * (row.size / end).ln();
        assert!((mean - expected).abs() < 1e-7, "{row:?} for {expected}");
    }
}

#[test]
fn invariant_the_report_lists_sizes_and_every_deviation() {
    let (experiment, study) = (paper(), complete());
    let report =
        ladder_report::build(&experiment, &study, "crossscale reproduce --preset paper").unwrap();
    let (markdown, html) = (report.to_markdown(), report.to_html().unwrap());
    assert!(experiment.deviations.len() >= 10);
    for deviation in &experiment.deviations {
        for page in [&markdown, &html] {
            // Apostrophes are written in HTML's own way.
            let mut parts = deviation.what.split('\'');
            assert!(parts.all(|part| page.contains(part)), "{deviation}");
        }
    }
    let comparison = tables::comparison(&study, "command").unwrap().to_csv().unwrap();
    for size in ["19905538", "369985794", "322638081", "393259520"] {
        assert!(comparison.contains(size), "{size}");
    }
    let differences = tables::differences(&study, "command").unwrap().to_csv().unwrap();
    assert_eq!(differences.lines().count(), 1 + 12);
    assert_eq!(differences.matches("a bound").count(), 4, "{differences}");
    // PT is better by more than the margin within the range, and a bound from above says nothing.
    assert_eq!(differences.matches("better").count(), 2 * 5, "{differences}");
    assert!(Experiment::registered("quick").unwrap().deviations.is_empty());
}

#[test]
fn invariant_gpu_hours_are_seconds_of_planned_steps_times_steps_and_runs() {
    let rows = paper().plan(VOCAB).unwrap();
    let runs = |stage: &str, family: &str| {
        let own = rows.iter().filter(|row| row.stage == stage && row.model.family() == family);
        own.map(|row| row.runs).collect::<Vec<_>>()
    };
    assert_eq!(runs("ladder", "pt"), [(3, 3); 6]);
    assert_eq!(runs("ladder", "bert"), [(3, 3); 5]);
    assert_eq!(runs("ladder", "ut"), [(2, 2); 6], "one seed is that of the search");
    assert_eq!((runs("search", "pt").len(), runs("search", "ut").len()), (0, 6));
    let basis = SpeedBasis::of(DeviceKind::Cuda);
    let text = plan_text::shapes(&rows, &basis).unwrap().to_text();
    let row = rows.iter().find(|row| row.parameters_total == 393_259_520).unwrap();
    let step = DeviceStep {
        sequences: 128,
        length: 1024,
        target_share: 0.15,
        parts_min: 1,
        recompute: false,
    };
    let alone = device::plan(&row.model, step, Precision::Split).unwrap();
    let hours = 13_200.0 * alone.seconds_per_step / 3600.0;
    let line = text.lines().find(|line| line.contains("393,259,520")).unwrap();
    assert!(line.replace(',', "").ends_with(&format!("{hours:.1}")), "{line} for {hours}");
    let total = |end: fn(&(usize, usize)) -> usize| {
        let cost = |row: &PlannedRuns| {
            let seconds = row.device[0].seconds_per_step * row.steps as f64;
            seconds * end(&row.runs) as f64 / 3600.0
        };
        rows.iter().map(cost).sum::<f64>()
    };
    let (fewest, most) = (total(|r| r.0), total(|r| r.1));
    assert!(fewest > 100.0 && most < 900.0, "{fewest} to {most} GPU-hours");
    let totals = format!("time {fewest:.0} to {most:.0} GPU-hours");
    let text = plan_text::totals(&rows, 2, &basis);
    assert!(text.contains(&totals) && text.contains("no engine trains on a GPU yet"), "{text}");
    assert!(text.contains("precision pt split, bert half, ut half"), "{text}");
    // What the scale page says.
    let page = include_str!("../../../docs/scale.md");
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for quoted in [
        format!("{fewest:.0} to {most:.0} GPU-hours"),
        format!("PT 3840 takes {:.2} s a step", alone.seconds_per_step),
        format!(
            "{:.1} s in `half`, {:.0} s in `f32`",
            row.device[3].seconds_per_step, row.device[1].seconds_per_step
        ),
    ] {
        assert!(page.contains(&quoted), "docs/scale.md does not say: {quoted}");
    }
}

/// A family that contradicts itself about sizes and rates is refused with what to do.
#[test]
fn invariant_contradicting_sizes_and_rates_are_refused() {
    let text = registry::text("paper").unwrap();
    let refused = |from: &str, to: &str, what: &str| {
        assert!(text.contains(from), "{from}");
        let error = Experiment::parse("changed", &text.replacen(from, to, 1)).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(what) && error.contains("hint:"), "{error}");
    };
    refused("own_sizes = false", "own_sizes = true", "own_sizes in the first family");
    refused(
        "{ width = 512, layers = 8 }",
        "{ layers = 8 }",
        "[ladder.models.bert]: own_sizes without a width",
    );
    refused("3.95e-4, 3.5e-4", "3.5e-4", "[ladder.models.bert]: 4 rates for 5 shapes");
    refused(
        "learning_rates = [0.18]",
        "",
        "[ladder.models.pt]: rates must be either given or searched for",
    );
    refused("[0.18]", "[-0.18]", "[ladder.models.pt]: learning_rates = [-0.18]");
}

/// A file cannot name the constant, so it repeats its digits.
#[test]
fn invariant_floors_of_head_posteriors_in_ladders_are_two_to_the_minus_64() {
    for name in registry::presets() {
        let experiment = Experiment::registered(name).unwrap();
        let template = experiment.ladder().unwrap().template("pt", None, 512).unwrap();
        let ModelConfig::Pt(config) = template else { panic!("{name}: not a pt") };
        let floor = (name == "laptop").then_some(Pt2026Config::POSTERIOR_FLOOR);
        assert_eq!(config.posterior_floor, floor, "{name}");
    }
}

#[test]
fn invariant_a_plan_keeps_its_lines_in_narrow_terminals() {
    for (name, vocab) in [("quick", 512), ("paper", VOCAB)] {
        let rows = Experiment::registered(name).unwrap().plan(vocab).unwrap();
        for device in [DeviceKind::Cpu, DeviceKind::Cuda] {
            let basis = match device {
                DeviceKind::Cpu => {
                    let explanation = "x".to_owned();
                    SpeedBasis::Thread { flops_per_second: 1e9, explanation }
                }
                DeviceKind::Cuda => SpeedBasis::Gpu,
            };
            let shapes = plan_text::shapes(&rows, &basis).unwrap();
            let roles = plan_text::roles(&rows).unwrap();
            // A line for each row, and of what is left out, instead of a block for each.
            assert!(shapes.to_text_within(60).lines().count() <= rows.len() + 2);
            assert_eq!(roles.to_text_within(80), roles.to_text());
        }
    }
}
