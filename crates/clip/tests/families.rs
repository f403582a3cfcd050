//! Models of several families give the vectors of the families' own programs. tests/families/make.py made the files.

use std::path::{Path, PathBuf};

use clip::{DecodeLimits, DecodeMode, Embedding, EncoderOptions, Model, Provider, decode};
use serde::Deserialize;
use serde_json::{Value, json};

const FAMILIES: [&str; 7] = ["clip", "mobileclip_s", "openclip", "siglip", "siglip2", "xlm_r", "xlm_r_openclip"];
/// The text graph takes texts of any length, or of one.
const TEXT_GRAPHS: [&str; 2] = ["text_model.onnx", "text_model_fixed.onnx"];

/// What make.py wrote, L2-normalised.
#[derive(Deserialize)]
struct Reference {
    pictures: Vec<(String, Vec<f32>)>,
    texts: Vec<(String, Vec<f32>)>,
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn reference(family: &str) -> Reference {
    let bytes = std::fs::read(tests().join("families").join(family).join("reference.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// A copy, since a model's folder is written to when it is used, with one of its text graphs.
fn installed(family: &str, text: &str) -> (tempfile::TempDir, Model) {
    let (from, to) = (tests().join("families").join(family), tempfile::tempdir().unwrap());
    for file in ["config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(from.join(file), to.path().join(file)).unwrap();
    }
    std::fs::copy(from.join("onnx/vision_model.onnx"), to.path().join("vision_model.onnx")).unwrap();
    std::fs::copy(from.join("onnx").join(text), to.path().join("text_model.onnx")).unwrap();
    let model = Model::open(to.path().to_str().unwrap()).unwrap();
    (to, model)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Of the scores of all texts with all pictures, how far the worst is off.
fn worst_score(texts: &[Embedding], reference: &Reference) -> f64 {
    let off = texts.iter().zip(&reference.texts).flat_map(|(text, (_, wanted))| {
        let score = |(_, picture): &(String, Vec<f32>)| (dot(text.values(), picture) - dot(wanted, picture)).abs();
        reference.pictures.iter().map(score)
    });
    off.fold(0.0, f64::max)
}

#[test]
fn texts_score_as_in_the_familys_own_program() {
    let mut far = Vec::new();
    for (family, graph) in FAMILIES.into_iter().flat_map(|family| TEXT_GRAPHS.map(|graph| (family, graph))) {
        let reference = reference(family);
        let (_folder, model) = installed(family, graph);
        let mut encoder = model.text_encoder(1).unwrap();
        let texts: Vec<&str> = reference.texts.iter().map(|(text, _)| text.as_str()).collect();
        let together = encoder.encode(&texts).unwrap();
        let alone: Vec<Embedding> = texts.iter().map(|text| encoder.encode(&[text]).unwrap().remove(0)).collect();
        let off = worst_score(&together, &reference).max(worst_score(&alone, &reference));
        let apart = together.iter().zip(&alone).map(|(a, b)| 1.0 - f64::from(a.cosine(b))).fold(0.0, f64::max);
        eprintln!("{family}, {graph}: scores off by {off:.6}, a batch from each alone by {apart:.7}");
        if off > 0.001 || apart > 1e-5 {
            far.push((family, graph, off, apart));
        }
    }
    assert!(far.is_empty(), "{far:#?}");
}

#[test]
fn pictures_have_the_vectors_of_the_familys_own_program() {
    let mut far = Vec::new();
    for family in FAMILIES {
        let reference = reference(family);
        let (_folder, model) = installed(family, TEXT_GRAPHS[0]);
        let options = EncoderOptions { provider: Provider::Cpu, threads: 1, ..Default::default() };
        let mut encoder = model.image_encoder(&options).unwrap();
        let preprocess = model.preprocess();
        let off = reference.pictures.iter().map(|(name, wanted)| {
            let bytes = std::fs::read(tests().join("golden").join(name)).unwrap();
            let picture = decode(&bytes, DecodeMode::Exact, preprocess.side(), &DecodeLimits::default()).unwrap();
            let vector = encoder.encode(&preprocess.apply(&picture)).unwrap().remove(0).unwrap();
            1.0 - dot(vector.values(), wanted)
        });
        let off = off.fold(0.0, f64::max);
        eprintln!("{family}: pictures off by {off:.6}");
        if off > 0.003 {
            far.push((family, off));
        }
    }
    assert!(far.is_empty(), "{far:#?}");
}

#[test]
fn what_stands_in_tokenizer_json_alone_is_followed() {
    // SigLIP's cleaning, padding and length as exporters for other programs put them there.
    let reference = reference("siglip");
    let (folder, _) = installed("siglip", TEXT_GRAPHS[0]);
    let file = folder.path().join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let steps = json["normalizer"]["normalizers"].as_array_mut().unwrap();
    let replace = |regex: &str, by: &str| json!({"type": "Replace", "pattern": {"Regex": regex}, "content": by});
    let strip = json!({"type": "Strip", "strip_left": true, "strip_right": true});
    let first = [json!({"type": "Lowercase"}), replace(r"[!-/:-@\[-`{-~]", ""), replace(r"\s+", " "), strip];
    steps.splice(0..0, first);
    json["truncation"] = json!({"direction": "Right", "max_length": 24, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = json!({"strategy": {"Fixed": 24}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 1,
        "pad_type_id": 0, "pad_token": "</s>"});
    std::fs::write(&file, json.to_string()).unwrap();
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    std::fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
    let mut encoder = Model::open(folder.path().to_str().unwrap()).unwrap().text_encoder(1).unwrap();
    let texts: Vec<&str> = reference.texts.iter().map(|(text, _)| text.as_str()).collect();
    let off = worst_score(&encoder.encode(&texts).unwrap(), &reference);
    assert!(off <= 0.001, "{off}");
}

#[test]
fn golden_texts_of_an_earlier_version_are_made_anew_where_it_was_wrong() {
    let golden = |folder: &tempfile::TempDir| folder.path().join("imagefleet.golden.json");
    let turn = |folder: &tempfile::TempDir, rules: Option<u64>| {
        let mut json: Value = serde_json::from_slice(&std::fs::read(golden(folder)).unwrap()).unwrap();
        json["text_rules"] = rules.map_or(Value::Null, Value::from);
        if rules.is_none() {
            json.as_object_mut().unwrap().remove("text_rules");
        }
        for text in json["texts"].as_array_mut().unwrap() {
            text[1].as_array_mut().unwrap().rotate_left(1);
        }
        std::fs::write(golden(folder), json.to_string()).unwrap();
    };
    for (family, rules, opens) in [("siglip", None, true), ("siglip", Some(1), false), ("clip", None, false)] {
        let (folder, model) = installed(family, TEXT_GRAPHS[0]);
        model.text_encoder(1).unwrap();
        turn(&folder, rules);
        for _ in 0..2 {
            assert_eq!(model.text_encoder(1).is_ok(), opens, "{family} {rules:?}");
        }
    }
}

#[test]
fn a_text_longer_than_the_context_is_told() {
    for (family, context) in [("clip", 24), ("siglip", 24), ("siglip2", 64), ("xlm_r", 26), ("xlm_r_openclip", 18)] {
        let (_folder, model) = installed(family, TEXT_GRAPHS[0]);
        let encoder = model.text_encoder(1).unwrap();
        let of = |text: &str| encoder.context_use(text).unwrap();
        let short = of("a yellow car");
        assert!(short.used == short.total && !short.is_cut(), "{family}: {short:?}");
        assert_eq!(short.used, encoder.token_ids("a yellow car").unwrap().len(), "{family}");
        // Each word more is as many tokens more, whether they are used or not.
        let word = of("a very yellow car").total - short.total;
        let long = of(&format!("a {}yellow car", "very ".repeat(100)));
        assert_eq!((long.used, long.total, long.context), (context, short.total + 100 * word, context), "{family}");
        assert!(long.is_cut());
    }
}

#[test]
fn settings_of_every_form_give_the_pixels_of_transformers() {
    let bytes = std::fs::read(tests().join("families/processors.json")).unwrap();
    let settings: Vec<(Value, [usize; 3], Vec<f32>)> = serde_json::from_slice(&bytes).unwrap();
    assert!(settings.len() >= 20);
    let picture = std::fs::read(tests().join("golden/lossless.webp")).unwrap();
    let (folder, _) = installed("clip", TEXT_GRAPHS[0]);
    let mut far = Vec::new();
    for (setting, [channels, height, width], wanted) in settings {
        std::fs::write(folder.path().join("preprocessor_config.json"), setting.to_string()).unwrap();
        let model = Model::open(folder.path().to_str().unwrap()).unwrap();
        let picture = decode(&picture, DecodeMode::Exact, 224, &DecodeLimits::default()).unwrap();
        let values = model.preprocess().apply(&picture);
        assert_eq!(
            (values.len(), model.preprocess().side()),
            (channels * height * width, height.max(width)),
            "{setting}"
        );
        let every = if values.len() < 20_000 { 41 } else { 2003 };
        let off = values.iter().step_by(every).zip(&wanted).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        // The range of all values, of which two levels of 256 may be lost to rounding.
        let range = wanted.iter().fold(0.0f32, |range, value| range.max(value.abs()));
        eprintln!("{setting}: off by {off:.5} of {range:.2}");
        if off > f64::from(range) * 2.5 / 255.0 {
            far.push((setting, off));
        }
    }
    assert!(far.is_empty(), "{far:#?}");
}
