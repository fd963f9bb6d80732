//! Best learning rate as the vertex of a parabola.

/// Most points the parabola is fitted to.
const POINTS: usize = 5;
/// Relative size of a bend that rounding of the losses can produce.
const ROUNDING: f64 = 1e-12;

/// The bottom of a loss curve over log2 of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Vertex {
    /// log2 of the best learning rate.
    pub log2_learning_rate: f64,
    /// Fitted loss there, nats.
    pub loss_nats: f64,
    /// Coefficient of the squared distance, nats per octave squared.
    pub curvature: f64,
    /// Points the parabola was fitted to.
    pub points: usize,
}

/// Why a loss curve has no usable vertex.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum VertexProblem {
    /// Fewer than three learning rates with a finite loss.
    #[error("only {0} learning rates have a finite loss, three are needed")]
    TooFewPoints(usize),
    /// The parabola opens downwards or is flat.
    #[error("the loss curve is not convex near its minimum (curvature {0:.2e} nats per octave²)")]
    NotConvex(f64),
    /// The vertex lies beyond the learning rates the parabola was fitted to.
    #[error("the minimum 2^{vertex:.2} lies outside the tried rates 2^{low:.2} … 2^{high:.2}")]
    OutsidePoints {
        /// log2 of the learning rate at the vertex.
        vertex: f64,
        /// log2 of the lowest rate used.
        low: f64,
        /// log2 of the highest rate used.
        high: f64,
    },
}

/// Least-squares parabola through the (at most five) points nearest the lowest one.
///
/// `points` are `(log2 learning rate, loss in nats)`; non-finite losses (diverged runs) are left
/// out. All points would bias the vertex on the asymmetric bowls that real sweeps have.
pub fn quadratic_vertex(points: &[(f64, f64)]) -> Result<Vertex, VertexProblem> {
    vertex_with_spread(points).map(|(vertex, _)| vertex)
}

/// How well the points near a minimum are a parabola, and what that means for its vertex.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VertexSpread {
    /// Sum of squared residuals of the fitted points, nats squared.
    pub residual_squares: f64,
    /// Fitted points less three.
    pub freedom: usize,
    /// Variance of the vertex (octaves squared) per variance of one point's loss, by the delta
    /// method on the orthogonal coefficients of the fit.
    pub variance_factor: f64,
    /// Mean distance of neighbouring fitted rates, octaves.
    pub spacing: f64,
}

/// As [`quadratic_vertex`], with the spread of the fitted points.
pub fn vertex_with_spread(points: &[(f64, f64)]) -> Result<(Vertex, VertexSpread), VertexProblem> {
    let mut finite: Vec<(f64, f64)> =
        points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    finite.sort_by(|a, b| a.0.total_cmp(&b.0));
    finite.dedup_by(|a, b| a.0.total_cmp(&b.0).is_eq());
    let lowest = finite.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
    let Some((origin, _)) = lowest.filter(|_| finite.len() >= 3) else {
        return Err(VertexProblem::TooFewPoints(finite.len()));
    };
    // A stable sort: of two equally distant points the one at the lower rate comes first.
    finite.sort_by(|a, b| (a.0 - origin).abs().total_cmp(&(b.0 - origin).abs()));
    finite.truncate(POINTS);
    let fit = parabola(&finite, origin);
    let [level, slope, curvature] = fit.coefficients;
    let low = finite.iter().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let high = finite.iter().map(|point| point.0).fold(f64::NEG_INFINITY, f64::max);
    let largest = finite.iter().map(|point| point.1.abs()).fold(0.0, f64::max);
    // Curvature that rounding alone can make is none.
    let convex = curvature * (high - low).powi(2) > ROUNDING * largest;
    if !convex {
        return Err(VertexProblem::NotConvex(curvature));
    }
    let shift = -slope / (2.0 * curvature);
    let vertex = origin + shift;
    if vertex < low || vertex > high {
        return Err(VertexProblem::OutsidePoints { vertex, low, high });
    }
    let loss_nats = level + 0.5 * slope * shift;
    let residual = |&(x, y): &(f64, f64)| {
        let u = x - origin;
        y - (level + slope * u + curvature * u * u)
    };
    let spread = VertexSpread {
        residual_squares: finite.iter().map(residual).map(|r| r * r).sum(),
        freedom: finite.len() - 3,
        variance_factor: fit.vertex_variance_factor,
        spacing: (high - low) / (finite.len() - 1) as f64,
    };
    let points = finite.len();
    Ok((Vertex { log2_learning_rate: vertex, loss_nats, curvature, points }, spread))
}

