//! The detector on rows with known slopes, and the whole check on tiny models.

use std::sync::{Arc, OnceLock};

use models::parametrization::Parametrization;

use super::bisect::in_form_of;
use super::check::Check;
use super::*;
use crate::config::model::ModelConfig;
use crate::corpus::Corpus;

fn plan(family: &str) -> Plan {
    let mut plan = Plan::new(family, Tier::Ci, &[]).unwrap();
    plan.bootstrap_replicates = 200;
    plan
}

/// Rows of one site whose size is `width^slope(step)` with a little noise per seed.
fn planted(
    plan: &Plan,
    (site, kind): (&str, Kind),
    noise: f64,
    slope: impl Fn(u64) -> f64,
) -> Vec<Row> {
    let mut rows = Vec::new();
    // What happened since step 0 cannot be read at step 0.
    let first = u64::from(!matches!(
        kind,
        Kind::Act | Kind::PreSoftmax | Kind::Simplex | Kind::Param | Kind::OpnormParam
    ));
    for &width in &plan.widths {
        for seed in 1..=plan.seeds {
            for &step in plan.steps.iter().filter(|&&step| step >= first) {
                let wobble = noise * (seed as f64 - 2.5) * (width as f64).log2();
                let size = ((width as f64).log2() * slope(step) + wobble).exp2();
                let reading = Reading::new(site, 0, kind, Summary::scalar(size), |s| s.l1);
                rows.push(Row {
                    arch: "pt",
                    parametrization: "planted".to_owned(),
                    learning_rate_factor: 1.0,
                    width,
                    depth: 1,
                    seed,
                    step,
                    reading,
                });
            }
        }
    }
    rows
}

fn verdicts(
    site: (&str, Kind),
    noise: f64,
    slope: impl Fn(u64) -> f64,
) -> Vec<(u64, f64, Verdict)> {
    let plan = plan("pt");
    let lines = judge(&planted(&plan, site, noise, slope), &plan).unwrap();
    lines.iter().map(|line| (line.key.step, line.slope.unwrap().slope, line.verdict)).collect()
}

#[test]
fn invariant_known_slopes_are_found_and_judged() {
    for planted in [-0.6, -0.2, -0.09, 0.0, 0.09, 0.2, 0.6] {
        for (step, slope, verdict) in verdicts(("z", Kind::Act), 0.001, |_| planted) {
            assert!((slope - planted).abs() < 1e-9, "{slope} is not {planted}");
            let expected = match () {
                () if planted.abs() < 0.1 => Verdict::Pass,
                // Too small before step 10 may still be on its way; too large never is.
                () if planted < 0.0 && step < 10 => Verdict::Transient,
                () => Verdict::Fail,
            };
            assert_eq!(verdict, expected, "slope {planted} at step {step}");
        }
    }
}

#[test]
fn invariant_transient_means_not_moving_away() {
    let word = |slope: fn(u64) -> f64| {
        let found = verdicts(("z", Kind::Act), 0.001, slope);
        (found[1].2, found[found.len() - 1].2)
    };
    let settles = |step: u64| if step >= 10 { -0.05 } else { -0.4 };
    assert_eq!(word(settles), (Verdict::Transient, Verdict::Pass));
    assert_eq!(word(|step| -0.15 - 0.02 * step as f64), (Verdict::Fail, Verdict::Fail));
}

#[test]
fn invariant_noise_is_inconclusive_beyond_the_hard_limit_and_passes_within() {
    let word = |slope: f64| verdicts(("z", Kind::Act), 0.1, |_| slope)[0].2;
    assert_eq!(word(0.12), Verdict::Pass);
    assert_eq!(word(0.20), Verdict::Inconclusive);
    assert_eq!(word(0.60), Verdict::Fail);
}

#[test]
fn invariant_classes_have_their_own_exponents() {
    let passes = |site: &'static str, kind, slope: f64, step: u64| {
        let found = verdicts((site, kind), 0.001, |_| slope);
        found.iter().find(|found| found.0 == step).unwrap().2 == Verdict::Pass
    };
    assert!(passes("logits", Kind::Act, -0.5, 0) && !passes("logits", Kind::Act, 0.0, 0));
    assert!(passes("logits", Kind::Act, 0.0, 10) && !passes("logits", Kind::Act, -0.5, 10));
    // The rank grows with the width of PT.
    assert!(passes("head_logits", Kind::PreSoftmax, -0.5, 0));
    assert!(!passes("head_logits", Kind::PreSoftmax, 0.0, 0));
    assert!(passes("grad/ternary_u", Kind::Grad, -1.0, 10));
    assert!(!passes("grad/ternary_u", Kind::Grad, 0.0, 10));
    assert!(passes("grad/head.decoder.weight", Kind::Grad, 0.0, 10));
    let starts =
        [("param/unary", 0.0), ("param/binary", -0.5), ("param/head.decoder.weight", -1.0)];
    for (site, start) in starts {
        assert!(passes(site, Kind::Param, start, 0), "{site}");
        assert!(!passes(site, Kind::Param, start - 0.1, 0), "{site} falls too fast");
        assert!(!passes(site, Kind::Param, start + 0.1, 0), "{site} grows");
        assert!(!passes(site, Kind::Param, start + 0.1, 10), "{site} grows later");
    }
    assert!(passes("param_delta/binary", Kind::ParamDelta, -1.0, 1));
    assert!(!passes("param_delta/binary", Kind::ParamDelta, -0.5, 1));
    assert!(passes("opnorm_param/binary", Kind::OpnormParam, 0.0, 0));
    assert!(!passes("opnorm_param/binary", Kind::OpnormParam, 0.3, 0));
    assert!(passes("update/unary", Kind::Update, 0.0, 1));
    assert!(!passes("update/binary", Kind::Update, -0.95, 1));
    assert!(passes("update/head.decoder.weight", Kind::Update, -1.0, 1));
}

