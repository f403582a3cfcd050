//! What can be wrong with a model, and what to do about it.

use std::path::PathBuf;

/// Why a model cannot be opened or run. Each text names the file or setting and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No model is known by this name.
    #[error(
        "there is no model {name:?}: give one of {known}, or a folder (with a '/' in its path) that holds {files}",
        files = crate::store::FILES
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names that are known, separated by commas.
        known: String,
    },
    /// A folder lacks files of a model.
    #[error(
        "the model folder {} lacks {missing}: it must hold {files}. `--model demo` is built in and works now",
        folder.display(),
        files = crate::store::FILES
    )]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// The missing files, separated by commas.
        missing: String,
    },
    /// A model is not on this machine and could not be fetched.
    #[error(
        "the model {name} is not on this machine and could not be fetched: {reason}\n\
         Its files are {files} of {repository} at revision {revision}. Either put them into a folder and give that folder to --model, \
         or set HF_ENDPOINT to a reachable mirror, or HF_HOME to a Hugging Face cache that holds them (now {cache}). \
         `--model demo` is built in and works now.",
        files = crate::store::FILES,
        cache = cache.display()
    )]
    Unavailable {
        /// The model.
        name: String,
        /// The repository on the hub.
        repository: String,
        /// The commit.
        revision: String,
        /// The hub cache that was looked into.
        cache: PathBuf,
        /// Why fetching failed.
        reason: String,
    },
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be: damaged, of another kind, or with other inputs and outputs.
    #[error("{file}: {detail}")]
    Unusable {
        /// The file.
        file: String,
        /// What is wrong with it.
        detail: String,
    },
    /// ONNX Runtime is absent or cannot be used.
    #[error("ONNX Runtime: {detail}")]
    Runtime {
        /// What is wrong and what to do.
        detail: String,
    },
    /// A provider or precision that is not to be had on this machine.
    #[error("{wanted} is not to be had on this machine: {why}")]
    NotHere {
        /// What was asked for.
        wanted: String,
        /// What is missing, and how to get it.
        why: String,
    },
    /// The self-check failed: an encoder gives other vectors than the model must.
    #[error(
        "{file}: the self-check failed. On {choice} the golden {what}' vectors are {deviation:.3} of the distance between \
         {what} away from what they must be; at most {bound} is allowed{advice}"
    )]
    Deviates {
        /// The graph.
        file: String,
        /// `pictures` or `texts`.
        what: &'static str,
        /// Provider and precision.
        choice: String,
        /// How far it is off, as a share of the median distance between them.
        deviation: f64,
        /// How far it may be off.
        bound: f64,
        /// What would pass, or what to do, as a sentence of its own; empty if there is no need of any.
        advice: String,
    },
    /// The model failed on a batch.
    #[error("{file} failed on a batch of {batch}: {detail}")]
    Run {
        /// The file.
        file: String,
        /// Pictures or texts in the batch.
        batch: usize,
        /// What ONNX Runtime says.
        detail: String,
    },
}

impl ModelError {
    /// Whether the runtime did not get the memory that it needed, so that a smaller batch may pass. There is no error
    /// code for it: these are the words of ONNX Runtime's arenas, of C++ and of CUDA.
    pub fn is_out_of_memory(&self) -> bool {
        let Self::Run { detail, .. } = self else { return false };
        ["allocate memory", "smaller than requested bytes", "bad_alloc", "out of memory"]
            .iter()
            .any(|words| detail.contains(words))
    }

    pub(crate) fn unusable(file: impl Into<String>, detail: impl ToString) -> Self {
        Self::Unusable { file: file.into(), detail: detail.to_string() }
    }
}
