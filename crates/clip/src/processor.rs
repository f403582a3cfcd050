//! `preprocessor_config.json` as transformers reads it: what it leaves out is as its type of processor has it, a step that
//! is null is off, and another setting that is null is as if left out. What would change the pixels and is not
//! understood is refused by its key, never passed over.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::ModelError;
use crate::config::{PreprocessorConfig, Size, parse};

/// OPENAI_CLIP_MEAN and OPENAI_CLIP_STD.
const CLIP: [[f64; 3]; 2] = [[0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]];
/// IMAGENET_STANDARD_MEAN and IMAGENET_STANDARD_STD.
const HALVES: [[f64; 3]; 2] = [[0.5; 3], [0.5; 3]];

/// Steps that no CLIP-like model of one input size takes. They may be named if they are off.
const FOREIGN: [&str; 14] = [
    "do_pad",
    "do_align_long_axis",
    "do_thumbnail",
    "do_crop_margin",
    "do_image_splitting",
    "do_color_quantize",
    "do_grayscale",
    "do_convert_grayscale",
    "do_flip_channel_order",
    "do_convert_bgr",
    "do_resize_shortest_edge",
    "keep_aspect_ratio",
    "rescale_offset",
    "include_top",
];

/// What sides are cut or filled up to a multiple of.
const ALIGNED: [&str; 4] = ["size_divisor", "size_divisibility", "ensure_multiple_of", "patch_size"];

/// What a type of processor does where the file says nothing.
#[derive(Clone, Copy)]
struct Type {
    size: Size,
    /// Whether a size of one number is both sides, or else the shorter one.
    square: bool,
    resample: u8,
    crop: bool,
    norm: [[f64; 3]; 2],
    /// ConvNeXT resizes to more than it keeps, by its own key `crop_pct`.
    convnext: bool,
}

impl Type {
    const CLIP: Self =
        Self { size: Size::Number(224), square: false, resample: 3, crop: true, norm: CLIP, convnext: false };

    /// By the class's name in transformers, old or new, slow or fast.
    fn named(name: &str) -> Option<Self> {
        let name = name.trim_end_matches("Fast").trim_end_matches("ImageProcessor");
        let square =
            |side| Self { size: Size::Sides { height: side, width: side }, square: true, crop: false, ..Self::CLIP };
        Some(match name.trim_end_matches("FeatureExtractor") {
            "CLIP" | "ChineseCLIP" | "Bit" => Self::CLIP,
            "Siglip" => Self { norm: HALVES, ..square(224) },
            "ViT" => Self { norm: HALVES, resample: 2, ..square(224) },
            "Deit" | "DeiT" => Self { norm: HALVES, crop: true, ..square(256) },
            "Blip" => square(384),
            "ConvNext" => Self {
                size: Size::Shortest { shortest_edge: 384 },
                resample: 2,
                crop: false,
                norm: HALVES,
                convnext: true,
                ..Self::CLIP
            },
            _ => return None,
        })
    }
}

/// The file's keys.
struct Keys<'a> {
    file: &'a str,
    keys: Map<String, Value>,
}

impl Keys<'_> {
    /// The value of a key; none if it is absent or null.
    fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ModelError> {
        let value = self.keys.get(key).filter(|value| !value.is_null());
        value.map(|value| serde_json::from_value(value.clone()).map_err(|_| self.refuse(key))).transpose()
    }

    /// The first of several names of one setting.
    fn any<T: DeserializeOwned>(&self, names: [&str; 2]) -> Result<Option<T>, ModelError> {
        Ok(self.get(names[0])?.or(self.get(names[1])?))
    }

    fn refuse(&self, key: &str) -> ModelError {
        let value = self.keys.get(key).unwrap_or(&Value::Null);
        ModelError::unusable(self.file, format!("its {key} is {value}, which is not understood"))
    }
}

