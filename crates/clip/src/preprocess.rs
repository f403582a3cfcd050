//! From an upright RGB picture to a model's input, as transformers' `CLIPImageProcessor` does it: resize, crop, rescale,
//! normalise. Every number comes from the model's `preprocessor_config.json`.

use std::sync::Arc;

use fast_image_resize::FilterType;

use crate::config::{PreprocessorConfig, Size};
use crate::resize::{Span, resize_window};
use crate::{ModelError, Picture};

/// What a model wants done to a picture before it sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Preprocess {
    resize: Option<Resize>,
    height: usize,
    width: usize,
    /// For each channel, what each of the 256 levels becomes.
    levels: Arc<[[f32; 256]; 3]>,
    description: String,
}

#[derive(Clone, Copy, Debug)]
struct Resize {
    size: Size,
    filter: FilterType,
}

impl Preprocess {
    /// Follows a `preprocessor_config.json`; `file` names it in errors.
    pub(crate) fn new(file: &str, config: &PreprocessorConfig) -> Result<Self, ModelError> {
        let crop = config.do_center_crop.then(|| config.crop_size.unwrap_or(Size::Number(224)));
        let (height, width) = match (crop, config.do_resize.then_some(config.size)) {
            (Some(Size::Number(n) | Size::Shortest { shortest_edge: n }), _) => (n, n),
            (Some(Size::Sides { height, width }), _) | (None, Some(Size::Sides { height, width })) => (height, width),
            (None, _) => {
                return Err(ModelError::unusable(file, "leaves pictures in different sizes, which no batch can hold"));
            }
        };
        let resized = match config.size {
            Size::Number(n) | Size::Shortest { shortest_edge: n } => n,
            Size::Sides { height, width } => height.min(width),
        };
        if [height, width, resized].iter().any(|side| !(1..=4096).contains(side)) {
            return Err(ModelError::unusable(
                file,
                format!("asks for pictures of {width} x {height} pixels, resized to {resized}"),
            ));
        }
        let filter = match config.resample {
            1 => FilterType::Lanczos3,
            2 => FilterType::Bilinear,
            3 => FilterType::CatmullRom,
            4 => FilterType::Box,
            5 => FilterType::Hamming,
            other => {
                return Err(ModelError::unusable(
                    file,
                    format!("asks for resampling filter {other}, which is not supported"),
                ));
            }
        };
        Ok(Self {
            resize: config.do_resize.then_some(Resize { size: config.size, filter }),
            height,
            width,
            levels: Arc::new(levels(config)),
            description: format!("{config:?}"),
        })
    }

    /// The longer side of the model's input, in pixels. [`crate::decode()`] takes it as its target side.
    pub fn side(&self) -> usize {
        self.height.max(self.width)
    }

    /// Values of one picture's input: 3 x height x width.
    pub fn values(&self) -> usize {
        3 * self.height * self.width
    }

    /// (height, width) of the model's input, in pixels.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    /// All that decides the outcome, for the model's fingerprint.
    pub(crate) fn description(&self) -> &str {
        &self.description
    }

    /// The model's input for one picture, f32 [3, H, W].
    pub fn apply(&self, picture: &Picture) -> Vec<f32> {
        let (whole_width, whole_height) = self.resized(picture.width, picture.height);
        let (x, pad_x) = centre(whole_width, self.width);
        let (y, pad_y) = centre(whole_height, self.height);
        let filter = self.resize.map_or(FilterType::Box, |r| r.filter);
        let window = resize_window(picture, x, y, filter);
        // What the picture does not cover is black before it is normalised.
        let mut values = Vec::with_capacity(self.values());
        for levels in self.levels.iter() {
            values.resize(values.len() + self.height * self.width, levels[0]);
        }
        for (row, pixels) in window.chunks_exact(x.length * 3).enumerate() {
            let at = (pad_y + row) * self.width + pad_x;
            for (channel, levels) in self.levels.iter().enumerate() {
                let out = &mut values[channel * self.height * self.width + at..][..x.length];
                out.iter_mut().zip(pixels[channel..].iter().step_by(3)).for_each(|(o, &p)| *o = levels[usize::from(p)]);
            }
        }
        values
    }

