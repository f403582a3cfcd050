//! What is done with hostile bytes, one function for each kind of input. None may panic, hang or take all memory; what is
//! read must be what would be written.

mod reseal;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Once};

use clip::{DecodeLimits, DecodeMode};
use disk::RunLock;
use fleet::Hosts;
use protocol::layout::is_file_name;
use protocol::setup::{Bundle, HostReport};
use protocol::{
    Chunk, Command, Event, IndexMeta, IndexPrefix, LONGEST_COMMAND, LONGEST_EVENT, ManifestReader, PartMeta, RunRecord,
    WorkerMeta, decode_line, encode_line, lines, read_list,
};
use serde::de::DeserializeOwned;
use serde_json::from_slice;
use tempfile::TempDir;

/// A folder for files, in memory where that can be had.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a folder can be made")
});

fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = FOLDER.path().join(name);
    fs::write(&path, bytes).expect("a file can be written");
    path
}

/// libFuzzer takes each panic for a finding, also one that is contained, as those of decoders are.
fn contained_panics_are_fine() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(std::panic::take_hook()));
}

/// A hosts file: its weights are shares, and a line that is wrong is named.
pub fn hosts(data: &[u8]) {
    match Hosts::parse(&String::from_utf8_lossy(data), Path::new("the/hosts")) {
        Ok(hosts) => {
            let sum: f64 = hosts.hosts.iter().map(|host| host.weight).sum();
            assert!((sum - 1.0).abs() < 1e-6, "weights sum to {sum}");
            for host in &hosts.hosts {
                assert!(host.weight > 0.0 && !host.name.is_empty() && !host.name.starts_with('-'));
                host.path_here(&host.path_there("/a/b"));
                host.work("x");
            }
            hosts.query_host(None).expect("there is a host");
        }
        Err(error) => assert!(error.to_string().starts_with("the/hosts:")),
    }
}

/// An image list: no path is empty, or holds what ends it.
pub fn list(data: &[u8]) {
    for path in read_list(data).expect("bytes can be read") {
        let Ok(path) = path else { return };
        assert!(!path.is_empty() && !path.contains(&0));
    }
}

/// What a controller tells a worker.
pub fn commands(data: &[u8]) {
    for line in lines(data, LONGEST_COMMAND).flatten() {
        if let Ok(command) = decode_line::<Command>(&String::from_utf8_lossy(&line)) {
            assert_eq!(decode_line::<Command>(&encode_line(&command)).expect("it was written here"), command);
        }
    }
}

/// What a worker tells a controller.
pub fn events(data: &[u8]) {
    for line in lines(data, LONGEST_EVENT).flatten() {
        if let Ok(event) = decode_line::<Event>(&String::from_utf8_lossy(&line)) {
            decode_line::<Event>(&encode_line(&event)).expect("it was written here");
            if let Event::Progress { stages, .. } = event {
                assert!(stages.words().len() + stages.advice().len() < 5_000);
            }
        }
    }
}

/// Every metadata file, and the lock.
pub fn metas(data: &[u8]) {
    fn read<T: DeserializeOwned>(data: &[u8]) -> Option<T> {
        from_slice(data).ok()
    }
    let prefix = IndexPrefix::new(FOLDER.path().join("index"));
    fs::write(prefix.meta(), data).expect("a file can be written");
    if let Ok(Some(meta)) = index::read_meta(&prefix) {
        assert!(meta.segments.iter().all(|segment| segment.name.split('/').all(is_file_name)));
        from_slice::<IndexMeta>(&serde_json::to_vec(&meta).expect("it was read")).expect("it was written here");
    }
    if let Some(record) = read::<RunRecord>(data) {
        record.proof.map(|proof| proof.holds());
    }
    (read::<WorkerMeta>(data), read::<PartMeta>(data), read::<Bundle>(data), read::<HostReport>(data));
    RunLock::last_owner(&file("lock", data));
}

/// A manifest, read whole and by chunk: what is read is what would be written, in bounded memory.
pub fn manifest(data: &[u8]) {
    let path = file("manifest", data);
    let reader = ManifestReader::open(&path).expect("it is there");
    let entries = reader.map_while(Result::ok).count() as u64;
    let offset = u64::from(data.first().copied().unwrap_or_default());
    let mut reader = ManifestReader::open(&path).expect("it is there");
    if let Ok(chunk) = reader.chunk(&Chunk { id: 0, offset, count: 3, bytes: 0 }) {
        assert_eq!(chunk.len(), 3);
    }
    assert!(entries <= data.len() as u64 / 5);
}

/// A part, sealed again after the damage, so that the parquet decoder sees it.
pub fn part(data: &[u8]) {
    contained_panics_are_fine();
    let mut data = data.to_vec();
    reseal::reseal(&mut data);
    // As the part in the corpus says of itself.
    let path = file("1-0.parquet", &data);
    match index::read_part(&path, "/numbers") {
        Ok(part) => assert_eq!(part.rows.len() as u64, part.meta.rows),
        Err(error) => assert!(error.to_string().contains("1-0.parquet"), "{error}"),
    }
}

/// A picture of any format.
pub fn pictures(data: &[u8]) {
    contained_panics_are_fine();
    let limits = DecodeLimits { max_pixels: 1 << 18 };
    for mode in [DecodeMode::Exact, DecodeMode::Fast] {
        if let Ok(picture) = clip::decode(data, mode, 32, &limits) {
            assert_eq!(picture.rgb.len(), 3 * picture.width * picture.height);
        }
    }
}
