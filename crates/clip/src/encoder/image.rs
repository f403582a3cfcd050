//! Pictures to embeddings.

use ort::session::SessionInputValue;
use ort::value::{TensorElementType, TensorRef};
use protocol::{Embedding, ModelIdentity, NotAVector};

use super::options::EncoderOptions;
use super::session::Encoder;
use crate::{Model, ModelError};

const INPUT: &str = "pixel_values";

/// Makes embeddings of preprocessed pictures.
#[derive(Debug)]
pub struct ImageEncoder {
    encoder: Encoder,
    identity: ModelIdentity,
    /// (height, width) of a picture.
    size: (usize, usize),
    /// The batch size that the graph insists on.
    fixed_batch: Option<usize>,
}

impl ImageEncoder {
    pub(crate) fn open(model: &Model, options: &EncoderOptions) -> Result<Self, ModelError> {
        let encoder = Encoder::open(model.vision(), "image_embeds", options)?;
        encoder.no_input_but(&[INPUT])?;
        let size = model.preprocess().size();
        let (kind, shape) = encoder.required(INPUT)?;
        let wanted = [-1, 3, size.0 as i64, size.1 as i64];
        let fits = shape.len() == 4 && shape.iter().zip(wanted).skip(1).all(|(&has, wants)| has == wants || has < 0);
        if kind != TensorElementType::Float32 || !fits {
            let detail = format!("its {INPUT} is {kind} {shape:?}, but preprocessor_config.json makes f32 {wanted:?}");
            return Err(encoder.unusable(detail));
        }
        let fixed_batch = usize::try_from(shape[0]).ok().filter(|&n| n > 0);
        let dim = encoder.declared_dim().unwrap_or(0);
        let identity = model.identity(encoder.provider.name(), &encoder.precision, dim);
        let mut this = Self { encoder, identity, size, fixed_batch };
        if this.identity.embedding_dim == 0 {
            this.identity.embedding_dim = this.probe()?;
        }
        Ok(this)
    }

    /// Which model, precision and provider its embeddings come from.
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
        for batch in pixels.chunks(values * self.fixed_batch.unwrap_or(usize::MAX / values)) {
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
        let (pixels, batch) = match self.fixed_batch {
            Some(fixed) if fixed != batch => {
                padded = [pixels, &vec![0.0; (fixed - batch) * 3 * height * width]].concat();
                (&padded[..], fixed)
            }
            _ => (pixels, batch),
        };
        let input =
            TensorRef::from_array_view(([batch, 3, height, width], pixels)).map_err(|e| self.encoder.unusable(e))?;
        self.encoder.run(vec![(INPUT, SessionInputValue::from(input))], batch)
    }
}
