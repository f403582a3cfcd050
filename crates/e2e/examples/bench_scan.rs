//! How much longer than a bare walk a run takes that finds nothing to do, in seconds and in seconds of processors, which
//! others that use the machine change less. `TMPDIR` says on which disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use e2e::{Lab, finish};
use index::{MergeRequest, PartRef, Row, Sources};
use protocol::{Embedding, FileFacts, ImagePath, IndexMeta, IndexPrefix, PartMeta};

/// As many threads as the scan lists folders with.
const THREADS: usize = 16;
const ROUNDS: usize = 5;
const IN_A_FOLDER: usize = 200;

fn main() {
    let pictures: usize = std::env::args().nth(1).map_or(200_000, |n| n.parse().expect("a number of pictures"));
    let lab = Lab::new();
    // A first run tells the model; the other rows are made up, since encoding them would take an hour.
    lab.draw("first", 1, 1);
    assert_eq!(lab.index(&[]).code, 0);
    let rows = make_up(&lab, pictures);
    println!("{rows} pictures in folders of {IN_A_FOLDER}, {ROUNDS} rounds, seconds:");
    println!("{:>17} {:>17} {:>17} {:>13}", "bare walk", "worker scan", "controller", "ratio");
    let mut best = [(f64::INFINITY, f64::INFINITY); 3];
    let before = state(&lab);
    for _ in 0..ROUNDS {
        let scan = ["scan", "--image-dir", "images", "--index-prefix", "imageindex", "--model", "demo", "--dry-run"];
        let times = [
            seconds(|| assert_eq!(bare(&lab.images()), rows)),
            seconds(|| assert_eq!(finish(lab.command("worker").args(scan)).code, 0)),
            seconds(|| {
                let said = lab.index(&[]);
                assert!(said.out.contains("embedded 0 + failed 0"), "{said:?}");
            }),
        ];
        best.iter_mut().zip(times).for_each(|(best, time)| *best = (best.0.min(time.0), best.1.min(time.1)));
        show(&times, "");
    }
    show(&best, "  best of each");
    assert_eq!(state(&lab), before, "nothing of the index was written again");
}

fn show(times: &[(f64, f64); 3], what: &str) {
    times.iter().for_each(|(wall, busy)| print!("{wall:>8.3} ({busy:>5.2})"));
    println!("{:>8.2} ({:.2}){what}", times[2].0 / times[0].0, times[2].1 / times[0].1);
}

/// Seconds that pass, and those that processors are busy with it.
fn seconds(work: impl FnOnce()) -> (f64, f64) {
    let (begun, before) = (Instant::now(), busy());
    work();
    (begun.elapsed().as_secs_f64(), busy() - before)
}

/// Seconds of processors that this process and those that it has started and seen end have used.
fn busy() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("this is Linux");
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let ticks: f64 = after_name.split(' ').skip(11).take(4).map(|n| n.parse::<f64>().unwrap_or(0.0)).sum();
    ticks / 100.0
}

/// Makes files, and rows that stand for them; how many there are in all.
fn make_up(lab: &Lab, pictures: usize) -> usize {
    let prefix = IndexPrefix::new(lab.prefix());
    let meta: IndexMeta = serde_json::from_value(lab.meta()).expect("it was just written");
    let folders: Vec<usize> = (0..pictures.div_ceil(IN_A_FOLDER)).collect();
    let part = |folders: &[usize]| {
        let rows: Vec<Row> = folders.iter().flat_map(|&folder| rows_of(lab, &meta, folder, pictures)).collect();
        let part = PartMeta {
            format_version: meta.format_version,
            name: format!("made-up-{}", folders[0]),
            root: meta.root.clone(),
            model: meta.model.clone(),
            host: String::new(),
            rows: 0,
            checksum: String::new(),
            failures: Vec::new(),
        };
        let PartMeta { name, rows, checksum, .. } =
            index::publish_part(&prefix, part, &rows).expect("the disk has room");
        PartRef { name, rows, checksum }
    };
    let parts = folders.chunks(100).map(part).collect();
    let sources = Sources::Parts(parts);
    let request =
        MergeRequest { prefix: &prefix, run: None, sources, fresh: false, wait_s: 0.0, progress: &mut |_| Ok(()) };
    index::merge(request).expect("the parts are sound").meta.num_images as usize
}

/// Makes a folder's files, and their rows.
fn rows_of(lab: &Lab, meta: &IndexMeta, folder: usize, pictures: usize) -> Vec<Row> {
    use std::os::unix::fs::MetadataExt;
    fs::create_dir(lab.images().join(format!("{folder:06}"))).expect("it is ours");
    let row = |i: usize| {
        let path = ImagePath::new(format!("{folder:06}/IMG_{i:05}.jpg")).expect("it is relative");
        let file = lab.images().join(path.as_str());
        fs::write(&file, vec![0; 1 + (folder * 7 + i) % 500]).expect("it is ours");
        let seen = fs::metadata(&file).expect("it was just written");
        let values = (0..meta.model.embedding_dim).map(|k| ((folder + i * k) % 17) as f32 - 8.5).collect();
        Row {
            content_hash: protocol::hash_hex(path.as_str().as_bytes()),
            path,
            embedding: Embedding::normalise(values).expect("no value is zero"),
            file: FileFacts {
                size_bytes: seen.len(),
                mtime_ns: seen.mtime() * 1_000_000_000 + seen.mtime_nsec(),
                ..FileFacts::default()
            },
        }
    };
    (0..IN_A_FOLDER.min(pictures - folder * IN_A_FOLDER)).map(row).collect()
}

/// Lists all folders and looks at all files; how many there are.
fn bare(root: &Path) -> usize {
    let (waiting, count) = (Mutex::new((vec![root.to_path_buf()], 0usize)), Mutex::new(0));
    let work = || {
        let mut mine = 0;
        loop {
            let next = {
                let mut state = waiting.lock().expect("no holder panics");
                let next = state.0.pop();
                state.1 += usize::from(next.is_some());
                if next.is_none() && state.1 == 0 {
                    break;
                }
                next
            };
            let Some(folder): Option<PathBuf> = next else {
                std::thread::yield_now();
                continue;
            };
            for entry in fs::read_dir(&folder).expect("it is ours").flatten() {
                if entry.file_type().is_ok_and(|t| t.is_dir()) {
                    waiting.lock().expect("no holder panics").0.push(entry.path());
                } else {
                    mine += usize::from(fs::metadata(entry.path()).is_ok());
                }
            }
            waiting.lock().expect("no holder panics").1 -= 1;
        }
        *count.lock().expect("no holder panics") += mine;
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    count.into_inner().expect("no holder panics")
}

/// Inode and time of every file that holds the index.
fn state(lab: &Lab) -> Vec<(PathBuf, u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt;
    let mut files: Vec<PathBuf> =
        ["meta.json", "parquet", "faiss"].map(|end| lab.path(format!("imageindex.{end}"))).into();
    for folder in fs::read_dir(lab.prefix()).expect("it is there").flatten() {
        if folder.file_name().to_string_lossy().starts_with("gen-") {
            files.extend(fs::read_dir(folder.path()).expect("it is there").flatten().map(|file| file.path()));
        }
    }
    let state = |file: PathBuf| {
        let seen = fs::metadata(&file).expect("it is there");
        (file, seen.ino(), seen.mtime(), seen.mtime_nsec())
    };
    files.into_iter().map(state).collect()
}
