//! Whose an index is: that of everybody who owns a file which decides what is in it.

use std::io;
use std::path::Path;

use disk::trust::Owners;
use index::Index;

/// Whose the files are that decide what an index holds.
pub fn of(index: &Index) -> io::Result<Owners> {
    let (prefix, meta) = (index.prefix(), index.meta());
    let mut files = vec![prefix.meta(), prefix.dir().to_owned()];
    for segment in &meta.segments {
        let file = prefix.dir().join(&segment.name);
        files.extend(file.parent().map(Path::to_owned));
        files.extend(["parquet", "faiss"].map(|extension| file.with_extension(extension)));
    }
    Owners::of(files)
}
