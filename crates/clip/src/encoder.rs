//! Sessions of ONNX Runtime: an encoder for pictures, one for texts, and the choice of what computes.
//!
//! Inputs and outputs are found by name, because exports differ: some text models take no mask, some models give
//! more outputs than the embedding, and none normalises it.

pub(crate) mod checked;
mod choice;
mod image;
mod memory;
mod options;
mod session;
mod text;

pub(crate) use choice::Choice;
pub use image::ImageEncoder;
pub use memory::MemoryBudget;
pub use options::{EncoderOptions, Precision, Provider, UnknownWord};
pub(crate) use session::Output;
pub use text::TextEncoder;
