//! A model: its files found, its settings read, its fingerprint taken. Nothing runs yet.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use protocol::ModelIdentity;
use xxhash_rust::xxh3::Xxh3;

use crate::config::{Config, PreprocessorConfig, TokenizerConfig, parse};
use crate::encoder::{EncoderOptions, ImageEncoder, TextEncoder};
use crate::store::{self, Files};
use crate::tokenizer::TextTokenizer;
use crate::{ModelError, Preprocess};

/// Changes whenever pictures are turned or decoded by another rule, so that old and new vectors never mix.
const PICTURE_RULES: &str = "exif 1";

/// A model that can be opened: from it come the preprocessing and the encoders.
#[derive(Debug)]
pub struct Model {
    name: String,
    fingerprint: String,
    preprocess: Preprocess,
    config: Config,
    tokenizer_config: TokenizerConfig,
    tokenizer: (String, Cow<'static, [u8]>),
    vision: Graph,
    text: Graph,
}

/// One of a model's two graphs.
#[derive(Clone, Debug)]
pub(crate) enum Graph {
    /// A file.
    File(PathBuf),
    /// Part of the program: its name and its bytes.
    BuiltIn(&'static str, &'static [u8]),
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::BuiltIn(name, _) => f.write_str(name),
        }
    }
}

impl Model {
    /// Opens a model: by name (`demo`, `clip-vit-b-32`, `clip-vit-b-16`, `clip-vit-l-14`, in any case), or from a
    /// folder in Hugging Face layout, which is anything else that exists as a folder or has a path separator in it.
    ///
    /// A named model is taken from the Hugging Face cache if it is there, without any network, else fetched into it.
    ///
    /// # Errors
    /// If files are absent, and cannot be fetched, or are not what they should be; the text says what to do.
    pub fn open(spec: &str) -> Result<Self, ModelError> {
        Self::from_files(Self::canonical_name(spec), store::find(spec)?)
    }

    /// The name under which a model is known: `clip-ViT-B-32` is `clip-vit-b-32`, a folder is its whole path.
    pub fn canonical_name(spec: &str) -> String {
        store::canonical_name(spec)
    }

    /// Its name, as [`Model::canonical_name`] gives it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A hash of all that decides its vectors: weights, tokenizer, preprocessing, and how pictures are turned. 32
    /// hexadecimal digits.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What it wants done to pictures.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// Opens its encoder for pictures.
    ///
    /// # Errors
    /// If ONNX Runtime is absent, the precision is not to be had, or the graph is no CLIP image encoder.
    pub fn image_encoder(&self, options: &EncoderOptions) -> Result<ImageEncoder, ModelError> {
        ImageEncoder::open(self, options)
    }

    /// Opens its encoder for texts.
    ///
    /// # Errors
    /// If ONNX Runtime is absent, the precision is not to be had, or the graph is no CLIP text encoder.
    pub fn text_encoder(&self, options: &EncoderOptions) -> Result<TextEncoder, ModelError> {
        TextEncoder::open(self, options)
    }

    fn from_files(name: String, files: Files) -> Result<Self, ModelError> {
        let Files { config, preprocessor_config, tokenizer, tokenizer_config, vision, text } = files;
        let preprocessor: PreprocessorConfig = parse(&preprocessor_config.0, &preprocessor_config.1)?;
        let preprocess = Preprocess::new(&preprocessor_config.0, &preprocessor)?;
        let config = parse(&config.0, &config.1)?;
        let tokenizer_config =
            tokenizer_config.map(|(file, bytes)| parse(&file, &bytes)).transpose()?.unwrap_or_default();
        let mut hash = Xxh3::new();
        let mut add = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(PICTURE_RULES.as_bytes());
        add(preprocess.description().as_bytes());
        add(&tokenizer.1);
        add(hash_of(&vision)?.as_bytes());
        add(hash_of(&text)?.as_bytes());
        let fingerprint = format!("{:032x}", hash.digest128());
        Ok(Self { name, fingerprint, preprocess, config, tokenizer_config, tokenizer, vision, text })
    }

    pub(crate) fn vision(&self) -> &Graph {
        &self.vision
    }

    pub(crate) fn text(&self) -> &Graph {
        &self.text
    }

    pub(crate) fn tokenizer(&self, length: Option<usize>) -> Result<TextTokenizer, ModelError> {
        let (file, json) = &self.tokenizer;
        TextTokenizer::new(file, json, &self.config, &self.tokenizer_config, length)
    }

    pub(crate) fn identity(&self, provider: &str, precision: &str, embedding_dim: usize) -> ModelIdentity {
        ModelIdentity {
            model_name: self.name.clone(),
            fingerprint: self.fingerprint.clone(),
            embedding_dim,
            precision: precision.into(),
            provider: provider.into(),
            deviation: None,
        }
    }
}

/// The hash of a graph's weights, those in files beside it included.
fn hash_of(graph: &Graph) -> Result<String, ModelError> {
    match graph {
        Graph::BuiltIn(_, bytes) => Ok(protocol::hash_hex(bytes)),
        Graph::File(path) => {
            let mut hash = Xxh3::new();
            hash_file(path, &mut hash)?;
            // Where ONNX exporters put weights that do not fit into the graph's own file.
            for end in ["_data", ".data"] {
                let mut beside = path.clone().into_os_string();
                beside.push(end);
                let beside = PathBuf::from(beside);
                if beside.is_file() {
                    hash_file(&beside, &mut hash)?;
                }
            }
            Ok(format!("{:032x}", hash.digest128()))
        }
    }
}

fn hash_file(path: &Path, hash: &mut Xxh3) -> Result<(), ModelError> {
    use std::io::Read;
    let failed = |source| ModelError::Read { path: path.into(), source };
    let mut file = fs::File::open(path).map_err(failed)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(()),
            n => hash.update(&buffer[..n]),
        }
    }
}
