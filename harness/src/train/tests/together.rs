//! Runs whose steps several ranks share; the ranks are threads here, `ci/mpi_check` has processes.

use super::*;
use crate::collective::threads::group;
use crate::train::crew::Crew;

/// `config` divided among `ranks` ranks.
fn shared(config: &TrainConfig, ranks: usize) -> TrainConfig {
    TrainConfig { ranks, ..config.clone() }
}

/// Every rank's outcome; rank 0 has `folder`, `change` may spoil a rank.
fn together(
    config: &TrainConfig,
    folder: Option<&Path>,
    change: impl Fn(usize, &mut Case) + Sync,
) -> Vec<Result<TrainOutcome>> {
    let change = &change;
    std::thread::scope(|scope| {
        let ranks = group(config.ranks).into_iter().map(|rank| {
            scope.spawn(move || {
                let mut case = Case::new(config, folder.filter(|_| rank.rank() == 0));
                change(rank.rank(), &mut case);
                case.run_on(&rank)
            })
        });
        let ranks: Vec<_> = ranks.collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

fn losses(folder: &Path, name: &str, column: usize) -> Vec<f64> {
    let loss = |row: &str| row.split(',').nth(column).unwrap().parse().unwrap();
    read(folder, name).lines().skip(1).map(loss).collect()
}

#[test]
fn invariant_ranks_train_as_one_process_does_on_the_whole_batch() {
    let whole = tempfile::tempdir().unwrap();
    // Divisible by every number of parts below.
    let config = TrainConfig { batch: 12, ..config(10) };
    let expected = Case::new(&config, Some(whole.path())).run().unwrap();
    for (ranks, micro_batches) in [(2, 1), (3, 1), (2, 3), (3, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let config = TrainConfig { micro_batches, ranks, ..config.clone() };
        let outcomes = together(&config, Some(folder.path()), |_, _| {});
        let outcomes: Vec<TrainOutcome> = outcomes.into_iter().map(Result::unwrap).collect();
        for outcome in &outcomes {
            assert_eq!(bits(&outcome.parameters), bits(&outcomes[0].parameters), "same bits");
            assert_eq!(outcome.tokens, expected.tokens);
        }
        // Losses differ by rounding only: parts weighted wrongly differ in the second digit.
        for (name, column) in [(METRICS_FILE, 2), (METRICS_FILE, 4), (EVALUATION_FILE, 1)] {
            let pair = (losses(whole.path(), name, column), losses(folder.path(), name, column));
            assert_eq!(pair.0.len(), pair.1.len());
            for (one, many) in pair.0.iter().zip(&pair.1) {
                assert!((one - many).abs() < 1e-5 * one, "{name}: {one} {many}, {ranks} ranks");
            }
        }
    }
}

#[test]
fn invariant_evaluation_gives_the_same_bits_for_any_number_of_ranks() {
    let (source, parameters) = (Chains::new(8, 1), Bigram::initial(3));
    let alone = evaluate(&mut Bigram::new(), &parameters, source.evaluation()).unwrap();
    for ranks in [2, 3] {
        std::thread::scope(|scope| {
            for rank in group(ranks) {
                let (source, parameters, alone) = (&source, &parameters, &alone);
                scope.spawn(move || {
                    let batches = source.evaluation();
                    let mut engine = Bigram::new();
                    let found = evaluate_together(&mut engine, parameters, batches, &rank).unwrap();
                    assert_eq!(&found, alone);
                });
            }
        });
    }
}

#[test]
fn invariant_a_signal_on_any_rank_stops_all_and_the_run_resumes_bit_exactly() {
    let straight = tempfile::tempdir().unwrap();
    let config = shared(&annealed(), 2);
    let expected = together(&config, Some(straight.path()), |_, _| {}).remove(0).unwrap();
    for stop_after in [1, expected.steps / 2, expected.steps - 2] {
        let broken = tempfile::tempdir().unwrap();
        let stop = |rank, case: &mut Case| {
            if rank == 1 {
                case.stop_after = stop_after;
            }
        };
        for outcome in together(&config, Some(broken.path()), stop) {
            assert!(matches!(outcome, Err(HarnessError::Interrupted)));
        }
        for outcome in together(&config, Some(broken.path()), |_, _| {}) {
            assert_eq!(bits(&expected.parameters), bits(&outcome.unwrap().parameters));
        }
        assert_same_results(straight.path(), broken.path());
    }
}

#[test]
fn invariant_a_nan_on_one_rank_ends_the_run_on_all() {
    let config = shared(&config(20), 2);
    let spoil = |rank, case: &mut Case| {
        if rank == 1 {
            case.engine.broken_from = 3;
        }
    };
    for outcome in together(&config, None, spoil) {
        let outcome = outcome.unwrap();
        let tensor = "gradient of decoder.weight".to_owned();
        assert_eq!(outcome.divergence, Some(Divergence::NotFinite { tensor, step: 4 }));
    }
}

#[test]
fn invariant_a_wrong_number_of_ranks_is_an_error_with_the_command() {
    let error = Case::new(&shared(&config(2), 4), None).run().unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("hint: mpirun -n 4 "), "{error}");
}

#[test]
fn invariant_ranks_that_drift_apart_are_noticed() {
    std::thread::scope(|scope| {
        for rank in group(2) {
            scope.spawn(move || {
                let crew = Crew::new(&rank, 2).unwrap();
                crew.agree("norm", 1.5).unwrap();
                let error = crew.agree("norm", rank.rank() as f64).unwrap_err();
                assert_eq!(error.exit_code(), 10);
            });
        }
    });
}
