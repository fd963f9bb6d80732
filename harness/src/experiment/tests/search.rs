//! The search in a world whose optimum is known.

use super::*;
use crate::experiment::design::ladder::Study;
use crate::experiment::design::search::SearchOutcome;

/// Octaves of the rate from 0.02, of PT's head temperature from 4, and noise by seed.
fn bowl(run: &RunConfig) -> f64 {
    let rate = (run.train.learning_rate / 0.02).log2();
    let own = match &run.model {
        ModelConfig::Pt(config) => (config.lambda_h / 4.0).log2().abs(),
        _ => 0.0,
    };
    5.0 + 0.01 * rate.powi(2) + 0.05 * own + 1e-4 * noise(run.seed, run.model.family())
}

#[expect(clippy::unnecessary_wraps, reason = "a world may have diverged runs")]
fn losses(run: &RunConfig) -> Option<f64> {
    Some(bowl(run))
}

fn search_in(source: &dyn RunSource) -> Gathered<SearchOutcome> {
    let experiment = experiment("quality");
    let Design::Search(search) = &experiment.design else { unreachable!() };
    search.gather(&experiment.setting, VOCAB, source).unwrap()
}

fn ladder_of(name: &str, source: &dyn RunSource) -> Gathered<Study> {
    let experiment = experiment(name);
    let Design::Tuned(tuned) = &experiment.design else { unreachable!() };
    tuned.gather(&experiment.setting, VOCAB, source).unwrap()
}

#[test]
fn invariant_every_family_gets_the_same_trials_and_the_best_wins() {
    let gathered = search_in(&World { loss: losses, finished: always });
    assert!(gathered.wanted.is_empty());
    let outcome = &gathered.outcome;
    assert_eq!(outcome.families.len(), 4);
    let budget = outcome.plan.ladder.budgets[outcome.plan.budget];
    for search in &outcome.families {
        assert_eq!(search.trials.len(), 1 + 12 + 8 + 8 + 8, "{}", search.family);
        let winner = &search.trials[search.winner.unwrap()];
        let mean = |losses: &[(u64, f64)]| losses.iter().map(|l| l.1).sum::<f64>() / 3.0;
        let (best, start) = (mean(&winner.losses()), mean(&search.trials[0].losses()));
        assert!(best < start, "{}: {best} {start}", search.family);
        let finalists = search.trials.iter().filter(|trial| trial.fresh.len() == 3);
        assert_eq!(finalists.count(), 4, "the start and three others");
        for trial in &search.trials {
            let run = trial.run.as_ref().expect("every drawn shape meets the budget");
            assert!((run.parameters_total as f64 / budget - 1.0).abs() <= 0.01);
            assert_eq!((run.config.seed, run.config.data_seed), (101, 101));
            assert!(trial.fresh.iter().all(|run| run.config.seed <= 3));
        }
    }
    // The start is the preset's own setting, to the bit.
    let small = experiment("ladder-small");
    let ladder = small.ladder().unwrap();
    let shapes = ladder.shapes(&small.setting, VOCAB).unwrap();
    for (shapes, search) in shapes.iter().zip(&outcome.families) {
        let rate = ladder.entry(&shapes.family).unwrap().search.center;
        let own = small.setting.run(&ladder.subject(shapes, 0).unwrap(), rate, 101).unwrap();
        let start = &search.trials[0].run.as_ref().unwrap().config;
        assert_eq!(start.train, own.train, "{}", shapes.family);
        let parameters = |run: &RunConfig| run.model.layout().unwrap().total();
        assert_eq!(parameters(start), parameters(&own), "{}", shapes.family);
    }
    // With 36 changes of 17 knobs the temperature goes most of the way to its optimum.
    let pt = outcome.family("pt").unwrap();
    let found = pt.trials[pt.winner.unwrap()].values["model.lambda_h"].as_float().unwrap();
    assert!((found / 4.0).log2().abs() < 0.5 * (4.0f64 / 0.15).log2(), "lambda_h {found}");
}

fn trials_only(run: &RunConfig) -> bool {
    run.seed == 101
}

#[test]
fn invariant_rounds_finalists_and_ladder_follow_each_other() {
    let nothing = World { loss: losses, finished: |_| false };
    let first = search_in(&nothing);
    assert_eq!(first.wanted.len(), 4 * 13, "start and first round");
    assert!(first.outcome.families.iter().all(|search| search.winner.is_none()));
    let waiting = ladder_of("ladder-tuned", &nothing);
    assert_eq!(waiting.wanted, first.wanted, "the ladder wants its search first");
    let trials = search_in(&World { loss: losses, finished: trials_only });
    assert!(trials.wanted.iter().all(|run| run.seed <= 3));
    assert_eq!(trials.wanted.len(), 4 * 4 * 3, "three seeds of four finalists");
    let done = World { loss: losses, finished: always };
    let study = ladder_of("ladder-tuned", &done);
    assert!(study.wanted.is_empty());
    let found = search_in(&done).outcome;
    let pt = found.family("pt").unwrap();
    let winner = &pt.trials[pt.winner.unwrap()].values;
    for cell in study.outcome.cells.iter().filter(|cell| cell.family == "pt") {
        assert_eq!(cell.runs.len(), 5);
        for run in &cell.runs {
            let ModelConfig::Pt(config) = &run.config.model else { unreachable!() };
            let lambda = winner["model.lambda_h"].as_float().unwrap();
            assert_eq!(config.lambda_h.to_bits(), lambda.to_bits());
            let Some(ModelConfig::Pt(base)) = &run.config.base else { unreachable!() };
            assert_eq!(base.lambda_h.to_bits(), lambda.to_bits(), "base and model agree");
        }
    }
}

#[test]
fn invariant_a_longer_ladder_keeps_the_search_that_tunes_it() {
    let steps = |wanted: &[RunConfig]| wanted.iter().map(|run| run.train.steps).collect();
    let nothing = World { loss: losses, finished: |_| false };
    let first = ladder_of("ladder-tuned-long", &nothing);
    let short: BTreeSet<u64> = steps(&first.wanted);
    assert_eq!(short, BTreeSet::from([2000]), "the search is the one of the short ladder");
    let searched = World { loss: losses, finished: |run| run.train.steps == 2000 };
    let then = ladder_of("ladder-tuned-long", &searched);
    assert_eq!(steps(&then.wanted), BTreeSet::from([8000]));
}

#[test]
fn invariant_diverged_trials_stay_and_never_win() {
    let loss = |run: &RunConfig| (run.train.learning_rate < 0.09).then(|| bowl(run));
    let outcome = search_in(&World { loss, finished: always }).outcome;
    let pt = outcome.family("pt").unwrap();
    let diverged = pt.trials.iter().filter(|trial| trial.run.as_ref().unwrap().loss_nats.is_none());
    assert!(diverged.count() > 0, "the range reaches far beyond 0.09");
    assert!(pt.trials[pt.winner.unwrap()].cost().is_finite());
}