#[test]
fn invariant_root_attention_starts_flat_and_settles_as_any_other() {
    let mut plan = plan("pt");
    let passes = |plan: &Plan, site, kind, slope: f64, step: u64| {
        let lines = judge(&planted(plan, (site, kind), 0.001, |_| slope), plan).unwrap();
        lines.iter().find(|line| line.key.step == step).unwrap().verdict == Verdict::Pass
    };
    let sites = [("head_logits", Kind::PreSoftmax, -0.5), ("head_entropy_gap", Kind::Act, -1.0)];
    for root in [false, true] {
        plan.root_attention = root;
        for (site, kind, falling) in sites {
            assert_eq!(passes(&plan, site, kind, falling, 0), !root, "{site} falls, root {root}");
            assert_eq!(passes(&plan, site, kind, 0.0, 0), root, "{site} is flat, root {root}");
            assert!(passes(&plan, site, kind, 0.0, 10), "{site} late, root {root}");
            assert!(!passes(&plan, site, kind, falling, 10), "{site} late, root {root}");
        }
        assert!(passes(&plan, "logits", Kind::Act, -0.5, 0), "the readout's start stays");
    }
}

#[test]
fn invariant_values_that_are_not_finite_or_all_zero_fail() {
    let plan = plan("pt");
    let with = |site, value: f64| {
        let mut rows = planted(&plan, (site, Kind::Act), 0.001, |_| 0.0);
        for row in rows.iter_mut().filter(|row| row.width == 64 || value == 0.0) {
            row.reading.statistic = value;
        }
        judge(&rows, &plan).unwrap()
    };
    assert!(with("z", f64::NAN).iter().all(|line| line.verdict == Verdict::Fail));
    assert!(with("z", 0.0).iter().all(|line| line.verdict == Verdict::Fail));
    let zero_readout = with("logits", 0.0);
    assert_eq!(zero_readout[0].verdict, Verdict::Pass);
    assert_eq!(zero_readout[1].verdict, Verdict::Fail);
}

#[test]
fn invariant_a_site_missing_in_one_run_fails() {
    let plan = plan("pt");
    let mut rows = planted(&plan, ("z", Kind::Act), 0.001, |_| 0.0);
    rows.retain(|row| (row.width, row.seed, row.step) != (128, 3, 5));
    for line in judge(&rows, &plan).unwrap() {
        let expected = if line.key.step == 5 { Verdict::Fail } else { Verdict::Pass };
        assert_eq!(line.verdict, expected);
    }
}

#[test]
fn invariant_only_a_large_excess_on_an_activation_proves_power() {
    let plan = plan("pt");
    let proves = |site, kind, slope: f64| {
        power(&judge(&planted(&plan, (site, kind), 0.001, |_| slope), &plan).unwrap()).is_some()
    };
    assert!(proves("z_delta", Kind::ActDelta, 0.35));
    assert!(!proves("z_delta", Kind::ActDelta, 0.25));
    assert!(!proves("z_delta", Kind::ActDelta, -0.6));
    assert!(!proves("update/binary", Kind::Update, 0.5));
}

/// A bench on the embedded text, whose tokenizer all tests share.
fn bench(plan: Plan, jobs: usize) -> Bench {
    static CORPUS: OnceLock<Arc<Corpus>> = OnceLock::new();
    let corpus = CORPUS.get_or_init(|| Arc::new(Corpus::load(&plan.run.data, None).unwrap()));
    Bench::with_corpus(plan, corpus.clone(), jobs).unwrap()
}

/// Two narrow widths, two seeds, two steps.
fn tiny(family: &str) -> Plan {
    let sets = ["parametrization.base_width=32", "train.batch=2"].map(str::to_owned);
    let mut plan = Plan::new(family, Tier::Ci, &sets).unwrap();
    (plan.widths, plan.seeds, plan.steps) = (vec![32, 64], 2, vec![0, 1, 2]);
    plan.bootstrap_replicates = 50;
    plan
}

