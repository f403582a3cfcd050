//! The model: from a picture's bytes, or from words, to an [`Embedding`].
//!
//! [`decode`](decode()) makes upright RGB of a file's bytes, [`Preprocess`] makes the model's input of that, and an
//! [`ImageEncoder`] the vector; a [`TextEncoder`] does the same for words. All of it follows Pillow and transformers,
//! and golden vectors in `tests/` hold it to them.
//!
//! This crate reads files and, for a model that is absent, the hub. It must never print (a download shows its progress
//! if standard error is a terminal), and it is the only one that names ONNX Runtime.
#![warn(missing_docs)]

mod config;
mod decode;
mod encoder;
mod error;
mod golden;
mod hub;
mod model;
mod preprocess;
mod processor;
mod resize;
mod runtime;
mod show;
mod store;
mod tokenizer;

pub use decode::{DecodeError, DecodeLimits, DecodeMode, Picture, decode};
pub use encoder::{EncoderOptions, ImageEncoder, MemoryBudget, Precision, Provider, TextEncoder, UnknownWord};
pub use error::ModelError;
pub use golden::golden_pictures;
pub use model::Model;
pub use preprocess::Preprocess;
pub use protocol::{Embedding, ModelIdentity, NotAVector};
pub use runtime::runtime_path;
pub use tokenizer::ContextUse;
