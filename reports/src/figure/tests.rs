//! Figures from made-up but lifelike numbers.

use super::*;
use crate::Provenance;

pub(crate) fn provenance() -> Provenance {
    Provenance::new("crossscale reproduce --preset laptop", ["3f2a91c0", "77c1d2e4"])
}

/// A number in [−1, 1] that looks random and never changes.
fn wobble(index: usize) -> f64 {
    ((index as f64 * 12.9898).sin() * 43_758.547).fract()
}

fn sizes() -> SizeFigure {
    let family = |(place, name): (usize, &str)| {
        let point = |step: usize| {
            let size = 1.1e6 * 2f64.powi(step as i32) * (1.0 + 0.004 * wobble(step + place));
            let loss = 3.6 + 40.0 * size.powf(-0.22) + 0.06 * place as f64;
            let half_width = 0.03 + 0.02 * wobble(7 * step + place).abs();
            let interval = (step < 4).then_some((loss - half_width, loss + half_width));
            LossPoint { size, loss_nats: loss, interval, n: if step < 4 { 3 } else { 1 } }
        };
        LossSeries { family: name.to_owned(), points: (0..5).map(point).collect() }
    };
    let names = ["PT (mup)", "BERT (post-LN)", "Transformer (pre-LN)", "Universal Transformer"];
    SizeFigure {
        series: names.into_iter().enumerate().map(family).collect(),
        unigram_loss_nats: Some(6.23),
        setting: "sotu, 15 % masking, 2.0M tokens".to_owned(),
        provenance: provenance(),
    }
}

fn transfer() -> TransferFigure {
    let panel = |name: &str, drift: f64| {
        let curve = |place: usize| {
            let width = 64 << place;
            let centre = -7.2 + drift * place as f64;
            let point = |rate: i32| {
                let away = f64::from(rate) - centre;
                let slope = if away > 0.0 { 0.09 } else { 0.028 };
                let loss = 4.6 - 0.16 * place as f64 + slope * away * away;
                let seed = |seed: usize| {
                    loss + 0.015 * wobble(seed + 3 * place + rate.unsigned_abs() as usize)
                };
                let diverged = usize::from(away > 3.4);
                RatePoint {
                    log2_learning_rate: f64::from(rate),
                    losses_nats: (diverged..3).map(seed).collect(),
                    diverged,
                }
            };
            RateCurve {
                width,
                points: (-13..=-3).map(point).collect(),
                minimum: Some((centre, 4.6 - 0.16 * place as f64)),
            }
        };
        TransferPanel { parametrization: name.to_owned(), curves: (0..4).map(curve).collect() }
    };
    TransferFigure {
        panels: vec![panel("standard", -0.8), panel("mup", 0.0)],
        setting: "PT on sotu, 400 steps".to_owned(),
        provenance: provenance(),
    }
}

fn training() -> TrainingFigure {
    let curve = |(place, label): (usize, &str)| {
        let point = |step: usize| {
            let tokens = 8192.0 * (step + 1) as f64;
            let fall = 2.0 * (1.0 - (-(step as f64) / (12.0 + 8.0 * place as f64)).exp());
            let loss = 6.9 - if place == 3 { 0.3 * fall } else { fall };
            (tokens, (0..3).map(|seed| loss + 0.05 * wobble(step * 3 + seed + place)).collect())
        };
        TrainingCurve { label: label.to_owned(), points: (0..60).map(point).collect() }
    };
    let labels = ["PT (mup)", "BERT (post-LN)", "Transformer (pre-LN)", "Universal Transformer"];
    TrainingFigure {
        curves: labels.into_iter().enumerate().map(curve).collect(),
        unigram_loss_nats: Some(6.23),
        setting: "sotu, 4.2M parameters".to_owned(),
        provenance: provenance(),
    }
}

fn perturbation() -> PerturbationFigure {
    let point = |index: usize| {
        let shift = if index == 0 { 0.0 } else { 0.15 * wobble(index).powi(2) + 0.01 };
        PerturbationPoint {
            label: format!("set {index}"),
            small_loss_nats: 4.6 + shift + 0.01 * wobble(index + 50),
            large_loss_nats: 4.1 + 0.8 * shift + 0.01 * wobble(index + 90),
            base: index == 0,
        }
    };
    PerturbationFigure {
        points: (0..30).map(point).collect(),
        small_width: 64,
        large_width: 256,
        rank_correlation: Some((0.914, Some((0.82, 0.96)))),
        setting: "PT (mup) on sotu, ±20 % around the base set".to_owned(),
        provenance: provenance(),
    }
}

fn search() -> SearchFigure {
    let series = |(place, family): (usize, &str)| {
        let trial = |index: usize| {
            let loss = 4.9 + 0.3 * wobble(40 * place + index) - 0.05 * place as f64;
            (index % 17 != 5).then_some(loss)
        };
        SearchSeries { family: family.to_owned(), losses_nats: (0..37).map(trial).collect() }
    };
    let names = ["PT (mup)", "BERT (post-LN)", "Transformer (pre-LN)", "Universal Transformer"];
    SearchFigure {
        series: names.into_iter().enumerate().map(series).collect(),
        unigram_loss_nats: Some(5.25),
        setting: "sotu, 73 thousand parameters".to_owned(),
        provenance: provenance(),
    }
}

