//! Text encoders, each loaded once and shared by all indexes that were made with the same model. One that no index
//! needs any more is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use clip::{Model, ModelError, TextEncoder};
use protocol::{Embedding, IndexMeta};

use crate::refusal::Refusal;

const FOLDER_HINT: &str = "if the index's model is a folder on this machine, say which: query --model FOLDER";

/// A text encoder that several askers use in turn.
pub struct SharedEncoder {
    fingerprint: String,
    encoder: Mutex<TextEncoder>,
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

impl SharedEncoder {
    /// Fingerprint of its model.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The embedding of one text. Takes tens of milliseconds.
    pub fn encode(&self, text: &str) -> Result<Embedding, Refusal> {
        // A text that made an earlier call panic has left nothing behind that the next could meet.
        let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        let embeddings = encoder.encode(&[text]).map_err(|e| Refusal::failed(&e))?;
        embeddings.into_iter().next().ok_or_else(|| Refusal::bad("the model gave no vector for this text"))
    }
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
    let encoder = model.text_encoder(0).map_err(|e| Refusal::failed(&e))?;
    Ok(SharedEncoder { fingerprint: fingerprint.to_owned(), encoder: Mutex::new(encoder) })
}
