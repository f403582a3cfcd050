//! NumPy's `.npy` files of vectors, [N, D], f16 or f32, little endian, in C order. They are read by plain reads at offsets,
//! never mapped: they may lie on a share.
//!
//! As in numpy's `lib/format.py`: `\x93NUMPY`, the version u8 u8, the length of what follows as u16 (version 1) or u32, all
//! little endian; a Python dictionary `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 512), }` and spaces, so
//! that the data begin at a multiple of 64.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use half::f16;

use crate::IndexError;
use disk::atomic;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// More than any header of a matrix.
const LONGEST_HEADER: usize = 1 << 16;

/// More values than any model's vectors have.
const LONGEST_VECTOR: u64 = 1 << 20;

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Float {
    /// 16 bits, IEEE 754 binary16.
    F16,
    /// 32 bits.
    F32,
}

impl Float {
    fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    fn descr(self) -> &'static str {
        match self {
            Self::F16 => "<f2",
            Self::F32 => "<f4",
        }
    }
}

/// An open file whose header fits its length.
#[derive(Debug)]
pub(crate) struct NpyFile {
    pub path: PathBuf,
    pub float: Float,
    pub rows: u64,
    pub dim: usize,
    file: File,
    begin: u64,
}

impl NpyFile {
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        let refuse = |what: String| IndexError::NotImportable { path: path.into(), what };
        let file = protocol::open_file(path).map_err(IndexError::io("open", path))?;
        let length = file.metadata().map_err(IndexError::io("read", path))?.len();
        let mut start = vec![0; length.min(LONGEST_HEADER as u64) as usize];
        file.read_exact_at(&mut start, 0).map_err(IndexError::io("read", path))?;
        let (header, begin) =
            header(&start).ok_or_else(|| refuse("it is no .npy file: write the vectors with numpy.save".into()))?;
        let (descr, fortran, shape) = Option::zip(text(header, "descr"), field(header, "fortran_order"))
            .and_then(|(descr, order)| Some((descr, order.starts_with("True"), shape(field(header, "shape")?)?)))
            .ok_or_else(|| refuse(format!("its header is not understood: {header:?}")))?;
        let float = [Float::F16, Float::F32].into_iter().find(|float| float.descr() == descr).ok_or_else(|| {
            refuse(format!("its numbers are {descr:?}, not '<f2' or '<f4': write vectors.astype('<f4')"))
        })?;
        let &[rows, dim @ 1..=LONGEST_VECTOR] = &shape[..] else {
            return Err(refuse(format!("its shape is {shape:?}, not [N, D]: a row must be the vector of a picture")));
        };
        if fortran {
            return Err(refuse("it is in Fortran's order: write numpy.ascontiguousarray(vectors)".into()));
        }
        let bytes = rows.checked_mul(dim).and_then(|n| n.checked_mul(float.bytes() as u64));
        let whole = bytes.and_then(|bytes| bytes.checked_add(begin));
        if whole != Some(length) {
            return Err(refuse(format!(
                "it has {length} bytes, which is not what {rows} vectors of {dim} values take: it was cut short, or is \
                 still being written"
            )));
        }
        Ok(Self { path: path.into(), float, rows, dim: dim as usize, file, begin })
    }

    /// The vectors of `count` rows, one after another.
    pub(crate) fn rows_at(&self, row: u64, count: usize) -> Result<Vec<f32>, IndexError> {
        let mut bytes = vec![0; count * self.dim * self.float.bytes()];
        let offset = self.begin + row * (self.dim * self.float.bytes()) as u64;
        self.file.read_exact_at(&mut bytes, offset).map_err(IndexError::io("read", &self.path))?;
        Ok(match self.float {
            Float::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Float::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        })
    }
}

/// The dictionary of a file that begins so, and where its data begin.
fn header(start: &[u8]) -> Option<(&str, u64)> {
    let (version, rest) = start.strip_prefix(MAGIC)?.split_at_checked(2)?;
    let (length, rest) = match version[0] {
        1 => rest.split_first_chunk().map(|(n, rest)| (u16::from_le_bytes(*n) as usize, rest))?,
        2 | 3 => rest.split_first_chunk().map(|(n, rest)| (u32::from_le_bytes(*n) as usize, rest))?,
        _ => return None,
    };
    let header = std::str::from_utf8(rest.get(..length)?).ok()?;
    Some((header, (start.len() - rest.len() + length) as u64))
}

/// What stands behind a key and its colon.
fn field<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let behind = ['\'', '"'].into_iter().find_map(|quote| header.split_once(&format!("{quote}{key}{quote}")))?.1;
    behind.trim_start().strip_prefix(':').map(str::trim_start)
}

/// The text behind a key.
fn text<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let value = field(header, key)?;
    let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    value[1..].split_once(quote).map(|(text, _)| text)
}

/// `(2, 512)`, and what follows.
fn shape(value: &str) -> Option<Vec<u64>> {
    let (numbers, _) = value.strip_prefix('(')?.split_once(')')?;
    let numbers = numbers.split(',').map(str::trim).filter(|number| !number.is_empty());
    numbers.map(|number| number.parse().ok()).collect()
}

/// A file while it is being written.
pub(crate) struct NpyWriter {
    path: PathBuf,
    file: BufWriter<File>,
    float: Float,
    left: u64,
}

