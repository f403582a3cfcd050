//! The names of all files of an index. No other module builds one.

use std::path::{Path, PathBuf};

use crate::lexical;

/// An index's prefix P: `P.meta.json` and its siblings stand beside the folder `P/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IndexPrefix(PathBuf);

impl IndexPrefix {
    /// An index at this prefix.
    pub fn new(prefix: impl AsRef<Path>) -> Self {
        Self(lexical(prefix.as_ref()))
    }

    /// The default for an image folder: `imageindex` beside it.
    pub fn beside(image_dir: &Path) -> Self {
        Self(image_dir.parent().unwrap_or(image_dir).join("imageindex"))
    }

    /// P itself, which is also the folder that holds generations, parts and runs.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// The last component of P, by which people know the index.
    pub fn name(&self) -> String {
        self.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// `P.meta.json`
    pub fn meta(&self) -> PathBuf {
        self.with_extension("meta.json")
    }

    /// `P.parquet`, for Python.
    pub fn parquet(&self) -> PathBuf {
        self.with_extension("parquet")
    }

    /// `P.faiss`, for Python.
    pub fn faiss(&self) -> PathBuf {
        self.with_extension("faiss")
    }

    /// `P/gen-G`
    pub fn generation(&self, generation: u64) -> PathBuf {
        self.0.join(generation_name(generation))
    }

    /// `P/parts`
    pub fn parts(&self) -> PathBuf {
        self.0.join("parts")
    }

    /// `P/parts/NAME.parquet`
    pub fn part(&self, name: &str) -> PathBuf {
        self.parts().join(format!("{name}.parquet"))
    }

    /// `P/runs`
    pub fn runs(&self) -> PathBuf {
        self.0.join("runs")
    }

    /// `P/runs/RUN`
    pub fn run(&self, run_id: &str) -> RunDir {
        RunDir(self.runs().join(run_id))
    }

    /// The newest run whose scan was finished, if there is one. Run names begin with their time.
    pub fn newest_run(&self) -> Option<String> {
        let runs = std::fs::read_dir(self.runs()).ok()?.flatten();
        let finished = runs.filter(|e| RunDir(e.path()).record().is_file());
        finished.filter_map(|e| e.file_name().into_string().ok()).max()
    }

    /// `P/worker_N`, the prefix of a worker's partial index.
    pub fn worker(&self, worker_id: u32) -> WorkerPrefix {
        WorkerPrefix(self.0.join(format!("worker_{worker_id}")))
    }

    /// `P/failures.jsonl`
    pub fn failures(&self) -> PathBuf {
        self.0.join("failures.jsonl")
    }

    /// `P/lock`, which names the run that owns the index.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// `P/merge.lock`, which names the merger at work: one that lost its controller may still be.
    pub fn merge_lock(&self) -> PathBuf {
        self.0.join("merge.lock")
    }

    /// `P/thumbnails`, small versions of pictures. It may be removed at any time.
    pub fn thumbnails(&self) -> PathBuf {
        self.0.join("thumbnails")
    }

    /// The folders in which runs and queries write, whether they are there yet or not: that of `P.meta.json`, `P`, and in it
    /// those of parts and runs; that of results.
    pub fn folders(&self) -> Vec<PathBuf> {
        let beside = self.0.parent().unwrap_or(Path::new(""));
        vec![beside.to_owned(), self.0.clone(), self.parts(), self.runs(), self.results()]
    }

    /// The folder beside the index where `query` puts copies of matches.
    pub fn results(&self) -> PathBuf {
        self.0.parent().unwrap_or(Path::new("")).join("image_results")
    }

    fn with_extension(&self, extension: &str) -> PathBuf {
        let mut name = self.0.clone().into_os_string();
        name.push(".");
        name.push(extension);
        name.into()
    }
}

/// `gen-G`, as it stands in a segment's name.
pub fn generation_name(generation: u64) -> String {
    format!("gen-{generation}")
}

/// The prefix of a worker's partial index, `P/worker_N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerPrefix(PathBuf);

impl WorkerPrefix {
    /// From `--index-prefix P/worker_N` as a person gives it to a worker. The index is the folder that holds it.
    pub fn new(prefix: impl AsRef<Path>) -> Self {
        Self(lexical(prefix.as_ref()))
    }

