//! Head selection, forward and backward, against its formulas.

use emulator::{DeviceMemory, Fault, Module, Profile};
use proptest::prelude::*;

use crate::oracle::{Answer, Case, answer};
use crate::support::{Parameters, Shape, distance, download, launch, module, upload};

/// Rows of a block's tile.
const TILE: usize = 64;
/// Operands have 8 bits: 2^-9 a rounding, p rounded once more; measured 6e-4 to 2.0e-3.
const BOUND: f64 = 4e-3;

/// What the kernels gave, and what they did.
pub struct Run {
    pub found: [Vec<f32>; 5],
    pub level: Vec<f32>,
    pub profile: Profile,
}

/// All five kernels in the order of a training step.
pub fn run(module: &Module, case: &Case) -> Result<Run, Fault> {
    let mut memory = DeviceMemory::default();
    let (n, r, heads) = (case.length, case.rank, case.heads());
    let words = upload(&mut memory, &case.words);
    let [u, v, w, a, b] = case.tiles.each_ref().map(|tile| upload(&mut memory, tile));
    let w = if case.apart { w } else { u };
    let [rows, columns, d_sent, d_u, d_v] =
        std::array::from_fn(|_| memory.allocate(4 * heads * n * r));
    let [level, delta] = std::array::from_fn(|_| memory.allocate(4 * heads * n));
    let scale = case.factor * std::f32::consts::LOG2_E;
    let place = || Parameters::default().word(n as u32).word(case.channels as u32).long(words);
    let tile = 2 * TILE * r;
    let apart = usize::from(case.apart);
    let mut profile = Profile::default();
    let mut go = |name: &str, shared: usize, parameters: Parameters| {
        let grid = [n.div_ceil(TILE) as u32, heads as u32];
        let shape = Shape { grid, threads: 128, dynamic_shared_bytes: shared };
        let done = launch(module, &format!("{name}_{r}"), shape, &parameters, &mut memory)?;
        profile.add(&done);
        Ok::<(), Fault>(())
    };
    let masks = 8 * n.div_ceil(TILE);
    let given = place().long(u).long(v).single(scale).long(rows).long(level);
    go("rows_forward", 3 * tile + masks, given)?;
    let given = place().long(u).long(v).long(w).long(level).single(scale).long(columns);
    go("columns_forward", (3 + 2 * apart) * tile + 4 * n, given)?;
    let tiles = || place().long(u).long(v).long(w).long(a).long(b);
    let given = tiles().long(rows).long(level).single(scale).long(d_sent).long(delta);
    go("rows_gradient_1", 5 * tile + n, given)?;
    let given = tiles().long(level).long(delta).long(d_sent);
    let given = given.single(scale).single(case.factor).long(d_u);
    go("rows_gradient_2", (6 + apart) * tile + n, given)?;
    let given = tiles().long(level).long(delta).single(scale).single(case.factor).long(d_v);
    go("columns_gradient", (6 + 2 * apart) * tile + 8 * n, given)?;
    let mut found: [Vec<f32>; 5] = Default::default();
    for (out, address) in found.iter_mut().zip([rows, columns, d_sent, d_u, d_v]) {
        *out = download(&mut memory, address, heads * n * r)?;
    }
    Ok(Run { found, level: download(&mut memory, level, heads * n)?, profile })
}

/// Why a run is not the answer, if it is not.
pub fn wrong(run: &Run, answer: &Answer) -> Option<String> {
    let expected = [
        ("A", &answer.message_rows),
        ("D", &answer.message_columns),
        ("E", &answer.d_sent),
        ("du", &answer.d_u),
        ("dv", &answer.d_v),
    ];
    for ((name, expected), found) in expected.into_iter().zip(&run.found) {
        let error = distance(found, expected);
        if error.is_nan() || error > BOUND {
            return Some(format!("{name} is off by {error:.1e}"));
        }
    }
    // Two infinities are equal: their difference is not a number, which is no distance.
    let differs = |(found, expected): (&f32, &f64)| {
        found.is_infinite() != expected.is_infinite()
            || (f64::from(*found) - expected).abs() > 1e-4
            || found.is_nan()
    };
    let level = run.level.iter().zip(&answer.level).any(differs);
    level.then(|| "lse is off".to_owned())
}

fn check(case: &Case) {
    let run = run(&module("head_selection"), case).unwrap_or_else(|fault| panic!("{fault}"));
    let problem = wrong(&run, &answer(case));
    assert_eq!(problem, None, "n {} r {} apart {}", case.length, case.rank, case.apart);
}

#[test]
fn parity_of_head_selection_with_its_formulas() {
    for (length, rank, apart) in
        [(64, 16, false), (100, 16, true), (130, 64, true), (80, 128, false)]
    {
        check(&Case::new(length, 2, rank, apart, 7 + length as u64));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]
    #[test]
    fn parity_of_head_selection_of_any_length(
        length in 11usize..140, sequences in 1usize..3, apart: bool, seed: u64,
    ) {
        check(&Case::new(length, sequences, 16, apart, seed));
    }
}

#[test]
fn invariant_a_second_run_of_head_selection_gives_the_same_bits() {
    let (module, case) = (module("head_selection"), Case::new(70, 1, 16, true, 3));
    let bits = |run: Run| run.found.map(|out| out.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
    let [first, second] = [0, 1].map(|_| run(&module, &case).expect("no fault"));
    assert_eq!(first.profile, second.profile);
    assert_eq!(bits(first), bits(second));
}

/// What a launch costs is a property of the PTX, so a change of it shows here. Counts of
/// `models/kernels/cuda/head_selection.cu` as compiled by CUDA 13.0.88 for compute_80.
#[test]
fn golden_work_of_head_selection() {
    let case = Case::new(128, 1, 64, false, 5);
    let profile = run(&module("head_selection"), &case).expect("no fault").profile;
    assert_eq!(profile.shared_passes, profile.shared_passes_least, "no bank conflicts");
    let counts = (profile.warp_instructions, profile.tensor_operations, profile.barriers);
    assert_eq!(counts, (208_608, 62_914_560, 40));
}
