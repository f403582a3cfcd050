//! The files of a run, while it is scanned. Nothing in them counts before the record is written, which is last.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use disk::atomic::{Temp, name_in};
use disk::{Folder, ours};
use index::{Moved, PartRef, Sorter};
use protocol::layout::RunDir;
use protocol::{Chunk, Chunker, Entry, Failure, IndexPrefix, ManifestReader, ManifestWriter, RunRecord, encode_line};
use serde::Serialize;
use tempfile::TempDir;

use crate::sort::next_if;

/// Pictures of a part of those that were moved.
const MOVED_PART: usize = 1024;

/// The files of a run.
pub struct RunFiles {
    dir: RunDir,
    folder: Folder,
    chunk_images: Option<u64>,
    manifest: Manifest,
    gone: Lines,
    failed: Lines,
    failed_before: Lines,
    moved: Lines,
    /// Of a dry run: removed with everything in it.
    temporary: Option<TempDir>,
    /// Removes the folder unless the run comes about.
    unfinished: Unfinished,
}

/// The folder of a run that may not come about.
struct Unfinished {
    dir: RunDir,
    /// `P/runs`, and the name there.
    runs: Folder,
    name: OsString,
    folder: Folder,
    /// Not if it was there before.
    is_new: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.is_new {
            let dir = &self.dir;
            // What cannot be removed counts for nothing: there is no record.
            for file in [dir.manifest(), dir.gone(), dir.scan_failures(), dir.failed_before(), dir.moved()] {
                let _ = name_in(&file).and_then(|name| self.folder.remove_file(name));
            }
            let _ = self.runs.remove_empty(&self.name);
        }
    }
}

/// A run that lacks only its record.
pub struct Ready {
    unfinished: Unfinished,
    dry_run: bool,
}

impl Ready {
    /// From now on there is the run.
    pub fn publish(mut self, record: &RunRecord) -> Result<()> {
        if !self.dry_run {
            let Unfinished { folder, dir, .. } = &self.unfinished;
            folder.write_json(name_in(&dir.record())?, record)?;
            self.unfinished.is_new = false;
        }
        Ok(())
    }
}

impl RunFiles {
    /// Begins a run's files at `prefix`; those of a dry run, in a temporary folder.
    pub fn create(prefix: &IndexPrefix, run_id: &str, chunk_images: Option<u64>, dry_run: bool) -> Result<Self> {
        let temporary = dry_run.then(tempfile::tempdir).transpose().context("cannot make a temporary folder")?;
        let index = temporary.as_ref().map_or_else(|| prefix.clone(), |folder| IndexPrefix::new(folder.path()));
        let dir = index.run(run_id);
        let cannot = || format!("cannot write to the index folder {}", prefix.dir().display());
        let place = ours::make(&index).and_then(|folder| folder.make_place(dir.dir()));
        let (runs, name) = place.with_context(cannot)?;
        let is_new = runs.folder_if_there(&name).with_context(cannot)?.is_none();
        let folder = runs.make_folder(&name).with_context(cannot)?;
        if temporary.is_none() {
            disk::probe(&prefix.lock())?;
        }
        let unfinished = Unfinished { dir: dir.clone(), runs, name, folder: folder.clone(), is_new };
        let manifest = create_anew(&folder, &dir.manifest())?;
        let lines = |path: PathBuf| Lines { folder: folder.clone(), path, output: None };
        Ok(Self {
            unfinished,
            manifest: Manifest::new(manifest, &dir.manifest(), chunk_images),
            gone: lines(dir.gone()),
            failed: lines(dir.scan_failures()),
            failed_before: lines(dir.failed_before()),
            moved: lines(dir.moved()),
            dir,
            folder,
            chunk_images,
            temporary,
        })
    }

    /// A picture is to be embedded.
    pub fn missing(&mut self, entry: &Entry) -> Result<()> {
        self.manifest.push(entry)
    }

    /// A row describes no picture any more.
    pub fn gone(&mut self, entry: &Entry) -> Result<()> {
        self.gone.push(entry)
    }

    /// A picture failed in the scan.
    pub fn failed(&mut self, failure: &Failure) -> Result<()> {
        self.failed.push(failure)
    }

    /// A picture is not tried again.
    pub fn failed_before(&mut self, entry: &Entry) -> Result<()> {
        self.failed_before.push(entry)
    }

