//! Maximum spanning trees (Chu & Liu 1965, Edmonds 1967).

/// The heads of the heaviest tree over `count` words with one root: `None` for the root. The
/// weight of a tree is the sum of `weight(dependent, head)` over all words but the root, any of
/// which may be it. Weights are finite.
///
/// Contracts cycles, `O(count^3)`.
pub fn maximum_spanning_tree(
    count: usize,
    weight: impl Fn(usize, usize) -> f64,
) -> Vec<Option<usize>> {
    if count == 0 {
        return Vec::new();
    }
    let mut largest = 0f64;
    for dependent in 0..count {
        for head in (0..count).filter(|&head| head != dependent) {
            largest = largest.max(weight(dependent, head).abs());
        }
    }
    // Node 0 is a root above all words. A second word below it would cost more than any tree can
    // gain.
    let penalty = -(2.0 * largest + 1.0) * (count as f64 + 1.0);
    let size = count + 1;
    let mut weights = vec![vec![f64::NEG_INFINITY; size]; size];
    for (dependent, row) in weights.iter_mut().enumerate().skip(1) {
        row[0] = penalty;
        for head in (1..size).filter(|&head| head != dependent) {
            row[head] = weight(dependent - 1, head - 1);
        }
    }
    let heads = arborescence(&weights);
    (1..size).map(|word| heads[word].checked_sub(1)).collect()
}

/// The heads of the heaviest arborescence from node 0; `weights[dependent][head]`, minus infinity
/// where there is no arc. The entry of node 0 is 0.
fn arborescence(weights: &[Vec<f64>]) -> Vec<usize> {
    let size = weights.len();
    let mut heads = vec![0; size];
    for node in 1..size {
        for head in 0..size {
            if head != node && weights[node][head] > weights[node][heads[node]] {
                heads[node] = head;
            }
        }
    }
    let Some(cycle) = find_cycle(&heads) else { return heads };
    // Contract the cycle into one node, the last of the smaller graph.
    let inside = |node: usize| cycle.contains(&node);
    let outer: Vec<usize> = (0..size).filter(|&node| !inside(node)).collect();
    let small = outer.len() + 1;
    let merged = small - 1;
    let mut contracted = vec![vec![f64::NEG_INFINITY; small]; small];
    let mut entered = vec![0; outer.len()];
    let mut left = vec![0; outer.len()];
    for (place, &node) in outer.iter().enumerate() {
        for (other, &head) in outer.iter().enumerate() {
            contracted[place][other] = weights[node][head];
        }
        // Into the cycle: what breaking it at the entered node gains.
        let gain = |&member: &usize| weights[member][node] - weights[member][heads[member]];
        entered[place] = best(&cycle, gain);
        contracted[merged][place] = gain(&entered[place]);
        // Out of the cycle.
        let arc = |&member: &usize| weights[node][member];
        left[place] = best(&cycle, arc);
        contracted[place][merged] = arc(&left[place]);
    }
    let solved = arborescence(&contracted);
    for (place, &node) in outer.iter().enumerate().skip(1) {
        heads[node] = if solved[place] == merged { left[place] } else { outer[solved[place]] };
    }
    let from = solved[merged];
    heads[entered[from]] = outer[from];
    heads
}

/// The first of `nodes` with the largest value.
fn best(nodes: &[usize], value: impl Fn(&usize) -> f64) -> usize {
    let mut chosen = nodes[0];
    for node in &nodes[1..] {
        if value(node) > value(&chosen) {
            chosen = *node;
        }
    }
    chosen
}

/// The nodes of a cycle among `heads`, of which node 0 has none.
fn find_cycle(heads: &[usize]) -> Option<Vec<usize>> {
    let mut seen = vec![0; heads.len()];
    for start in 1..heads.len() {
        let mut node = start;
        while node != 0 && seen[node] == 0 {
            seen[node] = start;
            node = heads[node];
        }
        if node != 0 && seen[node] == start {
            let mut cycle = vec![node];
            let mut next = heads[node];
            while next != node {
                cycle.push(next);
                next = heads[next];
            }
            return Some(cycle);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use models::random::{Purpose, Stream};

    use super::*;

    /// The weight of `heads` if they are a tree with one root.
    fn value(heads: &[Option<usize>], weights: &[Vec<f64>]) -> Option<f64> {
        if heads.iter().filter(|head| head.is_none()).count() != 1 {
            return None;
        }
        let mut total = 0.0;
        for (word, &chosen) in heads.iter().enumerate() {
            if let Some(head) = chosen {
                total += weights[word][head];
            }
            let (mut at, mut steps) = (word, 0);
            while let Some(head) = heads[at] {
                (at, steps) = (head, steps + 1);
                if steps > heads.len() {
                    return None;
                }
            }
        }
        Some(total)
    }

    /// The heaviest tree by trying all.
    fn by_enumeration(count: usize, weights: &[Vec<f64>]) -> f64 {
        let choices = count + 1;
        let mut best = f64::NEG_INFINITY;
        for code in 0..choices.pow(count as u32) {
            let (mut rest, mut heads) = (code, Vec::new());
            for word in 0..count {
                let head = (rest % choices).checked_sub(1);
                rest /= choices;
                if head == Some(word) {
                    break;
                }
                heads.push(head);
            }
            if heads.len() == count
                && let Some(total) = value(&heads, weights)
            {
                best = best.max(total);
            }
        }
        best
    }

    #[test]
    fn invariant_the_tree_is_the_heaviest_of_all_trees() {
        for case in 0..400u64 {
            let count = 1 + (case % 6) as usize;
            let mut stream = Stream::new(7, Purpose::Test, case);
            // Few values, so that ties and cycles are common; logarithms of shares as well.
            let mut draw = |_| match case % 3 {
                0 => stream.below(4) as f64,
                1 => -(stream.below(1000) as f64),
                _ => (stream.below(1000) as f64 / 1000.0).max(1e-12).ln(),
            };
            let mut rows = |_| (0..count).map(&mut draw).collect::<Vec<f64>>();
            let weights: Vec<Vec<f64>> = (0..count).map(&mut rows).collect();
            let tree = maximum_spanning_tree(count, |word, head| weights[word][head]);
            let found = value(&tree, &weights).expect("a tree with one root");
            let expected = by_enumeration(count, &weights);
            assert!((found - expected).abs() < 1e-9, "case {case}: {found} {expected} {tree:?}");
        }
        assert!(maximum_spanning_tree(0, |_, _| 0.0).is_empty());
    }
}
