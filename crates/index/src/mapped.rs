//! The one module with `unsafe`: files of a snapshot, mapped into memory.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::IndexError;
use crate::error::FileKind;
use crate::flat::{FlatFile, HEADER};

/// Maps a file that nobody shortens while it is mapped, which would end the process: one of this host's private snapshot.
/// The system reads it as it is used and may drop it again.
pub(crate) fn map(file: &File, path: &Path) -> Result<Mmap, IndexError> {
    // SAFETY: the file is this host's private snapshot. It was complete before it got its name and is only ever
    // removed, never written; a mapping outlives the removal.
    unsafe { Mmap::map(file) }.map_err(IndexError::io("map", path))
}

/// Asks the processor for bytes that will be read soon, so that they come from memory while others are worked on.
#[inline(always)]
pub(crate) fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.iter().step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 has this instruction, which reads nothing into the program.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(line).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

/// The vectors of a flat index's file.
#[derive(Debug)]
pub(crate) struct MappedVectors {
    map: Mmap,
    pub dim: usize,
    pub rows: u64,
}

impl MappedVectors {
    /// Maps a file of a snapshot.
    pub(crate) fn open(path: &Path, kind: FileKind) -> Result<Self, IndexError> {
        let file = FlatFile::open(path, kind)?;
        Ok(Self { map: map(file.file(), path)?, dim: file.dim, rows: file.rows })
    }

    /// All vectors, row by row, D little-endian f32 each. They begin at byte 45 of the file, so no float is aligned.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map[HEADER..]
    }

    /// The whole file.
    pub(crate) fn file(&self) -> &[u8] {
        &self.map
    }

    /// One vector, D little-endian f32.
    pub(crate) fn row(&self, row: u64) -> &[u8] {
        &self.bytes()[row as usize * 4 * self.dim..][..4 * self.dim]
    }
}
