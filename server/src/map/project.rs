//! Places on the map: t-SNE (van der Maaten and Hinton, 2008), which begins with the first two principal components; of many
//! pictures in the form whose time grows only with their number (FIt-SNE, Linderman et al., 2019).

use bhtsne::{Neighbor, tSNE};
use rayon::{ThreadPoolBuildError, ThreadPoolBuilder};

use crate::map::reduce::{Components, distance};

/// How many neighbours count for a picture, so to speak; three times as many are looked at.
const PERPLEXITY: usize = 15;
/// Steps, the first 250 of which pull neighbours together.
const STEPS: usize = 750;
/// Fewer pictures than this have too few neighbours: their principal components are their places.
const FEWEST: usize = 10;
/// From so many on forces are added up on a grid.
const MANY: usize = 5_000;
/// In a tree, what is farther away than twice its size counts as one.
const THETA: f32 = 0.5;
/// The spread of the places in the beginning, which must be small (Kobak and Berens, 2019).
const BEGINNING: f32 = 1e-4;
/// Rows that are compared at a time, so that they stay in the processor's cache.
const BLOCK: usize = 256;

/// A place for each picture, x and y from -1 to 1. Pictures that are the same lie near each other, not on each other.
pub fn project(pictures: &[Components]) -> Result<Vec<[f32; 2]>, ThreadPoolBuildError> {
    let beginning = beginning(pictures);
    if pictures.len() < FEWEST {
        return Ok(scaled(&beginning));
    }
    // On more threads the order of additions, and so the map, would be another each time; and nobody's question waits.
    let alone = ThreadPoolBuilder::new().num_threads(1).thread_name(|_| "map".to_owned()).build()?;
    let perplexity = PERPLEXITY.min((pictures.len() - 1) / 3);
    let places = alone.install(|| {
        let neighbours = neighbours(pictures, 3 * perplexity);
        let mut tsne: tSNE<f32, Components> = tSNE::new(pictures);
        tsne.perplexity(perplexity as f32).epochs(STEPS).initial_embedding(beginning.as_flattened());
        // A grid costs what the map is wide, also of few pictures; a tree costs what there are.
        match pictures.len() {
            ..MANY => tsne.barnes_hut_with_neighbors(THETA, &neighbours),
            MANY.. => tsne.fit_sne_with_neighbors(&neighbours),
        };
        tsne.embedding()
    });
    Ok(scaled(places.as_chunks().0))
}

/// The first two components, small, and a little aside, so that no two pictures are at the same place.
fn beginning(pictures: &[Components]) -> Vec<[f32; 2]> {
    let mut random = fastrand::Rng::with_seed(1);
    let squares: f32 = pictures.iter().map(|c| c[0] * c[0]).sum();
    let spread = (squares / pictures.len().max(1) as f32).sqrt();
    let scale = if spread > 1e-6 { BEGINNING / spread } else { 0.0 };
    let mut aside = || (random.f32() - 0.5) * BEGINNING / 100.0;
    pictures.iter().map(|c| [scale * c[0] + aside(), scale * c[1] + aside()]).collect()
}

/// So that the map is a square from -1 to 1, with the mean in its middle and the farthest picture at its edge.
fn scaled(places: &[[f32; 2]]) -> Vec<[f32; 2]> {
    let count = places.len().max(1) as f32;
    let mean = [0, 1].map(|axis| places.iter().map(|place| place[axis]).sum::<f32>() / count);
    let centred = |place: &[f32; 2]| [place[0] - mean[0], place[1] - mean[1]];
    let most = places.iter().flat_map(centred).fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
    // Four digits are less than a pixel apart on any screen, and short to write.
    let short = |value: f32| (value / most * 1e4).round() / 1e4;
    places.iter().map(|place| centred(place).map(short)).collect()
}

