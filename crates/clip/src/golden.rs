//! Golden pictures and texts: a few of each in the program, and the vectors that a model must give for them. They guard
//! what vectors mean, which no checksum does: a wrong kernel, a wrong precision, wrong preprocessing, changed weights.
//!
//! The demo model's vectors are in the program, made by Pillow, transformers and onnxruntime. Another model's are made
//! by the reference (ONNX Runtime's own kernels in fp32) when the model is installed or first used here, and stand
//! beside it from then on. What is damaged before that is not noticed by them; what the hub gives is held against its
//! SHA-256 instead.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use protocol::{Embedding, folders, hash_hex};
use serde::{Deserialize, Serialize};

use crate::encoder::{Choice, EncoderOptions, ImageEncoder, TextEncoder};
use crate::{DecodeLimits, DecodeMode, Model, ModelError, decode};

macro_rules! pictures {
    ($($name:literal),*) => {
        [$(($name, include_bytes!(concat!("../tests/golden/", $name)).as_slice())),*]
    };
}

/// The pictures: of several formats, so that decoding is seen too, and together about as different as photos are. (The
/// median distance between two is 0.48 for a ViT-B/32 of random weights, and 0.46 between photos.)
const PICTURES: [(&str, &[u8]); 6] =
    pictures!["flat.png", "grey.jpg", "lossless.webp", "progressive.jpg", "small_frame.gif", "turned_3.jpg"];

/// The golden pictures' files. They are as good as any to try a machine with.
pub fn golden_pictures() -> impl Iterator<Item = &'static [u8]> + Clone {
    PICTURES.into_iter().map(|(_, bytes)| bytes)
}

/// The texts, of several scripts.
const TEXTS: [&str; 3] = ["a yellow car", "café 日本 🚗", "blue fish"];

/// What the reference in Python makes of them with the demo model; see tests/golden/make.py.
const DEMO: &[u8] = include_bytes!("../tests/golden/golden.json");

/// The file beside a model.
const FILE: &str = "imagefleet.golden.json";

/// Changes whenever texts are read by another rule: 0 filled up the texts of graphs without a mask to the longest of a
/// batch, and left small letters and punctuation to `tokenizer.json`.
const TEXT_RULES: u32 = 1;

/// Two golden pictures, or texts, nearer to each other than this are the same to the model: it is broken.
const LEAST_SPREAD: f64 = 1e-3;

/// The vectors that a model must give, and where they are kept.
#[derive(Debug)]
pub struct Golden {
    pictures: Vectors,
    texts: Vectors,
    file: PathBuf,
    /// The rules that the texts' vectors were made by.
    text_rules: u32,
    /// Why they could not be kept, so that each start makes them again.
    pub unkept: Option<String>,
}

/// Vectors of one kind.
#[derive(Debug)]
struct Vectors {
    vectors: Vec<Embedding>,
    /// The median distance between two of them, the unit of deviations.
    spread: f64,
}

/// The file's content. What make.py writes has these fields too.
#[derive(Deserialize, Serialize)]
struct Content {
    /// Of the model that made it, for people.
    #[serde(default)]
    fingerprint: String,
    #[serde(default)]
    text_rules: u32,
    pictures: BTreeMap<String, Picture>,
    texts: Vec<(String, Vec<f32>)>,
}

#[derive(Deserialize, Serialize)]
struct Picture {
    vector: Vec<f32>,
}

impl Golden {
    /// Those of `model`: built in, or kept beside it or in this machine's cache, or made now.
    pub fn of(model: &Model) -> Result<Self, ModelError> {
        let Some(folder) = model.folder() else { return Self::parse(DEMO, Path::new("the program")) };
        let key = hash_hex(folder.as_os_str().as_encoded_bytes());
        let cached = folders::cache().ok().map(|cache| cache.join("golden").join(format!("{key}.json")));
        let places: Vec<PathBuf> = std::iter::once(folder.join(FILE)).chain(cached).collect();
        if let Some(kept) = places.iter().find(|place| place.is_file()) {
            let bytes = fs::read(kept).map_err(|source| ModelError::Read { path: kept.clone(), source })?;
            return Self::parse(&bytes, kept)?.of_one_space(model);
        }
        let content = make(model)?;
        let bytes = serde_json::to_vec(&content).expect("numbers and names can be written");
        let mut unkept = None;
        for place in &places {
            match publish(place, &bytes) {
                Ok(()) => return Self::parse(&bytes, place),
                Err(e) => unkept = Some(format!("cannot write {}: {e}; the next start takes longer", place.display())),
            }
        }
        Ok(Self { unkept, ..Self::parse(&bytes, &places[0])? })
    }

