//! What a model's JSON files say, as far as it is needed here.
//!
//! Unknown keys are ignored, absent ones get the value that transformers' `CLIPImageProcessor` and `CLIPConfig` give.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::ModelError;

/// `config.json`.
#[derive(Debug, Default, Deserialize)]
pub struct Config {
    #[serde(default)]
    pub text_config: TextConfig,
    #[serde(default)]
    pub vision_config: VisionConfig,
}

/// The vision side of `config.json`, as far as it tells what a picture takes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    pub patch_size: u64,
    pub hidden_size: u64,
    pub intermediate_size: u64,
    pub num_attention_heads: u64,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self { patch_size: 32, hidden_size: 768, intermediate_size: 3072, num_attention_heads: 12 }
    }
}

impl VisionConfig {
    /// What a picture of so many pixels becomes: its patches, and one for the whole.
    pub fn tokens(&self, pixels: u64) -> u64 {
        pixels / (self.patch_size * self.patch_size).max(1) + 1
    }
}

/// The text side of `config.json`.
#[derive(Debug, Default, Deserialize)]
pub struct TextConfig {
    pub max_position_embeddings: Option<usize>,
    pub pad_token_id: Option<u32>,
}

/// `tokenizer_config.json`.
#[derive(Debug, Default, Deserialize)]
pub struct TokenizerConfig {
    pub pad_token: Option<Token>,
}

/// A token, written out or as an object.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Token {
    Text(String),
    Added { content: String },
}

impl Token {
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Added { content: text } => text,
        }
    }
}

/// `preprocessor_config.json`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct PreprocessorConfig {
    pub do_resize: bool,
    pub size: Size,
    pub resample: u8,
    pub do_center_crop: bool,
    pub crop_size: Option<Size>,
    pub do_rescale: bool,
    pub rescale_factor: f64,
    pub do_normalize: bool,
    pub image_mean: [f64; 3],
    pub image_std: [f64; 3],
}

impl Default for PreprocessorConfig {
    fn default() -> Self {
        Self {
            do_resize: true,
            size: Size::Number(224),
            resample: 3,
            do_center_crop: true,
            crop_size: None,
            do_rescale: true,
            rescale_factor: 1.0 / 255.0,
            do_normalize: true,
            // OPENAI_CLIP_MEAN and OPENAI_CLIP_STD.
            image_mean: [0.48145466, 0.4578275, 0.40821073],
            image_std: [0.26862954, 0.26130258, 0.27577711],
        }
    }
}

/// A size: 224, {"shortest_edge": 224} or {"height": 224, "width": 224}.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub enum Size {
    Number(usize),
    Sides { height: usize, width: usize },
    Shortest { shortest_edge: usize },
}

/// A JSON file's content; `file` names it in errors.
pub fn parse<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, ModelError> {
    serde_json::from_slice(bytes)
        .map_err(|e| ModelError::unusable(file, format!("is not the JSON that a model has: {e}")))
}