/// What the file asks for, and how a fingerprint describes it; `file` names it in errors.
pub fn read(file: &str, bytes: &[u8]) -> Result<(PreprocessorConfig, String), ModelError> {
    let keys = Keys { file, keys: parse(file, bytes)? };
    let (name, kind) = processor_type(&keys)?;
    let step = |key: &str, default: bool| match keys.keys.contains_key(key) {
        true => Ok::<bool, ModelError>(keys.get(key)?.unwrap_or(false)),
        false => Ok(default),
    };
    if let Some(&foreign) = FOREIGN.iter().find(|key| keys.keys.get(**key).is_some_and(|v| !is_off(v))) {
        return Err(keys.refuse(foreign));
    }
    let square = keys.get("default_to_square")?.unwrap_or(kind.square);
    let mut size = match keys.keys.get("size") {
        None | Some(Value::Null) => kind.size,
        Some(value) => sides(value, square).ok_or_else(|| keys.refuse("size"))?,
    };
    let crop_size = match keys.keys.get("crop_size") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let size = sides(value, false).filter(|size| size.square().is_some());
            Some(size.ok_or_else(|| keys.refuse("crop_size"))?)
        }
    };
    let mut crop = step("do_center_crop", kind.crop)?;
    match keys.get::<String>("resize_mode")?.as_deref() {
        None | Some("shortest") => {}
        Some("squash") => {
            let (height, width) = size.square().ok_or_else(|| keys.refuse("size"))?;
            size = Size::Sides { height, width };
            crop = step("do_center_crop", false)?;
        }
        Some(_) => return Err(keys.refuse("resize_mode")),
    }
    let mut config = PreprocessorConfig {
        do_resize: step("do_resize", true)?,
        size,
        resample: resample(&keys)?.unwrap_or(kind.resample),
        do_center_crop: crop,
        crop_size,
        do_rescale: step("do_rescale", true)?,
        rescale_factor: keys.get("rescale_factor")?.unwrap_or(1.0 / 255.0),
        do_normalize: step("do_normalize", true)?,
        image_mean: channels(&keys, ["image_mean", "mean"])?.unwrap_or(kind.norm[0]),
        image_std: channels(&keys, ["image_std", "std"])?.unwrap_or(kind.norm[1]),
    };
    match keys.get::<f64>("crop_pct")? {
        part if kind.convnext => config.resize_as_convnext(&keys, part.unwrap_or(224.0 / 256.0))?,
        // timm's; transformers' own types have no such step.
        Some(part) if name.is_none() && part != 1.0 => return Err(keys.refuse("crop_pct")),
        _ => {}
    }
    if config.do_normalize && config.image_std.iter().any(|std| !std.is_normal()) {
        return Err(keys.refuse(if keys.keys.contains_key("image_std") { "image_std" } else { "std" }));
    }
    if let Some((height, width)) = config.input() {
        let fits = |multiple: usize| multiple > 0 && height.is_multiple_of(multiple) && width.is_multiple_of(multiple);
        for key in ALIGNED {
            if keys.get::<usize>(key)?.is_some_and(|multiple| !fits(multiple)) {
                return Err(keys.refuse(key));
            }
        }
    }
    // The first release cropped to 224 x 224 what said nothing of a crop. Where that changes nothing, the fingerprint
    // stays.
    let as_before =
        !keys.keys.contains_key("do_center_crop") && crop_size.is_none() && config.input() == Some((224, 224));
    let described = PreprocessorConfig { do_center_crop: config.do_center_crop || as_before, ..config.clone() };
    Ok((config, format!("{described:?}")))
}

/// The type's name, if it has one, and what it does. A type that is not known may do as it likes where the file is
/// silent, so all that matters must be said.
fn processor_type(keys: &Keys) -> Result<(Option<String>, Type), ModelError> {
    let named = ["image_processor_type", "feature_extractor_type"];
    let Some(name) = keys.any::<String>(named)? else { return Ok((None, Type::CLIP)) };
    if let Some(kind) = Type::named(&name) {
        return Ok((Some(name), kind));
    }
    let says = |names: &[&str]| names.iter().any(|key| keys.keys.get(*key).is_some_and(|value| !value.is_null()));
    let all = [&["size"][..], &["do_center_crop"], &["resample"], &["image_mean", "mean"], &["image_std", "std"]];
    if all.into_iter().all(says) && !says(&["max_num_patches"]) {
        return Ok((Some(name), Type::CLIP));
    }
    let key = if keys.keys.contains_key(named[0]) { named[0] } else { named[1] };
    let known = "CLIP, ChineseCLIP, Siglip, ViT, DeiT, Bit, Blip and ConvNext";
    let detail =
        format!("its {key} is {name:?}, which is not known (those of {known} are), and it leaves out what that does");
    Err(ModelError::unusable(keys.file, detail))
}

