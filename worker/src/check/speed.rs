//! How fast the share answers: bytes a second and the time of one operation. Little is read and written, and nothing that
//! this machine keeps in memory already, as far as the system lets itself be told to forget it.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use protocol::Entry;
use protocol::setup::ShareSpeed;

/// Files that are read at once, as an encoding worker does.
const READERS: usize = 32;

/// So much is read of pictures at most, and for so long.
const READ_BYTES: u64 = 48 << 20;
const READ_TIME: Duration = Duration::from_secs(1);

/// So much is written at most, and for so long; then it is read back.
const WRITTEN_BYTES: u64 = 8 << 20;
const WRITE_TIME: Duration = Duration::from_millis(500);

/// Files that are made and removed to see how long that takes.
const PROBES: usize = 8;

/// Bytes read or written at once.
const PIECE: usize = 256 << 10;

/// Reads some pictures of `dir`, many at once.
pub fn pictures(dir: &Path, entries: &[Entry]) -> Result<ShareSpeed> {
    let (next, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    let goes_on = || begun.elapsed() < READ_TIME && bytes.load(SeqCst) < READ_BYTES;
    let read = || {
        let (mut operations_ms, mut failed) = (Vec::new(), None);
        while let Some(entry) = entries.get(next.fetch_add(1, SeqCst)).filter(|_| goes_on()) {
            let asked = Instant::now();
            let read = protocol::open_file(&dir.join(entry.path.as_str())).and_then(|mut file| {
                operations_ms.push(milliseconds(asked));
                forget(&file);
                let read = read_pieces(&mut file, &bytes, &goes_on);
                forget(&file);
                read
            });
            failed = read.err().map(|e| format!("{}: {e}", entry.path)).or(failed);
        }
        (operations_ms, failed)
    };
    let (mut operations_ms, mut failed) = (Vec::new(), None);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(read)).collect();
        for reader in readers {
            let (times, failure) = reader.join().map_err(|_| anyhow!("a thread that reads pictures panicked"))?;
            operations_ms.extend(times);
            failed = failed.take().or(failure);
        }
        anyhow::Ok(())
    })?;
    // One that cannot be read is a failure of a run, which goes on.
    let bytes = bytes.load(SeqCst);
    ensure!(
        bytes > 0,
        "no picture in {} can be read here: mend their permissions, or look at the share ({})",
        dir.display(),
        failed.unwrap_or_else(|| "all are empty".into())
    );
    let read_bytes_per_second = bytes as f64 / begun.elapsed().as_secs_f64();
    Ok(ShareSpeed { operation_ms: median(operations_ms), read_bytes_per_second, write_bytes_per_second: None })
}

/// Makes and removes some files in `dir`, and writes and reads one. It has no name while it is there, so that it is gone
/// with this process, in whatever way that ends.
pub fn folder(dir: &Path) -> Result<ShareSpeed> {
    let cannot = || format!("the speed of the index folder {} cannot be measured: make room there", dir.display());
    let begun = Instant::now();
    let mut operations_ms = Vec::new();
    while operations_ms.len() < 2 * PROBES && begun.elapsed() < WRITE_TIME {
        let asked = Instant::now();
        let probe = tempfile::Builder::new().prefix(".speed-").tempfile_in(dir).with_context(cannot)?;
        operations_ms.push(milliseconds(asked));
        let asked = Instant::now();
        probe.close().with_context(cannot)?;
        operations_ms.push(milliseconds(asked));
    }
    // Pictures do not get smaller on a share that compresses.
    let piece: Vec<u8> = clip::golden_pictures().flatten().copied().cycle().take(PIECE).collect();
    let mut file = tempfile::tempfile_in(dir).with_context(cannot)?;
    let begun = Instant::now();
    let mut written = 0;
    while written < WRITTEN_BYTES && begun.elapsed() < WRITE_TIME {
        file.write_all(&piece).with_context(cannot)?;
        written += piece.len() as u64;
    }
    disk::sync(&file).with_context(cannot)?;
    let write_bytes_per_second = Some(written as f64 / begun.elapsed().as_secs_f64());
    forget(&file);
    file.rewind().with_context(cannot)?;
    let (begun, bytes) = (Instant::now(), AtomicU64::new(0));
    read_pieces(&mut file, &bytes, &|| begun.elapsed() < WRITE_TIME).with_context(cannot)?;
    let read_bytes_per_second = bytes.load(SeqCst) as f64 / begun.elapsed().as_secs_f64();
    Ok(ShareSpeed { operation_ms: median(operations_ms), read_bytes_per_second, write_bytes_per_second })
}

fn read_pieces(file: &mut File, bytes: &AtomicU64, goes_on: &impl Fn() -> bool) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    while goes_on() {
        match file.read(&mut piece)? {
            0 => break,
            n => _ = bytes.fetch_add(n as u64, SeqCst),
        }
    }
    Ok(())
}

/// Asks the system to drop what it keeps of a file in memory. It may refuse; then the share looks faster than it is.
fn forget(file: &File) {
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// Of no values it is 0.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ImagePath;
    use std::fs;

    fn entry(name: &str) -> Entry {
        Entry { path: ImagePath::new(name).unwrap(), size_bytes: 0, mtime_ns: 0 }
    }

    #[test]
    fn a_folder_is_measured_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let speed = folder(dir.path()).unwrap();
        assert!(
            speed.read_bytes_per_second > 0.0 && speed.write_bytes_per_second > Some(0.0) && speed.operation_ms > 0.0
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let error = format!("{:#}", folder(&dir.path().join("none")).unwrap_err());
        assert!(error.contains("none cannot be measured: "), "{error}");
    }

    #[test]
    fn pictures_that_cannot_be_read_are_named_if_there_are_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let error = format!("{:#}", pictures(dir.path(), &[entry("gone.jpg")]).unwrap_err());
        assert!(error.contains("no picture in") && error.contains("gone.jpg: No such file"), "{error}");
        fs::write(dir.path().join("here.jpg"), b"x").unwrap();
        let speed = pictures(dir.path(), &[entry("gone.jpg"), entry("here.jpg")]).unwrap();
        assert!(speed.read_bytes_per_second > 0.0 && speed.write_bytes_per_second.is_none());
    }
}
