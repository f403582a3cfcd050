//! Models' encoders, each loaded once and shared by all indexes that were made with the same model: that for texts at
//! once, that for pictures when somebody first asks with one. What no index needs any more is dropped.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clip::{
    DecodeLimits, DecodeMode, EncoderOptions, ImageEncoder, Model, ModelError, Precision, Provider, TextEncoder, decode,
};
use lru::LruCache;
use protocol::{Embedding, IndexMeta, hash_hex};

use crate::refusal::Refusal;
use crate::templates::phrases;

const FOLDER_HINT: &str = "if the index's model is a folder on this machine, say which: query --model FOLDER";

/// Vectors of texts and pictures that are remembered, so that who asks again, or takes a letter back, waits for no model:
/// 2 MiB for vectors of 512 values.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not zero");

/// Phrases that are encoded at once, which bounds what the model needs for them. One alone waits for the model's weights to
/// come from memory, and many take little longer.
const PHRASES_AT_ONCE: usize = 32;

/// The encoders of one model, which several askers use in turn.
pub struct SharedEncoder {
    model: Model,
    texts: Mutex<TextEncoder>,
    /// Phrases that askers wait for, by their key. Who gets the encoder encodes them all in one batch.
    wanted: Mutex<HashMap<String, Vec<String>>>,
    pictures: Mutex<Option<ImageEncoder>>,
    known: Mutex<LruCache<String, Embedding>>,
}

/// Words that somebody asks for.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    pub text: &'a str,
    /// Whether they may be averaged over phrases around them.
    pub templates: bool,
}

/// The encoders that are loaded, by the fingerprint of their model. The inner lock makes two askers load one once.
#[derive(Default)]
pub struct Encoders(Mutex<HashMap<String, Place>>);

type Place = Arc<tokio::sync::Mutex<Weak<SharedEncoder>>>;

impl Encoders {
    /// The encoder for an index: of the same fingerprint, or none at all. Its model is looked for in the folder
    /// `model` if one is given, else by the name that the index knows.
    pub async fn of(&self, index: &IndexMeta, model: Option<String>) -> Result<Arc<SharedEncoder>, Refusal> {
        let place = self.place(&index.model.fingerprint);
        let mut held = place.lock().await;
        if let Some(encoder) = held.upgrade() {
            return Ok(encoder);
        }
        let (name, fingerprint) = (index.model.model_name.clone(), index.model.fingerprint.clone());
        let loading = tokio::task::spawn_blocking(move || load(&name, model.as_deref(), &fingerprint));
        let encoder = Arc::new(loading.await.map_err(|e| Refusal::failed(&e))??);
        *held = Arc::downgrade(&encoder);
        Ok(encoder)
    }

    fn place(&self, fingerprint: &str) -> Place {
        let mut places = self.0.lock().expect("nothing panics in it");
        places.entry(fingerprint.to_owned()).or_default().clone()
    }
}

impl Words<'_> {
    fn key(&self) -> String {
        format!("words {} {}", self.templates, hash_hex(self.text.as_bytes()))
    }

    fn phrases(&self) -> Vec<String> {
        if self.templates { phrases(self.text) } else { vec![self.text.to_owned()] }
    }
}

impl SharedEncoder {
    /// Fingerprint of its model.
    pub fn fingerprint(&self) -> &str {
        self.model.fingerprint()
    }

    /// The embeddings of words, in their order. What is not remembered takes tens of milliseconds.
    pub fn words(&self, asked: &[Words]) -> Result<Vec<Embedding>, Refusal> {
        let keys: Vec<String> = asked.iter().map(Words::key).collect();
        if let Some(all) = keys.iter().map(|key| self.recall(key)).collect() {
            return Ok(all);
        }
        self.wanted().extend(keys.iter().cloned().zip(asked.iter().map(Words::phrases)));
        // A text that made an earlier call panic has left nothing behind that the next could meet.
        let mut encoder = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let embedding = |(key, words): (&String, &Words)| match self.recall(key) {
            // Who had the encoder before has encoded it.
            Some(embedding) => Ok(embedding),
            None => self.encode(&mut encoder, key, words.phrases()),
        };
        keys.iter().zip(asked).map(embedding).collect()
    }

    /// The embedding of the words that `key` stands for. What others wait for is encoded with them, as far as there is room.
    fn encode(&self, encoder: &mut TextEncoder, key: &str, phrases: Vec<String>) -> Result<Embedding, Refusal> {
        let mut count = phrases.len();
        let (mut keys, mut batch) = (vec![key.to_owned()], vec![phrases]);
        self.wanted().retain(|key, phrases| {
            if keys[0] == *key || self.recall(key).is_some() {
                return false;
            }
            count += phrases.len();
            if count <= PHRASES_AT_ONCE {
                keys.push(key.clone());
                batch.push(std::mem::take(phrases));
            }
            count > PHRASES_AT_ONCE
        });
        let vectors = match vectors(encoder, &batch) {
            // It is not known whose words they were: others ask for their own again.
            Err(_) if batch.len() > 1 => vectors(encoder, &batch[..1]),
            vectors => vectors,
        };
        let mut embeddings =
            keys.into_iter().zip(vectors?).map(|(key, vectors)| Ok(self.remember(key, mean(vectors)?)));
        let first = embeddings.next().expect("there is one for each text");
        embeddings.for_each(drop);
        first
    }

