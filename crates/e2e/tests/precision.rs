//! Vectors of several precisions: together in one index within the bound, not written beyond it.

use std::fs;
use std::path::Path;

use e2e::Lab;

#[test]
fn rows_of_two_precisions_stand_in_one_index_and_none_is_embedded_again() {
    let lab = Lab::new();
    lab.draw("first", 24, 1);
    assert_eq!(lab.index(&["--precision", "fp32", "--provider", "cpu"]).code, 0);
    let before = lab.rows();
    assert_eq!((lab.meta()["precision"].as_str(), lab.meta()["provider"].as_str()), (Some("fp32"), Some("cpu")));

    lab.draw("second", 24, 2);
    let said = lab.index(&[]);
    assert!(said.out.contains("Scanned 48 = embedded 24 + failed 0 + already indexed 24"), "{said:?}");
    let after = lab.rows();
    assert!(before.iter().all(|row| after.contains(row)), "what stood is as it was");
    let meta = lab.meta();
    let deviation = meta["deviation"].as_f64().unwrap();
    assert!(deviation > 0.0 && deviation <= 0.05, "{meta}");
    // What the second run computed with depends on the machine.
    assert!(["fp32", "bf16+fp32"].contains(&meta["precision"].as_str().unwrap()), "{meta}");
}

#[test]
fn a_worker_beyond_the_bound_writes_nothing() {
    let lab = Lab::new();
    lab.draw("", 6, 1);
    // The built-in model's vectors come from another program, which no arithmetic matches to the last bit.
    let said = lab.index(&["--max-deviation", "0"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("the self-check failed") && said.err.contains("at most 0 is allowed"), "{said:?}");
    assert!(!lab.path("imageindex.meta.json").exists());
    let parts = fs::read_dir(lab.path("imageindex/parts")).map_or(0, |parts| parts.count());
    assert_eq!(parts, 0, "{said:?}");
}

#[test]
fn what_a_model_must_give_is_kept_in_the_cache_where_its_folder_cannot_be_written() {
    let lab = Lab::new();
    lab.draw("", 6, 1);
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo");
    let model = lab.path("model");
    fs::create_dir_all(model.join("onnx")).unwrap();
    for file in
        ["config.json", "preprocessor_config.json", "tokenizer.json", "onnx/vision_model.onnx", "onnx/text_model.onnx"]
    {
        fs::copy(demo.join(file), model.join(file)).unwrap();
    }
    // A folder in its place keeps even root from writing the file.
    fs::create_dir(model.join("imagefleet.golden.json")).unwrap();
    let spec = model.display().to_string();
    assert_eq!(lab.index(&["--model", &spec]).code, 0);
    let cached: Vec<_> =
        fs::read_dir(lab.path("home/cache/imagefleet/golden")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(cached.len(), 1, "{cached:?}");
    fs::write(&cached[0], "{").unwrap();
    let said = lab.index(&["--model", &spec, "--fresh"]);
    assert!(said.code == 1 && said.err.contains(&cached[0].display().to_string()), "{said:?}");
}

#[test]
fn a_precision_that_is_not_there_is_refused_by_name() {
    let lab = Lab::new();
    lab.draw("", 3, 1);
    for (flag, word, told) in [
        ("--precision", "fp16", "fp16 is not to be had on this machine"),
        ("--precision", "int8", "onnx/vision_model_int8.onnx"),
        ("--provider", "coreml", "coreml fp32 is not to be had on this machine: it needs a Mac"),
        ("--provider", "tpu", "use auto, cpu, openvino, cuda, coreml"),
    ] {
        let said = lab.index(&[flag, word]);
        assert!(said.code != 0 && said.err.contains(told), "{said:?}");
    }
}
