//! What `--model` means: a model that has a name, or a folder.

use std::io;
use std::path::{Path, is_separator};

use crate::absolute;

/// The models that have a name: the one that is part of the programs, and those of the hub.
pub const MODEL_NAMES: [&str; 4] = ["demo", "clip-vit-b-32", "clip-vit-b-16", "clip-vit-l-14"];

/// A model as every program that is started understands it, wherever it runs. A name is always the model of that name, in
/// any case, also where a folder is called so, which is `./demo` or `demo/`. A folder becomes its whole path; what is
/// neither stays, for the error that names it.
///
/// # Errors
/// If the current folder cannot be told, or its name is not UTF-8.
pub fn model_spec(given: &str) -> io::Result<String> {
    if MODEL_NAMES.contains(&given.to_lowercase().as_str()) || !(given.contains(is_separator) || is_folder(given)) {
        return Ok(given.to_owned());
    }
    let whole = absolute(given)?.into_os_string().into_string();
    whole.map_err(|path| io::Error::other(format!("the model's folder {path:?} has a name that is not UTF-8")))
}

fn is_folder(given: &str) -> bool {
    Path::new(given).is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_name_and_a_folder_its_whole_path() {
        // The tests run in the package's folder, which has a folder src and none of a model's name.
        let here = std::env::current_dir().unwrap();
        for name in ["demo", "DEMO", "clip-ViT-B-32", "no-such-model"] {
            assert_eq!(model_spec(name).unwrap(), name);
        }
        for (given, folder) in [("src", "src"), ("./demo", "demo"), ("demo/", "demo"), ("src/../demo", "demo")] {
            assert_eq!(Path::new(&model_spec(given).unwrap()), here.join(folder), "{given}");
        }
        assert_eq!(model_spec("/mnt/m/").unwrap(), "/mnt/m");
    }
}
