//! From words to token ids, as transformers' tokenizer makes them, truncated to what the model can read.

use tokenizers::utils::truncation::{TruncationDirection, TruncationParams, TruncationStrategy};
use tokenizers::{PostProcessor, Tokenizer};

use crate::ModelError;
use crate::config::{Config, TokenizerConfig};

/// A model's tokenizer.
#[derive(Debug)]
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    /// What shorter texts of a batch are filled up with.
    pub pad_id: u32,
}

impl TextTokenizer {
    /// Reads a `tokenizer.json`; `file` names it in errors. `length` limits the tokens of a text further, for a model
    /// whose input has a fixed length.
    pub fn new(
        file: &str,
        json: &[u8],
        config: &Config,
        extra: &TokenizerConfig,
        length: Option<usize>,
    ) -> Result<Self, ModelError> {
        let unusable = |detail: String| ModelError::unusable(file, detail);
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(|e| unusable(format!("is no tokenizer: {e}")))?;
        let own = tokenizer.get_truncation().map(|t| t.max_length);
        let limits = [own, config.text_config.max_position_embeddings, length];
        let max_length = limits.into_iter().flatten().min().unwrap_or(77);
        let special = tokenizer.get_post_processor().map_or(0, |p| p.added_tokens(false));
        if max_length <= special {
            return Err(unusable(format!(
                "leaves no room for words: {max_length} tokens, of which {special} are special"
            )));
        }
        let truncation = TruncationParams {
            max_length,
            direction: TruncationDirection::Right,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        tokenizer.with_truncation(Some(truncation)).map_err(|e| unusable(e.to_string()))?;
        // Padding is a matter of the batch, not of the text.
        let padding = tokenizer.get_padding().map(|p| p.pad_id);
        tokenizer.with_padding(None);
        let named = extra.pad_token.as_ref().and_then(|token| tokenizer.token_to_id(token.text()));
        let pad_id = padding.or(named).or(config.text_config.pad_token_id).unwrap_or(0);
        Ok(Self { tokenizer, pad_id })
    }

    /// The ids of a text, with the special tokens; the one that ends the text stays when it is truncated.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, String> {
        Ok(self.tokenizer.encode_fast(text, true).map_err(|e| e.to_string())?.get_ids().to_vec())
    }
}
