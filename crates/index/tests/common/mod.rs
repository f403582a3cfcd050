//! Rows, parts, runs and indexes for tests.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use index::{MergeReport, MergeRequest, PartRef, Row, Sources, merge, publish_part};
use protocol::{
    Embedding, Entry, FORMAT_VERSION, Failure, FailureKind, FileFacts, ImagePath, IndexPrefix, ModelIdentity, PartMeta,
    RunRecord, ScanSummary, WorkerMeta, encode_line,
};
use tempfile::TempDir;

pub const ROOT: &str = "/photos";

/// SplitMix64: the same numbers in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn embedding(&mut self, dim: usize) -> Embedding {
        let values = (0..dim).map(|_| self.next() as i32 as f32 / 2e9).collect();
        Embedding::normalise(values).unwrap()
    }
}

/// A vector that only this picture in this state has.
pub fn vector_of(path: &str, state: i64, dim: usize) -> Embedding {
    let seed = protocol::hash_hex(format!("{path}@{state}").as_bytes());
    Random(u64::from_str_radix(&seed[..16], 16).unwrap()).embedding(dim)
}

pub fn row(path: &str, state: i64, dim: usize) -> Row {
    Row {
        path: ImagePath::new(path).unwrap(),
        embedding: vector_of(path, state, dim),
        file: FileFacts {
            size_bytes: 1000 + state as u64,
            mtime_ns: state * 1_000_000_000,
            taken_s: path.len().is_multiple_of(2).then_some(state - 2),
            width: 40 + path.len() as u32,
            height: 30,
        },
        content_hash: protocol::hash_hex(format!("{path}{state}").as_bytes()),
    }
}

pub fn entry(row: &Row) -> Entry {
    row.file.entry(row.path.clone())
}

pub fn model(dim: usize) -> ModelIdentity {
    ModelIdentity {
        model_name: "test".into(),
        fingerprint: "f1".into(),
        embedding_dim: dim,
        precision: "fp32".into(),
        provider: "cpu".into(),
        deviation: Some(0.0),
    }
}

pub fn part_meta(name: &str, dim: usize) -> PartMeta {
    PartMeta {
        format_version: FORMAT_VERSION,
        name: name.into(),
        root: ROOT.into(),
        model: model(dim),
        host: "host".into(),
        rows: 0,
        checksum: String::new(),
        failures: Vec::new(),
    }
}

pub fn worker_meta(worker_id: u32, run_id: &str, dim: usize) -> WorkerMeta {
    WorkerMeta {
        stages: protocol::Stages::default(),
        format_version: FORMAT_VERSION,
        software_version: "0".into(),
        worker_id,
        run_id: run_id.into(),
        root: ROOT.into(),
        model: model(dim),
        num_images: 0,
        num_failed: 0,
        processing_time_seconds: 1.5,
        batch_size: 8,
        host: format!("host{worker_id}"),
        checksum: String::new(),
        failures: Vec::new(),
    }
}

pub fn failure(path: &str) -> Failure {
    Failure::new(format!("{ROOT}/{path}"), FailureKind::Undecodable, "bad".into(), "h")
}

/// A folder with an index prefix in it.
pub struct Place {
    pub dir: TempDir,
    pub prefix: IndexPrefix,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let prefix = IndexPrefix::new(dir.path().join("index"));
        Self { dir, prefix }
    }

    pub fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    pub fn part(&self, name: &str, rows: &[Row], dim: usize) -> PartRef {
        part_ref(&publish_part(&self.prefix, part_meta(name, dim), rows).unwrap())
    }

    pub fn part_of(&self, root: &str, name: &str, rows: &[Row], dim: usize) -> PartRef {
        let meta = PartMeta { root: root.into(), ..part_meta(name, dim) };
        part_ref(&publish_part(&self.prefix, meta, rows).unwrap())
    }

    /// Writes a run's record, and its list of rows that are gone.
    pub fn run(&self, run_id: &str, full_scan: bool, summary: ScanSummary, mut gone: Vec<Entry>) {
        let run = self.prefix.run(run_id);
        std::fs::create_dir_all(run.dir()).unwrap();
        gone.sort_by(|a, b| (&a.path, a.mtime_ns).cmp(&(&b.path, b.mtime_ns)));
        std::fs::write(run.gone(), gone.iter().map(encode_line).collect::<String>()).unwrap();
        let record = RunRecord {
            format_version: FORMAT_VERSION,
            run_id: run_id.into(),
            started: format!("2024-01-01T00:00:00Z-{run_id}"),
            root: ROOT.into(),
            model: "test".into(),
            fingerprint: "f1".into(),
            full_scan,
            summary,
            proof: None,
        };
        std::fs::write(run.record(), serde_json::to_vec(&record).unwrap()).unwrap();
    }

    pub fn merge_parts(&self, run: Option<&str>, parts: Vec<PartRef>) -> Result<MergeReport, index::IndexError> {
        self.merge(run, Sources::Parts(parts), false)
    }

    pub fn merge_partials(&self, num_workers: Option<usize>) -> Result<MergeReport, index::IndexError> {
        self.merge(None, Sources::Partials { num_workers }, false)
    }

    pub fn merge(&self, run: Option<&str>, sources: Sources, fresh: bool) -> Result<MergeReport, index::IndexError> {
        merge(MergeRequest { prefix: &self.prefix, run, sources, fresh, wait_s: 0.0, progress: &mut |_| Ok(()) })
    }

    /// Every row of the index as search tells it: path and whether its own vector finds it first.
    pub fn paths(&self) -> Vec<String> {
        let opened = index::Index::open(&self.prefix, &self.cache()).unwrap();
        let dim = opened.meta().model.embedding_dim;
        let all = opened.search(&Random(1).embedding(dim), usize::MAX).unwrap();
        let mut paths: Vec<String> = all.into_iter().map(|(_, path)| path).collect();
        paths.sort();
        paths
    }
}

pub fn part_ref(meta: &PartMeta) -> PartRef {
    PartRef { name: meta.name.clone(), rows: meta.rows, checksum: meta.checksum.clone() }
}

/// An index of these rows.
pub fn built(rows: &[Row], dim: usize) -> Place {
    let place = Place::new();
    let part = place.part("p", rows, dim);
    place.merge_parts(None, vec![part]).unwrap();
    place
}

/// Names of all files and folders in a folder, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A hash of every file below a folder, by relative path.
pub fn fingerprint_of(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found
                    .push((path.strip_prefix(dir).unwrap().into(), protocol::hash_hex(&std::fs::read(&path).unwrap())));
            }
        }
    }
    found.sort();
    found
}
