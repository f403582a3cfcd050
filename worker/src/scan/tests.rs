//! Whatever happens to a collection between runs, its index comes to be the one that a fresh run would make.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;

use index::{IndexError, MergeRequest, PartRef, Row, Sources, merge, publish_part, read_meta, standing};
use proptest::prelude::*;
use protocol::{Embedding, FileFacts, ManifestReader, ModelIdentity, PartMeta, chunk_name, hash_hex};
use tempfile::TempDir;

use super::*;

const DIM: usize = 4;
const FACES: [u8; 5] = *b"abcde";

/// Something that happens to a collection; numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    /// A picture with one of a few contents comes, or takes the place of another.
    Put {
        folder: u8,
        name: u8,
        face: u8,
        length: u8,
    },
    Delete(u8),
    /// To another folder or name, over what is there.
    Move {
        from: u8,
        folder: u8,
        name: u8,
    },
    /// Its time changes, its bytes do not.
    Touch(u8),
    RenameFolder {
        from: u8,
        to: u8,
    },
    /// A run. One that is interrupted leaves only some of its parts; one folder may be unreadable meanwhile.
    Run {
        interrupted: bool,
        unreadable: Option<u8>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (few, one) = (0u8..3, any::<u8>());
    prop_oneof![
        4 => (few.clone(), 0u8..6, 0u8..5, 1u8..4)
            .prop_map(|(folder, name, face, length)| Step::Put { folder, name, face, length }),
        2 => one.prop_map(Step::Delete),
        4 => (one, few.clone(), 0u8..6).prop_map(|(from, folder, name)| Step::Move { from, folder, name }),
        1 => one.prop_map(Step::Touch),
        2 => (few.clone(), few.clone()).prop_map(|(from, to)| Step::RenameFolder { from, to }),
        4 => (any::<bool>(), prop::option::of(few))
            .prop_map(|(interrupted, unreadable)| Step::Run { interrupted, unreadable }),
    ]
}

