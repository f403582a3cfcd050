//! The demo model's vectors are those of Pillow, transformers and onnxruntime. tests/golden/make.py made the files.

use std::path::PathBuf;

use clip::{DecodeLimits, DecodeMode, EncoderOptions, Model, Provider, decode};
use sha2::{Digest, Sha256};

mod common;
use common::{Golden, distance, summary};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn picture(name: &str, mode: DecodeMode) -> clip::Picture {
    let bytes = std::fs::read(folder().join(name)).unwrap();
    decode(&bytes, mode, 224, &DecodeLimits::default()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Deviations of all golden pictures.
fn deviations(golden: &Golden, mode: DecodeMode) -> Vec<(String, f64)> {
    let model = Model::open("demo").unwrap();
    let options = EncoderOptions { provider: Provider::Cpu, ..Default::default() };
    let mut encoder = model.image_encoder(&options).unwrap();
    let spread = golden.spread();
    let of = |(name, reference): (&String, &common::Reference)| {
        let pixels = model.preprocess().apply(&picture(name, mode));
        let vector = encoder.encode(&pixels).unwrap().remove(0).unwrap();
        (name.clone(), distance(vector.values(), &reference.vector) / spread)
    };
    golden.pictures.iter().map(of).collect()
}

#[test]
fn pixels_are_those_of_pillow() {
    let golden = Golden::read(&folder().join("golden.json"));
    let mut different = Vec::new();
    for (name, reference) in &golden.pictures {
        let picture = picture(name, DecodeMode::Exact);
        assert_eq!((picture.width, picture.height), reference.size, "{name}");
        let hash: String = Sha256::digest(&picture.rgb).iter().map(|b| format!("{b:02x}")).collect();
        if hash != reference.rgb_sha256 {
            different.push(name.as_str());
        }
    }
    // JPEG within TIFF is decoded by another library than JPEG, which rounds otherwise.
    assert_eq!(different, ["jpeg.tiff"]);
}

#[test]
fn vectors_are_those_of_the_reference() {
    let golden = Golden::read(&folder().join("golden.json"));
    assert!(golden.pictures.len() >= 16);
    let deviations = deviations(&golden, DecodeMode::Exact);
    let (mean, worst, name) = summary(&deviations);
    eprintln!("deviation: mean {mean:.5}, worst {worst:.5} ({name}), spread {:.3}", golden.spread());
    assert!(mean <= 0.003 && worst <= 0.01, "mean {mean:.5}, worst {worst:.5}: {deviations:#.5?}");
}

#[test]
fn fast_decoding_stays_close() {
    let golden = Golden::read(&folder().join("golden.json"));
    let (mean, worst, name) = {
        let d = deviations(&golden, DecodeMode::Fast);
        let (m, w, n) = summary(&d);
        (m, w, n.to_owned())
    };
    eprintln!("deviation, fast: mean {mean:.5}, worst {worst:.5} ({name})");
    assert!(mean <= 0.005 && worst <= 0.05, "mean {mean:.5}, worst {worst:.5} ({name})");
}

#[test]
fn tokens_and_texts_are_those_of_transformers() {
    let golden = Golden::read(&folder().join("golden.json"));
    assert!(golden.tokens.len() >= 50);
    let mut encoder = Model::open("demo").unwrap().text_encoder(0).unwrap();
    for (text, ids) in &golden.tokens {
        assert_eq!(&encoder.token_ids(text).unwrap(), ids, "{text:?}");
    }
    let (texts, vectors): (Vec<&str>, Vec<&Vec<f32>>) = golden.texts.iter().map(|(t, v)| (t.as_str(), v)).unzip();
    // All at once, so that padding is seen to change nothing.
    for ((embedding, expected), text) in encoder.encode(&texts).unwrap().iter().zip(vectors).zip(&texts) {
        let far = distance(embedding.values(), expected);
        assert!(far < 1e-4, "{text:?} is {far} away");
    }
}
