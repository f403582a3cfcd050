//! One row: a picture's path beside its vector, in one value until it is written.

use protocol::{Embedding, Entry, ImagePath};
use xxhash_rust::xxh3::Xxh3;

/// An embedded picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The picture.
    pub path: ImagePath,
    /// Its vector, f32 [D].
    pub embedding: Embedding,
    /// Its file's size in bytes.
    pub size_bytes: u64,
    /// Its file's modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// XXH3-128 of all its bytes, 32 hexadecimal digits.
    pub content_hash: String,
}

/// A row as it stands in a file. Its vector keeps its very bits: normalising again would change the last ones.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredRow {
    pub path: ImagePath,
    pub vector: Vec<f32>,
    pub size_bytes: u64,
    pub mtime_ns: i64,
    pub content_hash: String,
}

impl StoredRow {
    pub(crate) fn is(&self, entry: &Entry) -> bool {
        self.path == entry.path && self.size_bytes == entry.size_bytes && self.mtime_ns == entry.mtime_ns
    }
}

impl From<&Row> for StoredRow {
    fn from(row: &Row) -> Self {
        Self {
            path: row.path.clone(),
            vector: row.embedding.values().to_vec(),
            size_bytes: row.size_bytes,
            mtime_ns: row.mtime_ns,
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

/// The checksums over rows in their order: of all that they hold, and of their paths alone.
/// Numbers are little endian, texts have their length (u64) before them.
#[derive(Clone, Default)]
pub(crate) struct RowsHash {
    all: Xxh3,
    paths: PathsHash,
    buffer: Vec<u8>,
}

impl RowsHash {
    pub(crate) fn push(&mut self, row: &StoredRow) {
        self.paths.push(row.path.as_str());
        self.buffer.clear();
        push_text(&mut self.buffer, row.path.as_str());
        self.buffer.extend((row.vector.len() as u64).to_le_bytes());
        self.buffer.extend(row.vector.iter().flat_map(|v| v.to_le_bytes()));
        self.buffer.extend(row.size_bytes.to_le_bytes());
        self.buffer.extend(row.mtime_ns.to_le_bytes());
        push_text(&mut self.buffer, &row.content_hash);
        self.all.update(&self.buffer);
    }

    pub(crate) fn rows(&self) -> String {
        hex(&self.all)
    }

    pub(crate) fn paths(&self) -> String {
        self.paths.digest()
    }
}

/// The checksum over paths, relative to the root, in their order.
#[derive(Clone, Default)]
pub(crate) struct PathsHash(Xxh3);

impl PathsHash {
    pub(crate) fn push(&mut self, path: &str) {
        self.0.update(&(path.len() as u64).to_le_bytes());
        self.0.update(path.as_bytes());
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
            size_bytes: 1,
            mtime_ns: 2,
            content_hash: "x".into(),
        };
        let digest = |row: &StoredRow| {
            let mut hash = RowsHash::default();
            hash.push(row);
            hash.rows()
        };
        let others = [
            StoredRow { path: ImagePath::new("b.jpg").unwrap(), ..row.clone() },
            StoredRow { vector: vec![0.8, 0.6], ..row.clone() },
            StoredRow { size_bytes: 2, ..row.clone() },
            StoredRow { mtime_ns: 3, ..row.clone() },
            StoredRow { content_hash: "y".into(), ..row.clone() },
        ];
        assert!(others.iter().all(|other| digest(other) != digest(&row)));
    }
}
