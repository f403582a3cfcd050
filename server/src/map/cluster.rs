//! Clusters: k-means (Lloyd), which begins with pictures far from each other (k-means++, Arthur and Vassilvitskii, 2007).

use crate::map::reduce::{Components, DIMS, add, distance};

/// What still changes after so many rounds is on a border.
const ROUNDS: usize = 30;

/// For each picture its cluster: 0 is the largest, and none is empty.
pub fn cluster(pictures: &[Components]) -> Vec<usize> {
    let mut centres = beginning(pictures, clusters(pictures.len()));
    let mut of_picture = vec![usize::MAX; pictures.len()];
    for _ in 0..ROUNDS {
        let now: Vec<usize> = pictures.iter().map(|picture| nearest(&centres, picture).0).collect();
        if now == of_picture {
            break;
        }
        of_picture = now;
        let (mut sums, mut counts) = (vec![[0f32; DIMS]; centres.len()], vec![0u32; centres.len()]);
        for (picture, &own) in pictures.iter().zip(&of_picture) {
            add(&mut sums[own], picture, 1.0);
            counts[own] += 1;
        }
        let filled = sums.iter().zip(&counts).enumerate().filter(|(_, (_, count))| **count > 0);
        filled.for_each(|(i, (sum, count))| centres[i] = sum.map(|value| value / *count as f32));
    }
    by_size(&of_picture, centres.len())
}

/// As many as a person can look over: more of more pictures.
fn clusters(pictures: usize) -> usize {
    ((pictures as f64 / 2.0).sqrt().round() as usize).clamp(4, 40)
}

/// Different pictures, of which one is the likelier the farther it is from those before; fewer than `count` if no others
/// are left.
fn beginning(pictures: &[Components], count: usize) -> Vec<Components> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut centres: Vec<Components> =
        pictures.get(random.usize(..pictures.len().max(1))).copied().into_iter().collect();
    let mut squares = vec![f32::MAX; pictures.len()];
    while let Some(last) = centres.last().filter(|_| centres.len() < count) {
        squares.iter_mut().zip(pictures).for_each(|(square, picture)| *square = square.min(distance(last, picture)));
        let all: f64 = squares.iter().map(|square| f64::from(*square)).sum();
        let mut left = random.f64() * all;
        let picked = squares.iter().position(|square| {
            left -= f64::from(*square);
            left < 0.0
        });
        let Some(picked) = picked else { break };
        centres.push(pictures[picked]);
    }
    centres
}

fn nearest(centres: &[Components], picture: &Components) -> (usize, f32) {
    let distances = centres.iter().map(|centre| distance(centre, picture)).enumerate();
    distances.min_by(|a, b| a.1.total_cmp(&b.1)).expect("where there is a picture there is a centre")
}

/// Numbers clusters anew, the largest first, those without a picture not at all.
fn by_size(of_picture: &[usize], count: usize) -> Vec<usize> {
    let mut sizes = vec![0usize; count];
    of_picture.iter().for_each(|&own| sizes[own] += 1);
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&cluster| std::cmp::Reverse(sizes[cluster]));
    let mut rank = vec![0; count];
    order.iter().enumerate().for_each(|(place, &cluster)| rank[cluster] = place);
    of_picture.iter().map(|&own| rank[own]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::project::tests::groups;

    #[test]
    fn groups_far_apart_are_clusters() {
        // 32 pictures have four clusters.
        let pictures = groups(32, 4, 5.0);
        let found = cluster(&pictures);
        assert!((0..32).all(|i| found[i] == found[i % 4]), "{found:?}");
        assert_eq!((0..4).map(|i| found[i]).collect::<std::collections::HashSet<_>>().len(), 4);
        assert_eq!(found, cluster(&pictures));
    }

    #[test]
    fn the_largest_comes_first_and_none_is_empty() {
        for count in [1, 2, 5, 100, 1000] {
            let found = cluster(&groups(count, 3, 1.0));
            let sizes: Vec<usize> =
                (0..=*found.iter().max().unwrap()).map(|c| found.iter().filter(|own| **own == c).count()).collect();
            assert!(sizes.is_sorted_by(|a, b| a >= b) && sizes.last() > Some(&0), "{count}: {sizes:?}");
            assert!(sizes.len() <= clusters(count));
        }
        assert_eq!(cluster(&[[0.0; DIMS]; 9]), [0; 9], "what is the same is one cluster");
        assert!(cluster(&[]).is_empty());
    }

    #[test]
    fn there_are_as_many_as_one_can_look_over() {
        assert_eq!([0, 10, 32, 240, 2000, 50_000].map(clusters), [4, 4, 4, 11, 32, 40]);
    }
}
