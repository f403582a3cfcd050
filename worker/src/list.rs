//! A worker by hand: a list becomes a manifest of its own, in chunks, so that it takes the same way as granted work.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use index::Sorter;
use protocol::{Chunk, Chunker, Event, Failure, FailureKind, IndexPrefix, ManifestWriter, Root, absolute, read_list};
use tempfile::NamedTempFile;

use crate::report::Report;
use crate::sort::one_a_path;
use crate::walk::examine;

/// A list on its way to the pipeline.
pub struct Plan {
    /// The sorted manifest; removed when dropped.
    pub manifest: NamedTempFile,
    pub chunks: Vec<Chunk>,
    /// Pictures of the list that cannot even be looked at.
    pub failures: Vec<Failure>,
}

fn parse_root(given: &str) -> Result<Root> {
    Root::parse(given).with_context(|| format!("--root {given:?} is not HERE[:CANONICAL]"))
}

/// The root that was given, with the run's or index's canonical name where only HERE was said.
pub fn given_root(given: Option<&str>, canonical: Option<String>) -> Result<Option<Root>> {
    Ok(match (given, canonical) {
        (Some(given), Some(canonical)) if !given.contains(":/") => {
            Some(Root::new(parse_root(given)?.here(), canonical))
        }
        (Some(given), _) => Some(parse_root(given)?),
        (None, Some(canonical)) => Some(Root::new(&canonical, canonical.clone())),
        (None, None) => None,
    })
}

/// The root for a list: given, else the run's or index's (under the name that it has here), else the image folder that the index stands beside, else
/// the deepest folder that holds all pictures of the list.
pub fn root(given: Option<&str>, run: Option<String>, prefix: &IndexPrefix, list: &Path) -> Result<Root> {
    let canonical = match run {
        Some(root) => Some(root),
        None => index::read_meta(prefix)?.map(|meta| meta.root),
    };
    if let Some(root) = given_root(given, canonical)? {
        // A share that has another name here: the index stands beside the image folder under either name.
        let beside =
            prefix.dir().parent().zip(Path::new(root.canonical()).file_name()).map(|(dir, name)| dir.join(name));
        return Ok(match beside.filter(|beside| beside.is_dir() && !root.here().is_dir()) {
            Some(beside) => Root::new(beside, root.canonical()),
            None => root,
        });
    }
    let mut common: Option<PathBuf> = None;
    for path in paths(list)? {
        let Ok(path) = String::from_utf8(path?) else { continue };
        let folder = absolute(&path)?.parent().map(PathBuf::from).unwrap_or_default();
        common = Some(match common {
            None => folder,
            Some(common) => {
                common.components().zip(folder.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
            }
        });
    }
    let Some(common) = common else { bail!("the image list {} is empty", list.display()) };
    let beside = prefix.dir().parent().and_then(|parent| {
        let first = common.strip_prefix(parent).ok()?.components().next()?;
        Some(parent.join(first))
    });
    let root = beside.unwrap_or(common);
    Ok(Root::new(&root, crate::text(&root)?))
}

/// Sorts a list into a manifest and cuts it into chunks.
pub fn plan(list: &Path, root: &Root, chunk_images: Option<u64>, report: &Report, host: &str) -> Result<Plan> {
    let mut sorter = Sorter::default();
    let mut failures = Vec::new();
    let mut listed = 0u64;
    for path in paths(list)? {
        let path = path?;
        listed += 1;
        let shown = String::from_utf8_lossy(&path).into_owned();
        let judged = match std::str::from_utf8(&path) {
            Err(_) => Err((FailureKind::NameNotUtf8, "rename the file".to_owned())),
            Ok(text) => {
                let absolute = absolute(text)?;
                match absolute.to_str().and_then(|p| root.relative(p)) {
                    Some(image) => examine(&root.open_path(&image), image),
                    None => {
                        Err((FailureKind::OutsideRoot, format!("it is not below {}; say --root", root.canonical())))
                    }
                }
            }
        };
        match judged {
            Ok(entry) => sorter.push(entry)?,
            Err((kind, detail)) => {
                let failure = Failure::new(shown, kind, detail, host);
                report.event(&Event::Failure { failure: failure.clone() });
                failures.push(failure);
            }
        }
    }
    if listed == 0 {
        bail!("the image list {} is empty", list.display());
    }
    let manifest = NamedTempFile::new().context("cannot write a temporary file")?;
    let mut writer = ManifestWriter::new(BufWriter::new(manifest.reopen()?));
    let mut chunker = Chunker::new(chunk_images);
    let mut chunks = Vec::new();
    for entry in one_a_path(sorter.sorted()?) {
        let entry = entry?;
        let offset = writer.push(&entry)?;
        chunks.extend(chunker.push(offset, &entry));
    }
    chunks.extend(chunker.finish());
    writer.into_inner().flush()?;
    Ok(Plan { manifest, chunks, failures })
}

fn paths(list: &Path) -> Result<impl Iterator<Item = Result<Vec<u8>>>> {
    let cannot = || format!("cannot read the image list {}", list.display());
    let file = File::open(list).with_context(cannot)?;
    let shown = list.to_owned();
    let paths = read_list(BufReader::new(file)).with_context(cannot)?;
    Ok(paths.map(move |p| p.with_context(|| format!("cannot read the image list {}", shown.display()))))
}
