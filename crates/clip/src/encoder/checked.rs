//! Encoders that have passed the self-check; there is no other way to get one.
//!
//! For texts there is one choice, the reference. For pictures the best provider that the options allow is opened and shown the golden pictures. One that is absent, needs too much
//! memory, fails or is too far off is passed over if there is another, and that is told; what was asked for by name is
//! never replaced.

use super::choice::{Choice, Lack, Machine};
use super::image::ImageEncoder;
use super::memory::Footprint;
use super::options::EncoderOptions;
use super::text::TextEncoder;
use crate::golden::Golden;
use crate::{Model, ModelError};

const PICTURES: &str = "pictures";

/// Opens the encoder for pictures for `options`.
pub fn open(model: &Model, options: &EncoderOptions) -> Result<ImageEncoder, ModelError> {
    let wanted = Choice::wanted(options)?;
    let machine = Machine::here()?;
    let golden = Golden::of(model)?;
    let (mut short, mut large) = (Vec::new(), Vec::new());
    let (mut absent, mut failed) = (None, None);
    for &choice in &wanted {
        if let Some(lack) = machine.lacks(choice, model.has_int8()) {
            if let Lack::Installed(what) = &lack {
                short.push(format!("{choice} needs {what}"));
            }
            absent = Some(ModelError::NotHere { wanted: choice.to_string(), why: format!("it needs {lack}") });
            continue;
        }
        let footprint = Footprint::of(model, choice);
        if let Some(needs) = footprint.excess(options) {
            short.push(format!("{choice} needs {needs}"));
            large.push((footprint, choice));
            continue;
        }
        match attempt(model, choice, options, &golden) {
            Ok(mut encoder) => {
                let slower =
                    || format!("the model runs on {choice}, which is slower than could be: {}", short.join("; "));
                let slower = (!short.is_empty()).then(slower);
                encoder.warnings.splice(0..0, slower.into_iter().chain(golden.unkept));
                return Ok(encoder);
            }
            Err(error) => {
                short.push(error.to_string());
                failed = Some(error);
            }
        }
    }
    if let (None, Some(&(_, choice))) = (&failed, large.iter().min_by_key(|(footprint, _)| *footprint)) {
        // It may do: the estimate is on the upper side.
        let mut encoder = attempt(model, choice, options, &golden)?;
        encoder.warnings = vec![format!("memory may not suffice: {}", short.join("; "))];
        return Ok(encoder);
    }
    Err(match failed.or(absent).expect("something is wanted, or that was an error") {
        ModelError::Deviates { file, choice, deviation, bound, .. } => {
            let others = Choice::others(&wanted, &machine, model).into_iter();
            let mut fitting = others.filter(|&other| Footprint::of(model, other).excess(options).is_none());
            let passes = fitting.find_map(|other| attempt(model, other, options, &golden).ok());
            let advice = passes.map_or_else(|| golden.remedy(), |encoder| encoder.recommendation());
            let advice = format!(". {advice}");
            ModelError::Deviates { file, what: PICTURES, choice, deviation, bound, advice }
        }
        other => other,
    })
}

/// Opens the encoder for texts.
pub fn open_text(model: &Model, threads: usize) -> Result<TextEncoder, ModelError> {
    let golden = Golden::of(model)?;
    let mut encoder = TextEncoder::open(model, threads)?;
    let golden = if model.folder().is_some() { golden.renew_texts(&mut encoder)? } else { golden };
    let deviation = golden.text_deviation(&mut encoder)?;
    let bound = EncoderOptions::default().max_deviation;
    // Not a number is beyond every bound.
    if deviation <= bound {
        return Ok(encoder);
    }
    Err(ModelError::Deviates {
        file: encoder.file().to_owned(),
        what: "texts",
        choice: Choice::REFERENCE.to_string(),
        deviation,
        bound,
        advice: format!(". {}", golden.remedy()),
    })
}

fn attempt(
    model: &Model,
    choice: Choice,
    options: &EncoderOptions,
    golden: &Golden,
) -> Result<ImageEncoder, ModelError> {
    let tokens = model.vision_config().tokens(model.preprocess().values() as u64 / 3);
    let asked = if options.batch == 0 { choice.quickest_batch(tokens) } else { options.batch };
    let options = &EncoderOptions { batch: asked, ..*options };
    let (batch, smaller) = Footprint::of(model, choice).batch(options);
    let mut encoder = ImageEncoder::open(model, choice, &EncoderOptions { batch, ..*options })?;
    let deviation = golden.deviation(model, &mut encoder)?;
    // Not a number is beyond every bound.
    if deviation <= options.max_deviation {
        encoder.identity.deviation = Some(deviation);
        encoder.warnings.extend(smaller);
        return Ok(encoder);
    }
    Err(ModelError::Deviates {
        file: encoder.file().to_owned(),
        what: PICTURES,
        choice: choice.to_string(),
        deviation,
        bound: options.max_deviation,
        advice: String::new(),
    })
}