#[test]
fn invariant_best_so_far_never_rises_and_divergence_is_no_best() {
    let mut data = search();
    data.series.truncate(1);
    data.series[0].losses_nats = vec![None, Some(5.0), Some(5.5), None, Some(4.5)];
    let figure = search_progress(&data, "search").unwrap();
    let csv = figure.data.to_csv().unwrap();
    let best: Vec<&str> = csv.lines().skip(1).map(|l| l.rsplit(',').next().unwrap()).collect();
    assert_eq!(best, ["–", "5.0", "5.0", "5.0", "4.5"]);
    assert_eq!(csv.matches(",div,").count(), 2, "{csv}");
    data.series[0].losses_nats = vec![None];
    assert!(search_progress(&data, "search").is_err());
}

fn coordinate() -> CoordinateFigure {
    let panel = |title: &str, slope: f64| {
        let line = |(place, step): (usize, u64)| {
            let value = |place_of_width: usize| {
                let exponent = slope * place_of_width as f64 * place as f64 / 3.0;
                (64 << place_of_width, 0.3 * 2f64.powf(exponent + 0.2 * place as f64))
            };
            CoordinateLine {
                step,
                points: (0..5).map(value).collect(),
                slope: Some((slope * place as f64 / 3.0, Some((slope - 0.02, slope + 0.02)))),
            }
        };
        let lines = [0, 1, 3, 10].into_iter().enumerate().map(line).collect();
        CoordinatePanel { title: title.to_owned(), lines }
    };
    CoordinateFigure {
        panels: vec![
            panel("standard: hidden", 0.4),
            panel("mup: hidden", 0.01),
            panel("standard: logits", 0.8),
            panel("mup: logits", -0.03),
        ],
        statistic: "mean |activation|".to_owned(),
        setting: "PT, learning rate 4 × tuned".to_owned(),
        seeds: 4,
        provenance: provenance(),
    }
}

pub(crate) fn all() -> Vec<Figure> {
    vec![
        loss_vs_parameters(&sizes()).unwrap(),
        loss_vs_flops(&sizes()).unwrap(),
        learning_rate_transfer(&transfer()).unwrap(),
        training_curves(&training(), "").unwrap(),
        perturbation_scatter(&perturbation()).unwrap(),
        coordinate_check(&coordinate(), "").unwrap(),
        search_progress(&search(), "search_progress").unwrap(),
    ]
}

#[test]
fn invariant_figures_are_deterministic_and_carry_units_n_and_data() {
    let figures = all();
    assert_eq!(figures, all());
    for figure in &figures {
        for svg in [&figure.svg, &figure.svg_narrow] {
            assert!(svg.contains("viewBox") && svg.contains("<title>"), "{}", figure.name);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", figure.name);
        }
        assert!(figure.svg.len() < 60_000, "{} {}", figure.name, figure.svg.len());
        assert!(figure.caption.contains("n = "), "{}", figure.caption);
        assert!(!figure.data.rows().is_empty() && figure.data.to_csv().is_ok());
        if let Some(folder) = std::env::var_os("CROSSSCALE_FIGURES") {
            let path = std::path::Path::new(&folder).join(&figure.name);
            std::fs::write(path.with_extension("svg"), &figure.svg).unwrap();
            std::fs::write(path.with_extension("narrow.svg"), &figure.svg_narrow).unwrap();
        }
    }
}

#[test]
fn invariant_every_drawn_text_stays_inside_its_page() {
    for figure in all() {
        for (svg, width) in [(&figure.svg, 960.0), (&figure.svg_narrow, 360.0)] {
            for text in svg.split("<text ").skip(1) {
                let attribute = |name: &str| -> &str {
                    let value = text.split(&format!("{name}=\"")).nth(1).unwrap_or("");
                    value.split('"').next().unwrap_or("")
                };
                if text.contains("rotate") {
                    continue;
                }
                let letters = text.split('>').nth(1).unwrap_or("").split('<').next().unwrap_or("");
                let size: f64 = attribute("font-size").parse().unwrap();
                let length = 0.55 * size * letters.chars().count() as f64;
                let x: f64 = attribute("x").parse().unwrap();
                let (left, right) = match attribute("text-anchor") {
                    "start" => (x, x + length),
                    "end" => (x - length, x),
                    _ => (x - 0.5 * length, x + 0.5 * length),
                };
                assert!(left > -1.0 && right < width + 1.0, "{}: {letters}", figure.name);
            }
        }
    }
}

#[test]
fn invariant_nothing_to_draw_is_an_error_and_families_keep_their_look() {
    let mut data = sizes();
    let style_of_last = |figure: &Figure| figure.svg.contains(&style::family(3).colour);
    data.series[0].points.clear();
    assert!(style_of_last(&loss_vs_parameters(&data).unwrap()));
    for series in &mut data.series {
        series.points.retain(|point| point.size < 0.0);
    }
    assert!(matches!(loss_vs_parameters(&data), Err(ReportError::Figure { .. })));
    let mut data = transfer();
    data.panels.clear();
    assert!(learning_rate_transfer(&data).is_err());
}

#[test]
fn invariant_names_cannot_break_out_of_the_drawing() {
    let mut data = sizes();
    data.series[0].family = "<script>alert('x')</script> $\\alpha$ & \"q\"".to_owned();
    data.setting = "<b>**bold**".to_owned();
    let figure = loss_vs_parameters(&data).unwrap();
    assert!(!figure.svg.contains("<script"));
    assert!(!crate::inline::to_html(&figure.caption).contains("<b>"));
}

#[test]
fn invariant_a_far_unigram_line_is_named_instead_of_drawn() {
    let mut data = sizes();
    data.unigram_loss_nats = Some(30.0);
    let figure = loss_vs_parameters(&data).unwrap();
    assert!(figure.caption.contains("above the frame"));
    assert!(figure.svg.contains("30.00 nats, above the frame"));
}
