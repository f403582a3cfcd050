//! Vectors in few values: their principal components, by which most of the distances between them are kept.

use index::IndexError;
use protocol::Embedding;

/// Values that are left of a vector.
pub const DIMS: usize = 48;
/// A vector's components, the greatest variance first. If it has fewer values than that, zeros are the last.
pub type Components = [f32; DIMS];

/// The i-th of the vectors, all of the same dimension D.
pub type Vectors<'a> = dyn Fn(usize) -> Result<Embedding, IndexError> + 'a;

/// So many vectors tell the axes.
const SAMPLE: usize = 8192;
/// What is neither large nor small beside the other axes takes that long to find its place among them.
const ROUNDS: usize = 20;
/// A row shorter than this share of the first is what rounding left of one that depends on those before.
const SHORTEST: f32 = 1e-5;

/// The components of `count` vectors.
pub fn reduce(count: usize, vector: &Vectors<'_>) -> Result<Vec<Components>, IndexError> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let sample: Vec<usize> = (0..count.min(SAMPLE)).map(|i| i * count / count.min(SAMPLE)).collect();
    let dim = vector(0)?.dim();
    let mut mean = vec![0f32; dim];
    for &i in &sample {
        add(&mut mean, vector(i)?.values(), 1.0 / sample.len() as f32);
    }
    let centred = |i: usize| {
        let mut values = vector(i)?.into_values();
        add(&mut values, &mean, -1.0);
        Ok::<_, IndexError>(values)
    };
    let mut covariance = vec![vec![0f32; dim]; dim];
    for &i in &sample {
        let values = centred(i)?;
        for (row, value) in covariance.iter_mut().zip(&values) {
            add(row, &values, *value);
        }
    }
    let axes = axes(&covariance);
    let components = |i| {
        let values = centred(i)?;
        let mut components = [0.0; DIMS];
        components.iter_mut().zip(&axes).for_each(|(component, axis)| *component = dot(&values, axis));
        Ok(components)
    };
    (0..count).map(components).collect()
}

/// The axes of greatest variance, at right angles to each other, by orthogonal iteration (Golub and Van Loan, "Matrix
/// Computations", section 7.3.2). An axis along which nothing varies is zero.
fn axes(covariance: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let dim = covariance.len();
    let mut random = fastrand::Rng::with_seed(1);
    let mut axes: Vec<Vec<f32>> = (0..DIMS.min(dim)).map(|_| (0..dim).map(|_| random.f32() - 0.5).collect()).collect();
    for _ in 0..ROUNDS {
        for axis in &mut axes {
            *axis = covariance.iter().map(|row| dot(row, axis)).collect();
        }
        let first = length(&axes[0]);
        for i in 0..axes.len() {
            let (before, rest) = axes.split_at_mut(i);
            let axis = &mut rest[0];
            // Twice, because the first time leaves rounding errors as large as what is left of the axis.
            for other in before.iter().chain(before.iter()) {
                let along = dot(axis, other);
                add(axis, other, -along);
            }
            let length = length(axis);
            let scale = if length > SHORTEST * first { 1.0 / length } else { 0.0 };
            axis.iter_mut().for_each(|value| *value *= scale);
        }
    }
    axes
}

fn length(values: &[f32]) -> f32 {
    dot(values, values).sqrt()
}

/// Adds `weight` times `values`.
pub fn add(sum: &mut [f32], values: &[f32], weight: f32) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
}

/// The inner product, in eight sums that a processor adds up at once.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0f32; 8];
    for (a, b) in a.iter().zip(b) {
        (0..8).for_each(|lane| sums[lane] += a[lane] * b[lane]);
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// The square of the distance.
pub fn distance(a: &Components, b: &Components) -> f32 {
    let (a, b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    let mut sums = [0f32; 8];
    for (a, b) in a.iter().zip(b) {
        (0..8).for_each(|lane| sums[lane] += (a[lane] - b[lane]) * (a[lane] - b[lane]));
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embeddings(count: usize, dim: usize) -> Vec<Embedding> {
        let mut random = fastrand::Rng::with_seed(7);
        // Later values vary less.
        let mut row = || (0..dim).map(|d| (random.f32() - 0.5) / (1.0 + d as f32) + 0.3).collect();
        (0..count).map(|_| Embedding::normalise(row()).unwrap()).collect()
    }

    fn reduced(all: &[Embedding]) -> Vec<Components> {
        reduce(all.len(), &|i| Ok(all[i].clone())).unwrap()
    }

    #[test]
    fn distances_are_those_of_the_vectors_where_no_value_is_left_out() {
        for (count, dim) in [(100, 30), (20, 200), (2, 3), (1, 1)] {
            let all = embeddings(count, dim);
            let reduced = reduced(&all);
            for (a, b) in (0..count).map(|i| (i, (i * 7 + 1) % count)) {
                let whole = 2.0 - 2.0 * all[a].cosine(&all[b]);
                let found = distance(&reduced[a], &reduced[b]);
                assert!((whole - found).abs() < 1e-4, "{count} of {dim}: {whole} became {found}");
            }
        }
    }

    #[test]
    fn components_come_by_their_variance_and_do_not_depend_on_each_other() {
        let reduced = reduced(&embeddings(2000, 100));
        let product = |i: usize, j: usize| reduced.iter().map(|c| c[i] * c[j]).sum::<f32>();
        for i in 1..4 {
            assert!(product(i - 1, i - 1) > product(i, i) && product(i, i) > 0.0, "{i}");
            assert!(product(0, i).abs() < 0.01 * product(i, i), "{i}: {} of {}", product(0, i), product(i, i));
        }
    }

    #[test]
    fn the_same_vector_again_and_again_is_zero_and_no_vector_nothing() {
        let one = embeddings(1, 64);
        let all = vec![one[0].clone(); 50];
        assert!(reduced(&all).iter().flatten().all(|value| value.abs() < 1e-6));
        assert!(reduced(&[]).is_empty());
    }
}