#[test]
fn invariant_readings_do_not_depend_on_the_number_of_jobs() {
    let table = Parametrization::built_in("pt-2026").unwrap();
    let measure = |jobs| bench(tiny("pt"), jobs).measure(&table).unwrap();
    let (one, three) = (measure(1), measure(3));
    assert_eq!(one.len(), three.len());
    for (a, b) in one.iter().zip(&three) {
        assert_eq!(
            (a.width, a.seed, a.step, &a.reading.site),
            (b.width, b.seed, b.step, &b.reading.site)
        );
        assert_eq!(a.reading.statistic.to_bits(), b.reading.statistic.to_bits(), "{a:?} {b:?}");
    }
}

#[test]
fn invariant_every_family_records_its_sites_at_every_iteration() {
    let sites = [
        ("pt", vec!["sharpness", "message_ternary", "head_logits", "message_unary_ratio"]),
        ("bert", vec!["attention_logits", "residual_stream", "attention_entropy_gap"]),
        ("preln", vec!["attention_branch", "feed_forward_branch", "residual_stream_delta"]),
        ("ut", vec!["residual_stream", "attention_logits_delta"]),
    ];
    for (family, expected) in sites {
        let bench = bench(tiny(family), 1);
        let rows = bench.measure(&Parametrization::built_in("mup-table8").unwrap()).unwrap();
        let depth = rows[0].depth;
        for site in expected {
            let found = |iteration| {
                let here = |row: &&Row| row.reading.site == site && row.step == 2;
                rows.iter().filter(here).any(|row| row.reading.iteration == iteration)
            };
            assert!((0..depth).all(found), "{family} {site}");
            assert!(!found(depth), "{family} {site}");
        }
        for site in ["logits", "logits_delta", "grad/head.dense.weight"] {
            assert!(rows.iter().any(|row| row.reading.site == site), "{family} {site}");
        }
    }
}

#[test]
fn invariant_equivalent_forms_of_a_table_read_the_same() {
    let bench = bench(tiny("bert"), 1);
    let measure = |name| bench.measure(&Parametrization::built_in(name).unwrap()).unwrap();
    let (three, eight) = (measure("mup-table3"), measure("mup-table8"));
    // After a step, signs of gradients that are zero but for rounding may differ.
    let same = |row: &Row| {
        row.step == 0 || (row.step == 1 && matches!(row.reading.kind, Kind::Grad | Kind::Update))
    };
    for (a, b) in three.iter().zip(&eight).filter(|(a, _)| same(a)) {
        let (x, y) = (a.reading.statistic, b.reading.statistic);
        assert!((x - y).abs() <= 1e-4 * y.abs(), "{} {x} {y}", a.reading.site);
    }
}

#[test]
fn invariant_a_table_in_another_form_becomes_the_reference() {
    let table = |name| Parametrization::built_in(name).unwrap();
    for (from, to) in [("mup-table8", "mup-table3"), ("mup-table9", "mup-table8")] {
        let (moved, wanted) = (in_form_of(&table(from), &table(to)), table(to));
        let pairs = moved.exponents().unwrap().into_iter().zip(wanted.exponents().unwrap());
        for ((rule, moved), (_, wanted)) in pairs {
            assert!((moved - wanted).abs() < 1e-12, "{rule} of {from}");
        }
    }
}

#[test]
fn invariant_bisection_names_the_rule_that_was_broken() {
    let mut plan = tiny("pt");
    (plan.widths, plan.seeds, plan.steps) = (vec![32, 64, 128], 3, vec![0, 1]);
    let ModelConfig::Pt(config) = &mut plan.run.model else { panic!("the plan is of pt") };
    config.iterations = 1;
    let bench = bench(plan, 2);
    let reference = Parametrization::built_in("pt-2026-strict").unwrap();
    let broken = [
        ("hidden.learning_rate", 0.0),
        ("output.init_std", 0.0),
        ("sites.attention_logits", -0.5),
        ("sites.belief", 0.0),
    ];
    for (name, value) in broken {
        let broken = reference.with_exponent(name, value).unwrap();
        let found = bisect(&bench, &broken, &reference).unwrap();
        let repairs: Vec<_> = found.repairs().map(|trial| trial.rule.as_str()).collect();
        assert_eq!(repairs, [name], "{name}: {}", found.sentence());
        assert_eq!(found.failing_left, 0, "{name}: {}", found.sentence());
    }
}

#[test]
fn invariant_outcomes_follow_lines_and_control() {
    let plan = &plan("pt");
    let lines = |slope: f64| {
        judge(&planted(plan, ("z_delta", Kind::ActDelta), 0.001, |_| slope), plan).unwrap()
    };
    let outcome = |slope: f64, control: Vec<Line>| {
        let rows = planted(plan, ("z_delta", Kind::ActDelta), 0.001, |_| slope);
        Check::new(plan, "planted", rows, control).unwrap().outcome()
    };
    assert_eq!(outcome(0.0, lines(0.5)), Outcome::Pass);
    assert_eq!(outcome(0.5, lines(0.5)), Outcome::Fail);
    assert_eq!(outcome(0.0, lines(0.1)), Outcome::Inconclusive);
}
