//! Whose a folder is. An index writes, replaces and removes files by their names, so that it must not be kept where somebody
//! has files of the same names: a folder is an index's if it holds the marker, [`MARKER`]. A new or empty folder gets one; so
//! does that of an index from before there were markers, which is told by what only Imagefleet writes. Any other is refused.

mod evidence;

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::Path;

use protocol::IndexPrefix;
use serde::{Deserialize, Serialize};

use crate::atomic::{Temp, name_of_temp};
use crate::{Error, Folder};
use evidence::{MetaFile, explained, is_ours, meta_file, proven};
pub use evidence::{SEAL, is_dropping, is_run, is_run_file, is_sealed, is_thumbnail, is_top_name};

/// The file that says that a folder is ours. It holds no path, so that an index can be moved.
pub const MARKER: &str = ".imagefleet.json";

/// A marker is a line.
const LONGEST: u64 = 1 << 12;

/// So many names of other people's files are told.
const TOLD: usize = 3;

#[derive(Serialize, Deserialize)]
struct Marker {
    /// What the folder is.
    imagefleet: String,
    format_version: u32,
}

/// What a folder turned out to be.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Marked,
    /// Of an index from before there were markers, or nobody's yet.
    Free,
    /// It holds files of others, by these names; beside it, if they are paths.
    Others(Vec<OsString>),
}

/// The folder of an index, P, which is made if it is not there.
///
/// # Errors
/// If it is somebody else's, or cannot be made.
pub fn make(prefix: &IndexPrefix) -> Result<Folder, Error> {
    match standing(prefix)? {
        Some(folder) => Ok(folder),
        None => {
            refuse(prefix, judge(prefix, None)?)?;
            let folder = Folder::make(prefix.dir())?;
            // Somebody may have been quicker.
            refuse(prefix, judge(prefix, Some(&folder))?)?;
            mark(&folder)?;
            Ok(folder)
        }
    }
}

/// The folder of an index; `None` if there is none.
///
/// # Errors
/// If it is somebody else's, or cannot be opened.
pub fn standing(prefix: &IndexPrefix) -> Result<Option<Folder>, Error> {
    let Some(folder) = open(prefix)? else { return Ok(None) };
    match judge(prefix, Some(&folder))? {
        Verdict::Marked => {}
        verdict => {
            refuse(prefix, verdict)?;
            mark(&folder)?;
        }
    }
    Ok(Some(folder))
}

/// Whether an index can be kept at P, without making or marking anything: for the beginning of what takes long.
///
/// # Errors
/// As [`standing`], and if a link is in the place of something of the index's.
pub fn look(prefix: &IndexPrefix) -> Result<(), Error> {
    let folder = open(prefix)?;
    refuse(prefix, judge(prefix, folder.as_ref())?)?;
    let Some(folder) = folder else { return Ok(()) };
    let names = folder.names()?;
    let mut ours = names.iter().filter(|name| name.to_str().is_some_and(is_ours));
    ours.try_for_each(|name| folder.refuse_link("use", name))
}

/// Whether `P.meta.json` is there and of any format of ours, or of the Python original.
///
/// # Errors
/// If it cannot be read.
pub fn is_our_metadata(prefix: &IndexPrefix) -> Result<bool, Error> {
    Ok(meta_file(&prefix.meta())? == MetaFile::Ours)
}

/// Whether `P.meta.json` is there and is none of ours: readable, and of another kind.
///
/// # Errors
/// If it cannot be read.
pub fn is_others_metadata(prefix: &IndexPrefix) -> Result<bool, Error> {
    Ok(meta_file(&prefix.meta())? == MetaFile::Others)
}

fn open(prefix: &IndexPrefix) -> Result<Option<Folder>, Error> {
    match Folder::open(prefix.dir()) {
        Err(e) if e.source.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

fn judge(prefix: &IndexPrefix, folder: Option<&Folder>) -> Result<Verdict, Error> {
    if let Some(folder) = folder
        && is_marked(folder)?
    {
        return Ok(Verdict::Marked);
    }
    let beside = |path: &Path| Ok(Verdict::Others(vec![path.into()]));
    match meta_file(&prefix.meta())? {
        MetaFile::Ours => return Ok(Verdict::Free),
        MetaFile::Others => return beside(&prefix.meta()),
        MetaFile::Absent | MetaFile::Damaged => {}
    }
    if let Some(folder) = folder {
        let names = folder.names()?;
        if proven(folder, &names)? {
            return Ok(Verdict::Free);
        }
        let mut others: Vec<OsString> =
            names.into_iter().filter(|name| !is_dropping(name) && !is_mark(name) && !explained(folder, name)).collect();
        others.sort();
        if !others.is_empty() {
            // Hosts begin together: another may have marked it since it was looked at.
            return Ok(if is_marked(folder)? { Verdict::Marked } else { Verdict::Others(others) });
        }
    }
    // Nothing is in it: then what has its name beside it is of no index of ours, unless it says so itself.
    let sealed = protocol::open_file(&prefix.parquet()).is_ok_and(|file| is_sealed(&file));
    let files = [prefix.parquet(), prefix.faiss(), prefix.meta()];
    match files.iter().find(|path| path.symlink_metadata().is_ok()).filter(|_| !sealed) {
        Some(path) => beside(path),
        None => Ok(Verdict::Free),
    }
}

fn is_marked(folder: &Folder) -> Result<bool, Error> {
    let Some(text) = folder.read_bytes(MARKER, LONGEST)? else { return Ok(false) };
    Ok(serde_json::from_slice::<Marker>(&text).is_ok_and(|marker| marker.imagefleet == "index"))
}

/// A marker that another is just writing, or died over.
fn is_mark(name: &OsStr) -> bool {
    name.to_str().and_then(name_of_temp) == Some(MARKER)
}

fn mark(folder: &Folder) -> Result<(), Error> {
    let marker = Marker { imagefleet: "index".into(), format_version: 1 };
    folder.write_json(MARKER, &marker)
}

fn refuse(prefix: &IndexPrefix, verdict: Verdict) -> Result<(), Error> {
    let Verdict::Others(names) = verdict else { return Ok(()) };
    let mut told = names.iter().take(TOLD).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    if names.len() > TOLD {
        told += &format!(" and {} more", names.len() - TOLD);
    }
    let what = format!(
        "no index of Imagefleet has made {told}, so that somebody may need that. Nothing was changed; choose an \
         --index-prefix that is not there yet"
    );
    Err(Error::io("keep an index in", prefix.dir())(io::Error::new(ErrorKind::InvalidInput, what)))
}

/// Guards a temporary name for what `target`, a path below P, is to be.
pub fn temp(folder: &Folder, target: &Path) -> Result<Temp, Error> {
    let (below, name) = folder.make_place(target)?;
    Ok(Temp::in_folder(&below, name))
}

#[cfg(test)]
mod tests;
