//! The one module with `unsafe`: a flat index's vectors, mapped into memory.
#![allow(unsafe_code)]

use std::path::Path;

use memmap2::Mmap;

use crate::IndexError;
use crate::error::FileKind;
use crate::flat::{FlatFile, HEADER};

/// The vectors of a flat index's file, which the system reads as they are used and may drop again.
#[derive(Debug)]
pub(crate) struct MappedVectors {
    map: Mmap,
    pub dim: usize,
    pub rows: u64,
}

impl MappedVectors {
    /// Maps a file that nobody shortens while it is mapped, which would end the process: a snapshot of this host.
    pub(crate) fn open(path: &Path, kind: FileKind) -> Result<Self, IndexError> {
        let file = FlatFile::open(path, kind)?;
        // SAFETY: the file is this host's private snapshot. It was complete before it got its name and is only ever
        // removed, never written; a mapping outlives the removal.
        let map = unsafe { Mmap::map(file.file()) }.map_err(IndexError::io("map", path))?;
        Ok(Self { map, dim: file.dim, rows: file.rows })
    }

    /// All vectors, row by row, D little-endian f32 each. They begin at byte 45 of the file, so no float is aligned.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map[HEADER..]
    }
}
