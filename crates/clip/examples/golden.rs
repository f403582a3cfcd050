//! How far a model's vectors are from the reference: `golden MODEL GOLDEN_JSON PICTURES [PRECISION]`.
//!
//! MODEL is a name or a folder, GOLDEN_JSON what `tests/golden/make.py MODEL_DIR OUT` wrote for that model, PICTURES
//! the folder `tests/golden`. Prints the mean and worst deviation, as shares of the median distance between pictures,
//! for both ways of decoding, and compares the tokens.

use std::path::Path;

use clip::{DecodeLimits, DecodeMode, EncoderOptions, Model, Precision, decode};

#[path = "../tests/common/mod.rs"]
mod common;
use common::{Golden, distance, summary};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, golden, pictures, precision @ ..] = &arguments[..] else {
        return Err("usage: golden MODEL GOLDEN_JSON PICTURES [PRECISION]".into());
    };
    let precision = precision.first().map_or(Ok(Precision::Auto), |word| word.parse())?;
    let golden = Golden::read(Path::new(golden));
    let model = Model::open(model)?;
    let mut encoder = model.image_encoder(&EncoderOptions { precision, ..Default::default() })?;
    println!("{:?}", encoder.identity());
    for mode in [DecodeMode::Exact, DecodeMode::Fast] {
        let mut deviations = Vec::new();
        for (name, reference) in &golden.pictures {
            let bytes = std::fs::read(Path::new(pictures).join(name))?;
            let picture = decode(&bytes, mode, model.preprocess().side(), &DecodeLimits::default())?;
            let vector = encoder.encode(&model.preprocess().apply(&picture))?.remove(0)?;
            deviations.push((name.clone(), distance(vector.values(), &reference.vector) / golden.spread()));
        }
        let (mean, worst, name) = summary(&deviations);
        println!(
            "{mode:?}: mean {mean:.5}, worst {worst:.5} ({name}), of {} pictures, spread {:.3}",
            deviations.len(),
            golden.spread()
        );
    }
    let mut encoder = model.text_encoder(0)?;
    let wrong = golden.tokens.iter().filter(|(text, ids)| encoder.token_ids(text).ok().as_ref() != Some(ids));
    let wrong: Vec<&str> = wrong.map(|(text, _)| text.as_str()).collect();
    println!("tokens: {} of {} texts differ {wrong:?}", wrong.len(), golden.tokens.len());
    let texts: Vec<&str> = golden.texts.iter().map(|(text, _)| text.as_str()).collect();
    let vectors = encoder.encode(&texts)?;
    let far =
        vectors.iter().zip(&golden.texts).map(|(v, (_, expected))| distance(v.values(), expected)).fold(0.0, f64::max);
    println!("texts: worst distance {far:.6}");
    Ok(())
}
