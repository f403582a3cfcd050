//! A model that is damaged, of another kind or absent is an error that names the file and says what to do.

use std::path::Path;
use std::process::Command;

use clip::{EncoderOptions, Model, Provider};

#[path = "common/folder.rs"]
mod folder;
use folder::{FILES, demo, open, with};
#[path = "common/graph.rs"]
mod graph;
use graph::graph;

#[test]
fn threads_may_share_a_model_and_take_an_encoder_along() {
    fn shared<T: Send + Sync>() {}
    fn moved<T: Send>() {}
    shared::<Model>();
    shared::<clip::Preprocess>();
    moved::<clip::ImageEncoder>();
    moved::<clip::TextEncoder>();
}

#[test]
fn the_demo_model_encodes_pictures_and_texts() {
    let model = Model::open("Demo").unwrap();
    assert_eq!((model.name(), model.fingerprint().len()), ("demo", 32));
    let options = EncoderOptions { threads: 1, provider: Provider::Cpu, ..Default::default() };
    let mut images = model.image_encoder(&options).unwrap();
    let mut texts = model.text_encoder(1).unwrap();
    let identity = images.identity().clone();
    assert_eq!(texts.identity(), &clip::ModelIdentity { deviation: None, ..identity.clone() });
    assert_eq!((identity.precision.as_str(), identity.provider.as_str()), ("fp32", "cpu"));
    let values = model.preprocess().values();
    let pixels: Vec<f32> = (0..values * 3).map(|i| (i % 97) as f32 / 97.0 + (i / values) as f32).collect();
    let all = images.encode(&pixels).unwrap();
    assert_eq!(all.len(), 3);
    for (i, one) in all.iter().enumerate() {
        let one = one.as_ref().unwrap();
        assert_eq!(one.dim(), identity.embedding_dim);
        let alone = images.encode(&pixels[i * values..(i + 1) * values]).unwrap().remove(0).unwrap();
        assert!(one.cosine(&alone) > 0.999_999, "a batch changes nothing");
    }
    assert!(images.encode(&[]).unwrap().is_empty() && texts.encode(&[]).unwrap().is_empty());
    assert!(images.encode(&pixels[1..]).is_err());
    assert_eq!(texts.encode(&["", "a yellow car"]).unwrap().len(), 2);
}

#[test]
fn a_picture_without_a_vector_does_not_hurt_the_others() {
    let model = Model::open("demo").unwrap();
    // Other providers may make a number of what is none.
    let options = EncoderOptions { provider: Provider::Cpu, ..Default::default() };
    let mut encoder = model.image_encoder(&options).unwrap();
    let values = model.preprocess().values();
    let mut pixels = vec![0.25; values * 3];
    pixels[values..values * 2].fill(f32::NAN);
    let results = encoder.encode(&pixels).unwrap();
    assert!(results[0].is_ok() && results[1].is_err() && results[2].is_ok());
}

#[test]
fn a_folder_is_the_same_model_as_the_program_holds() {
    let folder = with("README", b"");
    let model = open(&folder).unwrap();
    assert_eq!(model.fingerprint(), Model::open("demo").unwrap().fingerprint());
    assert_eq!(model.name(), folder.path().canonicalize().unwrap().to_str().unwrap(), "the name opens it again");
    let flat = tempfile::tempdir().unwrap();
    for name in FILES {
        std::fs::copy(demo().join(name), flat.path().join(Path::new(name).file_name().unwrap())).unwrap();
    }
    assert_eq!(open(&flat).unwrap().fingerprint(), model.fingerprint());
}

#[test]
fn whatever_decides_the_vectors_changes_the_fingerprint() {
    let own = Model::open("demo").unwrap().fingerprint().to_owned();
    let read = |name: &str| std::fs::read(demo().join(name)).unwrap();
    let preprocessor = String::from_utf8(read("preprocessor_config.json")).unwrap();
    for (file, bytes) in [
        ("onnx/vision_model.onnx", [read("onnx/vision_model.onnx"), vec![0]].concat()),
        ("onnx/text_model.onnx", [read("onnx/text_model.onnx"), vec![0]].concat()),
        ("tokenizer.json", [read("tokenizer.json"), vec![b' ']].concat()),
        ("preprocessor_config.json", preprocessor.replace("\"resample\": 3", "\"resample\": 2").into_bytes()),
    ] {
        assert_ne!(open(&with(file, &bytes)).unwrap().fingerprint(), own, "{file}");
    }
    let spaced = preprocessor.replace(": ", ":  ").into_bytes();
    assert_eq!(open(&with("preprocessor_config.json", &spaced)).unwrap().fingerprint(), own, "the same settings");
}

#[test]
fn fingerprints_are_those_of_the_first_release() {
    // Another one and every index of the model would have to be made anew.
    assert_eq!(Model::open("demo").unwrap().fingerprint(), "8f8fccdbc24486fb59d0898fe0ae6887");
    // The settings as clip-vit-base-patch32 has them, in their older form.
    let b32 = br#"{"crop_size": 224, "do_center_crop": true, "do_normalize": true, "do_resize": true,
        "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "size": 224}"#;
    let folder = with("preprocessor_config.json", b32);
    assert_eq!(open(&folder).unwrap().fingerprint(), "9eb19fee2a344efa79709be8eeb0f7bf");
}

