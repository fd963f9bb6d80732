//! What a product asks for ahead is what the next one reads.

use super::super::order::first_panels;
use super::super::pass::MET;
use super::super::plan::Plan;
use super::*;

/// Matrices and directions that a step of one chunk meets.
fn met(case: &Case, layout: &Layout, engine: &mut FusedEngine) -> Vec<(usize, usize)> {
    let (batch, values) = (case.batch(), parameters(layout, case.seed));
    let mut gradients = vec![0.0; layout.total()];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        MET.take();
        engine.loss_and_gradients(&values, &batch, &mut gradients).unwrap();
        MET.take()
    })
}

fn check(plan: &Plan, met: &[(usize, usize)]) {
    let each = plan.block(0).inner.len() + 5;
    assert_eq!(met.len(), 2 * (plan.family.depth * each + 2), "every matrix, there and back");
    let mut announced = 0;
    for pair in met.windows(2) {
        let [(index, direction), (next, next_direction)] = [pair[0], pair[1]];
        // Announced are the next chunk and the next step, where there is none in this test.
        let ends = index == plan.head_dense && direction == 0
            || index == plan.decoder && direction == 1
            || plan.family.shared && next == plan.head_dense && direction == 0;
        if !ends {
            let reads = &first_panels(&plan.matrices[next])[next_direction];
            assert_eq!(&plan.matrices[index].next[direction], reads, "{index} before {next}");
            announced += 1;
        }
    }
    assert_eq!(announced, met.len() - 3 - usize::from(plan.family.shared));
}

#[test]
fn invariant_every_product_announces_the_matrix_that_follows() {
    for (depth, swiglu) in [(1, false), (3, true)] {
        let batch = Case { sequences: 1, length: 64, target_share: 1.0, ..fixed_case() };
        let case = Case { depth, swiglu, padding: false, ..batch };
        for (layout, mut engine) in engines(&case) {
            let met = met(&case, &layout, &mut engine);
            check(engine.plan(), &met);
        }
    }
}
