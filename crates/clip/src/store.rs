//! Where a model's files are: in the program, in a folder, in the Hugging Face cache, or on the hub.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use protocol::MODEL_NAMES;

use crate::ModelError;
use crate::hub::{Hub, HubModel};
use crate::model::Graph;

/// A model's files, as errors list them.
pub const FILES: &str =
    "config.json, preprocessor_config.json, tokenizer.json, onnx/vision_model.onnx and onnx/text_model.onnx";

/// The files' paths in a repository or folder.
pub const PATHS: [&str; 5] = [CONFIG, PREPROCESSOR, TOKENIZER, VISION, TEXT];
const CONFIG: &str = "config.json";
const PREPROCESSOR: &str = "preprocessor_config.json";
const TOKENIZER: &str = "tokenizer.json";
const VISION: &str = "onnx/vision_model.onnx";
const TEXT: &str = "onnx/text_model.onnx";
/// The vision graph in 8-bit integers, which few models have: under its name in newer exports, and in older ones.
pub const VISION_INT8: [&str; 2] = ["onnx/vision_model_int8.onnx", "onnx/vision_model_quantized.onnx"];
/// Tells the padding token; not every model has one.
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// The name of the model that is part of the program.
const DEMO: &str = "demo";

/// A file's name for errors, and its bytes.
pub type Named = (String, Cow<'static, [u8]>);

/// A model's files, the small ones read.
#[derive(Debug)]
pub struct Files {
    pub config: Named,
    pub preprocessor_config: Named,
    pub tokenizer: Named,
    pub tokenizer_config: Option<Named>,
    pub vision: Graph,
    pub vision_int8: Option<Graph>,
    pub text: Graph,
    /// Where they are, unless in the program.
    pub folder: Option<PathBuf>,
}

/// Finds the files of a model by its name or folder; fetches them from `hub` if it must.
pub fn find(spec: &str, hub: &Hub) -> Result<Files, ModelError> {
    let name = spec.to_lowercase();
    if name == DEMO {
        return Ok(demo());
    }
    if let Some(model) = HubModel::named(&name) {
        return folder(&hub.folder(model)?);
    }
    let path = Path::new(spec);
    if path.is_dir() || spec.contains(std::path::is_separator) {
        return folder(path);
    }
    Err(ModelError::Unknown { name: spec.into(), known: MODEL_NAMES.join(", ") })
}

/// The name that `spec` leads to, under which the model can be opened again: a folder is its whole path.
pub fn canonical_name(spec: &str) -> String {
    let name = spec.to_lowercase();
    if name == DEMO || HubModel::named(&name).is_some() {
        return name;
    }
    fs::canonicalize(spec).map_or_else(|_| spec.to_owned(), |folder| folder.to_string_lossy().into_owned())
}

fn demo() -> Files {
    macro_rules! built_in {
        ($file:literal) => {
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo/", $file)).as_slice()
        };
    }
    let named = |file: &str, bytes: &'static [u8]| (format!("the built-in demo/{file}"), Cow::Borrowed(bytes));
    Files {
        config: named(CONFIG, built_in!("config.json")),
        preprocessor_config: named(PREPROCESSOR, built_in!("preprocessor_config.json")),
        tokenizer: named(TOKENIZER, built_in!("tokenizer.json")),
        tokenizer_config: None,
        vision: Graph::BuiltIn("the built-in demo/onnx/vision_model.onnx", built_in!("onnx/vision_model.onnx")),
        vision_int8: None,
        text: Graph::BuiltIn("the built-in demo/onnx/text_model.onnx", built_in!("onnx/text_model.onnx")),
        folder: None,
    }
}

/// The files in a folder, the graphs in its `onnx` or beside the others.
fn folder(folder: &Path) -> Result<Files, ModelError> {
    let place = |file: &str| {
        let flat = || folder.join(file.trim_start_matches("onnx/"));
        Some(folder.join(file)).filter(|path| path.is_file()).or_else(|| Some(flat()).filter(|path| path.is_file()))
    };
    let missing: Vec<&str> = PATHS.into_iter().filter(|file| place(file).is_none()).collect();
    if !missing.is_empty() {
        return Err(ModelError::Missing { folder: folder.into(), missing: missing.join(", ") });
    }
    let path = |file: &str| place(file).unwrap_or_else(|| folder.join(file));
    let read = |path: PathBuf| match fs::read(&path) {
        Ok(bytes) => Ok((path.display().to_string(), Cow::Owned(bytes))),
        Err(source) => Err(ModelError::Read { path, source }),
    };
    Ok(Files {
        config: read(path(CONFIG))?,
        preprocessor_config: read(path(PREPROCESSOR))?,
        tokenizer: read(path(TOKENIZER))?,
        tokenizer_config: place(TOKENIZER_CONFIG).map(read).transpose()?,
        vision: Graph::File(path(VISION)),
        vision_int8: VISION_INT8.into_iter().find_map(place).map(Graph::File),
        text: Graph::File(path(TEXT)),
        folder: Some(folder.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case_and_folders_by_their_path() {
        assert_eq!(canonical_name("clip-ViT-B-32"), "clip-vit-b-32");
        assert_eq!(canonical_name("clip-ViT-L-14"), "clip-vit-l-14");
        assert_eq!(canonical_name("Demo"), "demo");
        let known: Vec<&str> = std::iter::once(DEMO).chain(HubModel::ALL.iter().map(|m| m.name)).collect();
        assert_eq!(known, MODEL_NAMES, "what the programs without models take for a name");
        assert_eq!(canonical_name("/tmp/../tmp/"), fs::canonicalize("/tmp").unwrap().to_string_lossy());
    }

    #[test]
    fn an_unknown_name_lists_those_that_are_known() {
        let error = find("clip-vit-h-14", &Hub::from_env()).unwrap_err().to_string();
        assert!(error.contains("demo, clip-vit-b-32, clip-vit-b-16, clip-vit-l-14"), "{error}");
    }

    #[test]
    fn a_folder_that_lacks_files_is_told_which() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        fs::write(folder.path().join("vision_model.onnx"), "").unwrap();
        let error = find(&folder.path().display().to_string(), &Hub::from_env()).unwrap_err().to_string();
        assert!(error.contains("lacks preprocessor_config.json, tokenizer.json, onnx/text_model.onnx"), "{error}");
        assert!(error.contains("--model demo"), "{error}");
    }
}