/// A fitted parabola.
struct Parabola {
    /// `[c0, c1, c2]` in `x − origin`.
    coefficients: [f64; 3],
    /// Variance of the vertex per variance of a point. With the orthogonal terms P1, P2 of the fit,
    /// vertex = centre + tilt / 2 − a1 / (2 a2), and a1, a2 have variances 1/|P1|², 1/|P2|².
    vertex_variance_factor: f64,
}

/// Coefficients `[c0, c1, c2]` of the least-squares parabola in `x − origin`, by Gram–Schmidt
/// over 1, x, x² on the points (well conditioned for the few points used).
fn parabola(points: &[(f64, f64)], origin: f64) -> Parabola {
    let n = points.len() as f64;
    let xs: Vec<f64> = points.iter().map(|point| point.0 - origin).collect();
    let ys: Vec<f64> = points.iter().map(|point| point.1).collect();
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let centre = xs.iter().sum::<f64>() / n;
    let first: Vec<f64> = xs.iter().map(|x| x - centre).collect();
    let squares: Vec<f64> = first.iter().map(|x| x * x).collect();
    let mean_square = squares.iter().sum::<f64>() / n;
    let tilt = dot(&squares, &first) / dot(&first, &first);
    let second: Vec<f64> =
        squares.iter().zip(&first).map(|(square, x)| square - mean_square - tilt * x).collect();
    let a0 = ys.iter().sum::<f64>() / n;
    let a1 = dot(&ys, &first) / dot(&first, &first);
    let a2 = dot(&ys, &second) / dot(&second, &second);
    // a0 + a1 u + a2 (u² − mean_square − tilt u) with u = x − centre, collected in x.
    let (c, b) = (a0 - a2 * mean_square, a1 - a2 * tilt);
    Parabola {
        coefficients: [c - b * centre + a2 * centre * centre, b - 2.0 * a2 * centre, a2],
        vertex_variance_factor: 1.0 / (4.0 * a2 * a2 * dot(&first, &first))
            + a1 * a1 / (4.0 * a2.powi(4) * dot(&second, &second)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bowl(xs: &[f64], centre: f64) -> Vec<(f64, f64)> {
        xs.iter().map(|&x| (x, 3.0 + 0.02 * (x - centre).powi(2))).collect()
    }

    #[test]
    fn golden_vertex_of_an_exact_parabola() {
        for centre in [-9.0, -8.6, -8.5, -8.1] {
            let points = bowl(&[-12.0, -11.0, -10.0, -9.0, -8.0, -7.0, -6.0], centre);
            let found = quadratic_vertex(&points).unwrap();
            assert!((found.log2_learning_rate - centre).abs() < 1e-10, "{found:?}");
            assert!((found.loss_nats - 3.0).abs() < 1e-12, "{found:?}");
            assert!((found.curvature - 0.02).abs() < 1e-12 && found.points == 5, "{found:?}");
        }
    }

    #[test]
    fn golden_only_the_five_points_nearest_the_minimum_count() {
        let mut points = bowl(&[-11.0, -10.0, -9.0, -8.0, -7.0], -9.0);
        points.push((-5.0, 7.0));
        points.push((-14.0, 6.0));
        points.push((-6.0, f64::NAN));
        let found = quadratic_vertex(&points).unwrap();
        assert!((found.log2_learning_rate + 9.0).abs() < 1e-10, "{found:?}");
        // Unequal steps and an unordered list change nothing.
        let found = quadratic_vertex(&bowl(&[-7.0, -8.5, -9.5, -10.0], -9.1)).unwrap();
        assert!((found.log2_learning_rate + 9.1).abs() < 1e-10 && found.points == 4);
    }

    #[test]
    fn invariant_curves_without_a_bracketed_minimum_are_refused() {
        let rising = bowl(&[-8.0, -7.0, -6.0], -9.0);
        assert!(matches!(quadratic_vertex(&rising), Err(VertexProblem::OutsidePoints { .. })));
        let line = [(-3.0, 3.0), (-2.0, 2.0), (-1.0, 1.0)];
        assert!(matches!(quadratic_vertex(&line), Err(VertexProblem::NotConvex(_))));
        let hill = [(-3.0, 3.0), (-2.0, 3.5), (-1.0, 3.0)];
        assert!(matches!(quadratic_vertex(&hill), Err(VertexProblem::NotConvex(_))));
        let two = [(-3.0, 3.0), (-2.0, 3.5), (-1.0, f64::INFINITY)];
        assert_eq!(quadratic_vertex(&two), Err(VertexProblem::TooFewPoints(2)));
        assert_eq!(quadratic_vertex(&[]), Err(VertexProblem::TooFewPoints(0)));
    }
}