    fn parse(bytes: &[u8], file: &Path) -> Result<Self, ModelError> {
        let unusable = |what: String| {
            ModelError::unusable(file.display().to_string(), format!("{what}; remove it, and it is made anew"))
        };
        let content: Content = serde_json::from_slice(bytes).map_err(|e| unusable(format!("is damaged: {e}")))?;
        let pictures = PICTURES.iter().map(|(name, _)| content.pictures.get(*name).map(|p| &p.vector).ok_or(*name));
        let found = |text| content.texts.iter().find(|(t, _)| t == text).map(|(_, vector)| vector);
        let texts = TEXTS.iter().map(|&text| found(text).ok_or(text));
        let pictures = Vectors::new(pictures).map_err(unusable)?;
        let texts = Vectors::new(texts).map_err(unusable)?;
        Ok(Self { pictures, texts, file: file.into(), text_rules: content.text_rules, unkept: None })
    }

    /// An error if pictures and texts have vectors of different lengths.
    fn of_one_space(self, model: &Model) -> Result<Self, ModelError> {
        compare(model, self.pictures.vectors[0].dim(), self.texts.vectors[0].dim()).map(|()| self)
    }

    /// Makes the texts' vectors anew if another rule made them, and keeps them if it can.
    pub fn renew_texts(self, encoder: &mut TextEncoder) -> Result<Self, ModelError> {
        if self.text_rules == TEXT_RULES || !encoder.rules_matter() {
            return Ok(self);
        }
        let bytes = fs::read(&self.file).map_err(|source| ModelError::Read { path: self.file.clone(), source })?;
        let Ok(kept) = serde_json::from_slice::<Content>(&bytes) else { return Ok(self) };
        let content = Content { text_rules: TEXT_RULES, texts: embed_texts(encoder)?, ..kept };
        let bytes = serde_json::to_vec(&content).expect("numbers and names can be written");
        // Where it cannot be written, each start makes them again.
        let _ = publish(&self.file, &bytes);
        Self::parse(&bytes, &self.file)
    }

    /// How far the encoder is from them: of the golden picture that is furthest off, the distance as a share of the
    /// median distance between two of them (0: the same; 1: as far as another picture). Infinite if it gives no vector.
    pub fn deviation(&self, model: &Model, encoder: &mut ImageEncoder) -> Result<f64, ModelError> {
        Ok(self.pictures.deviation(embed(model, encoder)?.iter().map(Option::as_ref)))
    }

    /// The same for texts.
    pub fn text_deviation(&self, encoder: &mut TextEncoder) -> Result<f64, ModelError> {
        Ok(self.texts.deviation(encoder.encode(&TEXTS)?.iter().map(Some)))
    }

    /// What to do if nothing here gives them.
    pub fn remedy(&self) -> String {
        format!(
            "Nothing on this machine passes, so the model itself is not what it was: put its files back as they were, \
             or, if they are meant to be others, remove {}",
            self.file.display()
        )
    }
}

impl Vectors {
    /// Of what is found, in order; else the name of what is not there, or what is wrong with it.
    fn new<'a>(found: impl Iterator<Item = Result<&'a Vec<f32>, &'a str>>) -> Result<Self, String> {
        let vector = |found: Result<&Vec<f32>, &str>| {
            let values = found.map_err(|name| format!("lacks {name:?}"))?;
            Embedding::normalise(values.clone()).map_err(|e| e.to_string())
        };
        let vectors = found.map(vector).collect::<Result<Vec<_>, _>>()?;
        if vectors.iter().any(|v| v.dim() != vectors[0].dim()) {
            return Err("holds vectors of different lengths".into());
        }
        let spread = spread(&vectors);
        if spread < LEAST_SPREAD {
            return Err(format!("holds nearly the same vector for all (distance {spread:.1e})"));
        }
        Ok(Self { vectors, spread })
    }

    fn deviation<'a>(&self, got: impl Iterator<Item = Option<&'a Embedding>>) -> f64 {
        let off = got.zip(&self.vectors).map(|(got, wanted)| match got {
            Some(got) if got.dim() == wanted.dim() => distance(got, wanted) / self.spread,
            _ => f64::INFINITY,
        });
        off.fold(0.0, f64::max)
    }
}

