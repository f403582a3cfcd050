//! Texts to embeddings.

use ort::session::SessionInputValue;
use ort::value::{Tensor, TensorElementType};
use protocol::{Embedding, ModelIdentity};

use super::choice::Choice;
use super::session::Encoder;
use crate::tokenizer::{ContextUse, TextTokenizer};
use crate::{Model, ModelError};

const IDS: &str = "input_ids";
const MASK: &str = "attention_mask";

/// Makes embeddings of texts, in the space of its model's pictures.
#[derive(Debug)]
pub struct TextEncoder {
    encoder: Encoder,
    identity: ModelIdentity,
    tokenizer: TextTokenizer,
    /// The integers that the graph takes.
    kind: TensorElementType,
    has_mask: bool,
    /// The batch size and the text length that the graph insists on.
    fixed: (Option<usize>, Option<usize>),
}

impl TextEncoder {
    /// Always the reference: one short text at a time gains nothing from others, and this one is ready soonest.
    pub(crate) fn open(model: &Model, threads: usize) -> Result<Self, ModelError> {
        let encoder = Encoder::open(model.text(), model.output("text_embeds"), Choice::REFERENCE, threads, None)?;
        encoder.no_input_but(&[IDS, MASK])?;
        let (kind, shape) = encoder.required(IDS)?;
        let has_mask = encoder.input(MASK).is_some();
        let mask_fits = !has_mask || encoder.required(MASK)? == (kind, shape.clone());
        if !matches!(kind, TensorElementType::Int64 | TensorElementType::Int32) || shape.len() != 2 || !mask_fits {
            return Err(encoder
                .unusable(format!("its {IDS} is {kind} {shape:?}; i64 or i32 [N, S] is wanted, and {MASK} like it")));
        }
        let fixed = |n: i64| usize::try_from(n).ok().filter(|&n| n > 0);
        let fixed = (fixed(shape[0]), fixed(shape[1]));
        let tokenizer = model.tokenizer(fixed.1)?;
        let dim = encoder.declared_dim().unwrap_or(0);
        let identity = model.identity(encoder.choice, dim);
        let mut this = Self { encoder, identity, tokenizer, kind, has_mask, fixed };
        if this.identity.embedding_dim == 0 {
            this.identity.embedding_dim = this.rows(&[""])?.1;
        }
        Ok(this)
    }

    /// The graph's name in errors.
    pub(crate) fn file(&self) -> &str {
        &self.encoder.file
    }

    /// Whether its vectors may be others than by rule 0 of [`crate::golden`].
    pub(crate) fn rules_matter(&self) -> bool {
        !self.has_mask || self.tokenizer.cleans()
    }

    /// Which model, precision and provider its embeddings come from.
    pub fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    /// Embeds texts of any length; what exceeds the model's context is cut off ([`TextEncoder::context_use`]). Gives one
    /// embedding a text, in order.
    ///
    /// # Errors
    /// If the model fails, or gives a vector without a direction.
    pub fn encode(&mut self, texts: &[&str]) -> Result<Vec<Embedding>, ModelError> {
        let mut embeddings = Vec::with_capacity(texts.len());
        for batch in texts.chunks(self.fixed.0.unwrap_or(usize::MAX)) {
            let (rows, dim) = self.rows(batch)?;
            for (row, text) in rows.chunks_exact(dim).zip(batch) {
                embeddings.push(
                    Embedding::normalise(row.to_vec())
                        .map_err(|e| self.encoder.unusable(format!("{e} for {text:?}")))?,
                );
            }
        }
        Ok(embeddings)
    }

    /// The ids of the tokens that the model reads of a text, as many as its context holds.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn token_ids(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.tokenizer.ids(text).map_err(|e| self.tokenizer_failed(text, &e))
    }

    /// How many tokens a text has, and how many of them its embedding is made of. [`TextEncoder::encode`] cuts off the
    /// rest without a word; who has a person before them says so.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn context_use(&self, text: &str) -> Result<ContextUse, ModelError> {
        self.tokenizer.usage(text).map_err(|e| self.tokenizer_failed(text, &e))
    }

    fn tokenizer_failed(&self, text: &str, detail: &str) -> ModelError {
        self.encoder.unusable(format!("its tokenizer failed on {text:?}: {detail}"))
    }

    /// The graph's output for at most one batch of texts, f32 [N, D], and D.
    fn rows(&mut self, texts: &[&str]) -> Result<(Vec<f32>, usize), ModelError> {
        let ids: Vec<Vec<u32>> = texts.iter().map(|text| self.token_ids(text)).collect::<Result<_, _>>()?;
        let batch = self.fixed.0.unwrap_or(ids.len());
        let longest = || ids.iter().map(Vec::len).max().unwrap_or(0).max(1);
        // Without a mask a text attends to its padding, and was trained with as much as there is room for.
        let length = self.fixed.1.unwrap_or_else(|| if self.has_mask { longest() } else { self.tokenizer.context });
        let pad = i64::from(self.tokenizer.pad_id);
        let mut tokens = vec![pad; batch * length];
        let mut mask = vec![0; batch * length];
        for (row, ids) in ids.iter().enumerate() {
            let before = if self.tokenizer.pads_left && !self.has_mask { length - ids.len() } else { 0 };
            for (column, &id) in ids.iter().enumerate() {
                tokens[row * length + before + column] = i64::from(id);
                mask[row * length + before + column] = 1;
            }
        }
        let mut inputs = vec![(IDS, self.integers([batch, length], tokens)?)];
        if self.has_mask {
            inputs.push((MASK, self.integers([batch, length], mask)?));
        }
        self.encoder.run(inputs, batch)
    }

    fn integers(&self, shape: [usize; 2], values: Vec<i64>) -> Result<SessionInputValue<'static>, ModelError> {
        let tensor = match self.kind {
            TensorElementType::Int32 => {
                let narrow: Vec<i32> = values.iter().map(|&v| v as i32).collect();
                Tensor::from_array((shape, narrow)).map(SessionInputValue::from)
            }
            _ => Tensor::from_array((shape, values)).map(SessionInputValue::from),
        };
        tensor.map_err(|e| self.encoder.unusable(e))
    }
}