impl NpyWriter {
    /// Creates the file, which must not exist, for so many vectors.
    pub(crate) fn create(path: &Path, float: Float, rows: u64, dim: usize) -> Result<Self, IndexError> {
        let mut header =
            format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({rows}, {dim}), }}", float.descr());
        let begin = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(64);
        header.push_str(&" ".repeat(begin - MAGIC.len() - 4 - header.len() - 1));
        header.push('\n');
        let mut file = BufWriter::with_capacity(1 << 20, atomic::create_new(path)?);
        let length = (header.len() as u16).to_le_bytes();
        file.write_all(&[&MAGIC[..], &[1, 0], &length, header.as_bytes()].concat())
            .map_err(IndexError::io("write", path))?;
        Ok(Self { path: path.into(), file, float, left: rows })
    }

    /// Appends a vector.
    pub(crate) fn push(&mut self, vector: &[f32]) -> Result<(), IndexError> {
        self.left = self.left.checked_sub(1).expect("as many vectors come as were told");
        let bytes: Vec<u8> = match self.float {
            Float::F16 => vector.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            Float::F32 => vector.iter().flat_map(|v| v.to_le_bytes()).collect(),
        };
        self.file.write_all(&bytes).map_err(IndexError::io("write", &self.path))
    }

    /// Syncs the file.
    pub(crate) fn finish(mut self) -> Result<(), IndexError> {
        assert_eq!(self.left, 0, "as many vectors come as were told");
        self.file.flush().and_then(|()| disk::sync(self.file.get_ref())).map_err(IndexError::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use damage::{COPIES, Numbers, contained};

    use super::*;

    fn written(path: &Path, float: Float) -> [[f32; 3]; 4] {
        let vectors = [[0.0, 1.0, -2.5], [0.5, 0.25, 65504.0], [-0.0, 1e-7, 3.0], [f32::INFINITY, 0.1, 7.0]];
        let mut writer = NpyWriter::create(path, float, 4, 3).unwrap();
        vectors.iter().for_each(|vector| writer.push(vector).unwrap());
        writer.finish().unwrap();
        vectors
    }

    #[test]
    fn what_is_written_is_read_wherever_one_begins() {
        let dir = tempfile::tempdir().unwrap();
        for float in [Float::F16, Float::F32] {
            let path = dir.path().join(float.descr());
            let vectors = written(&path, float);
            let file = NpyFile::open(&path).unwrap();
            assert_eq!((file.rows, file.dim, file.float, file.begin), (4, 3, float, 128));
            let stored = |v: &f32| if float == Float::F16 { f16::from_f32(*v).to_f32() } else { *v };
            assert!(file.rows_at(0, 4).unwrap().iter().copied().eq(vectors.as_flattened().iter().map(stored)));
            assert!(file.rows_at(2, 1).unwrap().iter().copied().eq(vectors[2].iter().map(stored)));
        }
    }

    fn open(bytes: &[u8]) -> Result<NpyFile, String> {
        let file = tempfile::Builder::new().suffix("v.npy").tempfile().unwrap();
        fs::write(file.path(), bytes).unwrap();
        NpyFile::open(file.path()).map_err(|e| e.to_string())
    }

    fn with(version: u8, header: &str, data: usize) -> Vec<u8> {
        let length = header.len() as u32;
        let length = if version == 1 { length.to_le_bytes()[..2].to_vec() } else { length.to_le_bytes().to_vec() };
        [&MAGIC[..], &[version, 0], &length, header.as_bytes(), &vec![0; data]].concat()
    }

    #[test]
    fn what_is_no_matrix_of_floats_is_refused_and_the_reason_said() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n";
        for version in [1, 2, 3] {
            assert_eq!(open(&with(version, header, 24)).unwrap().rows, 2);
        }
        assert_eq!(open(&with(1, "{\"shape\":(0,3),\"fortran_order\":False,\"descr\":\"<f2\"}", 0)).unwrap().dim, 3);
        let changed = |from: &str, to: &str| open(&with(1, &header.replace(from, to), 24)).unwrap_err();
        for (error, said) in [
            (open(b"").unwrap_err(), "no .npy file"),
            (open(&with(4, header, 24)).unwrap_err(), "no .npy file"),
            (open(&with(1, header, 23)).unwrap_err(), "cut short"),
            (open(&with(1, header, 25)).unwrap_err(), "not what 2 vectors of 3 values take"),
            (changed("<f4", "<f8"), "astype('<f4')"),
            (changed("<f4", ">f4"), "astype('<f4')"),
            (changed("False", "True"), "ascontiguousarray"),
            (changed("(2, 3)", "(6,)"), "[6], not [N, D]"),
            (changed("(2, 3)", "(1, 2, 3)"), "not [N, D]"),
            (changed("(2, 3)", "(2, 0)"), "not [N, D]"),
            (changed("(2, 3)", "(0, 18446744073709551615)"), "not [N, D]"),
            (changed("(2, 3)", "(4611686018427387904, 4)"), "cut short"),
            (changed("(2, 3)", "(-2, 3)"), "not understood"),
            (changed("'descr'", "'d'"), "not understood"),
        ] {
            assert!(error.contains("v.npy") && error.contains(said), "{error}");
        }
    }

    #[test]
    fn damaged_files_of_vectors_are_refused_or_read() {
        contained(damaged_files_of_vectors_are_refused_or_read, || {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("v.npy");
            written(&path, Float::F32);
            let whole = fs::read(&path).unwrap();
            let mut numbers = Numbers::new(5);
            let mut refused = 0;
            for _ in 0..COPIES {
                fs::write(&path, damage::bytes(&whole, &mut numbers)).unwrap();
                match NpyFile::open(&path) {
                    Ok(file) => drop(file.rows_at(0, file.rows as usize).unwrap()),
                    Err(error) => {
                        refused += 1;
                        assert!(error.to_string().contains("v.npy"), "{error}");
                    }
                }
            }
            assert!(refused > COPIES / 2, "{refused}");
        });
    }
}
