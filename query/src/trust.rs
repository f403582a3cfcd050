//! Whose word is taken for what is to be copied. An index names files, and a copy of one may reveal it; so copies are made
//! from an index that this person or root made, or that this person has allowed once.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use disk::atomic::{folder_of, write_json};
use disk::trust::{Owners, open_folder};
use protocol::search::{OpenedIndex, Vouched};
use protocol::{IndexMeta, IndexPrefix, folders};
use serde::{Deserialize, Serialize};

/// No list of indexes and no index's metadata is longer.
const MOST_BYTES: u64 = 64 << 20;

/// The indexes that were allowed.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Allowed {
    /// Their prefixes on this machine.
    index_prefixes: Vec<PathBuf>,
}

/// Allows copies from an index, from now on.
pub fn allow(prefix: &IndexPrefix) -> Result<()> {
    let (file, name) = (file()?, name(prefix));
    let mut allowed = read(&file)?;
    if !allowed.index_prefixes.contains(&name) {
        allowed.index_prefixes.push(name);
        fs::create_dir_all(folder_of(&file)).with_context(|| cannot(&file))?;
        write_json(&file, &allowed).with_context(|| cannot(&file))?;
    }
    Ok(())
}

/// Whether copies from an index were allowed.
pub fn is_allowed(prefix: &IndexPrefix) -> Result<bool> {
    Ok(read(&file()?)?.index_prefixes.contains(&name(prefix)))
}

/// What this machine knows of an index on another one, and of the folder for the copies, both as they are seen here: there
/// the files of a share may have other owners.
pub fn seen_here(prefix: &IndexPrefix, opened: &OpenedIndex, folder: &Path) -> Vouched {
    if !is_own(prefix, opened) {
        return Vouched::default();
    }
    Vouched { index: true, folder: open_folder(folder, false).is_ok() }
}

/// Whether it is the same index here, and made by this person or root.
fn is_own(prefix: &IndexPrefix, opened: &OpenedIndex) -> bool {
    let Some(meta) = meta(prefix) else { return false };
    let is_same =
        meta.generation == opened.generation && meta.num_images == opened.num_images && meta.root == opened.root;
    let segments = meta.segments.iter().map(|segment| prefix.dir().join(format!("{}.parquet", segment.name)));
    let files = [prefix.meta(), prefix.dir().to_owned()].into_iter().chain(segments);
    is_same && Owners::of(files).is_ok_and(|owners| owners.stranger(folder_of(prefix.dir())).is_none())
}

fn meta(prefix: &IndexPrefix) -> Option<IndexMeta> {
    let mut text = Vec::new();
    File::open(prefix.meta()).ok()?.take(MOST_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn read(file: &Path) -> Result<Allowed> {
    let mut text = Vec::new();
    match File::open(file) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Allowed::default()),
        opened => opened.and_then(|open| open.take(MOST_BYTES).read_to_end(&mut text)),
    }
    .with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is damaged; remove it, and --trust again", file.display()))
}

/// One name for one index, whatever links lead to its folder.
fn name(prefix: &IndexPrefix) -> PathBuf {
    let prefix = prefix.dir();
    match (folder_of(prefix).canonicalize(), prefix.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => prefix.to_owned(),
    }
}

fn file() -> Result<PathBuf> {
    Ok(folders::state()
        .context("there is no place to remember which indexes are trusted")?
        .join("trusted-indexes.json"))
}

fn cannot(file: &Path) -> String {
    format!("cannot remember in {} that the index is trusted", file.display())
}