    /// The embedding of a picture's file, in base64. The first one loads the encoder, which takes seconds; then what is
    /// not remembered takes a tenth of one.
    pub fn picture(&self, base64: &str) -> Result<Embedding, Refusal> {
        let key = format!("picture {}", hash_hex(base64.as_bytes()));
        if let Some(embedding) = self.recall(&key) {
            return Ok(embedding);
        }
        // One at a time, also for decoding: so the memory for all is that for one.
        let mut slot = self.pictures.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = BASE64_STANDARD.decode(base64);
        let bytes =
            bytes.map_err(|e| Refusal::bad(format!("the picture is not in base64 (RFC 4648, with padding): {e}")))?;
        let preprocess = self.model.preprocess();
        // Fast, as a worker decodes unless it is told otherwise.
        let picture = decode(&bytes, DecodeMode::Fast, preprocess.side(), &DecodeLimits::default());
        let picture = picture.map_err(|e| {
            Refusal::bad(format!("the picture cannot be read, {e}: send the whole file of one that can be indexed"))
        })?;
        drop(bytes);
        let encoder = match &mut *slot {
            Some(encoder) => encoder,
            none => none.insert(self.model.image_encoder(&FOR_QUESTIONS).map_err(|e| Refusal::failed(&e))?),
        };
        let found = encoder.encode(&preprocess.apply(&picture)).map_err(|e| Refusal::failed(&e))?.pop();
        let embedding = found.and_then(Result::ok);
        let embedding =
            embedding.ok_or_else(|| Refusal::bad("the model gives no vector for this picture: try another"))?;
        Ok(self.remember(key, embedding))
    }

    fn wanted(&self) -> MutexGuard<'_, HashMap<String, Vec<String>>> {
        self.wanted.lock().expect("nothing panics in it")
    }

    fn recall(&self, key: &str) -> Option<Embedding> {
        self.known.lock().expect("nothing panics in it").get(key).cloned()
    }

    fn remember(&self, key: String, embedding: Embedding) -> Embedding {
        self.known.lock().expect("nothing panics in it").put(key, embedding.clone());
        embedding
    }
}

/// The reference, whatever the index was made with: it is what every vector of the index is held against, any machine
/// has it, and for one picture it is ready soonest and takes the least memory.
const FOR_QUESTIONS: EncoderOptions = EncoderOptions {
    threads: 0,
    provider: Provider::Cpu,
    precision: Precision::Fp32,
    batch: 1,
    memory: None,
    max_deviation: EncoderOptions::MAX_DEVIATION,
};

/// Vectors of phrases.
fn vectors(encoder: &mut TextEncoder, batch: &[Vec<String>]) -> Result<Vec<Vec<Embedding>>, Refusal> {
    let flat: Vec<&str> = batch.iter().flatten().map(String::as_str).collect();
    let mut vectors = Vec::with_capacity(flat.len());
    for some in flat.chunks(PHRASES_AT_ONCE) {
        vectors.extend(encoder.encode(some).map_err(|e| Refusal::failed(&e))?);
    }
    let mut vectors = vectors.into_iter();
    Ok(batch.iter().map(|phrases| vectors.by_ref().take(phrases.len()).collect()).collect())
}

/// The direction in the middle of several.
fn mean(mut embeddings: Vec<Embedding>) -> Result<Embedding, Refusal> {
    if embeddings.len() == 1 {
        return Ok(embeddings.remove(0));
    }
    let mut sum = vec![0.0; embeddings.first().map_or(0, Embedding::dim)];
    for embedding in &embeddings {
        sum.iter_mut().zip(embedding.values()).for_each(|(s, v)| *s += v);
    }
    Embedding::normalise(sum).map_err(|e| Refusal::failed(&e))
}

fn load(name: &str, folder: Option<&str>, fingerprint: &str) -> Result<SharedEncoder, Refusal> {
    let model = Model::open(folder.unwrap_or(name)).map_err(|e| match e {
        // All that an index knows of a model that was given as a folder is the folder's name.
        ModelError::Unknown { .. } => Refusal::failed(&e).with_hint(FOLDER_HINT),
        _ => Refusal::failed(&e),
    })?;
    if model.fingerprint() != fingerprint {
        return Err(Refusal::conflict(format!(
            "the index was made with model {name} of fingerprint {fingerprint}, but {} on this machine has fingerprint \
             {}: their vectors cannot be compared. Put the first one's files in place of the second's, or embed the \
             pictures anew (controller --fresh)",
            folder.unwrap_or(name),
            model.fingerprint()
        )));
    }
    let texts = Mutex::new(model.text_encoder(0).map_err(|e| Refusal::failed(&e))?);
    let known = Mutex::new(LruCache::new(REMEMBERED));
    Ok(SharedEncoder { model, texts, wanted: Mutex::default(), pictures: Mutex::new(None), known })
}
