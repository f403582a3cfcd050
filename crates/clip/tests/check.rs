//! The self-check: an encoder whose vectors are not what the model must give is not given out.

use std::fs;

use clip::{EncoderOptions, Model, Precision, Provider};

#[path = "common/folder.rs"]
mod folder;
use folder::{demo, open, weights, with};

const VISION: &str = "onnx/vision_model.onnx";
const GOLDEN: &str = "imagefleet.golden.json";

fn with_precision(precision: Precision) -> EncoderOptions {
    EncoderOptions { precision, threads: 1, ..Default::default() }
}

fn fp32() -> EncoderOptions {
    EncoderOptions { provider: Provider::Cpu, ..with_precision(Precision::Fp32) }
}

fn vision() -> Vec<u8> {
    fs::read(demo().join(VISION)).unwrap()
}

/// A copy of the demo model that has been used once.
fn installed() -> tempfile::TempDir {
    let folder = with("README", b"");
    let encoder = open(&folder).unwrap().image_encoder(&fp32()).unwrap();
    assert!(encoder.identity().deviation.unwrap() < 1e-5);
    assert!(folder.path().join(GOLDEN).is_file(), "what it must give from now on stands beside it");
    folder
}

/// What opening says once `file` has these bytes.
fn refusal(file: &str, bytes: &[u8]) -> String {
    let folder = installed();
    fs::write(folder.path().join(file), bytes).unwrap();
    open(&folder).unwrap().image_encoder(&fp32()).unwrap_err().to_string()
}

#[test]
fn the_built_in_model_is_held_against_the_reference_in_python() {
    let encoder = Model::open("demo").unwrap().image_encoder(&fp32()).unwrap();
    let deviation = encoder.identity().deviation.unwrap();
    assert!(deviation > 0.0 && deviation < 0.01, "{deviation}");
    assert!(encoder.warnings().is_empty());
}

#[test]
fn weights_that_became_zero_are_noticed() {
    let whole = vision();
    let matrices: Vec<_> = weights(&whole).into_iter().filter(|w| w.shape.len() > 1).collect();
    assert!(matrices.len() >= 7, "{matrices:?}");
    for weights in matrices {
        let mut bytes = whole.clone();
        bytes[weights.data.clone()].fill(0);
        let said = refusal(VISION, &bytes);
        assert!(said.contains("the self-check failed") && said.contains(GOLDEN), "{}: {said}", weights.name);
    }
}

#[test]
fn weights_of_the_text_encoder_that_became_zero_are_noticed() {
    const TEXT: &str = "onnx/text_model.onnx";
    let whole = fs::read(demo().join(TEXT)).unwrap();
    let folder = installed();
    open(&folder).unwrap().text_encoder(1).unwrap();
    let matrices: Vec<_> = weights(&whole).into_iter().filter(|w| w.shape.len() > 1).collect();
    assert!(matrices.len() >= 3, "{matrices:?}");
    for weights in matrices {
        let mut bytes = whole.clone();
        bytes[weights.data.clone()].fill(0);
        fs::write(folder.path().join(TEXT), bytes).unwrap();
        let said = open(&folder).unwrap().text_encoder(1).unwrap_err().to_string();
        assert!(said.contains("golden texts"), "{}: {said}", weights.name);
    }
}

#[test]
fn swapped_channels_are_noticed() {
    let whole = vision();
    let first = weights(&whole).into_iter().find(|w| w.shape.len() == 4 && w.shape[1] == 3).unwrap();
    let plane = (first.shape[2] * first.shape[3] * 4) as usize;
    let mut bytes = whole.clone();
    for filter in bytes[first.data].chunks_exact_mut(3 * plane) {
        let (red, rest) = filter.split_at_mut(plane);
        red.swap_with_slice(&mut rest[plane..]);
    }
    let said = refusal(VISION, &bytes);
    assert!(said.contains("the self-check failed"), "{said}");
}

