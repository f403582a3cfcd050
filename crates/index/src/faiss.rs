//! The one module with `unsafe`: faiss's C API, for reading a flat index and searching it.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use faiss_sys::{
    FaissIndex, faiss_Index_d, faiss_Index_free, faiss_Index_ntotal, faiss_Index_search, faiss_get_last_error,
    faiss_read_index_fname,
};

use crate::IndexError;

/// `IO_FLAG_MMAP_IFC` of faiss's `index_io.h`: maps the codes of flat indexes. The C header does not have it, and
/// `IO_FLAG_MMAP` (0x646f0008) maps only the lists of inverted-file indexes.
const MAP_FLAT_CODES: c_int = 1 << 9;

/// A flat index that faiss has opened.
#[derive(Debug)]
pub(crate) struct FaissIndexFile {
    inner: *mut FaissIndex,
    path: PathBuf,
}

// SAFETY: the index is never changed after it was read; faiss documents searches of a CPU index as safe from several
// threads at a time, and freeing it happens once, in `drop`.
unsafe impl Send for FaissIndexFile {}
// SAFETY: as above.
unsafe impl Sync for FaissIndexFile {}

impl FaissIndexFile {
    /// Maps a file that was checked before ([`crate::flat::FlatFile`] and its checksum) and that nobody shortens: a
    /// snapshot of this host. Where faiss cannot map, it reads the file into memory.
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|e| IndexError::Faiss {
            action: "open",
            path: path.into(),
            message: e.to_string(),
        })?;
        let mut message = String::new();
        for flags in [MAP_FLAT_CODES, 0] {
            let mut inner = ptr::null_mut();
            // SAFETY: `name` ends with a NUL and outlives the call; `inner` is written only on success, and then is an
            // index that is ours to free.
            let failed = unsafe { faiss_read_index_fname(name.as_ptr(), flags, &mut inner) } != 0;
            if !failed && !inner.is_null() {
                return Ok(Self { inner, path: path.into() });
            }
            message = last_error();
        }
        Err(IndexError::Faiss { action: "open", path: path.into(), message })
    }

    /// D.
    pub(crate) fn dim(&self) -> usize {
        // SAFETY: `inner` is a live index.
        unsafe { faiss_Index_d(self.inner) as usize }
    }

    /// Rows.
    pub(crate) fn rows(&self) -> u64 {
        // SAFETY: `inner` is a live index.
        unsafe { faiss_Index_ntotal(self.inner) as u64 }
    }

    /// The `k` best rows as (score, id), in faiss's order.
    pub(crate) fn search(&self, query: &[f32], k: usize) -> Result<Vec<(f32, u64)>, IndexError> {
        assert_eq!(query.len(), self.dim(), "checked by the caller");
        let k = k.min(self.rows() as usize);
        if k == 0 {
            return Ok(Vec::new());
        }
        let mut scores = vec![0f32; k];
        let mut ids = vec![-1i64; k];
        // SAFETY: `query` holds one vector of D values, `scores` and `ids` have room for 1 * k results, and all three
        // outlive the call. A mapped file's floats begin at byte 45, so they are not aligned to 4; faiss reads them
        // with unaligned loads, as it does in Python.
        let failed = unsafe {
            faiss_Index_search(self.inner, 1, query.as_ptr(), k as i64, scores.as_mut_ptr(), ids.as_mut_ptr())
        } != 0;
        if failed {
            return Err(IndexError::Faiss { action: "search", path: self.path.clone(), message: last_error() });
        }
        let found = scores.into_iter().zip(ids);
        Ok(found.filter_map(|(score, id)| Some((score, u64::try_from(id).ok()?))).collect())
    }
}

impl Drop for FaissIndexFile {
    fn drop(&mut self) {
        // SAFETY: `inner` came from `faiss_read_index_fname` and is freed only here.
        unsafe { faiss_Index_free(self.inner) }
    }
}

fn last_error() -> String {
    // SAFETY: faiss gives null or a text that stays until this thread's next call.
    unsafe {
        let text = faiss_get_last_error();
        if text.is_null() { "unknown error".into() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    }
}
