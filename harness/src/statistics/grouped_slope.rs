//! Slope of a line that several groups share, each with its own level.

use std::collections::BTreeMap;

use super::describe::{CONFIDENCE_LEVEL, Interval, mean, student_quantile};

/// A common slope.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupedSlope {
    /// Least squares with one level per group.
    pub slope: f64,
    /// At [`CONFIDENCE_LEVEL`], from the residuals; absent without degrees of freedom.
    pub interval: Option<Interval>,
    /// Points less groups less one.
    pub freedom: usize,
}

/// Analysis of covariance of points `(group, x, y)`: `y = level(group) + slope x + noise`. A level
/// that a group (a seed) shares does not widen the interval, while curvature and noise of single
/// points do. `None` if no group has two different `x`.
pub fn grouped_slope(points: &[(u64, f64, f64)]) -> Option<GroupedSlope> {
    let mut groups: BTreeMap<u64, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for &(group, x, y) in points {
        let (xs, ys) = groups.entry(group).or_default();
        xs.push(x);
        ys.push(y);
    }
    let mut centred = Vec::with_capacity(points.len());
    for (xs, ys) in groups.values() {
        let (centre_x, centre_y) = (mean(xs)?, mean(ys)?);
        centred.extend(xs.iter().zip(ys).map(|(x, y)| (x - centre_x, y - centre_y)));
    }
    let spread: f64 = centred.iter().map(|(x, _)| x * x).sum();
    if spread <= 0.0 {
        return None;
    }
    let slope = centred.iter().map(|(x, y)| x * y).sum::<f64>() / spread;
    let freedom = points.len().saturating_sub(groups.len() + 1);
    let residuals: f64 = centred.iter().map(|(x, y)| (y - slope * x).powi(2)).sum();
    let interval = (freedom > 0).then(|| {
        let error = (residuals / freedom as f64 / spread).sqrt();
        let quantile = student_quantile(0.5 + 0.5 * CONFIDENCE_LEVEL, freedom as f64);
        Interval::around(slope, quantile * error)
    });
    Some(GroupedSlope { slope, interval, freedom })
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{assert_coverage, normals};
    use super::*;

    #[test]
    fn golden_slope_of_lines_with_different_levels() {
        let line = |group: u64, level: f64| {
            (5..9).map(move |x| (group, f64::from(x), level - 0.5 * f64::from(x)))
        };
        let points: Vec<_> = line(1, 0.0).chain(line(2, 10.0)).collect();
        let found = grouped_slope(&points).unwrap();
        assert!((found.slope + 0.5).abs() < 1e-12 && found.freedom == 5, "{found:?}");
        assert!(found.interval.unwrap().half_width() < 1e-12);
        assert!(grouped_slope(&[(1, 2.0, 1.0), (2, 3.0, 1.0)]).is_none());
        let two = grouped_slope(&[(1, 2.0, 1.0), (1, 3.0, 2.0)]).unwrap();
        assert_eq!((two.slope, two.interval, two.freedom), (1.0, None, 0));
    }

    #[test]
    fn invariant_intervals_cover_the_slope_whatever_seeds_share() {
        for (seeds, widths) in [(1, 5), (3, 4), (2, 3)] {
            assert_coverage(2000, |index| {
                let levels = normals(index, "level", seeds, 0.0, 3.0);
                let points: Vec<_> = (0..seeds)
                    .flat_map(|seed| {
                        let noise = normals(index, &format!("noise {seed}"), widths, 0.0, 0.1);
                        let level = levels[seed];
                        noise.into_iter().enumerate().map(move |(x, noise)| {
                            (seed as u64, x as f64, level + 0.25 * x as f64 + noise)
                        })
                    })
                    .collect();
                grouped_slope(&points).unwrap().interval.unwrap().contains(0.25)
            });
        }
    }
}
