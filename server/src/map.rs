//! A collection as a map: vectors become fewer values ([`reduce`]), those become places ([`project`]) and clusters
//! ([`cluster`]), and clusters get names ([`names`]). The same collection gives the same map.

mod cluster;
mod names;
mod project;
mod reduce;

use index::{Index, IndexError};
use protocol::map::{MapCluster, MapPoint};

use crate::encoders::SharedEncoder;
use crate::refusal::Refusal;

/// What a map shows.
#[derive(Clone, Debug)]
pub struct Map {
    pub points: Vec<MapPoint>,
    pub clusters: Vec<MapCluster>,
}

impl Map {
    /// Makes a map of at most `most` pictures, on one thread. Vectors are read where they are mapped: memory is some
    /// kilobytes a picture of the map.
    pub fn of(index: &Index, encoder: &SharedEncoder, most: u64) -> Result<Self, Refusal> {
        let rows = index.sample_rows(most)?;
        let vector = |i: usize| index.embedding(rows[i]);
        let reduced = reduce::reduce(rows.len(), &vector)?;
        let places = project::project(&reduced).map_err(|e| Refusal::failed(&e))?;
        let of_point = cluster::cluster(&reduced);
        let means = means(rows.len(), &of_point, &vector)?;
        let words = names::names(&means, encoder)?;
        let point = |(i, row): (usize, &u64)| {
            let [x, y] = places[i];
            Ok(MapPoint { path: index.path(*row)?, x, y, cluster: of_point[i] })
        };
        let points = rows.iter().enumerate().map(point).collect::<Result<Vec<_>, IndexError>>()?;
        let clusters = words.into_iter().enumerate().map(|(i, words)| middle(words, &points, i)).collect();
        Ok(Self { points, clusters })
    }
}

/// A cluster with its middle: half of its pictures lie to each side, whatever strays.
fn middle(words: Vec<String>, points: &[MapPoint], cluster: usize) -> MapCluster {
    let own = || points.iter().filter(|point| point.cluster == cluster);
    let median = |mut values: Vec<f32>| {
        let half = values.len() / 2;
        *values.select_nth_unstable_by(half, f32::total_cmp).1
    };
    let (x, y) = (median(own().map(|p| p.x).collect()), median(own().map(|p| p.y).collect()));
    MapCluster { words, x, y, count: own().count() }
}

/// The mean vector of each cluster, [D].
fn means(count: usize, of_point: &[usize], vector: &reduce::Vectors<'_>) -> Result<Vec<names::Mean>, IndexError> {
    let clusters = of_point.iter().max().map_or(0, |last| last + 1);
    let mut means = vec![names::Mean::default(); clusters];
    for i in 0..count {
        means[of_point[i]].add(vector(i)?.values());
    }
    Ok(means)
}
