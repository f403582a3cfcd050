//! ONNX Runtime: where its library is, and the one environment that a process may have.
//!
//! The library is never linked: it is loaded when the first encoder is made, so that programs start and explain
//! themselves without it.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::OnceLock;

use ort::environment::Environment;
use ort::logging::LogLevel;
use protocol::folders;

use crate::ModelError;

/// Where ONNX Runtime's library is: `ORT_DYLIB_PATH`, else beside the program or in its `../lib`, else in the user's
/// cache, where `make setup` leaves it.
pub fn runtime_path() -> Result<PathBuf, ModelError> {
    let name = format!("{}onnxruntime{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    if let Some(given) = env::var_os("ORT_DYLIB_PATH").filter(|p| !p.is_empty()) {
        let path = PathBuf::from(given);
        if path.is_file() {
            return Ok(path);
        }
        return Err(ModelError::Runtime {
            detail: format!("ORT_DYLIB_PATH names {}, which is no file", path.display()),
        });
    }
    let program = env::current_exe().ok().and_then(|p| p.parent().map(PathBuf::from));
    let beside = program.iter().flat_map(|folder| [folder.join(&name), folder.join("../lib").join(&name)]);
    let cached = folders::cache().ok().map(|cache| cache.join("onnxruntime").join(&name));
    let places: Vec<PathBuf> = beside.chain(cached).collect();
    places.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        let looked: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
        let detail = format!(
            "the library {name} is not on this machine: run `make setup`, or set ORT_DYLIB_PATH to it (looked for {})",
            looked.join(", ")
        );
        ModelError::Runtime { detail }
    })
}

/// The process's environment. It is made once; a failure is kept and told again, because the library can be loaded
/// only once.
pub(crate) fn environment() -> Result<&'static Environment, ModelError> {
    static ENVIRONMENT: OnceLock<Result<Environment, String>> = OnceLock::new();
    let kept = ENVIRONMENT.get_or_init(|| {
        load().map_err(|e| match e {
            ModelError::Runtime { detail } => detail,
            other => other.to_string(),
        })
    });
    kept.as_ref().map_err(|detail| ModelError::Runtime { detail: detail.clone() })
}

fn load() -> Result<Environment, ModelError> {
    let path = runtime_path()?;
    // ONNX Runtime looks for its providers beside itself, by the name that it was loaded under: not beside a link.
    let path = path.canonicalize().unwrap_or(path);
    let unusable = |detail: String| ModelError::Runtime { detail: format!("cannot use {}: {detail}", path.display()) };
    // A library of another kind makes ort panic in places; that must not end the program.
    let made = catch_unwind(AssertUnwindSafe(|| {
        let environment = ort::init_from(&path)
            .map_err(|e| e.to_string())?
            .with_name("imagefleet")
            .with_telemetry(false)
            .build()
            .map_err(|e| e.to_string())?;
        // What matters comes back as an error; the rest would disturb events and progress on standard error.
        environment.set_log_level(LogLevel::Fatal);
        Ok(environment)
    }));
    match made {
        Ok(result) => result.map_err(unusable),
        Err(_) => Err(unusable("it is not a usable ONNX Runtime".into())),
    }
}
