//! The golden files, and the measure of how far vectors are from the reference.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// What make.py wrote.
#[derive(Deserialize)]
pub struct Golden {
    /// By file name.
    pub pictures: BTreeMap<String, Reference>,
    /// Texts with their token ids.
    pub tokens: Vec<(String, Vec<u32>)>,
    /// Texts with their vectors.
    pub texts: Vec<(String, Vec<f32>)>,
}

/// What the reference makes of a picture.
#[derive(Deserialize)]
#[allow(dead_code, reason = "the example needs only the vector")]
pub struct Reference {
    /// Width and height, upright.
    pub size: (usize, usize),
    /// Of the upright RGB pixels.
    pub rgb_sha256: String,
    /// L2-normalised.
    pub vector: Vec<f32>,
}

impl Golden {
    /// Reads `golden.json`.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// The median distance between the reference vectors of two different pictures: the unit of deviations.
    pub fn spread(&self) -> f64 {
        let vectors: Vec<&[f32]> = self.pictures.values().map(|p| &p.vector[..]).collect();
        let pairs = vectors.iter().enumerate().flat_map(|(i, a)| vectors[..i].iter().map(|b| distance(a, b)));
        let mut distances: Vec<f64> = pairs.collect();
        distances.sort_by(f64::total_cmp);
        distances[distances.len() / 2]
    }
}

/// The Euclidean distance.
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

/// Deviations as (mean, worst, whose).
pub fn summary(deviations: &[(String, f64)]) -> (f64, f64, &str) {
    let mean = deviations.iter().map(|(_, d)| d).sum::<f64>() / deviations.len() as f64;
    let (name, worst) = deviations.iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("there are pictures");
    (mean, *worst, name)
}
