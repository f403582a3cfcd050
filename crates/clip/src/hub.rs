//! Models of the Hugging Face hub: which repository and commit a name means, and how its files come into the cache
//! that all programs of the hub share.
//!
//! A model that is in the cache is opened without any network. What is fetched is checked for its length and, where
//! the hub tells one, for its SHA-256, before it counts as there; what was interrupted is continued.

use std::env;
use std::fs;
use std::io::{self, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo, Metadata};
use hf_hub::{Cache, Repo, RepoType};
use protocol::folders;
use sha2::{Digest, Sha256};

use crate::ModelError;
use crate::store::PATHS;

/// A model on the hub.
#[derive(Debug)]
pub struct HubModel {
    /// Its name here.
    pub name: &'static str,
    repository: &'static str,
    revision: &'static str,
    /// Lengths in bytes of the files that are not tiny, in the order tokenizer, vision, text.
    sizes: [u64; 3],
}

impl HubModel {
    /// Every model that has a name. OpenAI's weights (MIT) as the ONNX exports that transformers.js uses.
    pub const ALL: [Self; 3] = [
        Self {
            name: "clip-vit-b-32",
            repository: "Xenova/clip-vit-base-patch32",
            revision: "d15189d7028b43f1d3e65039190477f6af591c2a",
            sizes: [2_224_119, 351_685_709, 254_058_553],
        },
        Self {
            name: "clip-vit-b-16",
            repository: "Xenova/clip-vit-base-patch16",
            revision: "342fdf2f67aded64d138ff074745fb4a5d2bba5f",
            sizes: [2_224_081, 345_060_583, 254_058_553],
        },
        Self {
            name: "clip-vit-l-14",
            repository: "Xenova/clip-vit-large-patch14",
            revision: "c307790166907339eed5a9a53a249af534102536",
            sizes: [2_224_081, 1_216_438_437, 494_947_485],
        },
    ];

    /// The model of this name, in lower case.
    pub fn named(name: &str) -> Option<&'static Self> {
        static ALL: [HubModel; 3] = HubModel::ALL;
        ALL.iter().find(|model| model.name == name)
    }

    /// The files and their lengths, as far as they are known beforehand.
    fn files(&self) -> [(&'static str, Option<u64>); 5] {
        let [tokenizer, vision, text] = self.sizes.map(Some);
        let sizes = [None, None, tokenizer, vision, text];
        std::array::from_fn(|i| (PATHS[i], sizes[i]))
    }
}

/// Where nothing can be, for a person without any folder.
const NOWHERE: &str = "/dev/null";

/// A hub and this machine's cache of it.
#[derive(Debug)]
pub struct Hub {
    endpoint: String,
    cache: PathBuf,
    token: Option<String>,
    offline: bool,
}

impl Hub {
    /// As the hub's own programs find it: `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        let var = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let home = var("HF_HOME").map_or_else(usual_home, PathBuf::from);
        let token_file =
            || fs::read_to_string(var("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from)).ok();
        let token = var("HF_TOKEN").or_else(token_file).map(|token| token.trim().to_owned()).filter(|t| !t.is_empty());
        let endpoint = var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        Self {
            endpoint: endpoint.trim_end_matches('/').into(),
            cache: var("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            token,
            offline: var("HF_HUB_OFFLINE")
                .is_some_and(|v| !matches!(v.to_lowercase().as_str(), "0" | "false" | "no" | "off")),
        }
    }

    /// This machine's cache alone: nothing is fetched.
    pub fn cache_alone() -> Self {
        Self { offline: true, ..Self::from_env() }
    }

    /// The folder in the cache that holds the model's files; what is missing is fetched.
    pub fn folder(&self, model: &HubModel) -> Result<PathBuf, ModelError> {
        let repo = Repo::with_revision(model.repository.into(), RepoType::Model, model.revision.into());
        let folder = Cache::new(self.cache.clone()).repo(repo.clone()).pointer_path(model.revision);
        let missing = model.files().into_iter().filter(|(file, size)| !is_whole(&folder.join(file), *size));
        let missing: Vec<_> = missing.collect();
        if missing.is_empty() {
            return Ok(folder);
        }
        let unavailable = |reason: String| ModelError::Unavailable {
            name: model.name.into(),
            repository: model.repository.into(),
            revision: model.revision.into(),
            cache: self.cache.clone(),
            reason,
        };
        if self.cache.starts_with(NOWHERE) {
            return Err(unavailable("there is no home folder for it: set HOME or HF_HOME".into()));
        }
        if self.offline {
            return Err(unavailable(
                "nothing may be fetched now (HF_HUB_OFFLINE, or a look that changes nothing)".into(),
            ));
        }
        self.reach().map_err(|e| unavailable(format!("{} cannot be reached: {e}", self.endpoint)))?;
        let builder = ApiBuilder::from_cache(Cache::new(self.cache.clone())).with_endpoint(self.endpoint.clone());
        let api = builder.with_token(self.token.clone()).build().map_err(|e| unavailable(e.to_string()))?;
        let hub_repo = api.repo(repo.clone());
        for (file, size) in missing {
            let blob = |etag: &str| Cache::new(self.cache.clone()).repo(repo.clone()).blob_path(etag);
            let metadata = || api.metadata(&hub_repo.url(file));
            fetch(&hub_repo, file, size, &folder.join(file), &metadata, &blob)
                .map_err(|e| unavailable(format!("{file}: {e}")))?;
        }
        Ok(folder)
    }

    /// Tries whether the hub answers at all, because without an answer the transfer would wait for minutes. Behind a
    /// proxy this cannot be known from here.
    fn reach(&self) -> io::Result<()> {
        let proxies = ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
        if proxies.iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty())) {
            return Ok(());
        }
        let (scheme, rest) = self.endpoint.split_once("://").unwrap_or(("https", &self.endpoint));
        let host = rest.split('/').next().unwrap_or(rest);
        let with_port = if host.rsplit(']').next().is_some_and(|end| end.contains(':')) {
            host.to_owned()
        } else {
            format!("{host}:{}", if scheme == "http" { 80 } else { 443 })
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "its name leads to no address");
        for address in with_port.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, Duration::from_secs(10)) {
                Ok(_) => return Ok(()),
                Err(e) => last = e,
            }
        }
        Err(last)
    }
}

