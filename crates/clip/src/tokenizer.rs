//! From words to token ids, as transformers' tokenizer makes them, truncated to what the model can read.

use tokenizers::utils::padding::{PaddingDirection, PaddingStrategy};
use tokenizers::utils::truncation::{TruncationDirection, TruncationParams, TruncationStrategy};
use tokenizers::{Encoding, PostProcessor, Tokenizer};

use crate::ModelError;
use crate::config::{Config, Side, TokenizerConfig};

/// A model's tokenizer.
#[derive(Debug)]
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    /// What shorter texts are filled up with.
    pub pad_id: u32,
    /// Whether that stands before the words.
    pub pads_left: bool,
    /// Tokens that the model reads of a text at most, the special ones included.
    pub context: usize,
    /// Tokens that are added to every text.
    special: usize,
    cleaning: Cleaning,
}

/// How many tokens a text has, and how many of them a model reads. Both count the special tokens that stand around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextUse {
    /// Tokens that the vector is made of.
    pub used: usize,
    /// Tokens that the text has.
    pub total: usize,
    /// Tokens that the model reads of a text at most.
    pub context: usize,
}

impl ContextUse {
    /// Whether part of the text was cut off.
    pub fn is_cut(&self) -> bool {
        self.used < self.total
    }
}

/// What a tokenizer's class in transformers does to a text before its `tokenizer.json` sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cleaning {
    lower_case: bool,
    /// Without ASCII punctuation, and with single spaces.
    canonical: bool,
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
        let truncation = tokenizer.get_truncation().cloned();
        let padding = tokenizer.get_padding().cloned();
        let padded = padding.as_ref().and_then(|p| match p.strategy {
            PaddingStrategy::Fixed(length) => Some(length),
            PaddingStrategy::BatchLongest => None,
        });
        let own = truncation.as_ref().map(|t| t.max_length).or(padded);
        let limits = [own, config.positions(), extra.length(), length];
        let context = limits.into_iter().flatten().min().unwrap_or(77);
        let special = tokenizer.get_post_processor().map_or(0, |p| p.added_tokens(false));
        if context <= special {
            return Err(unusable(format!(
                "leaves no room for words: {context} tokens, of which {special} are special"
            )));
        }
        let direction = match extra.truncation_side {
            Some(Side::Left) => TruncationDirection::Left,
            Some(Side::Right) => TruncationDirection::Right,
            None => truncation.map(|t| t.direction).unwrap_or_default(),
        };
        let truncation =
            TruncationParams { max_length: context, direction, strategy: TruncationStrategy::LongestFirst, stride: 0 };
        tokenizer.with_truncation(Some(truncation)).map_err(|e| unusable(e.to_string()))?;
        // Padding is a matter of the graph, not of the text.
        tokenizer.with_padding(None);
        let named = extra.pad_token.as_ref().and_then(|token| tokenizer.token_to_id(token.text()));
        let pad_id = named.or(padding.as_ref().map(|p| p.pad_id)).or(config.text_config.pad_token_id).unwrap_or(0);
        let pads_left = match extra.padding_side {
            Some(side) => side == Side::Left,
            None => padding.is_some_and(|p| matches!(p.direction, PaddingDirection::Left)),
        };
        Ok(Self { tokenizer, pad_id, pads_left, context, special, cleaning: Cleaning::of(config, extra) })
    }

    /// The ids of a text, with the special tokens; the one that ends the text stays when it is truncated.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, String> {
        Ok(self.encoded(text)?.get_ids().to_vec())
    }

    /// How much of a text its ids stand for.
    pub fn usage(&self, text: &str) -> Result<ContextUse, String> {
        let encoding = self.encoded(text)?;
        let used = encoding.get_ids().len();
        // What was cut off comes in pieces, each with special tokens of its own.
        let cut = encoding.get_overflowing().iter().map(|piece| piece.get_ids().len() - self.special).sum::<usize>();
        Ok(ContextUse { used, total: used + cut, context: self.context })
    }

    fn encoded(&self, text: &str) -> Result<Encoding, String> {
        self.tokenizer.encode_fast(self.cleaning.apply(text), true).map_err(|e| e.to_string())
    }

    /// Whether the class makes other words of a text than `tokenizer.json` alone would.
    pub fn cleans(&self) -> bool {
        self.cleaning != Cleaning::default()
    }
}

impl Cleaning {
    /// By class: what others do stands in their `tokenizer.json`.
    fn of(config: &Config, extra: &TokenizerConfig) -> Self {
        match extra.class() {
            "SiglipTokenizer" => Self { lower_case: extra.do_lower_case.unwrap_or(true), canonical: true },
            "Siglip2Tokenizer" => Self { lower_case: true, canonical: false },
            // SigLIP 2 was published with Gemma's tokenizer and trained on small letters.
            "GemmaTokenizer" => {
                Self { lower_case: extra.do_lower_case.unwrap_or(config.is_siglip()), canonical: false }
            }
            _ => Self::default(),
        }
    }

