//! Pictures to embeddings.

use ort::session::SessionInputValue;
use ort::value::{TensorElementType, TensorRef};
use protocol::{Embedding, ModelIdentity, NotAVector};

use super::choice::Choice;
use super::options::{EncoderOptions, Precision, Provider};
use super::session::Encoder;
use crate::{Model, ModelError};

const INPUT: &str = "pixel_values";

/// Makes embeddings of preprocessed pictures.
#[derive(Debug)]
pub struct ImageEncoder {
    encoder: Encoder,
    pub(super) identity: ModelIdentity,
    /// (height, width) of a picture.
    size: (usize, usize),
    /// Pictures that are encoded at once.
    batch: usize,
    /// Whether the graph insists on just this number, or is compiled for it.
    fixed: bool,
    /// What a person should know of it.
    pub(super) warnings: Vec<String>,
}

impl ImageEncoder {
    /// Opens it in one way, unchecked.
    pub(crate) fn open(model: &Model, choice: Choice, options: &EncoderOptions) -> Result<Self, ModelError> {
        let size = model.preprocess().size();
        let compiled = (choice.provider == Provider::OpenVino && options.batch > 0).then_some(options.batch);
        let shape = compiled.map(|batch| format!("{INPUT}[{batch},3,{},{}]", size.0, size.1));
        let graph = model.vision(choice.precision == Precision::Int8);
        let encoder = Encoder::open(graph, model.output("image_embeds"), choice, options.threads, shape)?;
        encoder.no_input_but(&[INPUT])?;
        let (kind, shape) = encoder.required(INPUT)?;
        let wanted = [-1, 3, size.0 as i64, size.1 as i64];
        let fits = shape.len() == 4 && shape.iter().zip(wanted).skip(1).all(|(&has, wants)| has == wants || has < 0);
        if kind != TensorElementType::Float32 || !fits {
            let detail = format!("its {INPUT} is {kind} {shape:?}, but preprocessor_config.json makes f32 {wanted:?}");
            return Err(encoder.unusable(detail));
        }
        let fixed = compiled.or(usize::try_from(shape[0]).ok().filter(|&n| n > 0));
        let batch = fixed.unwrap_or(if options.batch > 0 { options.batch } else { usize::MAX });
        let dim = encoder.declared_dim().unwrap_or(0);
        let identity = model.identity(encoder.choice, dim);
        let fixed = fixed.is_some();
        let mut this = Self { encoder, identity, size, batch, fixed, warnings: Vec::new() };
        if this.identity.embedding_dim == 0 {
            this.identity.embedding_dim = this.probe()?;
        }
        Ok(this)
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.encoder.threads
    }

    /// Pictures that it encodes at once, however many it is given.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// What a person should know, a line each: why nothing faster computes, or why batches are smaller than asked for.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The same for smaller batches. This one is closed before the other is opened, which alone gives back the memory
    /// that the runtime holds.
    ///
    /// # Errors
    /// As [`Model::image_encoder`].
    pub fn with_batch(self, model: &Model, options: &EncoderOptions, batch: usize) -> Result<Self, ModelError> {
        let Choice { provider, precision } = self.encoder.choice;
        drop(self);
        model.image_encoder(&EncoderOptions { provider, precision, batch, ..*options })
    }

    /// The graph's name in errors.
    pub(crate) fn file(&self) -> &str {
        &self.encoder.file
    }

    /// How to ask for this one.
    pub(super) fn recommendation(&self) -> String {
        let Choice { provider, precision } = self.encoder.choice;
        let deviation = self.identity.deviation.unwrap_or_default();
        format!("--provider {provider} --precision {precision} would pass (deviation {deviation:.4})")
    }

    /// Which model, precision and provider its embeddings come from, and how far they are from the reference.
    pub fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    /// Embeds the pictures in `pixels`, f32 [N, 3, H, W] flattened, as [`crate::Preprocess::apply`] makes them. Gives
    /// one result a picture, in order: a picture whose vector is zero or not finite does not hurt the others.
    ///
    /// # Errors
    /// If the model as a whole fails, or `pixels` is not a whole number of pictures.
    pub fn encode(&mut self, pixels: &[f32]) -> Result<Vec<Result<Embedding, NotAVector>>, ModelError> {
        let values = 3 * self.size.0 * self.size.1;
        if !pixels.len().is_multiple_of(values) {
            return Err(self.encoder.unusable(format!(
                "was given {} values, which is no whole number of pictures of {values}",
                pixels.len()
            )));
        }
        let mut results = Vec::with_capacity(pixels.len() / values);
        for batch in pixels.chunks(values.saturating_mul(self.batch)) {
            let (rows, dim) = self.run(batch)?;
            if dim != self.identity.embedding_dim {
                return Err(self
                    .encoder
                    .unusable(format!("gives vectors of {dim} values instead of {}", self.identity.embedding_dim)));
            }
            results.extend(
                rows.chunks_exact(dim).take(batch.len() / values).map(|row| Embedding::normalise(row.to_vec())),
            );
        }
        Ok(results)
    }

    /// D, found by running on nothing.
    fn probe(&mut self) -> Result<usize, ModelError> {
        let nothing = vec![0.0; 3 * self.size.0 * self.size.1];
        self.run(&nothing).map(|(_, dim)| dim)
    }

    fn run(&mut self, pixels: &[f32]) -> Result<(Vec<f32>, usize), ModelError> {
        let (height, width) = self.size;
        let batch = pixels.len() / (3 * height * width);
        let padded;
        let (pixels, batch) = if self.fixed && batch != self.batch {
            padded = [pixels, &vec![0.0; (self.batch - batch) * 3 * height * width]].concat();
            (&padded[..], self.batch)
        } else {
            (pixels, batch)
        };
        let input =
            TensorRef::from_array_view(([batch, 3, height, width], pixels)).map_err(|e| self.encoder.unusable(e))?;
        self.encoder.run(vec![(INPUT, SessionInputValue::from(input))], batch)
    }
}
