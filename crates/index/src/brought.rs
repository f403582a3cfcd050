//! Where vectors that were made elsewhere stand, and the paths that belong to them: a matrix and a list, or the folders
//! that clip-retrieval's `clip inference` writes: `img_emb/img_emb_K.npy` and `metadata/metadata_K.parquet`, whose
//! column `image_path` has a path for each row of the matrix.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use polars::prelude::DataType;
use protocol::read_list;

use crate::IndexError;
use crate::columns::Columns;
use crate::error::FileKind;
use crate::npy::NpyFile;

/// The folder of matrices, the beginning of their names, and the end.
pub(crate) const MATRICES: [&str; 3] = ["img_emb", "img_emb_", ".npy"];
/// The same of their paths.
pub(crate) const PATHS: [&str; 3] = ["metadata", "metadata_", ".parquet"];
/// The column of paths.
pub(crate) const COLUMN: &str = "image_path";

/// All of a folder's files are open at a time.
const MOST_FILES: usize = 512;

/// Vectors that were made elsewhere, and the paths of their pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brought {
    /// A `.npy` file, and a list of paths in the order of its rows: one a line, or NUL-separated.
    Matrix {
        /// The `.npy` file, [N, D].
        vectors: PathBuf,
        /// The list.
        paths: PathBuf,
    },
    /// A folder of clip-retrieval.
    Folder(PathBuf),
}

/// A matrix and the paths of its rows.
#[derive(Debug)]
pub(crate) struct Shard {
    pub vectors: NpyFile,
    pub paths: PathBuf,
    list: bool,
}

/// Paths in the order of rows, as they stand there.
pub(crate) type Paths = Box<dyn Iterator<Item = Result<Vec<u8>, IndexError>>>;

impl Brought {
    /// What there is of it, each matrix with its paths.
    pub(crate) fn shards(&self) -> Result<Vec<Shard>, IndexError> {
        match self {
            Self::Matrix { vectors, paths } => {
                Ok(vec![Shard { vectors: NpyFile::open(vectors)?, paths: paths.clone(), list: true }])
            }
            Self::Folder(folder) => {
                let (matrices, paths) = (names(folder, MATRICES)?, names(folder, PATHS)?);
                let refuse = |what| Err(IndexError::NotImportable { path: folder.clone(), what });
                let alone = matrices.iter().find(|name| !paths.contains(name)).map(|name| (MATRICES, PATHS, name));
                let alone =
                    alone.or(paths.iter().find(|name| !matrices.contains(name)).map(|name| (PATHS, MATRICES, name)));
                if let Some((has, lacks, name)) = alone {
                    return refuse(format!("it has {} but not {}", file(has, name), file(lacks, name)));
                }
                if matrices.is_empty() || matrices.len() > MOST_FILES {
                    return refuse(format!(
                        "it has {} files like {}: 1 to {MOST_FILES} can be imported at once, each import adds to the \
                         index",
                        matrices.len(),
                        file(MATRICES, "0")
                    ));
                }
                let shard = |name: &String| {
                    let vectors = NpyFile::open(&folder.join(file(MATRICES, name)))?;
                    Ok(Shard { vectors, paths: folder.join(file(PATHS, name)), list: false })
                };
                matrices.iter().map(shard).collect()
            }
        }
    }
}

impl Shard {
    pub(crate) fn paths(&self) -> Result<Paths, IndexError> {
        if self.list {
            let path = self.paths.clone();
            // It may be a pipe from another program.
            let file = File::open(&path).map_err(IndexError::io("open", &path))?;
            let list = read_list(BufReader::new(file)).map_err(IndexError::io("read", &path))?;
            return Ok(Box::new(list.map(move |line| line.map_err(IndexError::io("read", &path)))));
        }
        let mut columns = Columns::open(&self.paths, FileKind::Brought)?;
        if columns.dtype(COLUMN)? != Some(DataType::String) {
            return Err(IndexError::NotImportable {
                path: self.paths.clone(),
                what: format!("it has no column {COLUMN:?} of texts"),
            });
        }
        // A row group at a time: a million paths, as other programs write them.
        let count = columns.groups().len();
        let groups = (0..count).flat_map(move |group| match columns.texts(group, COLUMN) {
            Ok(paths) => paths.into_iter().map(|path| Ok(path.into_bytes())).collect::<Vec<_>>(),
            Err(e) => vec![Err(e)],
        });
        Ok(Box::new(groups))
    }
}

/// `img_emb/img_emb_K.npy` of K.
pub(crate) fn file([folder, before, after]: [&str; 3], name: &str) -> String {
    format!("{folder}/{before}{name}{after}")
}

/// The Ks of files that are there, sorted.
fn names(folder: &Path, [below, before, after]: [&str; 3]) -> Result<Vec<String>, IndexError> {
    let dir = folder.join(below);
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).map_err(IndexError::io("list", &dir))? {
        let name = entry.map_err(IndexError::io("list", &dir))?.file_name();
        let name = name.to_str().and_then(|name| name.strip_prefix(before)?.strip_suffix(after));
        names.extend(name.map(str::to_owned));
    }
    names.sort();
    Ok(names)
}