    fn apply(self, text: &str) -> String {
        let text = if self.lower_case { text.to_lowercase() } else { text.to_owned() };
        if !self.canonical {
            return text;
        }
        // Python's string.punctuation is just this.
        let words: String = text.chars().filter(|c| !c.is_ascii_punctuation()).collect();
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::utils::padding::PaddingParams;

    use super::*;

    const DEMO: &[u8] = include_bytes!("../../../models/demo/tokenizer.json");

    fn tokenizer(json: &[u8], config: &str, extra: &str, length: Option<usize>) -> TextTokenizer {
        let (config, extra) = (serde_json::from_str(config).unwrap(), serde_json::from_str(extra).unwrap());
        TextTokenizer::new("tokenizer.json", json, &config, &extra, length).unwrap()
    }

    /// The demo model's, which says nothing of lengths itself.
    fn silent() -> Vec<u8> {
        let mut tokenizer = Tokenizer::from_bytes(DEMO).unwrap();
        tokenizer.with_padding(None).with_truncation(None).unwrap();
        serde_json::to_vec(&tokenizer).unwrap()
    }

    #[test]
    fn the_context_is_the_least_that_any_file_allows() {
        let silent = silent();
        let context = |config, extra, length| tokenizer(&silent, config, extra, length).context;
        assert_eq!(context("{}", "{}", None), 77);
        assert_eq!(context("{}", "{}", Some(9)), 9);
        assert_eq!(context(r#"{"text_config": {"max_position_embeddings": 30}}"#, "{}", None), 30);
        assert_eq!(context(r#"{"max_position_embeddings": 514}"#, r#"{"model_max_length": 512}"#, None), 512);
        assert_eq!(context("{}", r#"{"model_max_length": 1000000000000000019884624838656}"#, None), 77);
        assert_eq!(context(r#"{"model_type": "siglip"}"#, "{}", None), 64, "transformers does not write it");
        assert_eq!(context(r#"{"text_config": {"model_type": "siglip_text_model"}}"#, "{}", None), 64);
        assert_eq!(tokenizer(DEMO, "{}", "{}", None).context, 16, "its own truncation");
    }

    #[test]
    fn padding_is_the_tokenizers_own_unless_its_settings_say_otherwise() {
        let mut own = Tokenizer::from_bytes(&silent()[..]).unwrap();
        own.with_padding(Some(PaddingParams {
            strategy: PaddingStrategy::Fixed(12),
            direction: PaddingDirection::Left,
            pad_id: 1,
            ..PaddingParams::default()
        }));
        let own = serde_json::to_vec(&own).unwrap();
        let padding = |extra| {
            let t = tokenizer(&own, r#"{"text_config": {"pad_token_id": 7}}"#, extra, None);
            (t.pad_id, t.pads_left, t.context)
        };
        assert_eq!(padding("{}"), (1, true, 12));
        assert_eq!(padding(r#"{"pad_token": {"content": "[PAD]"}, "padding_side": "right"}"#), (0, false, 12));
        let none = tokenizer(&silent(), r#"{"text_config": {"pad_token_id": 7}}"#, "{}", None);
        assert_eq!((none.pad_id, none.pads_left), (7, false));
    }

    #[test]
    fn a_text_is_cut_at_the_end_that_the_tokenizer_cuts() {
        let ids = |extra, text| tokenizer(&silent(), "{}", extra, Some(3)).ids(text).unwrap();
        let all = tokenizer(&silent(), "{}", "{}", None).ids("a red car and blue fish").unwrap();
        assert_eq!(ids("{}", "a red car and blue fish"), all[..3]);
        assert_eq!(ids(r#"{"truncation_side": "left"}"#, "a red car and blue fish"), all[3..]);
    }

    #[test]
    fn a_class_cleans_texts_as_in_transformers() {
        let cleaned = |config, extra: &str, text| {
            Cleaning::of(&serde_json::from_str(config).unwrap(), &serde_json::from_str(extra).unwrap()).apply(text)
        };
        let text = "  It's a \t Dog, ΟΔΟΣ!";
        let siglip = r#"{"tokenizer_class": "SiglipTokenizer"}"#;
        assert_eq!(cleaned("{}", siglip, text), "its a dog οδος");
        let cased = r#"{"tokenizer_class": "SiglipTokenizer", "do_lower_case": false}"#;
        assert_eq!(cleaned("{}", cased, text), "Its a Dog ΟΔΟΣ");
        let gemma = r#"{"tokenizer_class": "GemmaTokenizerFast"}"#;
        assert_eq!(cleaned(r#"{"model_type": "siglip"}"#, gemma, text), text.to_lowercase());
        assert_eq!(cleaned("{}", gemma, text), text, "Gemma itself knows capitals");
        assert_eq!(cleaned("{}", r#"{"tokenizer_class": "Siglip2Tokenizer"}"#, text), text.to_lowercase());
        let clip = r#"{"tokenizer_class": "CLIPTokenizer", "do_lower_case": true}"#;
        assert_eq!(cleaned("{}", clip, text), text, "its tokenizer.json does it");
        assert_eq!(cleaned("{}", "{}", text), text);
    }
}