/// The `k` nearest others of each picture, nearest first; of equal distance, the first. There must be more than `k`.
fn neighbours(pictures: &[Components], k: usize) -> Vec<Vec<Neighbor<f32>>> {
    let mut all = Vec::with_capacity(pictures.len());
    for (block, some) in pictures.chunks(BLOCK).enumerate() {
        let mut nearest: Vec<Nearest> =
            some.iter().map(|_| Nearest { k, bound: f32::MAX, found: Vec::new() }).collect();
        for (other_block, others) in pictures.chunks(BLOCK).enumerate() {
            for (i, (picture, nearest)) in some.iter().zip(&mut nearest).enumerate() {
                for (j, other) in others.iter().enumerate() {
                    let distance = distance(picture, other);
                    if distance < nearest.bound && (block, i) != (other_block, j) {
                        nearest.offer(distance, (other_block * BLOCK + j) as u32);
                    }
                }
            }
        }
        all.extend(nearest.into_iter().map(Nearest::sorted));
    }
    all
}

/// The nearest so far, and some more.
struct Nearest {
    k: usize,
    /// What is not nearer than this is not among them.
    bound: f32,
    found: Vec<(f32, u32)>,
}

impl Nearest {
    fn offer(&mut self, distance: f32, index: u32) {
        self.found.push((distance, index));
        if self.found.len() >= 4 * self.k {
            self.found.select_nth_unstable_by(self.k - 1, order);
            self.found.truncate(self.k);
            self.bound = self.found[self.k - 1].0;
        }
    }

    fn sorted(mut self) -> Vec<Neighbor<f32>> {
        self.found.sort_unstable_by(order);
        let nearest = self.found.iter().take(self.k);
        nearest.map(|(distance, index)| Neighbor { index: *index as usize, distance: distance.sqrt() }).collect()
    }
}

fn order(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::map::reduce::DIMS;

    /// Pictures of `groups` kinds, each `apart` from the others and one away from its own.
    pub fn groups(count: usize, groups: usize, apart: f32) -> Vec<Components> {
        let mut random = fastrand::Rng::with_seed(5);
        let picture = |i: usize| {
            let mut components: Components = std::array::from_fn(|_| random.f32() / (DIMS as f32).sqrt());
            components[i % groups] += apart;
            components
        };
        (0..count).map(picture).collect()
    }

    #[test]
    fn neighbours_are_the_nearest_and_of_equal_ones_the_first() {
        let mut pictures = groups(700, 3, 1.0);
        pictures.extend_from_within(..50);
        pictures.extend_from_within(..50);
        let found = neighbours(&pictures, 6);
        for (i, found) in found.iter().enumerate() {
            let mut all: Vec<_> = (0..pictures.len())
                .filter(|j| *j != i)
                .map(|j| (distance(&pictures[i], &pictures[j]), j as u32))
                .collect();
            all.sort_unstable_by(order);
            assert_eq!(
                found.iter().map(|n| n.index).collect::<Vec<_>>(),
                all[..6].iter().map(|a| a.1 as usize).collect::<Vec<_>>()
            );
            assert!(found.iter().zip(&all).all(|(n, a)| n.distance == a.0.sqrt()));
        }
    }

    #[test]
    fn groups_lie_apart_and_the_map_is_the_same_each_time() {
        let pictures = groups(300, 4, 2.0);
        let places = project(&pictures).unwrap();
        assert_eq!(places, project(&pictures).unwrap());
        assert!(places.iter().flatten().all(|value| (-1.0..=1.0).contains(value)));
        assert!(places.iter().flatten().any(|value| value.abs() == 1.0));
        let away = |a: usize, b: usize| (places[a][0] - places[b][0]).hypot(places[a][1] - places[b][1]);
        for i in 0..300 {
            let nearest = (0..300).filter(|j| *j != i).min_by(|a, b| away(i, *a).total_cmp(&away(i, *b))).unwrap();
            assert_eq!(nearest % 4, i % 4, "beside picture {i} lies one of another group");
        }
    }

    #[test]
    fn any_number_of_pictures_has_places_also_if_all_are_the_same() {
        for count in [0, 1, 2, 3, 9, 10, 11, 40] {
            for pictures in [groups(count, 1, 0.0), vec![[0.0; DIMS]; count]] {
                let places = project(&pictures).unwrap();
                assert_eq!(places.len(), count);
                assert!(places.iter().flatten().all(|value| (-1.0..=1.0).contains(value)), "{count}: {places:?}");
            }
        }
    }
}
