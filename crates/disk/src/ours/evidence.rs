//! How the folder of an index from before there were markers is told from others.
//!
//! What only Imagefleet writes proves it: a sealed file of rows, a run's record, a partial index's metadata, the index's own.
//! A first run that was killed early may have left nothing of the kind; then all that is there must be what it makes.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use protocol::layout::is_file_name;
use protocol::{Entry, MOST_METADATA};
use serde_json::Value;

use super::MARKER;
use crate::atomic::name_of_temp;
use crate::{Error, Folder, Kind, Owner};

/// What the seal of a file of rows begins with, in the key-value metadata at its end.
pub const SEAL: &str = "imagefleet-seal:";

/// The seal is the last of the metadata, a few kilobytes before the end.
const SEAL_WITHIN: u64 = 1 << 20;

/// More parts than this need not be looked at: that all of them were damaged is no accident.
const PARTS: usize = 64;

/// Files of a run that hold an entry a line.
const LISTS: [&str; 3] = ["manifest", "gone", "failed_before"];
/// Those that hold objects.
const RECORDS: [&str; 4] = ["moved.jsonl", "scan_failures.jsonl", "parts.jsonl", "run.json"];

/// Whether a file is a parquet file of rows that Imagefleet wrote whole.
pub fn is_sealed(mut file: &File) -> bool {
    let mut end = Vec::new();
    let read = file.seek(SeekFrom::End(0)).and_then(|length| {
        file.seek(SeekFrom::Start(length.saturating_sub(SEAL_WITHIN)))?;
        file.take(SEAL_WITHIN).read_to_end(&mut end)
    });
    read.is_ok() && end.ends_with(b"PAR1") && end.windows(SEAL.len()).any(|at| at == SEAL.as_bytes())
}

/// What systems put into any folder. It is nobody's, and stays.
pub fn is_dropping(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    matches!(&*name, ".DS_Store" | ".AppleDouble" | "@eaDir" | "Thumbs.db" | "desktop.ini" | "lost+found")
        || ["._", ".nfs", ".smbdelete"].iter().any(|begin| name.starts_with(begin))
}

/// What `P.meta.json` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetaFile {
    Absent,
    /// Of any format of ours, or of the Python original.
    Ours,
    /// Not JSON, or cut short.
    Damaged,
    /// Of another program.
    Others,
}

pub(super) fn meta_file(path: &Path) -> Result<MetaFile, Error> {
    let text = match protocol::read_file(path, MOST_METADATA) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(MetaFile::Absent),
        text => text.map_err(Error::io("read", path))?,
    };
    let Ok(meta) = serde_json::from_slice::<Value>(&text) else { return Ok(MetaFile::Damaged) };
    let ours = has(&meta, &["embedding_dim", "num_images"], &["model_name"]) && meta["worker_metadata"].is_array();
    Ok(if ours { MetaFile::Ours } else { MetaFile::Others })
}

/// Whether the object has these numbers and texts.
fn has(object: &Value, numbers: &[&str], texts: &[&str]) -> bool {
    numbers.iter().all(|name| object[name].is_u64()) && texts.iter().all(|name| object[name].is_string())
}

