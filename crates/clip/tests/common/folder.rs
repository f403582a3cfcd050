//! Copies of the demo model in folders, to be altered.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clip::{Model, ModelError};

/// A model's files.
pub const FILES: [&str; 5] =
    ["config.json", "preprocessor_config.json", "tokenizer.json", "onnx/vision_model.onnx", "onnx/text_model.onnx"];

/// The demo model's folder.
pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo")
}

/// A copy of the demo model in which `file` has these bytes.
pub fn with(file: &str, bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("onnx")).unwrap();
    for name in FILES {
        std::fs::copy(demo().join(name), folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join(file), bytes).unwrap();
    folder
}

/// The model in a folder.
pub fn open(folder: &tempfile::TempDir) -> Result<Model, ModelError> {
    Model::open(&folder.path().display().to_string())
}

/// Weights in the bytes of an ONNX file.
#[allow(dead_code, reason = "not every test alters weights")]
#[derive(Debug)]
pub struct Weights {
    pub name: String,
    pub shape: Vec<u64>,
    /// Where their f32 values are, little-endian.
    pub data: Range<usize>,
}

/// All weights of a graph: ModelProto.graph is field 7, GraphProto.initializer 5, of TensorProto dims is 1, name 8 and
/// raw_data 9.
#[allow(dead_code, reason = "not every test alters weights")]
pub fn weights(onnx: &[u8]) -> Vec<Weights> {
    let (_, graph) = fields(onnx, 0..onnx.len()).into_iter().find(|(number, _)| *number == 7).unwrap();
    let tensors = fields(onnx, graph).into_iter().filter(|(number, _)| *number == 5);
    let weights = tensors.map(|(_, tensor)| {
        let mut weights = Weights { name: String::new(), shape: Vec::new(), data: 0..0 };
        for (number, range) in fields(onnx, tensor) {
            match number {
                1 => weights.shape.push(varint(onnx, &mut range.start.clone())),
                8 => weights.name = String::from_utf8(onnx[range].to_vec()).unwrap(),
                9 => weights.data = range,
                _ => {}
            }
        }
        weights
    });
    weights.collect()
}

/// The fields of a protobuf message: number, and where the content is.
fn fields(bytes: &[u8], message: Range<usize>) -> Vec<(u64, Range<usize>)> {
    let mut at = message.start;
    let mut fields = Vec::new();
    while at < message.end {
        let key = varint(bytes, &mut at);
        let start = at;
        let range = match key & 7 {
            0 => {
                varint(bytes, &mut at);
                start..at
            }
            2 => {
                let length = varint(bytes, &mut at) as usize;
                at..at + length
            }
            5 => at..at + 4,
            1 => at..at + 8,
            other => panic!("wire type {other} at {start}"),
        };
        at = range.end;
        fields.push((key >> 3, range));
    }
    fields
}

fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            break;
        }
    }
    value
}