fn is_off(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false))
}

/// A size in any of its forms: 224, [height, width], or an object.
fn sides(value: &Value, square: bool) -> Option<Size> {
    let number = |value: &Value| usize::try_from(value.as_u64()?).ok();
    match value {
        Value::Number(_) => {
            let side = number(value)?;
            Some(if square { Size::Sides { height: side, width: side } } else { Size::Number(side) })
        }
        Value::Array(sides) => match &sides[..] {
            [height, width] => Some(Size::Sides { height: number(height)?, width: number(width)? }),
            _ => None,
        },
        Value::Object(edges) => {
            let mut told: Vec<(&str, usize)> = Vec::new();
            for (key, value) in edges.iter().filter(|(_, value)| !value.is_null()) {
                told.push((key, number(value)?));
            }
            told.sort_unstable();
            match told[..] {
                [("height", height), ("width", width)] => Some(Size::Sides { height, width }),
                [("shortest_edge", shortest_edge)] => Some(Size::Shortest { shortest_edge }),
                [("longest_edge", longest_edge)] => Some(Size::Longest { longest_edge }),
                [("longest_edge", longest_edge), ("shortest_edge", shortest_edge)] => {
                    Some(Size::Within { shortest_edge, longest_edge })
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Pillow's number of the filter, which may be written by name.
fn resample(keys: &Keys) -> Result<Option<u8>, ModelError> {
    for key in ["resample", "interpolation"] {
        let Some(value) = keys.keys.get(key).filter(|value| !value.is_null()) else { continue };
        let filter = match value {
            Value::String(name) => match name.rsplit('.').next().unwrap_or_default().to_lowercase().as_str() {
                "lanczos" => 1,
                "bilinear" => 2,
                "bicubic" => 3,
                "box" => 4,
                "hamming" => 5,
                _ => return Err(keys.refuse(key)),
            },
            _ => match value.as_u64() {
                Some(number @ 1..=5) => number as u8,
                _ => return Err(keys.refuse(key)),
            },
        };
        return Ok(Some(filter));
    }
    Ok(None)
}

/// A value for each channel, or one for all.
fn channels(keys: &Keys, names: [&str; 2]) -> Result<Option<[f64; 3]>, ModelError> {
    let told = |key: &&str| keys.keys.get(*key).is_some_and(|value| !value.is_null());
    match names.into_iter().find(told) {
        None => Ok(None),
        Some(key) => match keys.keys[key].as_f64() {
            Some(one) => Ok(Some([one; 3])),
            None => keys.get(key),
        },
    }
}

impl PreprocessorConfig {
    /// ConvNextImageProcessor: below 384 pixels `part` of the resized picture's shorter edge is kept, above it the whole
    /// picture is pressed into the square.
    fn resize_as_convnext(&mut self, keys: &Keys, part: f64) -> Result<(), ModelError> {
        let (Size::Number(side) | Size::Shortest { shortest_edge: side }) = self.size else {
            return Err(keys.refuse("size"));
        };
        if !(0.1..=1.0).contains(&part) {
            return Err(keys.refuse("crop_pct"));
        }
        if self.do_resize && side < 384 {
            self.size = Size::Shortest { shortest_edge: (side as f64 / part) as usize };
            (self.do_center_crop, self.crop_size) = (true, Some(Size::Number(side)));
        } else {
            self.size = Size::Sides { height: side, width: side };
        }
        Ok(())
    }
}
