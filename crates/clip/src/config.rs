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

/// What `preprocessor_config.json` comes to, every setting with its value. How it is written out in debug decides
/// fingerprints of models.
#[derive(Clone, Debug)]
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

impl PreprocessorConfig {
    /// (height, width) of every picture at the end; none if they differ.
    pub fn input(&self) -> Option<(usize, usize)> {
        match (self.do_center_crop, self.do_resize) {
            (true, _) => self.crop_size.unwrap_or(Size::Number(224)).square(),
            (false, true) => match self.size {
                Size::Sides { height, width } => Some((height, width)),
                _ => None,
            },
            (false, false) => None,
        }
    }
}

/// A size that pictures get.
#[derive(Clone, Copy, Debug)]
pub enum Size {
    /// Both sides of a crop, or the shorter edge of what is resized.
    Number(usize),
    Sides {
        height: usize,
        width: usize,
    },
    Shortest {
        shortest_edge: usize,
    },
    /// The longer edge.
    Longest {
        longest_edge: usize,
    },
    /// The shorter edge, or less, so that the longer one stays within its own.
    Within {
        shortest_edge: usize,
        longest_edge: usize,
    },
}

impl Size {
    /// (height, width), where it is that of a crop.
    pub fn square(self) -> Option<(usize, usize)> {
        match self {
            Self::Number(side) | Self::Shortest { shortest_edge: side } => Some((side, side)),
            Self::Sides { height, width } => Some((height, width)),
            Self::Longest { .. } | Self::Within { .. } => None,
        }
    }
}

/// A JSON file's content; `file` names it in errors.
pub fn parse<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, ModelError> {
    serde_json::from_slice(bytes)
        .map_err(|e| ModelError::unusable(file, format!("is not the JSON that a model has: {e}")))
}