    /// The index that this partial is for: the folder it is in.
    pub fn index(&self) -> IndexPrefix {
        IndexPrefix::new(self.0.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
    }

    /// The prefix itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// `P/worker_N.parquet`
    pub fn parquet(&self) -> PathBuf {
        self.with_extension("parquet")
    }

    /// `P/worker_N.faiss`
    pub fn faiss(&self) -> PathBuf {
        self.with_extension("faiss")
    }

    /// `P/worker_N.meta.json`, written last: a partial without it is not finished.
    pub fn meta(&self) -> PathBuf {
        self.with_extension("meta.json")
    }

    fn with_extension(&self, extension: &str) -> PathBuf {
        let mut name = self.0.clone().into_os_string();
        name.push(".");
        name.push(extension);
        name.into()
    }
}

/// Whether a name that came from elsewhere, as a run's, can be that of a file or folder here: it leads nowhere else, and
/// any system has files of such names.
pub fn is_file_name(name: &str) -> bool {
    let sound = |c: char| c != '/' && !c.is_control();
    !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name.chars().all(sound)
}

/// The folder of one run, `P/runs/RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// What was scanned and is to be embedded: sorted entries, see [`crate::ManifestReader`].
    pub fn manifest(&self) -> PathBuf {
        self.0.join("manifest")
    }

    /// The [`crate::RunRecord`], written when the manifest is whole.
    pub fn record(&self) -> PathBuf {
        self.0.join("run.json")
    }

    /// Rows that no longer describe a picture, because it is gone or has changed: sorted [`crate::Entry`]s as they
    /// stand in the index, one a line.
    pub fn gone(&self) -> PathBuf {
        self.0.join("gone")
    }

    /// The parts that the scan made of pictures that were moved, as [`RunDir::parts`].
    pub fn moved(&self) -> PathBuf {
        self.0.join("moved.jsonl")
    }

    /// Pictures that failed before and are as they were then: sorted [`crate::Entry`]s, one a line.
    pub fn failed_before(&self) -> PathBuf {
        self.0.join("failed_before")
    }

    /// The run's finished parts, one JSON object a line: name, rows, checksum.
    pub fn parts(&self) -> PathBuf {
        self.0.join("parts.jsonl")
    }

    /// [`crate::Failure`]s of the scan, one JSON object a line.
    pub fn scan_failures(&self) -> PathBuf {
        self.0.join("scan_failures.jsonl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_the_names_of_the_contract() {
        let p = IndexPrefix::beside(Path::new("/nas/joe/images"));
        assert_eq!(p.meta(), Path::new("/nas/joe/imageindex.meta.json"));
        assert_eq!(p.parquet(), Path::new("/nas/joe/imageindex.parquet"));
        assert_eq!(p.results(), Path::new("/nas/joe/image_results"));
        assert_eq!(p.worker(2).faiss(), Path::new("/nas/joe/imageindex/worker_2.faiss"));
        assert_eq!(p.worker(2).index(), p);
        assert_eq!(p.run("r1").manifest(), Path::new("/nas/joe/imageindex/runs/r1/manifest"));
        assert_eq!(IndexPrefix::new("/a/my.index").meta(), Path::new("/a/my.index.meta.json"));
    }

    #[test]
    fn a_files_name_leads_nowhere_else() {
        assert!(is_file_name("20240101-000000") && is_file_name("by-hand"));
        for name in ["", ".", "..", "../x", "a/b", "a\0", "a\nb", &"x".repeat(201)] {
            assert!(!is_file_name(name), "{name:?}");
        }
    }
}
