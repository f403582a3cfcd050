//! Parts: finished chunks, `P/parts/NAME.parquet`. A part is published once, whole; one that is not sound does not
//! exist.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use disk::{First, ours};
use protocol::{Embedding, FORMAT_VERSION, ImagePath, IndexPrefix, PartMeta};

use crate::IndexError;
use crate::error::FileKind;
use crate::row::{Row, RowsHash, StoredRow};
use crate::row_reader::RowFile;
use crate::row_writer::{FIRST_KEY, GENERATION_GROUP, META_KEY, RowWriter};

/// So long another host's file may be hidden from this one by its caches.
const HIDDEN: Duration = Duration::from_secs(90);

/// A part, read whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its metadata.
    pub meta: PartMeta,
    /// Its rows, sorted by path.
    pub rows: Vec<Row>,
}

/// Publishes `P/parts/NAME.parquet` with `rows`, in any order. Rows and checksum of the metadata are computed here.
/// If a sound part of this name is there already, it stays and its metadata is given back; a damaged one is replaced.
pub fn publish_part(prefix: &IndexPrefix, meta: PartMeta, rows: &[Row]) -> Result<PartMeta, IndexError> {
    publish(prefix, meta, rows.iter().map(StoredRow::from).collect())
}

/// [`publish_part`] of rows that keep their vectors' very bits.
pub(crate) fn publish(prefix: &IndexPrefix, meta: PartMeta, mut rows: Vec<StoredRow>) -> Result<PartMeta, IndexError> {
    let target = part_path(prefix, &meta.name)?;
    let folder = ours::make(prefix)?;
    rows.sort_by(|a, b| a.path.cmp(&b.path));
    rows.dedup_by(|a, b| a.path == b.path);
    let mut hash = RowsHash::default();
    rows.iter().for_each(|row| hash.push(row));
    let root = meta.root.trim_end_matches('/').to_owned();
    let meta =
        PartMeta { format_version: FORMAT_VERSION, rows: rows.len() as u64, checksum: hash.rows(), root, ..meta };

    let temp = ours::temp(&folder, &target)?;
    let text = serde_json::to_string(&meta).map_err(|e| IndexError::io("encode", &target)(e.into()))?;
    let mut pairs = vec![(META_KEY.to_owned(), text)];
    pairs.extend(rows.first().map(|row| (FIRST_KEY.to_owned(), row.path.to_string())));
    let mut writer =
        RowWriter::new(temp.create()?, &temp.path(), &meta.root, meta.model.embedding_dim, GENERATION_GROUP, pairs)?;
    rows.iter().try_for_each(|row| writer.push(row))?;
    writer.finish()?;
    let deadline = Instant::now() + HIDDEN;
    loop {
        temp.refuse_link()?;
        // Most parts are nobody's yet.
        if temp.publish_new()? == First::We {
            return Ok(meta);
        }
        match load(&target) {
            Ok((standing, _)) if same_work(&standing.meta, &meta) => return Ok(standing.meta),
            // Damaged, of another root or an older format: the name promises what this part holds.
            Ok(_) | Err(IndexError::Damaged { .. } | IndexError::OlderFormat { .. }) => {
                return Ok(temp.publish().map(|()| meta)?);
            }
            // It is there, but this host does not see it yet; or it was just taken into an index.
            Err(e) if e.is_not_found() => {
                if Instant::now() > deadline {
                    return Err(e);
                }
                sleep(Duration::from_millis(200));
            }
            Err(e) => return Err(e),
        }
    }
}

fn same_work(a: &PartMeta, b: &PartMeta) -> bool {
    a.root == b.root && a.model.fingerprint == b.model.fingerprint
}

