//! Synthetic data and the coverage check that the tests of this folder share.

use models::random::{Purpose, Stream};

/// `n` normal variates of data set `index`.
pub fn normals(index: u64, name: &str, n: usize, mean: f64, deviation: f64) -> Vec<f64> {
    let mut stream = Stream::named(1, Purpose::Test, name, index);
    (0..n).map(|_| mean + deviation * stream.normal()).collect()
}

/// Share of `datasets` for which `covers` holds.
pub fn coverage(datasets: u64, covers: impl Fn(u64) -> bool) -> f64 {
    (0..datasets).filter(|&index| covers(index)).count() as f64 / datasets as f64
}

/// Asserts that 95 % intervals cover within four binomial standard errors of 95 %.
pub fn assert_coverage(datasets: u64, covers: impl Fn(u64) -> bool) {
    let found = coverage(datasets, covers);
    eprintln!("coverage {found:.4} of {datasets} data sets");
    let error = (0.95f64 * 0.05 / datasets as f64).sqrt();
    assert!((found - 0.95).abs() < 4.0 * error, "coverage {found} of {datasets} data sets");
}

/// Asserts that 95 % intervals built on Welch–Satterthwaite degrees of freedom, which are known
/// to be too wide for groups of three, cover no less than 95 % (up to three binomial standard
/// errors) and no more than 98.5 %.
pub fn assert_cautious_coverage(datasets: u64, covers: impl Fn(u64) -> bool) {
    let found = coverage(datasets, covers);
    eprintln!("coverage {found:.4} of {datasets} data sets");
    let error = (0.95f64 * 0.05 / datasets as f64).sqrt();
    let allowed = 0.95 - 3.0 * error..0.985;
    assert!(allowed.contains(&found), "coverage {found} of {datasets} data sets");
}