/// Where the hub's programs keep what is theirs if nothing else is said. Never below the current folder: a stranger's
/// model could lie there.
fn usual_home() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|cache| cache.is_absolute());
    let cache = cache.or_else(|| Some(folders::home()?.join(".cache"))).or_else(|| folders::cache().ok());
    cache.unwrap_or_else(|| NOWHERE.into()).join("huggingface")
}

/// Whether a file is there with its whole length, as far as that is known.
fn is_whole(path: &Path, size: Option<u64>) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && size.is_none_or(|size| m.len() == size))
}

/// How often a transfer that breaks off is taken up again before giving up.
const ATTEMPTS: usize = 4;

/// How often to wait, about 5 s each, for another program that fetches the same file.
const WAITS: usize = 120;

/// Fetches one file into the cache, where `path` will point to it.
fn fetch(
    repo: &ApiRepo,
    file: &str,
    size: Option<u64>,
    path: &Path,
    metadata: &dyn Fn() -> Result<Metadata, ApiError>,
    blob: &dyn Fn(&str) -> PathBuf,
) -> Result<(), String> {
    // What is there is not whole, or it would not be fetched; left there, it would be kept.
    let _ = fs::remove_file(path);
    let mut last = String::new();
    let (mut attempts, mut waits) = (0, 0);
    while attempts < ATTEMPTS {
        let about = metadata().map_err(|e| explain(&e))?;
        if !path.components().any(|c| c.as_os_str() == about.commit_hash()) {
            return Err(format!("the hub gave it from another commit, {}", about.commit_hash()));
        }
        if size.is_some_and(|size| size != about.size() as u64) {
            return Err(format!(
                "the hub has {} bytes, but this commit's file has {}",
                about.size(),
                size.unwrap_or(0)
            ));
        }
        let blob = blob(about.etag());
        // A download continues what an earlier one left, and would ask for nothing if that were complete.
        let part = blob.with_extension("part");
        if fs::metadata(&part).is_ok_and(|m| m.len() >= about.size() as u64) {
            let _ = fs::remove_file(&part);
        }
        match repo.download(file) {
            Ok(_) => {}
            Err(ApiError::LockAcquisition(_)) if waits < WAITS => {
                waits += 1;
                if is_whole(path, size) {
                    return Ok(());
                }
                continue;
            }
            Err(e) => {
                last = explain(&e);
                attempts += 1;
                continue;
            }
        }
        match check(&blob, &about) {
            Ok(()) => return Ok(()),
            Err(e) => {
                last = e;
                attempts += 1;
                let _ = fs::remove_file(path);
                let _ = fs::remove_file(&blob);
            }
        }
    }
    Err(format!("{last} (tried {ATTEMPTS} times; what was received is kept and continued next time)"))
}

/// Whether a received file is what the hub said it would be. The hub names large files by their SHA-256.
fn check(blob: &Path, about: &Metadata) -> Result<(), String> {
    let received = fs::metadata(blob).map_err(|e| e.to_string())?.len();
    if received != about.size() as u64 {
        return Err(format!("received {received} of {} bytes", about.size()));
    }
    if about.etag().len() != 64 || !about.etag().bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    let mut file = fs::File::open(blob).map_err(|e| e.to_string())?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(|e| e.to_string())? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    let found: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    if found.eq_ignore_ascii_case(about.etag()) {
        Ok(())
    } else {
        Err("received bytes that do not have the hub's checksum".into())
    }
}

/// An error of the hub with what it means.
fn explain(error: &ApiError) -> String {
    let text = error.to_string();
    match error {
        ApiError::LockAcquisition(path) => {
            format!("another program has been fetching it for minutes ({}); try again when it is done", path.display())
        }
        _ if text.contains("404") => format!("{text}: this hub does not have it"),
        _ if text.contains("401") || text.contains("403") => format!("{text}: this hub wants a token; set HF_TOKEN"),
        _ => text,
    }
}

#[cfg(test)]
mod tests;