struct World {
    dir: TempDir,
    root: Root,
    prefix: IndexPrefix,
    runs: u32,
    clock: i64,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        let root = Root::new(dir.path().join("images"), "/photos");
        let prefix = IndexPrefix::new(dir.path().join("index"));
        Self { dir, root, prefix, runs: 0, clock: 0 }
    }

    fn path(&self, folder: u8, name: u8) -> PathBuf {
        self.root.here().join(format!("d{folder}/{name}.jpg"))
    }

    fn pictures(&self) -> BTreeMap<ImagePath, Vec<u8>> {
        let found = walk(self.root.here(), Vec::new(), None, 1);
        let picture = |found| match found {
            Found::Picture(entry) => (entry.path.clone(), fs::read(self.root.open_path(&entry.path)).unwrap()),
            other => panic!("{other:?}"),
        };
        found.map(picture).collect()
    }

    /// Every change has a time of its own, as on a real clock.
    fn tick(&mut self, path: &Path) {
        self.clock += 1;
        let time = std::time::UNIX_EPOCH + Duration::from_secs(self.clock as u64);
        fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
    }

    fn take(&mut self, step: &Step) {
        let there: Vec<PathBuf> = self.pictures().keys().map(|p| self.root.open_path(p)).collect();
        let one = |n: u8| there.get(usize::from(n) % there.len().max(1)).cloned();
        match *step {
            Step::Put { folder, name, face, length } => {
                let path = self.path(folder, name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, vec![FACES[usize::from(face)]; length.into()]).unwrap();
                self.tick(&path);
            }
            Step::Delete(n) => one(n).into_iter().for_each(|path| fs::remove_file(path).unwrap()),
            Step::Move { from, folder, name } => {
                let to = self.path(folder, name);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                if let Some(from) = one(from) {
                    fs::rename(from, to).unwrap();
                }
            }
            Step::Touch(n) => one(n).into_iter().for_each(|path| self.tick(&path)),
            Step::RenameFolder { from, to } => {
                let folder = |n: u8| self.root.here().join(format!("d{n}"));
                // What is there already stays: then nothing happens.
                let _ = fs::rename(folder(from), folder(to));
            }
            Step::Run { interrupted, unreadable } => {
                self.run(interrupted, unreadable);
            }
        }
    }

    fn scan<'a>(&'a self, run_id: &'a str, stop: &'a Stop, taken: Option<&'a Receiver<()>>) -> Scan<'a> {
        Scan {
            root: &self.root,
            prefix: &self.prefix,
            run_id,
            model: "test",
            fingerprint: "f1",
            image_list: None,
            exclude: &[],
            chunk_images: Some(3),
            allow_deletions: false,
            fresh: false,
            retry_failed: false,
            dry_run: false,
            host: "host",
            stop,
            taken,
        }
    }

    /// A run: the scan, parts of its chunks, and a merge. How many pictures it embedded; `None` if there are none.
    fn run(&mut self, interrupted: bool, unreadable: Option<u8>) -> Option<u64> {
        self.runs += 1;
        let run_id = format!("run{:04}", self.runs);
        let stop = Stop::default();
        let scan = self.scan(&run_id, &stop, None);
        let closed = unreadable.map(|n| format!("d{n}"));
        let mut told = false;
        let found = walk(self.root.here(), Vec::new(), None, 1).filter_map(|found| {
            let Found::Picture(entry) = &found else { panic!("{found:?}") };
            match &closed {
                Some(folder) if entry.path.as_str().starts_with(&format!("{folder}/")) => {
                    let unreadable = Found::Unreadable { folder: ImagePath::new(folder).ok(), detail: String::new() };
                    (!std::mem::replace(&mut told, true)).then_some(Ok(unreadable))
                }
                _ => Some(Ok(found)),
            }
        });
        let summary = match judge(&scan, found, &Report::new(true, "test".into())) {
            Ok(summary) => summary,
            Err(e) => {
                assert!(e.to_string().contains("no pictures"), "{e:#}");
                return None;
            }
        };
        assert_eq!(summary.scanned, summary.new + summary.standing + summary.failed);
        let entries: Vec<Entry> =
            ManifestReader::open(&self.prefix.run(&run_id).manifest()).unwrap().map(Result::unwrap).collect();
        assert_eq!(entries.len() as u64, summary.new);
        let all = if interrupted { entries.len() / 2 } else { entries.len() };
        let parts: Vec<PartRef> = entries[..all].chunks(3).map(|chunk| self.embed(chunk)).collect();
        if !interrupted {
            let request = MergeRequest {
                prefix: &self.prefix,
                run: Some(&run_id),
                sources: Sources::Parts(parts),
                fresh: false,
                wait_s: 0.0,
                progress: &mut |_| Ok(()),
            };
            match merge(request) {
                Err(IndexError::NothingToMerge { .. }) => assert_eq!(read_meta(&self.prefix).unwrap(), None),
                merged => {
                    let merged = merged.unwrap();
                    assert_eq!(merged.warnings, [""; 0]);
                    assert!(merged.proof.unwrap().holds());
                }
            }
        }
        self.check();
        Some(summary.new)
    }

    fn embed(&self, chunk: &[Entry]) -> PartRef {
        let row = |entry: &Entry| {
            let bytes = fs::read(self.root.open_path(&entry.path)).unwrap();
            let Entry { path, size_bytes, mtime_ns } = entry.clone();
            // As an EXIF date: what only a look into the bytes tells.
            let file = FileFacts { size_bytes, mtime_ns, taken_s: Some(taken_of(&bytes)), width: 4, height: 3 };
            Row { path, embedding: vector_of(&hash_hex(&bytes)), file, content_hash: hash_hex(&bytes) }
        };
        let model = ModelIdentity {
            model_name: "test".into(),
            fingerprint: "f1".into(),
            embedding_dim: DIM,
            precision: "fp32".into(),
            provider: "cpu".into(),
            deviation: None,
        };
        let meta = PartMeta {
            format_version: protocol::FORMAT_VERSION,
            name: chunk_name("f1", chunk),
            root: "/photos".into(),
            model,
            host: "host".into(),
            rows: 0,
            checksum: String::new(),
            failures: Vec::new(),
        };
        let rows: Vec<Row> = chunk.iter().map(row).collect();
        let PartMeta { name, rows, checksum, .. } = publish_part(&self.prefix, meta, &rows).unwrap();
        PartRef { name, rows, checksum }
    }

    /// Path and content hash of every row of the index, each with the vector of just these bytes (promise 4).
    fn check(&self) -> BTreeMap<ImagePath, String> {
        let Some(meta) = read_meta(&self.prefix).unwrap() else { return BTreeMap::new() };
        let mut all = standing(&self.prefix, "/photos", "f1").unwrap();
        let (files, vectors) = (all.files(), fs::File::open(self.prefix.faiss()).unwrap());
        let length = vectors.metadata().unwrap().len();
        let (mut hashes, header) = (files.hashes(), length - meta.num_images * DIM as u64 * 4);
        let rows = all.by_ref().map(Result::unwrap).filter(|row| row.in_index);
        let rows = rows.map(|row| {
            let hash = hashes.at(row.place).unwrap();
            let mut bytes = [0; DIM * 4];
            vectors.read_exact_at(&mut bytes, header + row.place.row * DIM as u64 * 4).unwrap();
            let vector: Vec<f32> = bytes.chunks_exact(4).map(|v| f32::from_le_bytes(v.try_into().unwrap())).collect();
            assert_eq!(vector, vector_of(&hash).values(), "the vector of {} is that of other bytes", row.path);
            let bytes = fs::read(self.root.open_path(&row.path)).unwrap_or_default();
            if hash_hex(&bytes) == hash {
                let seen = FileFacts { taken_s: Some(taken_of(&bytes)), width: 4, height: 3, ..row.file };
                assert_eq!(row.file, seen, "the facts of {} are of other bytes", row.path);
            }
            (row.path, hash)
        });
        rows.collect()
    }
}