    /// The manifest, as far as it is by now.
    pub fn manifest(&mut self) -> Result<&Path> {
        self.manifest.flush()?;
        Ok(&self.manifest.path)
    }

    /// Takes pictures that were moved out of the manifest, and has parts made of them.
    pub fn take_out(
        &mut self,
        moved: Sorter<Moved>,
        mut publish: impl FnMut(&[Moved]) -> Result<Option<PartRef>>,
    ) -> Result<()> {
        self.manifest.flush()?;
        let whole = self.dir.manifest();
        let temp = Temp::in_folder(&self.folder, name_in(&whole)?);
        let mut rest = Manifest::new(temp.create()?, &temp.path(), self.chunk_images);
        let (mut moved, mut part) = (moved.sorted()?.peekable(), Vec::new());
        for entry in ManifestReader::open(&whole)? {
            let entry = entry?;
            match next_if(&mut moved, |next| next.path == entry.path && next.file.fits(&entry))? {
                None => rest.push(&entry)?,
                Some(picture) => part.push(picture),
            }
            if part.len() == MOVED_PART {
                publish(&part)?.map_or(Ok(()), |part| self.moved.push(&part))?;
                part.clear();
            }
        }
        if !part.is_empty() {
            publish(&part)?.map_or(Ok(()), |part| self.moved.push(&part))?;
        }
        rest.flush()?;
        temp.publish()?;
        self.manifest = rest;
        Ok(())
    }

    /// Everything reaches the disk before the record that says so; of an empty manifest nothing could be lost. Gives back
    /// the chunks, and what makes the run.
    pub fn finish(mut self) -> Result<(Vec<Chunk>, Ready)> {
        let chunks = self.manifest.finish()?;
        let dry_run = self.temporary.is_some();
        if !dry_run {
            if !chunks.is_empty() {
                self.manifest.sync()?;
            }
            for lines in [self.gone, self.failed, self.failed_before, self.moved] {
                lines.sync()?;
            }
        }
        Ok((chunks, Ready { unfinished: self.unfinished, dry_run }))
    }
}

/// A manifest and its chunks.
struct Manifest {
    path: PathBuf,
    writer: ManifestWriter<BufWriter<File>>,
    chunker: Chunker,
    chunks: Vec<Chunk>,
}

impl Manifest {
    fn new(file: File, path: &Path, chunk_images: Option<u64>) -> Self {
        let writer = ManifestWriter::new(BufWriter::with_capacity(1 << 16, file));
        Self { path: path.into(), writer, chunker: Chunker::new(chunk_images), chunks: Vec::new() }
    }

    fn push(&mut self, entry: &Entry) -> Result<()> {
        let offset = self.writer.push(entry).with_context(|| cannot_write(&self.path))?;
        self.chunks.extend(self.chunker.push(offset, entry));
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.writer.output().flush().with_context(|| cannot_write(&self.path))
    }

    fn sync(&mut self) -> Result<()> {
        disk::sync(self.writer.output().get_ref()).with_context(|| cannot_write(&self.path))
    }

    fn finish(&mut self) -> Result<Vec<Chunk>> {
        self.flush()?;
        self.chunks.extend(self.chunker.finish());
        Ok(std::mem::take(&mut self.chunks))
    }
}

/// A file of JSON lines that is not there until it has one.
struct Lines {
    folder: Folder,
    path: PathBuf,
    output: Option<BufWriter<File>>,
}

impl Lines {
    fn push(&mut self, line: &impl Serialize) -> Result<()> {
        let output = match &mut self.output {
            Some(output) => output,
            none => none.insert(BufWriter::new(create_anew(&self.folder, &self.path)?)),
        };
        output.write_all(encode_line(line).as_bytes()).with_context(|| cannot_write(&self.path))
    }

    fn sync(mut self) -> Result<()> {
        let sync = |output: &mut BufWriter<File>| output.flush().and_then(|()| disk::sync(output.get_ref()));
        self.output.as_mut().map_or(Ok(()), sync).with_context(|| cannot_write(&self.path))
    }
}

/// A new file in the place of what a scan with the same name left that was killed.
fn create_anew(folder: &Folder, path: &Path) -> Result<File, disk::Error> {
    let name = name_in(path)?;
    folder.remove_file(name)?;
    folder.create_new(name)
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write the run's file {}", path.display())
}
