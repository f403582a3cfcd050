//! A model: its files found, its settings read, its fingerprint taken. Nothing runs yet.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use protocol::ModelIdentity;
use xxhash_rust::xxh3::Xxh3;

use crate::config::{Config, TokenizerConfig, VisionConfig, parse};
use crate::encoder::{Choice, EncoderOptions, ImageEncoder, Output, TextEncoder, checked};
use crate::hub::Hub;
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
    vision_int8: Option<Graph>,
    text: Graph,
    folder: Option<PathBuf>,
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

impl Graph {
    /// Its files: its own, and those beside it where ONNX exporters put weights that do not fit into that.
    fn files(&self) -> Vec<PathBuf> {
        let Self::File(path) = self else { return Vec::new() };
        let beside = ["_data", ".data"].map(|end| {
            let mut beside = path.clone().into_os_string();
            beside.push(end);
            PathBuf::from(beside)
        });
        std::iter::once(path.clone()).chain(beside.into_iter().filter(|file| file.is_file())).collect()
    }

    /// Bytes of all of it; what cannot be read counts nothing.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::BuiltIn(_, bytes) => bytes.len() as u64,
            Self::File(_) => self.files().iter().filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum(),
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
        Self::from_files(Self::canonical_name(spec), store::find(spec, &Hub::from_env())?)
    }

    /// The same for a model that is on this machine already; nothing is fetched.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_here(spec: &str) -> Result<Self, ModelError> {
        Self::from_files(Self::canonical_name(spec), store::find(spec, &Hub::cache_alone())?)
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

    /// Opens its encoder for pictures: the best that `options` allow and that passes the self-check. A model that has
    /// never been used here is first asked, in fp32, for the vectors that it must give from then on.
    ///
    /// # Errors
    /// If ONNX Runtime is absent, what is asked for is not to be had, the graph is no CLIP image encoder, or its
    /// vectors are beyond the bound.
    pub fn image_encoder(&self, options: &EncoderOptions) -> Result<ImageEncoder, ModelError> {
        checked::open(self, options)
    }

    /// Opens its encoder for texts, in fp32 on the processor, with so many threads; 0 for all that the process may use.
    ///
    /// # Errors
    /// If ONNX Runtime is absent, the graph is no CLIP text encoder, or its vectors are beyond the bound.
    pub fn text_encoder(&self, threads: usize) -> Result<TextEncoder, ModelError> {
        checked::open_text(self, threads)
    }

    fn from_files(name: String, files: Files) -> Result<Self, ModelError> {
        let Files { config, preprocessor_config, tokenizer, tokenizer_config, vision, vision_int8, text, folder } =
            files;
        let preprocess = Preprocess::new(&preprocessor_config.0, &preprocessor_config.1)?;
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
        Ok(Self {
            name,
            fingerprint,
            preprocess,
            config,
            tokenizer_config,
            tokenizer,
            vision,
            vision_int8,
            text,
            folder,
        })
    }

    /// The vision graph in 32-bit floats, or in 8-bit integers where there is one. That is not part of the fingerprint:
    /// it is another way to compute the same vectors, and the self-check tells how well it does.
    pub(crate) fn vision(&self, int8: bool) -> &Graph {
        self.vision_int8.as_ref().filter(|_| int8).unwrap_or(&self.vision)
    }

    pub(crate) fn has_int8(&self) -> bool {
        self.vision_int8.is_some()
    }

    pub(crate) fn vision_config(&self) -> &VisionConfig {
        &self.config.vision_config
    }

    /// The folder with its files, unless they are in the program.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    pub(crate) fn text(&self) -> &Graph {
        &self.text
    }

    /// Which of a graph's outputs is the embedding.
    pub(crate) fn output(&self, name: &'static str) -> Output {
        Output { name, projected: self.config.is_clip() }
    }

    pub(crate) fn tokenizer(&self, length: Option<usize>) -> Result<TextTokenizer, ModelError> {
        let (file, json) = &self.tokenizer;
        TextTokenizer::new(file, json, &self.config, &self.tokenizer_config, length)
    }

    pub(crate) fn identity(&self, choice: Choice, embedding_dim: usize) -> ModelIdentity {
        ModelIdentity {
            model_name: self.name.clone(),
            fingerprint: self.fingerprint.clone(),
            embedding_dim,
            precision: choice.precision.to_string(),
            provider: choice.provider.to_string(),
            deviation: None,
        }
    }
}

/// The hash of a graph's weights, those in files beside it included.
fn hash_of(graph: &Graph) -> Result<String, ModelError> {
    match graph {
        Graph::BuiltIn(_, bytes) => Ok(protocol::hash_hex(bytes)),
        Graph::File(_) => {
            let mut hash = Xxh3::new();
            graph.files().iter().try_for_each(|file| hash_file(file, &mut hash))?;
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
