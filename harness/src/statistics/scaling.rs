//! Power laws `L(N) = E + A N^(−b)` by a robust fit on log loss.

/// Residuals of log loss beyond this count linearly (Hoffmann et al. 2022, appendix D.2).
const HUBER_DELTA: f64 = 1e-3;
/// Most steps of one descent.
const STEPS: usize = 400;

/// A fitted power law of loss (nats) over size.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct PowerLaw {
    /// Natural logarithm of the amplitude `A` (nats).
    pub log_amplitude: f64,
    /// Exponent `b`: loss falls as `size^(−b)`.
    pub exponent: f64,
    /// Natural logarithm of the irreducible loss `E` (nats), if it was fitted.
    pub log_offset: Option<f64>,
    /// Mean Huber loss of the log residuals at the optimum.
    pub objective: f64,
}

impl PowerLaw {
    /// Predicted loss at `size`, nats.
    pub fn predict(&self, size: f64) -> f64 {
        self.offset_nats() + (self.log_amplitude - self.exponent * size.ln()).exp()
    }

    /// The irreducible loss `E`, nats; 0 if none was fitted.
    pub fn offset_nats(&self) -> f64 {
        self.log_offset.map_or(0.0, f64::exp)
    }
}

/// Fits a power law to `(size, loss in nats)`, minimising the Huber loss of
/// `ln prediction − ln loss` from several starts; with `with_offset` also the irreducible loss
/// `E`. `None` below one more point than parameters, or for sizes or losses that are not
/// positive.
pub fn fit_power_law(points: &[(f64, f64)], with_offset: bool) -> Option<PowerLaw> {
    let starts = starts(points, with_offset)?;
    best_descent(points, &starts)
}

/// As [`fit_power_law`] but from one start, for bootstrap replicates near a known fit.
pub(super) fn refit_power_law(points: &[(f64, f64)], from: &PowerLaw) -> Option<PowerLaw> {
    best_descent(points, &[*from])
}

fn best_descent(points: &[(f64, f64)], starts: &[PowerLaw]) -> Option<PowerLaw> {
    let fits = starts.iter().map(|&start| descend(points, start));
    fits.filter(|fit| fit.objective.is_finite()).min_by(|a, b| a.objective.total_cmp(&b.objective))
}

/// Starting points: a grid of exponents, and of offsets below the lowest loss, with the amplitude
/// that meets the smallest size.
fn starts(points: &[(f64, f64)], with_offset: bool) -> Option<Vec<PowerLaw>> {
    let parameters = if with_offset { 3 } else { 2 };
    let positive = points
        .iter()
        .all(|&(size, loss)| size > 0.0 && loss > 0.0 && size.is_finite() && loss.is_finite());
    if points.len() <= parameters || !positive {
        return None;
    }
    let lowest = points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let &(size, loss) = points.iter().min_by(|a, b| a.0.total_cmp(&b.0))?;
    let shares: &[f64] = if with_offset { &[0.1, 0.5, 0.8, 0.95] } else { &[0.0] };
    let mut starts = vec![];
    for &exponent in &[0.03, 0.1, 0.3, 0.6, 1.2] {
        for &share in shares {
            let log_amplitude = (loss - share * lowest).max(1e-6).ln() + exponent * size.ln();
            let log_offset = with_offset.then(|| (share * lowest).ln());
            starts.push(PowerLaw { log_amplitude, exponent, log_offset, objective: f64::NAN });
        }
    }
    Some(starts)
}

/// Levenberg–Marquardt with iteratively reweighted residuals. Sizes enter as
/// `ln size − mean ln size`, which keeps amplitude and exponent from mimicking each other.
fn descend(points: &[(f64, f64)], start: PowerLaw) -> PowerLaw {
    let centre = points.iter().map(|point| point.0.ln()).sum::<f64>() / points.len() as f64;
    let centred: Vec<(f64, f64)> =
        points.iter().map(|&(size, loss)| (size.ln() - centre, loss.ln())).collect();
    let parameters = if start.log_offset.is_some() { 3 } else { 2 };
    let mut state = [
        start.log_amplitude - start.exponent * centre,
        start.exponent,
        start.log_offset.unwrap_or(f64::NEG_INFINITY),
    ];
    let mut objective = huber(&centred, state);
    let mut damping = 1e-3;
    for _ in 0..STEPS {
        let Some(step) = damped_step(&centred, state, parameters, damping) else { break };
        let mut trial = state;
        for (value, step) in trial.iter_mut().zip(step).take(parameters) {
            *value += step;
        }
        let trial_objective = huber(&centred, trial);
        if trial_objective <= objective {
            let gain = objective - trial_objective;
            (state, objective) = (trial, trial_objective);
            damping = (damping * 0.3f64).max(1e-12);
            if gain <= 1e-13 * objective {
                break;
            }
        } else {
            damping *= 5.0;
            if damping > 1e12 {
                break;
            }
        }
    }
    PowerLaw {
        log_amplitude: state[0] + state[1] * centre,
        exponent: state[1],
        log_offset: start.log_offset.map(|_| state[2]),
        objective,
    }
}

