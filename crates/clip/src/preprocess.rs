//! From an upright RGB picture to a model's input, as transformers' image processors do it: resize, crop, rescale,
//! normalise. Every number comes from the model's `preprocessor_config.json`.

use std::sync::Arc;

use fast_image_resize::FilterType;

use crate::config::{PreprocessorConfig, Size};
use crate::processor;
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
    pub(crate) fn new(file: &str, bytes: &[u8]) -> Result<Self, ModelError> {
        let (config, description) = processor::read(file, bytes)?;
        let Some((height, width)) = config.input() else {
            return Err(ModelError::unusable(
                file,
                "leaves pictures in different sizes, which no batch can hold: its size has not both sides, and its \
                 do_center_crop is off",
            ));
        };
        let resized = match config.size {
            Size::Number(n) | Size::Shortest { shortest_edge: n } | Size::Longest { longest_edge: n } => n,
            Size::Within { shortest_edge, longest_edge } => shortest_edge.min(longest_edge),
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
            levels: Arc::new(levels(&config)),
            description,
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
            // SamImageProcessor's get_preprocess_shape.
            Some(Size::Longest { longest_edge }) => {
                let scale = longest_edge as f64 / width.max(height) as f64;
                let side = |side: usize| ((side as f64 * scale + 0.5) as usize).max(1);
                (side(width), side(height))
            }
            // transformers' get_size_with_aspect_ratio.
            Some(Size::Within { shortest_edge, longest_edge }) => {
                let (short, long) = (width.min(height) as f64, width.max(height) as f64);
                let exact = if long / short * shortest_edge as f64 > longest_edge as f64 {
                    longest_edge as f64 * short / long
                } else {
                    shortest_edge as f64
                };
                let (near, far) = ((exact.round_ties_even() as usize).max(1), ((exact * long / short) as usize).max(1));
                if width < height {
                    (near, far)
                } else if height < width {
                    (far, near)
                } else {
                    (near, near)
                }
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
        Preprocess::new("preprocessor_config.json", json.as_bytes()).unwrap()
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
    fn what_is_left_out_is_as_the_type_has_it() {
        let siglip = r#""image_processor_type": "SiglipImageProcessor""#;
        let fast = r#""do_center_crop": null, "crop_size": null, "image_processor_type": "SiglipImageProcessorFast""#;
        for (json, size) in [
            (format!(r#"{{{siglip}, "size": {{"height": 384, "width": 384}}}}"#), (384, 384)),
            (format!(r#"{{{fast}, "size": {{"height": 384, "width": 256}}}}"#), (384, 256)),
            (format!(r#"{{{siglip}, "size": 256}}"#), (256, 256)),
            (format!(r#"{{{siglip}, "size": [256, 128]}}"#), (256, 128)),
            (format!("{{{siglip}}}"), (224, 224)),
            (r#"{"feature_extractor_type": "ViTFeatureExtractor"}"#.into(), (224, 224)),
            (r#"{"image_processor_type": "DeiTImageProcessor"}"#.into(), (224, 224)),
            (r#"{"image_processor_type": "BlipImageProcessor"}"#.into(), (384, 384)),
            (r#"{"image_processor_type": "ConvNextImageProcessor"}"#.into(), (384, 384)),
            (r#"{"image_processor_type": "ConvNextImageProcessor", "size": 224}"#.into(), (224, 224)),
            (r#"{"size": 288, "resize_mode": "squash"}"#.into(), (288, 288)),
            (r#"{"size": null, "image_mean": null, "crop_size": null, "resample": null}"#.into(), (224, 224)),
        ] {
            assert_eq!(preprocess(&json).size(), size, "{json}");
        }
        // Black, as each normalises it.
        let black = |json: &str| preprocess(json).levels[0][0];
        assert_eq!(black(&format!("{{{siglip}}}")), -1.0);
        assert_eq!(black("{}"), (-0.48145466f64 / 0.26862954) as f32);
        assert_eq!(black(r#"{"mean": [0.25, 0, 0], "std": [0.5, 1, 1]}"#), -0.5);
        assert_eq!(black(r#"{"image_mean": 0.5, "image_std": 0.25}"#), -2.0);
        assert_eq!(black(r#"{"do_normalize": false}"#), 0.0);
        assert_eq!(preprocess(r#"{"do_rescale": false, "do_normalize": false}"#).levels[2][255], 255.0);
    }

    #[test]
    fn edges_are_bounded_as_in_transformers() {
        let size = |size: &str| preprocess(&format!(r#"{{"size": {size}, "crop_size": 32}}"#));
        let within = size(r#"{"shortest_edge": 32, "longest_edge": 48}"#);
        // What get_size_with_aspect_ratio gives, width and height.
        assert_eq!(within.resized(640, 480), (42, 32));
        assert_eq!(within.resized(640, 200), (48, 15));
        assert_eq!(within.resized(200, 641), (15, 48));
        assert_eq!(within.resized(100, 100), (32, 32));
        let longest = size(r#"{"longest_edge": 32}"#);
        assert_eq!(longest.resized(640, 480), (32, 24));
        assert_eq!(longest.resized(3, 1000), (1, 32));
        assert_eq!(longest.apply(&grey(640, 480)).len(), 3 * 32 * 32);
    }

    #[test]
    fn fingerprints_of_released_models_stay() {
        let released = "PreprocessorConfig { do_resize: true, size: Shortest { shortest_edge: 224 }, resample: 3, \
                        do_center_crop: true, crop_size: Some(Sides { height: 224, width: 224 }), do_rescale: true, \
                        rescale_factor: 0.00392156862745098, do_normalize: true, \
                        image_mean: [0.48145466, 0.4578275, 0.40821073], image_std: [0.26862954, 0.26130258, 0.27577711] }";
        let demo = include_str!("../../../models/demo/preprocessor_config.json");
        assert_eq!(preprocess(demo).description(), released);
        // clip-vit-base-patch32's, in its older form.
        let b32 = r#"{"crop_size": 224, "do_center_crop": true, "do_normalize": true, "do_resize": true,
            "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "size": 224}"#;
        let numbers = released
            .replace("Shortest { shortest_edge: 224 }", "Number(224)")
            .replace("Sides { height: 224, width: 224 }", "Number(224)");
        assert_eq!(preprocess(b32).description(), numbers);
        // SigLIP's says nothing of a crop, which the first release took for one to 224 x 224.
        let siglip = r#"{"image_processor_type": "SiglipImageProcessor", "size": {"height": 224, "width": 224}}"#;
        let description = preprocess(siglip).description().to_owned();
        assert!(description.contains("do_center_crop: true, crop_size: None"), "{description}");
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_its_key() {
        for (json, key) in [
            (r#"{"resample": 0}"#, "resample is 0"),
            (r#"{"resample": 9}"#, "resample is 9"),
            (r#"{"resample": "nearest"}"#, "resample is \"nearest\""),
            (r#"{"do_center_crop": false}"#, "do_center_crop"),
            (r#"{"do_center_crop": null}"#, "do_center_crop"),
            (r#"{"do_center_crop": "no"}"#, "do_center_crop is \"no\""),
            (r#"{"crop_size": 0}"#, "0 x 0"),
            (r#"{"crop_size": {"longest_edge": 7}}"#, "crop_size is"),
            (r#"{"size": 100000}"#, "100000"),
            (r#"{"size": {"max_height": 7, "max_width": 7}}"#, "size is"),
            (r#"{"size": [224]}"#, "size is [224]"),
            (r#"{"size": {"height": 224}}"#, "size is"),
            (r#"{"size": -224}"#, "size is -224"),
            (r#"{"image_mean": [0.5]}"#, "image_mean is [0.5]"),
            (r#"{"std": [0, 1, 1]}"#, "std is [0,1,1]"),
            (r#"{"rescale_factor": "1/255"}"#, "rescale_factor is"),
            (r#"{"do_pad": true}"#, "do_pad is true"),
            (r#"{"size_divisor": 32, "crop_size": 100}"#, "size_divisor is 32"),
            (r#"{"ensure_multiple_of": 0}"#, "ensure_multiple_of is 0"),
            (r#"{"resize_mode": "longest"}"#, "resize_mode is"),
            (r#"{"crop_pct": 0.9}"#, "crop_pct is 0.9"),
            (r#"{"image_processor_type": "Siglip2ImageProcessor", "patch_size": 16}"#, "image_processor_type is"),
            (r#"{"feature_extractor_type": "OtherFeatureExtractor", "size": 224}"#, "feature_extractor_type is"),
            (r#"{"image_processor_type": "ConvNextImageProcessor", "size": [7, 7]}"#, "size is"),
            ("[]", "is not the JSON"),
        ] {
            let error = Preprocess::new("p.json", json.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("p.json: ") && error.contains(key), "{json}: {error}");
        }
        for json in
            [r#"{"do_pad": false, "pad_size": null}"#, r#"{"size_divisor": 32, "resample": "PIL.Image.BICUBIC"}"#]
        {
            preprocess(json);
        }
        let all = r#"{"image_processor_type": "OtherImageProcessor", "size": 32, "do_center_crop": true, "crop_size": 32,
            "resample": 3, "mean": 0, "std": 1}"#;
        assert_eq!(preprocess(all).size(), (32, 32), "a type that leaves nothing open");
    }
}
