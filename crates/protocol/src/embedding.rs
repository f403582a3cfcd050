//! A vector of length one. There is no other way to make one than to normalise it.

/// An L2-normalised embedding, f32 [D].
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding(Vec<f32>);

/// A model's output that has no direction: all zero, or not finite.
#[derive(Debug, thiserror::Error)]
#[error("the model gave a vector that is zero or not finite")]
pub struct NotAVector;

impl Embedding {
    /// Scales `values` to length one.
    pub fn normalise(mut values: Vec<f32>) -> Result<Self, NotAVector> {
        let norm = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
        if !norm.is_finite() || norm < 1e-12 {
            return Err(NotAVector);
        }
        values.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
        Ok(Self(values))
    }

    /// The values, f32 [D].
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// The values by move, f32 [D].
    pub fn into_values(self) -> Vec<f32> {
        self.0
    }

    /// How many values it has, D.
    pub fn dim(&self) -> usize {
        self.0.len()
    }

    /// The cosine with another embedding of the same dimension.
    pub fn cosine(&self, other: &Self) -> f32 {
        self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_direction_is_an_embedding() {
        assert_eq!(Embedding::normalise(vec![3.0, 4.0]).unwrap().values(), [0.6, 0.8]);
        assert!(Embedding::normalise(vec![0.0; 4]).is_err());
        assert!(Embedding::normalise(vec![f32::NAN, 1.0]).is_err());
        assert!(Embedding::normalise(vec![f32::INFINITY, 1.0]).is_err());
    }
}