#[test]
fn a_model_file_that_is_none_is_named() {
    let whole = std::fs::read(demo().join("onnx/vision_model.onnx")).unwrap();
    for (bytes, what) in [(&whole[..whole.len() / 2], "half of it"), (b"this is text", "text"), (b"", "empty")] {
        let folder = with("onnx/vision_model.onnx", bytes);
        let error = open(&folder).unwrap().image_encoder(&EncoderOptions::default()).unwrap_err().to_string();
        assert!(error.contains("onnx/vision_model.onnx"), "{what}: {error}");
    }
    for file in ["config.json", "preprocessor_config.json"] {
        let error = open(&with(file, b"{")).unwrap_err().to_string();
        assert!(error.contains(file), "{error}");
    }
    let error = open(&with("tokenizer.json", b"{}")).unwrap().text_encoder(0).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
}

#[test]
fn a_graph_of_another_kind_is_told_by_its_inputs_and_outputs() {
    let text = std::fs::read(demo().join("onnx/text_model.onnx")).unwrap();
    let error =
        open(&with("onnx/vision_model.onnx", &text)).unwrap().image_encoder(&EncoderOptions::default()).unwrap_err();
    assert!(error.to_string().contains("vision_model.onnx") && error.to_string().contains("input_ids"), "{error}");
    let smaller = br#"{"size": 128, "crop_size": 128}"#;
    let error = open(&with("preprocessor_config.json", smaller))
        .unwrap()
        .image_encoder(&EncoderOptions::default())
        .unwrap_err();
    assert!(error.to_string().contains("vision_model.onnx") && error.to_string().contains("128"), "{error}");
}

#[test]
fn towers_of_different_lengths_are_refused_before_the_first_picture() {
    // The text tower and the tokenizer of another model, whose vectors have 16 values, where the pictures' have 128.
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families/clip");
    let folder = with("tokenizer.json", &std::fs::read(other.join("tokenizer.json")).unwrap());
    std::fs::copy(other.join("config.json"), folder.path().join("config.json")).unwrap();
    std::fs::copy(other.join("onnx/text_model.onnx"), folder.path().join("onnx/text_model.onnx")).unwrap();
    let model = open(&folder).unwrap();
    let options = EncoderOptions { provider: Provider::Cpu, ..Default::default() };
    let refused = |error: clip::ModelError| {
        let error = error.to_string();
        assert!(error.contains("text_model.onnx: gives vectors of 16 values"), "{error}");
        assert!(error.contains("vision_model.onnx of 128") && error.contains("projection"), "{error}");
    };
    refused(model.image_encoder(&options).unwrap_err());
    refused(model.text_encoder(1).unwrap_err());
    // Golden vectors that an earlier version kept of such a model do not let it through.
    let golden = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/golden.json")).unwrap();
    let mut golden: serde_json::Value = serde_json::from_slice(&golden).unwrap();
    for text in golden["texts"].as_array_mut().unwrap() {
        text[1].as_array_mut().unwrap().truncate(16);
    }
    std::fs::write(folder.path().join("imagefleet.golden.json"), golden.to_string()).unwrap();
    refused(model.image_encoder(&options).unwrap_err());
}

#[test]
fn an_output_that_is_no_embedding_is_named() {
    for (graph, wanted) in [
        (graph("Flatten", "pooler_output", &[3 * 224 * 224]), "pooler_output comes before the projection"),
        (graph("Identity", "image_embeds", &[3, 224, 224]), "image_embeds is"),
        (graph("Identity", "last_hidden_state", &[3, 224, 224]), "has no output image_embeds"),
    ] {
        let folder = with("onnx/vision_model.onnx", &graph);
        let error = open(&folder).unwrap().image_encoder(&EncoderOptions::default()).unwrap_err().to_string();
        assert!(error.contains("onnx/vision_model.onnx") && error.contains(wanted), "{error}");
    }
    // The only matrix is the embedding, whatever it is called; this one is as long as the picture.
    let folder = with("onnx/vision_model.onnx", &graph("Flatten", "sentence_embedding", &[3 * 224 * 224]));
    let error = open(&folder).unwrap().image_encoder(&EncoderOptions::default()).unwrap_err().to_string();
    assert!(error.contains("gives vectors of 128 values") && error.contains("of 150528"), "{error}");
}

/// The library is loaded once in a process, so each case needs its own: this test, called again by name.
#[test]
fn an_absent_or_damaged_runtime_says_what_to_do() {
    if std::env::var_os("CLIP_TEST_CHILD").is_some() {
        let error = Model::open("demo").unwrap().image_encoder(&EncoderOptions::default()).unwrap_err().to_string();
        println!("error: {error}");
        return;
    }
    let empty = tempfile::tempdir().unwrap();
    let text = empty.path().join("text.so");
    std::fs::write(&text, "this is no library").unwrap();
    let child = |library: Option<&Path>| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["an_absent_or_damaged_runtime_says_what_to_do", "--exact", "--nocapture"]);
        command.env("CLIP_TEST_CHILD", "1").env("XDG_CACHE_HOME", empty.path()).env_remove("ORT_DYLIB_PATH");
        library.map(|path| command.env("ORT_DYLIB_PATH", path));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let absent = child(None);
    assert!(
        absent.contains("error: ONNX Runtime:") && absent.contains("make setup") && absent.contains("ORT_DYLIB_PATH"),
        "{absent}"
    );
    let damaged = child(Some(&text));
    assert!(damaged.contains("error: ONNX Runtime: cannot use") && damaged.contains("text.so"), "{damaged}");
    let elsewhere = child(Some(&empty.path().join("none.so")));
    assert!(elsewhere.contains("none.so, which is no file"), "{elsewhere}");
}
