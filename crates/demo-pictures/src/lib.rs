//! Draws the pictures of the demo: simple things in clear colours on six backgrounds, exactly labelled, without end.
//! The demo model is trained on them and the tests search them, so what they show must not drift: a change here asks
//! for a newly trained model (models/demo/train.py).
#![warn(missing_docs)]

mod backgrounds;
mod canvas;
mod rng;
mod scene;
mod shapes;

pub use backgrounds::{BACKGROUNDS, Background};
pub use scene::{Mix, Scene, Thing, draw, scenes};
pub use shapes::{COLOURS, Colour, KINDS, Kind};

#[cfg(test)]
mod tests;
