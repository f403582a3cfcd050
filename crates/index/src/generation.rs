//! Writes a generation, reads it back, and switches to it. Until the last rename readers see the old one.

use std::path::Path;

use disk::atomic::{self, TEMP_MARK, Temp};
use disk::{Folder, ours};
use protocol::layout::generation_name;
use protocol::{FirstPassMeta, IndexMeta, IndexPrefix, SegmentMeta};

use crate::IndexError;
use crate::bits::BitsWriter;
use crate::error::FileKind;
use crate::flat::{FlatFile, FlatWriter};
use crate::recall::{Measure, Sample};
use crate::row::StoredRow;
use crate::row_reader::RowFile;
use crate::row_writer::{GENERATION_GROUP, RowWriter, Written, hash_file};

const PARQUET: &str = "seg-0.parquet";
const FAISS: &str = "seg-0.faiss";
const BITS: &str = "seg-0.bits";

/// Whether the index is still ours, and as it was read.
pub(crate) type Still<'a> = &'a dyn Fn() -> Result<(), IndexError>;

/// A generation while it is being written, in `P/gen-G.tmp-PID`.
pub(crate) struct GenerationWriter {
    generation: u64,
    root: String,
    dim: usize,
    // Dropped before the folder: a network file system cannot remove files that are open.
    rows: RowWriter,
    vectors: FlatWriter,
    sample: Sample,
    files: Folder,
    temp: Temp,
}

impl GenerationWriter {
    pub(crate) fn create(prefix: &IndexPrefix, generation: u64, root: &str, dim: usize) -> Result<Self, IndexError> {
        let name = generation_name(generation);
        let temp = Temp::named(&ours::make(prefix)?, format!("{name}{TEMP_MARK}{}", std::process::id()), name);
        let files = temp.create_folder()?;
        let (parquet, faiss) = (files.create_new(PARQUET)?, files.create_new(FAISS)?);
        let rows = RowWriter::new(parquet, &files.file(PARQUET), root, dim, GENERATION_GROUP, Vec::new())?;
        let vectors = FlatWriter::new(faiss, &files.file(FAISS), dim)?;
        Ok(Self { generation, root: root.into(), dim, rows, vectors, sample: Sample::new(dim), files, temp })
    }

    pub(crate) fn push(&mut self, row: &StoredRow) -> Result<(), IndexError> {
        self.rows.push(row)?;
        self.sample.push(&row.vector);
        self.vectors.push(&row.vector)
    }

    /// Syncs and reads back what was written, then gives the folder its name, if the index is `still` ours. Nothing refers
    /// to it yet.
    pub(crate) fn finish(self, prefix: &IndexPrefix, still: Still<'_>) -> Result<(Published, SegmentMeta), IndexError> {
        let written = self.rows.finish()?;
        self.vectors.finish()?;
        self.files.sync()?;
        let mut bits = FirstPassWriter::create(&self.files, &self.sample, written.seal.rows)?;
        let faiss = read_back(self.files.path(), &written, &self.root, self.dim, &mut bits)?;
        let first_pass = bits.map(FirstPassWriter::finish).transpose()?;
        self.files.sync()?;
        still()?;
        self.temp.publish()?;
        let segment = SegmentMeta {
            name: format!("{}/seg-0", generation_name(self.generation)),
            rows: written.seal.rows,
            parquet_bytes: written.bytes,
            parquet_checksum: written.checksum,
            faiss_bytes: faiss.0,
            faiss_checksum: faiss.1,
            first_pass,
        };
        let guard = Temp::guard(&ours::make(prefix)?, generation_name(self.generation));
        Ok((Published(Some(guard)), segment))
    }
}

/// A generation's folder in its place, removed again unless the switch to it succeeds.
pub(crate) struct Published(Option<Temp>);

impl Published {
    /// Writes `P.meta.json`: from here on readers see this generation. `still` is asked right before.
    pub(crate) fn switch(mut self, prefix: &IndexPrefix, meta: &IndexMeta, still: Still<'_>) -> Result<(), IndexError> {
        let done = atomic::draft_json(&prefix.meta(), meta).map_err(IndexError::from).and_then(|draft| {
            still()?;
            Ok(draft.publish()?)
        });
        // The folder goes only if it is ours, and the old metadata is seen to stand. Where that is not certain, as when syncing failed
        // after the rename, it stays: files that nothing refers to are cleaned up later, files that are missing are not
        // to be had again.
        let old_stands = || match crate::read_meta(prefix) {
            Ok(now) => now.is_none_or(|now| now.generation != meta.generation),
            Err(_) => false,
        };
        if (done.is_ok() || still().is_err() || !old_stands())
            && let Some(folder) = self.0.take()
        {
            folder.keep();
        }
        done
    }
}

/// A segment of fewer rows has no first pass: comparing all takes a few milliseconds.
const LEAST_ROWS: u64 = 20_000;
/// Rows that are coded and compared with questions at a time: a megabyte of vectors.
const BLOCK: usize = 512;

/// Writes a segment's first pass while its vectors are read back.
struct FirstPassWriter {
    bits: BitsWriter,
    measure: Measure,
    block: Vec<u8>,
    block_bytes: usize,
}

