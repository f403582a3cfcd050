//! Plan: chunks and weights in, a list for each host out. Pure.

use protocol::Chunk;

/// Cuts the run into one contiguous list a host, as near to its weight in pictures as whole chunks allow. Weights sum
/// to 1; the lists together hold every chunk once, in order.
pub fn plan(chunks: &[Chunk], weights: &[f64]) -> Vec<Vec<Chunk>> {
    let total: u64 = chunks.iter().map(|c| c.count).sum();
    let mut lists = vec![Vec::new(); weights.len()];
    let mut before = 0u64;
    let mut host = 0;
    let mut bound = weights.first().copied().unwrap_or(1.0) * total as f64;
    for chunk in chunks {
        let middle = before as f64 + chunk.count as f64 / 2.0;
        while host + 1 < weights.len() && middle > bound {
            host += 1;
            bound += weights[host] * total as f64;
        }
        lists[host].push(*chunk);
        before += chunk.count;
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunks(counts: &[u64]) -> Vec<Chunk> {
        counts.iter().enumerate().map(|(i, &count)| Chunk { id: i as u64, offset: 0, count, bytes: count }).collect()
    }

    #[test]
    fn lists_follow_the_weights() {
        let lists = plan(&chunks(&[10; 100]), &[0.2, 0.2, 0.6]);
        assert_eq!(lists.iter().map(Vec::len).collect::<Vec<_>>(), [20, 20, 60]);
        assert_eq!(plan(&chunks(&[5]), &[0.5, 0.5]).iter().map(Vec::len).sum::<usize>(), 1);
        assert_eq!(plan(&[], &[1.0]), [vec![]]);
    }

    proptest! {
        #[test]
        fn every_chunk_is_on_one_list_and_no_list_is_off_by_more_than_a_chunk(
            counts in prop::collection::vec(1u64..2000, 0..200), weights in prop::collection::vec(0.01f64..10.0, 1..20),
        ) {
            let sum: f64 = weights.iter().sum();
            let weights: Vec<f64> = weights.iter().map(|w| w / sum).collect();
            let all = chunks(&counts);
            let lists = plan(&all, &weights);
            prop_assert_eq!(lists.concat(), all);
            let total = counts.iter().sum::<u64>() as f64;
            let largest = counts.iter().max().copied().unwrap_or(0) as f64;
            for (list, weight) in lists.iter().zip(&weights) {
                let pictures = list.iter().map(|c| c.count).sum::<u64>() as f64;
                prop_assert!((pictures - weight * total).abs() <= largest + 1e-6 * total);
            }
        }
    }
}