#[test]
fn a_wrong_mean_or_deviation_of_colours_is_noticed() {
    let file = "preprocessor_config.json";
    let right: serde_json::Value = serde_json::from_slice(&fs::read(demo().join(file)).unwrap()).unwrap();
    for (key, wrong) in [
        ("image_mean", serde_json::json!([0.0, 0.0, 0.0])),
        ("image_std", serde_json::json!([0.5, 0.5, 0.5])),
        ("do_normalize", serde_json::json!(false)),
    ] {
        let mut config = right.clone();
        config[key] = wrong.clone();
        let folder = installed();
        fs::write(folder.path().join(file), config.to_string()).unwrap();
        match open(&folder).unwrap().image_encoder(&fp32()) {
            Err(e) => eprintln!("{key} {wrong}: {e}"),
            Ok(encoder) => panic!("{key} {wrong} passes with {:?}", encoder.identity().deviation),
        }
    }
}

#[test]
fn garbage_is_refused_and_what_would_pass_is_named() {
    let folder = installed();
    let int8 = folder.path().join("onnx/vision_model_int8.onnx");
    let absent = open(&folder).unwrap().image_encoder(&with_precision(Precision::Int8)).unwrap_err().to_string();
    assert!(absent.contains("onnx/vision_model_int8.onnx"), "{absent}");

    fs::copy(demo().join(VISION), &int8).unwrap();
    let encoder = open(&folder).unwrap().image_encoder(&with_precision(Precision::Int8)).unwrap();
    let identity = encoder.identity();
    assert_eq!((identity.provider.as_str(), identity.precision.as_str()), ("cpu", "int8"));
    let own = open(&folder).unwrap().fingerprint().to_owned();
    assert_eq!(own, Model::open("demo").unwrap().fingerprint(), "int8 is another way to compute the same model");

    let mut garbage = vision();
    let last = weights(&garbage).into_iter().find(|w| w.shape.len() == 2).unwrap();
    garbage[last.data].chunks_exact_mut(4).enumerate().for_each(|(i, value)| {
        value.copy_from_slice(&((i as f32 * 0.7).sin()).to_le_bytes());
    });
    fs::write(&int8, &garbage).unwrap();
    let said = open(&folder).unwrap().image_encoder(&with_precision(Precision::Int8)).unwrap_err().to_string();
    assert!(said.contains("vision_model_int8.onnx: the self-check failed. On cpu int8"), "{said}");
    assert!(said.contains("--precision") && said.contains("would pass"), "{said}");
    let wide = EncoderOptions { max_deviation: f64::INFINITY, ..with_precision(Precision::Int8) };
    assert!(open(&folder).unwrap().image_encoder(&wide).unwrap().identity().deviation.unwrap() > 0.5);
}

#[test]
fn bf16_is_really_computed_or_said_to_be_absent() {
    for batch in [0, 3, 8] {
        let options = EncoderOptions { batch, ..with_precision(Precision::Bf16) };
        match Model::open("demo").unwrap().image_encoder(&options) {
            Ok(encoder) => {
                let identity = encoder.identity();
                assert_eq!((identity.provider.as_str(), identity.precision.as_str()), ("openvino", "bf16"));
                let off = identity.deviation.unwrap();
                assert!(off > 5e-4, "{off} is what fp32 gives");
            }
            Err(e) => {
                let text = e.to_string();
                assert!(text.contains("openvino bf16 is not to be had") && text.contains(": it needs "), "{text}");
            }
        }
    }
}

#[test]
fn auto_passes_over_what_is_too_far_off_and_says_so() {
    let folder = installed();
    let options = EncoderOptions { max_deviation: 1e-5, ..Default::default() };
    let encoder = open(&folder).unwrap().image_encoder(&options).unwrap();
    assert_eq!((encoder.identity().provider.as_str(), encoder.identity().precision.as_str()), ("cpu", "fp32"));
    let can = open(&folder).unwrap().image_encoder(&with_precision(Precision::Bf16)).is_ok();
    let told = encoder.warnings().join("\n");
    assert!(!can || (told.contains("cpu fp32") && told.contains("openvino bf16")), "{told}");
}

#[test]
fn damaged_golden_vectors_are_named_not_made_anew() {
    let folder = installed();
    let golden = folder.path().join(GOLDEN);
    for bytes in [&b"{"[..], b"{\"pictures\": {}}", b""] {
        fs::write(&golden, bytes).unwrap();
        let said = open(&folder).unwrap().image_encoder(&fp32()).unwrap_err().to_string();
        assert!(said.contains(GOLDEN) && said.contains("remove it"), "{said}");
    }
}