/// Whether something in the folder of an index proves that it is one.
pub(super) fn proven(folder: &Folder, names: &[OsString]) -> Result<bool, Error> {
    for name in names.iter().filter_map(|name| name.to_str()) {
        let found = match name {
            "parts" => below(folder, name)?.is_some_and(|parts| any_sealed(&parts, PARTS)),
            "runs" => below(folder, name)?.is_some_and(|runs| any_record(&runs)),
            _ if number(name, "gen-", "").is_some() => below(folder, name)?.is_some_and(|files| any_sealed(&files, 1)),
            _ => is_partial(folder, name),
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A folder of that name. A link in its place is an error; a file proves nothing.
fn below(folder: &Folder, name: &str) -> Result<Option<Folder>, Error> {
    match folder.kind(name)? {
        Some(Kind::Folder | Kind::Link) => folder.folder_if_there(name),
        _ => Ok(None),
    }
}

fn any_sealed(folder: &Folder, most: usize) -> bool {
    let names = texts(folder).into_iter().filter(|name| name.ends_with(".parquet") && !name.starts_with('.'));
    names.take(most).any(|name| sealed(folder, &name))
}

fn sealed(folder: &Folder, name: &str) -> bool {
    matches!(folder.read(name), Ok(Some(file)) if is_sealed(&file))
}

fn any_record(runs: &Folder) -> bool {
    texts(runs).into_iter().any(|run| has_record(runs, &run))
}

fn has_record(runs: &Folder, run: &str) -> bool {
    let Ok(folder) = runs.folder(run) else { return false };
    json(&folder, "run.json").is_some_and(|record| {
        has(&record, &["format_version"], &["run_id", "root", "model", "fingerprint"]) && record["run_id"] == run
    })
}

/// Whether a folder in `P/runs` is a run's: it has its record, or is what a scan leaves that was killed.
pub fn is_run(runs: &Folder, name: &str) -> bool {
    let begun = |run: &Folder| is_file(run, "manifest") && all(runs, name, is_of_run);
    has_record(runs, name) || runs.folder(name).is_ok_and(|run| begun(&run))
}

/// Whether a name in a run's folder is that of one of its files.
pub fn is_run_file(name: &str) -> bool {
    let name = name_of_temp(name).unwrap_or(name);
    LISTS.contains(&name) || RECORDS.contains(&name)
}

/// A worker's partial index, ours or of the Python original.
fn is_partial(folder: &Folder, name: &str) -> bool {
    if number(name, "worker_", ".parquet").is_some() {
        return sealed(folder, name);
    }
    let Some(worker) = number(name, "worker_", ".meta.json") else { return false };
    json(folder, name).is_some_and(|meta| {
        has(&meta, &["embedding_dim", "num_images"], &["model_name"]) && meta["worker_id"] == worker
    })
}

fn json(folder: &Folder, name: &str) -> Option<Value> {
    serde_json::from_slice(&folder.read_bytes(name, MOST_METADATA).ok()??).ok()
}

fn texts(folder: &Folder) -> Vec<String> {
    let names = folder.names().unwrap_or_default();
    names.into_iter().filter_map(|name| name.into_string().ok()).collect()
}

/// The number between two texts.
fn number(name: &str, before: &str, after: &str) -> Option<u64> {
    let digits = name.strip_prefix(before)?.strip_suffix(after)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Whether something is what a first run leaves that is killed, so that nothing of anybody's is lost with it.
pub(super) fn explained(folder: &Folder, name: &OsStr) -> bool {
    let (Some(name), Ok(Some(kind))) = (name.to_str(), folder.kind(name)) else { return false };
    match (kind, name) {
        (Kind::File, "lock" | "merge.lock") => is_lock(folder, name),
        (Kind::File, MARKER) => folder.begin_of(name, 1).is_empty(),
        (Kind::File, "failures.jsonl") => is_ledger(folder, name),
        (Kind::File, _) => is_probe(name) || name_of_temp(name).is_some_and(is_top_name),
        (Kind::Folder, _) if is_probe(name) => all(folder, name, |_, name| is_probe(name)),
        (Kind::Folder, "parts") => all(folder, name, |parts, name| is_file(parts, name) && is_part_name(name)),
        (Kind::Folder, "runs") => all(folder, name, |runs, run| is_file_name(run) && all(runs, run, is_of_run)),
        (Kind::Folder, "thumbnails") => all(folder, name, |thumbnails, name| {
            is_hex(name, 2) && all(thumbnails, name, |folder, name| is_file(folder, name) && is_thumbnail(name))
        }),
        (Kind::Folder, _) => {
            let (generation, process) = name.split_once(".tmp-").unwrap_or((name, "0"));
            number(generation, "gen-", "").is_some()
                && process.parse::<u32>().is_ok()
                && all(folder, name, |files, name| is_file(files, name) && is_segment(name))
        }
        _ => false,
    }
}

/// Whether all in the folder of this name is so.
fn all(folder: &Folder, name: &str, is_so: impl Fn(&Folder, &str) -> bool) -> bool {
    let Ok(folder) = folder.folder(name) else { return false };
    let is_so = |name: &OsString| is_dropping(name) || name.to_str().is_some_and(|name| is_so(&folder, name));
    folder.names().is_ok_and(|names| names.iter().all(is_so))
}

fn is_file(folder: &Folder, name: &str) -> bool {
    matches!(folder.kind(name), Ok(Some(Kind::File)))
}

fn is_lock(folder: &Folder, name: &str) -> bool {
    let text = folder.begin_of(name, 1 << 16);
    text.is_empty() || serde_json::from_slice::<Owner>(&text).is_ok()
}

fn is_ledger(folder: &Folder, name: &str) -> bool {
    let begin = folder.begin_of(name, 1 << 16);
    let first = begin.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = serde_json::from_slice::<Value>(first);
    begin.is_empty() || line.is_ok_and(|line| has(&line, &["attempts"], &["path", "kind", "first_time"]))
}

/// What `worker check` makes and removes.
fn is_probe(name: &str) -> bool {
    [".writable-", ".speed-", ".check.tmp-"].iter().any(|begin| name.starts_with(begin))
}

/// Whether a name is that of a file in the folder of an index, for which there may be unfinished ones.
pub fn is_top_name(name: &str) -> bool {
    let partial = |end| number(name, "worker_", end).is_some();
    matches!(name, "lock" | "merge.lock" | "token" | "check" | "failures.jsonl" | MARKER)
        || [".parquet", ".faiss", ".meta.json"].into_iter().any(partial)
}

/// Whether a name is that of something in the folder of an index.
pub(super) fn is_ours(name: &str) -> bool {
    is_top_name(name) || matches!(name, "parts" | "runs" | "thumbnails") || number(name, "gen-", "").is_some()
}

fn is_part_name(name: &str) -> bool {
    is_hex(name_of_temp(name).unwrap_or(name).strip_suffix(".parquet").unwrap_or_default(), 32)
}

/// Whether a name is that of a thumbnail, or of one that is unfinished.
pub fn is_thumbnail(name: &str) -> bool {
    is_hex(name_of_temp(name).unwrap_or(name).strip_suffix(".jpg").unwrap_or_default(), 32)
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// `seg-K.parquet` and its siblings.
fn is_segment(name: &str) -> bool {
    [".parquet", ".faiss", ".bits"].into_iter().any(|end| number(name, "seg-", end).is_some())
}

/// A file of a run, by its name and how it begins.
fn is_of_run(run: &Folder, name: &str) -> bool {
    if !is_file(run, name) {
        return false;
    }
    let begin = run.begin_of(name, 1 << 16);
    let first = begin.split_inclusive(|b| *b == b'\n').next().unwrap_or_default();
    match name {
        _ if name_of_temp(name).is_some() => is_run_file(name),
        // A line that was cut short is no line yet.
        _ if LISTS.contains(&name) => {
            !first.ends_with(b"\n") && (first.is_empty() || first.starts_with(b"[\""))
                || serde_json::from_slice::<Entry>(first).is_ok()
        }
        "moved.jsonl" => begin.is_empty() || begin.starts_with(b"{\"name\":"),
        "scan_failures.jsonl" => begin.is_empty() || begin.starts_with(b"{\"path\":"),
        // The others are written whole, the record first.
        _ => false,
    }
}
