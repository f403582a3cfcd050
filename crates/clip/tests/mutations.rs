//! A thousand damaged copies of each file of a model: each is a model or an error that names the file.

use std::fs;

use clip::{EncoderOptions, Model, ModelError, Provider};
use damage::{COPIES, Numbers, contained};

#[path = "common/folder.rs"]
mod folder;
use folder::{demo, open, with};

/// Opens a model with a damaged copy of `file`, so many times; the number of errors, which all name it.
fn refused(
    file: &str,
    copies: usize,
    copy: impl Fn(&[u8], &mut Numbers) -> Vec<u8>,
    used: impl Fn(&Model) -> Result<(), ModelError>,
) -> usize {
    let whole = fs::read(demo().join(file)).unwrap();
    let folder = with(file, &whole);
    let mut numbers = Numbers::new(file.len() as u64);
    let mut refused = 0;
    for _ in 0..copies {
        fs::write(folder.path().join(file), copy(&whole, &mut numbers)).unwrap();
        if let Err(error) = open(&folder).and_then(|model| used(&model)) {
            refused += 1;
            let named = error.to_string();
            // A graph may not fit what another file says; then that graph is named.
            assert!(named.contains(file) || (file.ends_with("json") && named.contains("_model.onnx")), "{named}");
        }
    }
    refused
}

fn pictures(model: &Model) -> Result<(), ModelError> {
    let options = EncoderOptions { provider: Provider::Cpu, threads: 1, ..Default::default() };
    model.image_encoder(&options).map(drop)
}

fn texts(model: &Model) -> Result<(), ModelError> {
    model.text_encoder(1)?.encode(&["a yellow car"]).map(drop)
}

#[test]
fn damaged_settings_of_a_model_are_named() {
    contained(damaged_settings_of_a_model_are_named, || {
        for file in ["config.json", "preprocessor_config.json"] {
            let refused = refused(file, COPIES, damage::json, |model| {
                assert!(model.preprocess().values() <= 3 * 4096 * 4096);
                Ok(())
            });
            assert!(refused > 100, "{file}: {refused}");
        }
    });
}

#[test]
fn damaged_tokenizers_are_named() {
    contained(damaged_tokenizers_are_named, || {
        assert!(refused("tokenizer.json", COPIES, damage::json, texts) > 100);
    });
}

#[test]
fn damaged_graphs_are_named() {
    contained(damaged_graphs_are_named, || {
        assert!(refused("onnx/text_model.onnx", COPIES / 2, damage::bytes, texts) > 100);
        assert!(refused("onnx/vision_model.onnx", COPIES / 2, damage::bytes, pictures) > 100);
    });
}
