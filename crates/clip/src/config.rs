//! What a model's JSON files say, as far as it is needed here.
//!
//! Unknown keys are ignored, absent ones get the value that transformers' `CLIPImageProcessor` and `CLIPConfig` give.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::ModelError;

/// `config.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    pub text_config: TextConfig,
    pub vision_config: VisionConfig,
    pub model_type: Option<String>,
    /// Where it is a text model's own.
    max_position_embeddings: Option<usize>,
}

impl Config {
    /// Whether it is SigLIP, or SigLIP 2, which has the same classes where its pictures are of one size.
    pub fn is_siglip(&self) -> bool {
        let kinds = [&self.model_type, &self.text_config.model_type];
        kinds.into_iter().flatten().any(|kind| kind.starts_with("siglip"))
    }

    /// Whether it is CLIP as OpenAI made it, which projects both towers into one space.
    pub fn is_clip(&self) -> bool {
        self.model_type.as_deref() == Some("clip")
    }

    /// Tokens that the text model has positions for. transformers leaves out of the file what is as the class has it.
    pub fn positions(&self) -> Option<usize> {
        let told = self.text_config.max_position_embeddings.or(self.max_position_embeddings);
        told.or_else(|| self.is_siglip().then_some(64))
    }
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
    model_type: Option<String>,
    max_position_embeddings: Option<usize>,
    pub pad_token_id: Option<u32>,
}

/// `tokenizer_config.json`.
#[derive(Debug, Default, Deserialize)]
pub struct TokenizerConfig {
    tokenizer_class: Option<String>,
    pub pad_token: Option<Token>,
    pub padding_side: Option<Side>,
    pub truncation_side: Option<Side>,
    pub do_lower_case: Option<bool>,
    model_max_length: Option<f64>,
}

impl TokenizerConfig {
    /// The tokenizer's class in transformers, whichever of its two makes; empty if it is not told.
    pub fn class(&self) -> &str {
        self.tokenizer_class.as_deref().unwrap_or_default().trim_end_matches("Fast")
    }

    /// Tokens of a text at most. Where transformers knows of no bound it writes 10^30.
    pub fn length(&self) -> Option<usize> {
        self.model_max_length.filter(|n| (1.0..1e6).contains(n)).map(|n| n as usize)
    }
}

/// An end of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Left,
    Right,
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
