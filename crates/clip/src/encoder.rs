//! Sessions of ONNX Runtime: an encoder for pictures, one for texts, and the choice of what computes.
//!
//! Inputs and outputs are found by name, because exports differ: some text models take no mask, some models give
//! more outputs than the embedding, and none normalises it.

mod image;
mod options;
mod session;
mod text;

pub use image::ImageEncoder;
pub use options::{EncoderOptions, Precision, UnknownPrecision};
pub use text::TextEncoder;