/// What the reference makes of the pictures and the texts.
fn make(model: &Model) -> Result<Content, ModelError> {
    let mut encoder = ImageEncoder::open(model, Choice::REFERENCE, &EncoderOptions::default())?;
    let vectors = embed(model, &mut encoder)?;
    let picture = |((name, _), vector): (&(&str, &[u8]), Option<Embedding>)| match vector {
        Some(vector) => Ok(((*name).to_owned(), Picture { vector: vector.into_values() })),
        None => Err(ModelError::unusable(encoder.file(), "gives no vector for a picture that every model can see")),
    };
    let pictures = PICTURES.iter().zip(vectors).map(picture).collect::<Result<_, _>>()?;
    let mut text_encoder = TextEncoder::open(model, 0)?;
    compare(model, encoder.identity().embedding_dim, text_encoder.identity().embedding_dim)?;
    let texts = embed_texts(&mut text_encoder)?;
    Ok(Content { fingerprint: model.fingerprint().into(), text_rules: TEXT_RULES, pictures, texts })
}

/// An error if vectors of pictures and of texts have different lengths, so that no question could be answered.
fn compare(model: &Model, pictures: usize, texts: usize) -> Result<(), ModelError> {
    if pictures == texts {
        return Ok(());
    }
    let vision = model.vision(false);
    let detail = format!(
        "gives vectors of {texts} values, but {vision} of {pictures}: texts and pictures could not be compared. One of \
         them is of another model, or ends before its projection: export both with it (in transformers \
         CLIPTextModelWithProjection and CLIPVisionModelWithProjection)"
    );
    Err(ModelError::unusable(model.text().to_string(), detail))
}

fn embed_texts(encoder: &mut TextEncoder) -> Result<Vec<(String, Vec<f32>)>, ModelError> {
    let vectors = encoder.encode(&TEXTS)?.into_iter().map(Embedding::into_values);
    Ok(TEXTS.into_iter().map(str::to_owned).zip(vectors).collect())
}

/// The pictures' vectors; none where the model gives none.
fn embed(model: &Model, encoder: &mut ImageEncoder) -> Result<Vec<Option<Embedding>>, ModelError> {
    let side = model.preprocess().side();
    let mut pixels = Vec::with_capacity(PICTURES.len() * model.preprocess().values());
    for (name, bytes) in PICTURES {
        let picture = decode(bytes, DecodeMode::Exact, side, &DecodeLimits::default()).map_err(|e| {
            ModelError::unusable(name, format!("this program's own picture cannot be decoded: {}", e.detail))
        })?;
        pixels.extend(model.preprocess().apply(&picture));
    }
    Ok(encoder.encode(&pixels)?.into_iter().map(Result::ok).collect())
}

fn spread(vectors: &[Embedding]) -> f64 {
    let pairs = vectors.iter().enumerate().flat_map(|(i, a)| vectors[..i].iter().map(|b| distance(a, b)));
    let mut distances: Vec<f64> = pairs.collect();
    distances.sort_by(f64::total_cmp);
    distances[distances.len() / 2]
}

fn distance(a: &Embedding, b: &Embedding) -> f64 {
    a.values().iter().zip(b.values()).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

/// Writes a file that is there whole or not at all.
fn publish(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let scratch = path.with_extension(format!("{}.tmp", std::process::id()));
    let write = |mut file: File| file.write_all(bytes);
    File::create_new(&scratch).and_then(write).and_then(|()| fs::rename(&scratch, path)).inspect_err(|_| {
        let _ = fs::remove_file(&scratch);
    })
}