impl FirstPassWriter {
    fn create(files: &Folder, sample: &Sample, rows: u64) -> Result<Option<Self>, IndexError> {
        if rows < LEAST_ROWS {
            return Ok(None);
        }
        let mean = sample.mean();
        let block_bytes = BLOCK * 4 * mean.len();
        let bits = BitsWriter::new(files.create_new(BITS)?, &files.file(BITS), mean, rows)?;
        Ok(Some(Self { bits, measure: sample.measure(), block: Vec::with_capacity(block_bytes), block_bytes }))
    }

    fn push(&mut self, vector: &[u8]) -> Result<(), IndexError> {
        self.block.extend_from_slice(vector);
        if self.block.len() < self.block_bytes { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), IndexError> {
        self.measure.push(&self.block);
        self.bits.push(&self.block)?;
        self.block.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<FirstPassMeta, IndexError> {
        self.flush()?;
        self.measure.finish(&self.bits.finish()?)
    }
}

/// Reads both files again and compares them with what was written and with each other; their vectors go to `bits`. Gives
/// back length and checksum of the faiss file.
fn read_back(
    dir: &Path,
    written: &Written,
    root: &str,
    dim: usize,
    bits: &mut Option<FirstPassWriter>,
) -> Result<(u64, String), IndexError> {
    let (parquet, faiss) = (dir.join(PARQUET), dir.join(FAISS));
    let damaged = |path: &Path, what: &str| Err(FileKind::Written.damaged(path, what));
    if hash_file(&parquet)? != (written.bytes, written.checksum.clone()) {
        return damaged(&parquet, "its bytes changed");
    }
    let rows = RowFile::open(&parquet, FileKind::Written, root)?;
    if *rows.seal() != written.seal || rows.dim() != dim {
        return damaged(&parquet, "its seal or dimension changed");
    }
    let mut vectors = FlatFile::open(&faiss, FileKind::Written)?;
    if vectors.rows != written.seal.rows || vectors.dim != dim {
        return damaged(&faiss, "its header does not fit the parquet file");
    }
    let mut bytes = Vec::new();
    // Each row's length, order and the checksum over all of them are compared by the reader.
    for row in rows.rows() {
        let row = row?;
        vectors.read_row(&mut bytes)?;
        if !row.vector.iter().map(|v| v.to_le_bytes()).eq(bytes.chunks_exact(4)) {
            return damaged(&faiss, &format!("its vector of {} is not that of the parquet file", row.path));
        }
        if let Some(bits) = bits {
            bits.push(&bytes)?;
        }
    }
    Ok(vectors.checksum())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn published(prefix: &IndexPrefix, generation: u64) -> Published {
        Published(Some(Temp::guard(&Folder::open(prefix.dir()).unwrap(), generation_name(generation))))
    }

    #[test]
    fn a_generation_that_was_switched_to_keeps_its_files_whatever_the_metadata_holds() {
        let dir = tempfile::tempdir().unwrap();
        let prefix = IndexPrefix::new(dir.path().join("imageindex"));
        let model = protocol::ModelIdentity {
            model_name: "m".into(),
            fingerprint: "f".into(),
            embedding_dim: 2,
            precision: "fp32".into(),
            provider: "cpu".into(),
            deviation: None,
        };
        for generation in 1..400u64 {
            let target = prefix.generation(generation);
            fs::create_dir_all(&target).unwrap();
            let meta = IndexMeta {
                format_version: protocol::FORMAT_VERSION,
                software_version: String::new(),
                generation,
                created: String::new(),
                run_id: String::new(),
                root: String::new(),
                model: model.clone(),
                num_images: 0,
                num_failed: 0,
                num_workers: 0,
                // Reading such a number back from JSON may give its neighbour.
                processing_time_seconds: (generation as f64).sqrt() / 7.0 + 1e-9 / generation as f64,
                worker_metadata: Vec::new(),
                segments: Vec::new(),
            };
            published(&prefix, generation).switch(&prefix, &meta, &|| Ok(())).unwrap();
            assert!(target.is_dir(), "generation {generation} is in use, but its files are gone");
        }
    }

    #[test]
    fn a_switch_whose_outcome_cannot_be_seen_removes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let prefix = IndexPrefix::new(dir.path().join("imageindex"));
        let target = prefix.generation(1);
        fs::create_dir_all(&target).unwrap();
        // A folder in the metadata's place cannot be replaced by a file, and cannot be read as one.
        fs::create_dir_all(prefix.meta().join("x")).unwrap();
        let published = published(&prefix, 1);
        let meta: IndexMeta = serde_json::from_value(serde_json::json!({
            "format_version": 2, "software_version": "", "generation": 1, "created": "", "run_id": "", "root": "",
            "model_name": "m", "fingerprint": "f", "embedding_dim": 2, "precision": "fp32", "provider": "cpu",
            "num_images": 0, "num_failed": 0, "num_workers": 0, "processing_time_seconds": 0.0, "worker_metadata": [],
            "segments": []
        }))
        .unwrap();
        assert!(published.switch(&prefix, &meta, &|| Ok(())).is_err());
        assert!(target.is_dir(), "what stands cannot be seen, so nothing is removed");
    }
}