/// Reads a part that must be sound and of this canonical root.
pub fn read_part(path: &Path, root: &str) -> Result<Part, IndexError> {
    let (head, file) = load(path)?;
    if head.meta.root != root.trim_end_matches('/') {
        return Err(IndexError::OtherRoot { path: path.into(), has: head.meta.root, wanted: root.into() });
    }
    let rows = file.rows().map(|row| {
        let StoredRow { path: picture, vector, file, content_hash } = row?;
        let embedding = Embedding::normalise(vector).map_err(|e| FileKind::Part.damaged(path, e.to_string()))?;
        Ok(Row { path: picture, embedding, file, content_hash })
    });
    Ok(Part { rows: rows.collect::<Result<_, IndexError>>()?, meta: head.meta })
}

/// The metadata of the part of this name, if it is there, sound, and of this fingerprint.
pub fn find_part(prefix: &IndexPrefix, name: &str, fingerprint: &str) -> Option<PartMeta> {
    let (head, _) = load(&part_path(prefix, name).ok()?).ok()?;
    (head.meta.model.fingerprint == fingerprint).then_some(head.meta)
}

/// What a part's footer says.
#[derive(Clone, Debug)]
pub(crate) struct PartHead {
    pub path: PathBuf,
    pub meta: PartMeta,
    pub first: Option<ImagePath>,
}

/// Reads a part's footer only.
pub(crate) fn head(path: &Path) -> Result<PartHead, IndexError> {
    read_head(&RowFile::open(path, FileKind::Part, "")?)
}

/// Reads a part whole and checks all of it.
pub(crate) fn load(path: &Path) -> Result<(PartHead, RowFile), IndexError> {
    let file = RowFile::load(path, FileKind::Part)?;
    let head = read_head(&file)?;
    let root = head.meta.root.clone();
    Ok((head, file.under(&root)))
}

/// Opens a part whose footer was read before.
pub(crate) fn open(head: &PartHead) -> Result<RowFile, IndexError> {
    let (now, file) = load(&head.path)?;
    let same = now.meta.checksum == head.meta.checksum && now.first == head.first;
    if same { Ok(file) } else { Err(FileKind::Part.damaged(&head.path, "it changed while it was read")) }
}

fn read_head(file: &RowFile) -> Result<PartHead, IndexError> {
    let path = file.path();
    let text = file.pair(META_KEY).ok_or_else(|| file.damaged("it has no metadata"))?;
    let meta: PartMeta = serde_json::from_str(text).map_err(|e| file.damaged(e.to_string()))?;
    let seal = file.seal();
    let first = file.pair(FIRST_KEY).map(ImagePath::new).transpose().map_err(|e| file.damaged(e.to_string()))?;
    let fits = meta.rows == seal.rows
        && meta.checksum == seal.rows_hash
        && meta.model.embedding_dim == file.dim()
        && path.file_stem() == Some(OsStr::new(&meta.name))
        && first.is_some() == (meta.rows > 0);
    if fits {
        Ok(PartHead { path: path.into(), meta, first })
    } else {
        Err(file.damaged("its metadata does not fit it"))
    }
}

/// All files in `P/parts` that are parts by their names, sorted; none if there is no such folder.
pub(crate) fn list(prefix: &IndexPrefix) -> Result<Vec<PathBuf>, IndexError> {
    let dir = prefix.parts();
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(IndexError::io("list", &dir))?,
    };
    let mut parts = Vec::new();
    for entry in entries {
        let path = entry.map_err(IndexError::io("list", &dir))?.path();
        let hidden = path.file_name().is_none_or(|n| n.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension() == Some(OsStr::new("parquet")) {
            parts.push(path);
        }
    }
    parts.sort();
    Ok(parts)
}

/// The file of a part. Names come over the network: one with a slash would lead elsewhere.
pub(crate) fn part_path(prefix: &IndexPrefix, name: &str) -> Result<PathBuf, IndexError> {
    let sound = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if sound {
        Ok(prefix.part(name))
    } else {
        Err(IndexError::PartMissing { path: prefix.parts(), what: format!("{name:?} is not a part's name") })
    }
}