/// A time that stands for these bytes.
fn taken_of(bytes: &[u8]) -> i64 {
    bytes.iter().map(|&b| i64::from(b)).sum()
}

/// A vector that only these bytes have.
fn vector_of(hash: &str) -> Embedding {
    let number = |i: usize| f32::from(u8::from_str_radix(&hash[2 * i..2 * i + 2], 16).unwrap()) + 0.5;
    Embedding::normalise((0..DIM).map(number).collect()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_history_ends_in_the_rows_that_a_fresh_index_has(steps in prop::collection::vec(step(), 1..30)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.take(step));
        let pictures = world.pictures();
        if world.run(false, None).is_some() {
            let fresh: BTreeMap<ImagePath, String> =
                pictures.iter().map(|(path, bytes)| (path.clone(), hash_hex(bytes))).collect();
            prop_assert_eq!(world.check(), fresh);
            prop_assert_eq!(world.run(false, None), Some(0), "nothing is missing any more");
        }
        world.dir.close().unwrap();
    }
}

#[test]
fn an_interrupted_run_does_not_make_moved_pictures_look_lost() {
    let mut world = World::new();
    let put = |world: &mut World, folder: u8, name: u16| {
        let path = world.root.here().join(format!("d{folder}/{name}.jpg"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, vec![b'x'; 1 + usize::from(name)]).unwrap();
        world.tick(&path);
    };
    (0..150).for_each(|name| put(&mut world, 0, name));
    assert_eq!(world.run(false, None), Some(150));
    fs::rename(world.root.here().join("d0"), world.root.here().join("d1")).unwrap();
    put(&mut world, 2, 500);
    // Each of these would stop at the guard against deletions if 150 pictures seemed to be gone.
    assert_eq!(world.run(true, None), Some(1));
    assert_eq!(world.run(false, None), Some(1));
    assert_eq!(world.check().len(), 151);
}

#[test]
fn a_scan_that_nobody_takes_or_that_is_interrupted_leaves_no_run() {
    let world = World::new();
    fs::create_dir_all(world.root.here().join("d0")).unwrap();
    fs::write(world.root.here().join("d0/1.jpg"), "x").unwrap();
    let judged = |run: &str, stop: &Stop, taken: Option<&Receiver<()>>| {
        let found = walk(world.root.here(), Vec::new(), None, 1).map(Ok);
        judge(&world.scan(run, stop, taken), found, &Report::new(true, "test".into()))
    };
    let left = || fs::read_dir(world.prefix.runs()).map_or(0, Iterator::count);
    let stop = Stop::default();
    stop.now(stop::Reason::Asked);
    assert!(judged("r1", &stop, None).unwrap_err().is::<crate::interrupt::Interrupted>());
    assert_eq!(left(), 0);

    let (take, taken) = std::sync::mpsc::channel();
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let manifest = world.prefix.run("r2").manifest();
        let (gone, stop) = (&stop, &stop);
        scope.spawn(move || {
            while !manifest.exists() {
                std::thread::sleep(Duration::from_millis(1));
            }
            gone.now(stop::Reason::Fault("the controller is gone".into()));
        });
        assert_eq!(judged("r2", stop, Some(&taken)).unwrap_err().to_string(), "the controller is gone");
    });
    assert_eq!((left(), world.prefix.newest_run()), (0, None));

    take.send(()).unwrap();
    judged("r3", &Stop::default(), Some(&taken)).unwrap();
    assert_eq!(world.prefix.newest_run().as_deref(), Some("r3"));
}
