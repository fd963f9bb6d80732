//! Categories that nobody named against categories that somebody did.

use std::collections::BTreeMap;

use models::random::{Purpose, Stream};

/// Rounds of k-means at most.
const ROUNDS: usize = 50;

/// How well clusters tell tags.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Agreement {
    /// Clusters that hold a word.
    pub clusters: usize,
    /// Share of words whose tag is the most frequent one of their cluster.
    pub many_to_one: f64,
    /// Harmonic mean of homogeneity and completeness (Rosenberg & Hirschberg 2007).
    pub v_measure: f64,
}

/// Agreement of `clusters` with `tags`, one of each per word.
pub fn agreement(clusters: &[usize], tags: &[&str]) -> Agreement {
    assert_eq!(clusters.len(), tags.len(), "one cluster and one tag per word");
    let mut joint: BTreeMap<(usize, &str), f64> = BTreeMap::new();
    let mut by_cluster: BTreeMap<usize, f64> = BTreeMap::new();
    let mut by_tag: BTreeMap<&str, f64> = BTreeMap::new();
    let share = 1.0 / clusters.len().max(1) as f64;
    for (&cluster, &tag) in clusters.iter().zip(tags) {
        *joint.entry((cluster, tag)).or_default() += share;
        *by_cluster.entry(cluster).or_default() += share;
        *by_tag.entry(tag).or_default() += share;
    }
    let mut largest: BTreeMap<usize, f64> = BTreeMap::new();
    for (&(cluster, _), &share) in &joint {
        let most = largest.entry(cluster).or_default();
        *most = most.max(share);
    }
    let entropy =
        |shares: &mut dyn Iterator<Item = f64>| -> f64 { shares.map(|p| -p * p.ln()).sum() };
    let (of_tags, of_clusters, of_both) = (
        entropy(&mut by_tag.values().copied()),
        entropy(&mut by_cluster.values().copied()),
        entropy(&mut joint.values().copied()),
    );
    // Conditional entropies from the joint one; a single category leaves nothing to tell.
    let explained = |whole: f64, other: f64| {
        if whole <= 0.0 { 1.0 } else { 1.0 - (of_both - other).max(0.0) / whole }
    };
    let (homogeneity, completeness) =
        (explained(of_tags, of_clusters), explained(of_clusters, of_tags));
    let sum = homogeneity + completeness;
    let v_measure = if sum > 0.0 { 2.0 * homogeneity * completeness / sum } else { 0.0 };
    Agreement { clusters: by_cluster.len(), many_to_one: largest.values().sum(), v_measure }
}

/// Clusters of `points` by k-means (Lloyd's rounds from k-means++ centres drawn from `seed`), at
/// most `clusters` of them.
pub fn k_means(points: &[Vec<f32>], clusters: usize, seed: u64) -> Vec<usize> {
    let mut stream = Stream::named(seed, Purpose::Bootstrap, "k-means", 0);
    let mut centres = first_centres(points, clusters, &mut stream);
    let mut assigned = vec![usize::MAX; points.len()];
    for _ in 0..ROUNDS {
        let nearest: Vec<usize> = points.iter().map(|point| nearest(point, &centres).0).collect();
        if nearest == assigned {
            break;
        }
        assigned = nearest;
        let width = points.first().map_or(0, Vec::len);
        let mut sums = vec![vec![0f64; width]; centres.len()];
        let mut counts = vec![0usize; centres.len()];
        for (point, &cluster) in points.iter().zip(&assigned) {
            counts[cluster] += 1;
            for (sum, &value) in sums[cluster].iter_mut().zip(point) {
                *sum += f64::from(value);
            }
        }
        for ((centre, sum), &count) in centres.iter_mut().zip(sums).zip(&counts) {
            // A centre without points stays where it is.
            if count > 0 {
                *centre = sum.into_iter().map(|sum| (sum / count as f64) as f32).collect();
            }
        }
    }
    assigned
}

/// k-means++ (Arthur & Vassilvitskii 2007): a point is drawn in proportion to its squared
/// distance from the centres so far.
fn first_centres(points: &[Vec<f32>], clusters: usize, stream: &mut Stream) -> Vec<Vec<f32>> {
    let mut centres: Vec<Vec<f32>> = Vec::new();
    let mut distances = vec![f64::INFINITY; points.len()];
    while centres.len() < clusters.min(points.len()) {
        let total: f64 = distances.iter().sum();
        let chosen = if total.is_finite() {
            if total <= 0.0 {
                break;
            }
            let mut left = stream.unit() * total;
            let place = distances.iter().position(|distance| {
                left -= distance;
                left < 0.0
            });
            place.unwrap_or(points.len() - 1)
        } else {
            stream.below(points.len() as u64) as usize
        };
        let centre = points[chosen].clone();
        for (distance, point) in distances.iter_mut().zip(points) {
            *distance = distance.min(squared_distance(point, &centre));
        }
        centres.push(centre);
    }
    centres
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let sum: f32 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    f64::from(sum)
}

/// The nearest centre, the first of equals, and its squared distance.
fn nearest(point: &[f32], centres: &[Vec<f32>]) -> (usize, f64) {
    let mut best = (0, f64::INFINITY);
    for (place, centre) in centres.iter().enumerate() {
        let distance = squared_distance(point, centre);
        if distance < best.1 {
            best = (place, distance);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_agreement_by_hand() {
        let tags = ["N", "N", "V", "V"];
        let perfect = agreement(&[3, 3, 8, 8], &tags);
        assert_eq!((perfect.clusters, perfect.many_to_one, perfect.v_measure), (2, 1.0, 1.0));
        let none = agreement(&[0, 1, 0, 1], &tags);
        assert!((none.many_to_one - 0.5).abs() < 1e-15 && none.v_measure.abs() < 1e-12);
        // One cluster too many: homogeneous, and complete by H(tags) over H(clusters).
        let split = agreement(&[0, 1, 2, 2], &tags);
        assert!((split.many_to_one - 1.0).abs() < 1e-15);
        let completeness = 2f64.ln() / (2.0f64.ln() * 0.5 + 4f64.ln() * 0.5);
        let expected = 2.0 * completeness / (1.0 + completeness);
        assert!((split.v_measure - expected).abs() < 1e-12, "{}", split.v_measure);
        assert!((agreement(&[0; 4], &tags).v_measure).abs() < 1e-12);
    }

    #[test]
    fn invariant_k_means_finds_clusters_that_lie_apart() {
        let mut stream = Stream::new(1, Purpose::Test, 0);
        let mut point = |centre: usize| {
            (0..3)
                .map(|axis| (if centre == axis { 10.0 } else { 0.0 }) + stream.normal() as f32)
                .collect::<Vec<f32>>()
        };
        let points: Vec<Vec<f32>> = (0..90).map(|place| point(place % 3)).collect();
        let clusters = k_means(&points, 3, 5);
        for (place, &cluster) in clusters.iter().enumerate() {
            assert_eq!(cluster, clusters[place % 3], "point {place}");
        }
        assert_eq!(clusters, k_means(&points, 3, 5));
        assert_eq!(k_means(&points[..2], 9, 5).len(), 2);
    }
}
