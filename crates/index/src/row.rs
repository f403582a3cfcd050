//! One row: a picture's path beside its vector, in one value until it is written.

use protocol::{Embedding, Entry, FileFacts, ImagePath};
use xxhash_rust::xxh3::Xxh3;

use crate::facts_file::to_record;

/// An embedded picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The picture.
    pub path: ImagePath,
    /// Its vector, f32 [D].
    pub embedding: Embedding,
    /// Its file.
    pub file: FileFacts,
    /// XXH3-128 of all its bytes, 32 hexadecimal digits.
    pub content_hash: String,
}

/// A row as it stands in a file. Its vector keeps its very bits: normalising again would change the last ones.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredRow {
    pub path: ImagePath,
    pub vector: Vec<f32>,
    pub file: FileFacts,
    pub content_hash: String,
}

impl StoredRow {
    pub(crate) fn is(&self, entry: &Entry) -> bool {
        self.path == entry.path && self.file.fits(entry)
    }
}

impl From<&Row> for StoredRow {
    fn from(row: &Row) -> Self {
        Self {
            path: row.path.clone(),
            vector: row.embedding.values().to_vec(),
            file: row.file,
            content_hash: row.content_hash.clone(),
        }
    }
}

/// Vectors shorter or longer than one by more than this are damage, not rounding.
const NORM_TOLERANCE: f64 = 1e-3;

/// Whether `vector` has length one.
pub(crate) fn is_normalised(vector: &[f32]) -> bool {
    let squares: f64 = vector.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    (squares.sqrt() - 1.0).abs() <= NORM_TOLERANCE
}

/// The checksums over rows in their order: of all that they hold, and of their paths and facts alone.
/// Numbers are little endian, texts have their length (u64) before them.
#[derive(Clone, Default)]
pub(crate) struct RowsHash {
    all: Xxh3,
    files: FilesHash,
    buffer: Vec<u8>,
}

impl RowsHash {
    pub(crate) fn push(&mut self, row: &StoredRow) {
        self.files.push(&row.path, &row.file);
        self.buffer.clear();
        push_text(&mut self.buffer, row.path.as_str());
        self.buffer.extend((row.vector.len() as u64).to_le_bytes());
        self.buffer.extend(row.vector.iter().flat_map(|v| v.to_le_bytes()));
        self.buffer.extend(to_record(&row.file));
        push_text(&mut self.buffer, &row.content_hash);
        self.all.update(&self.buffer);
    }

    pub(crate) fn rows(&self) -> String {
        hex(&self.all)
    }

    pub(crate) fn files(&self) -> String {
        self.files.digest()
    }
}

/// The checksum over paths, relative to the root, and facts, in their order.
#[derive(Clone, Default)]
pub(crate) struct FilesHash(Xxh3);

impl FilesHash {
    pub(crate) fn push(&mut self, path: &ImagePath, file: &FileFacts) {
        self.0.update(&(path.as_str().len() as u64).to_le_bytes());
        self.0.update(path.as_str().as_bytes());
        self.0.update(&to_record(file));
    }

    pub(crate) fn digest(&self) -> String {
        hex(&self.0)
    }
}

fn push_text(buffer: &mut Vec<u8>, text: &str) {
    buffer.extend((text.len() as u64).to_le_bytes());
    buffer.extend(text.as_bytes());
}

/// A running XXH3-128 in 32 hexadecimal digits.
pub(crate) fn hex(hash: &Xxh3) -> String {
    format!("{:032x}", hash.digest128())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_of_a_row_counts_in_its_checksum() {
        let row = StoredRow {
            path: ImagePath::new("a.jpg").unwrap(),
            vector: vec![0.6, 0.8],
            file: FileFacts { size_bytes: 1, mtime_ns: 2, taken_s: None, width: 3, height: 4 },
            content_hash: "x".into(),
        };
        let digests = |row: &StoredRow| {
            let mut hash = RowsHash::default();
            hash.push(row);
            (hash.rows(), hash.files())
        };
        let facts = [
            FileFacts { size_bytes: 2, ..row.file },
            FileFacts { mtime_ns: 3, ..row.file },
            FileFacts { taken_s: Some(0), ..row.file },
            FileFacts { width: 4, ..row.file },
            FileFacts { height: 3, ..row.file },
        ];
        for file in facts {
            let (rows, files) = digests(&StoredRow { file, ..row.clone() });
            assert!(rows != digests(&row).0 && files != digests(&row).1, "{file:?}");
        }
        let others = [
            StoredRow { path: ImagePath::new("b.jpg").unwrap(), ..row.clone() },
            StoredRow { vector: vec![0.8, 0.6], ..row.clone() },
            StoredRow { content_hash: "y".into(), ..row.clone() },
        ];
        assert!(others.iter().all(|other| digests(other).0 != digests(&row).0));
    }
}