    /// (width, height) of the whole picture once resized. The longer edge is cut to an integer, not rounded.
    fn resized(&self, width: usize, height: usize) -> (usize, usize) {
        match self.resize.map(|r| r.size) {
            None => (width, height),
            Some(Size::Sides { height, width }) => (width, height),
            Some(Size::Number(short) | Size::Shortest { shortest_edge: short }) => {
                let long = |long: usize, by: usize| ((short * long) as f64 / by as f64) as usize;
                if width <= height { (short, long(height, width)) } else { (long(width, height), short) }
            }
        }
    }
}

/// What each level of each channel becomes.
fn levels(config: &PreprocessorConfig) -> [[f32; 256]; 3] {
    let rescale = if config.do_rescale { config.rescale_factor } else { 1.0 };
    std::array::from_fn(|channel| {
        let (mean, std) =
            if config.do_normalize { (config.image_mean[channel], config.image_std[channel]) } else { (0.0, 1.0) };
        std::array::from_fn(|level| ((level as f64 * rescale - mean) / std) as f32)
    })
}

/// The part of `whole` pixels that a crop to `wanted` keeps, and the padding before it if there are too few.
fn centre(whole: usize, wanted: usize) -> (Span, usize) {
    if whole >= wanted {
        (Span { whole, start: (whole - wanted) / 2, length: wanted }, 0)
    } else {
        (Span { whole, start: 0, length: whole }, (wanted - whole) / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preprocess(json: &str) -> Preprocess {
        Preprocess::new("preprocessor_config.json", &serde_json::from_str(json).unwrap()).unwrap()
    }

    fn grey(width: usize, height: usize) -> Picture {
        Picture::new(width, height, vec![128; width * height * 3])
    }

    #[test]
    fn sizes_are_read_in_every_form() {
        for json in [
            r#"{"size": 224, "crop_size": 224}"#,
            r#"{"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}"#,
            r#"{"size": {"height": 224, "width": 224}, "do_center_crop": false}"#,
            "{}",
        ] {
            assert_eq!(preprocess(json).size(), (224, 224), "{json}");
        }
        assert_eq!(preprocess(r#"{"size": 64, "crop_size": {"height": 32, "width": 48}}"#).values(), 3 * 32 * 48);
    }

    #[test]
    fn the_longer_edge_is_cut_to_an_integer() {
        let p = preprocess("{}");
        assert_eq!(p.resized(640, 480), (298, 224));
        assert_eq!(p.resized(480, 640), (224, 298));
        assert_eq!(p.resized(1, 10_000), (224, 2_240_000));
    }

    #[test]
    fn any_shape_fills_the_input() {
        let p = preprocess("{}");
        let expected = ((128.0 / 255.0 - 0.48145466) / 0.26862954) as f32;
        for (width, height) in [(1, 1), (1, 10_000), (10_000, 1), (3, 2), (640, 480), (223, 225)] {
            let values = p.apply(&grey(width, height));
            assert_eq!(values.len(), p.values());
            assert!(values[..224 * 224].iter().all(|v| (v - expected).abs() < 1e-6), "{width}x{height}");
        }
    }

    #[test]
    fn a_picture_smaller_than_the_crop_is_padded_with_black() {
        let p = preprocess(r#"{"do_resize": false, "crop_size": 4, "do_normalize": false}"#);
        let grey_value = 128.0 / 255.0;
        let values = p.apply(&grey(2, 3));
        let rows: Vec<Vec<bool>> =
            values[..16].chunks(4).map(|row| row.iter().map(|&v| (v - grey_value).abs() < 1e-6).collect()).collect();
        let inside = vec![false, true, true, false];
        assert_eq!(rows, vec![inside.clone(), inside.clone(), inside, vec![false; 4]]);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for json in [
            r#"{"resample": 0}"#,
            r#"{"resample": 9}"#,
            r#"{"do_center_crop": false}"#,
            r#"{"crop_size": 0}"#,
            r#"{"size": 100000}"#,
        ] {
            assert!(Preprocess::new("p.json", &serde_json::from_str(json).unwrap()).is_err(), "{json}");
        }
    }
}