/// Logarithm of the prediction and the share of the power term in it.
fn predict_log(x: f64, state: [f64; 3]) -> (f64, f64) {
    let power = state[0] - state[1] * x;
    let top = power.max(state[2]);
    let sum = (power - top).exp() + (state[2] - top).exp();
    (top + sum.ln(), (power - top).exp() / sum)
}

fn huber(points: &[(f64, f64)], state: [f64; 3]) -> f64 {
    let loss = |residual: f64| match residual.abs() {
        size if size <= HUBER_DELTA => 0.5 * size * size,
        size => HUBER_DELTA * (size - 0.5 * HUBER_DELTA),
    };
    let total: f64 = points.iter().map(|&(x, y)| loss(predict_log(x, state).0 - y)).sum();
    total / points.len() as f64
}

/// Solves `(JᵀWJ + damping · diag) step = −JᵀW r` for the first `parameters` unknowns.
fn damped_step(
    points: &[(f64, f64)],
    state: [f64; 3],
    parameters: usize,
    damping: f64,
) -> Option<[f64; 3]> {
    let mut system = [[0.0; 4]; 3];
    for &(x, y) in points {
        let (log_prediction, share) = predict_log(x, state);
        let residual = log_prediction - y;
        let weight = (HUBER_DELTA / residual.abs()).min(1.0);
        let gradient = [share, -share * x, 1.0 - share];
        for row in 0..parameters {
            for column in 0..parameters {
                system[row][column] += weight * gradient[row] * gradient[column];
            }
            system[row][3] -= weight * gradient[row] * residual;
        }
    }
    for (row, line) in system.iter_mut().enumerate().take(parameters) {
        line[row] += damping * line[row].max(1e-12);
    }
    solve(&mut system, parameters)
}

/// Gaussian elimination with pivoting of a `size × size` system, right-hand side in column 3.
fn solve(system: &mut [[f64; 4]; 3], size: usize) -> Option<[f64; 3]> {
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|&a, &b| system[a][column].abs().total_cmp(&system[b][column].abs()))?;
        system.swap(column, pivot);
        let pivot_row = system[column];
        if pivot_row[column] == 0.0 || !pivot_row[column].is_finite() {
            return None;
        }
        for (row, line) in system.iter_mut().enumerate().take(size) {
            if row != column {
                let factor = line[column] / pivot_row[column];
                for (value, pivot) in line.iter_mut().zip(pivot_row) {
                    *value -= factor * pivot;
                }
            }
        }
    }
    let mut solution = [0.0; 3];
    for (row, value) in solution.iter_mut().enumerate().take(size) {
        *value = system[row][3] / system[row][row];
    }
    Some(solution)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [f64; 7] = [1e6, 3e6, 1e7, 3e7, 1e8, 3e8, 1e9];

    fn law(offset: f64, amplitude: f64, exponent: f64) -> Vec<(f64, f64)> {
        SIZES.iter().map(|&n| (n, offset + amplitude * f64::powf(n, -exponent))).collect()
    }

    #[test]
    fn golden_noiseless_laws_are_recovered() {
        let found = fit_power_law(&law(0.0, 20.0, 0.12), false).unwrap();
        assert!((found.exponent - 0.12).abs() < 1e-9, "{found:?}");
        assert!((found.log_amplitude - 20f64.ln()).abs() < 1e-7, "{found:?}");
        // Hoffmann et al. 2022: E = 1.69, A = 406.4, alpha = 0.34.
        let found = fit_power_law(&law(1.69, 406.4, 0.34), true).unwrap();
        assert!((found.exponent - 0.34).abs() < 1e-5, "{found:?}");
        assert!((found.offset_nats() - 1.69).abs() < 1e-5, "{found:?}");
        let truth = 1.69 + 406.4 * 1e10f64.powf(-0.34);
        assert!((found.predict(1e10) - truth).abs() < 1e-5, "{found:?}");
    }

    #[test]
    fn invariant_one_outlier_moves_a_robust_fit_little() {
        let mut points = law(0.0, 20.0, 0.12);
        points[3].1 *= 1.2;
        let found = fit_power_law(&points, false).unwrap();
        assert!((found.exponent - 0.12).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn invariant_the_unit_of_size_does_not_matter() {
        // The exponent of pure noise-free data does not depend on the unit of size.
        let points = law(1.69, 406.4, 0.34);
        let scaled: Vec<(f64, f64)> = points.iter().map(|&(n, l)| (n / 1e6, l)).collect();
        let (a, b) = (fit_power_law(&points, true).unwrap(), fit_power_law(&scaled, true).unwrap());
        assert!(
            (a.exponent - b.exponent).abs() < 1e-5
                && (a.predict(2e9) - b.predict(2e3)).abs() < 1e-6
        );
    }

    #[test]
    fn invariant_too_few_or_impossible_points_give_no_fit() {
        let points = law(1.0, 10.0, 0.2);
        assert!(fit_power_law(&points[..2], false).is_none());
        assert!(fit_power_law(&points[..3], true).is_none());
        assert!(fit_power_law(&points[..3], false).is_some());
        assert!(fit_power_law(&[(1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0)], false).is_none());
        assert!(fit_power_law(&[(0.0, 2.0), (2.0, 1.5), (3.0, 1.0)], false).is_none());
    }
}
