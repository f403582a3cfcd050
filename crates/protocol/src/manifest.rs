//! A run's manifest: what is to be embedded, sorted by path, one JSON array a line (`["a/b.jpg",1234,1700000000]`),
//! so that a chunk can be read by offset and count without reading what stands before it.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bounded::{open_file, read_until};
use crate::{Chunk, ImagePath};

/// A path as JSON, with its size and time, is shorter.
const LONGEST_LINE: usize = 1 << 19;

/// One picture as the scan saw it. Encoded as an array: path, size, time. Ordered by path first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The picture.
    pub path: ImagePath,
    /// Its file's size in bytes.
    pub size_bytes: u64,
    /// Its file's modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
}

impl Serialize for Entry {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        (&self.path, self.size_bytes, self.mtime_ns).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let (path, size_bytes, mtime_ns) = Deserialize::deserialize(d)?;
        Ok(Self { path, size_bytes, mtime_ns })
    }
}

/// Writes a manifest and tells where each line begins.
#[derive(Debug)]
pub struct ManifestWriter<W> {
    output: W,
    offset: u64,
}

impl<W: Write> ManifestWriter<W> {
    /// A manifest that begins at the start of `output`.
    pub fn new(output: W) -> Self {
        Self { output, offset: 0 }
    }

    /// Appends an entry; returns the offset in bytes at which its line begins.
    pub fn push(&mut self, entry: &Entry) -> io::Result<u64> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.output.write_all(&line)?;
        let begin = self.offset;
        self.offset += line.len() as u64;
        Ok(begin)
    }

    /// The output, for flushing and syncing.
    pub fn output(&mut self) -> &mut W {
        &mut self.output
    }

    /// Gives the output back.
    pub fn into_inner(self) -> W {
        self.output
    }
}

/// A manifest that cannot be read as it should.
#[derive(Debug, thiserror::Error)]
pub enum BadManifest {
    /// The file could not be read.
    #[error("cannot read the manifest {path}; is the share mounted here?")]
    Unreadable {
        /// The manifest.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not an entry, or the file is shorter than a chunk says.
    #[error("the manifest {path} is damaged near byte {offset}: {what}; run the controller again to make a new one")]
    Damaged {
        /// The manifest.
        path: PathBuf,
        /// About where.
        offset: u64,
        /// What is wrong.
        what: String,
    },
}

/// Reads entries of a manifest, all or by chunk.
#[derive(Debug)]
pub struct ManifestReader {
    path: PathBuf,
    input: BufReader<File>,
    offset: u64,
}

impl ManifestReader {
    /// Opens a manifest at its first entry.
    pub fn open(path: &Path) -> Result<Self, BadManifest> {
        let file = open_file(path).map_err(|source| BadManifest::Unreadable { path: path.into(), source })?;
        Ok(Self { path: path.into(), input: BufReader::with_capacity(1 << 16, file), offset: 0 })
    }

    /// The entries of one chunk: exactly `chunk.count` of them.
    pub fn chunk(&mut self, chunk: &Chunk) -> Result<Vec<Entry>, BadManifest> {
        let unreadable = |source| BadManifest::Unreadable { path: self.path.clone(), source };
        self.input.seek(SeekFrom::Start(chunk.offset)).map_err(unreadable)?;
        self.offset = chunk.offset;
        let mut entries = Vec::new();
        while (entries.len() as u64) < chunk.count {
            match self.next() {
                Some(entry) => entries.push(entry?),
                None => return Err(self.damaged(format!("it ends before chunk {} does", chunk.id))),
            }
        }
        Ok(entries)
    }

    fn damaged(&self, what: String) -> BadManifest {
        BadManifest::Damaged { path: self.path.clone(), offset: self.offset, what }
    }
}

impl Iterator for ManifestReader {
    type Item = Result<Entry, BadManifest>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        match read_until(&mut self.input, b'\n', LONGEST_LINE, &mut line) {
            Err(long) if long.kind() == ErrorKind::InvalidData => return Some(Err(self.damaged(long.to_string()))),
            Err(source) => return Some(Err(BadManifest::Unreadable { path: self.path.clone(), source })),
            Ok(0) => return None,
            Ok(_) => {}
        }
        let entry = serde_json::from_slice(&line).map_err(|e| self.damaged(e.to_string()));
        self.offset += line.len() as u64;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_read_by_offset_and_names_survive() {
        let file = std::env::temp_dir().join(format!("imagefleet-manifest-{}", std::process::id()));
        let names = ["a\nb.jpg", "c \"$(x)\".jpg", "d/é🚗.jpg"];
        let mut writer = ManifestWriter::new(File::create(&file).unwrap());
        let entry = |n: &str| Entry { path: ImagePath::new(n).unwrap(), size_bytes: 5, mtime_ns: -3 };
        let offsets: Vec<u64> = names.iter().map(|n| writer.push(&entry(n)).unwrap()).collect();
        let mut reader = ManifestReader::open(&file).unwrap();
        let chunk = Chunk { id: 1, offset: offsets[1], count: 2, bytes: 10 };
        assert_eq!(reader.chunk(&chunk).unwrap(), [entry(names[1]), entry(names[2])]);
        let beyond = Chunk { count: 3, ..chunk };
        assert!(reader.chunk(&beyond).unwrap_err().to_string().contains("ends before chunk 1"));
        assert_eq!(ManifestReader::open(&file).unwrap().count(), 3);
        std::fs::remove_file(file).unwrap();
    }
}
