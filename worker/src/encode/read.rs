//! The first two stages: files are read ahead, then decoded and preprocessed. A share answers late, so many files are
//! asked for at once; what is read and not yet decoded is bounded in bytes, as is what is decoded and not yet encoded.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Condvar, Mutex};

use clip::DecodeLimits;
use protocol::{Entry, Event, FailureKind, FileFacts, ImagePath, hash_hex, mtime_ns};

use super::stages::Stage;
use super::{Setup, Shared, Task};
use crate::report::Report;
use crate::walk::examine;
use crate::work::Work;

/// Files that are read at once. Each costs a share several round trips, during which the processor is free.
pub const READERS: usize = 32;

/// The most bytes that may be read and not yet decoded.
pub const AHEAD_BYTES: u64 = 64 << 20;

/// A file larger than this is no picture that anyone took; reading it would cost the memory of the whole pipeline.
const LARGEST_FILE: u64 = 1 << 30;

/// Why a picture cannot be embedded.
type Unfit = (FailureKind, String);

/// A file that was read, or why it could not be.
pub struct Fetched<'a> {
    task: Task,
    result: Result<Bytes<'a>, Unfit>,
}

struct Bytes<'a> {
    content: Vec<u8>,
    mtime_ns: i64,
    _room: Taken<'a>,
}

/// A picture as it was when it was read.
pub struct Seen {
    pub path: ImagePath,
    pub file: FileFacts,
    pub content_hash: String,
}

/// A picture ready for the model.
pub struct Pixels<'a> {
    pub values: Vec<f32>,
    _room: Taken<'a>,
}

/// What became of a task.
pub struct Decoded<'a> {
    pub task: Task,
    pub result: Result<(Seen, Pixels<'a>), Unfit>,
}

/// Reads one picture's file.
pub fn fetch<'a>(setup: &Setup, work: &Work, shared: &Shared, room: &'a Room, task: Task) -> Fetched<'a> {
    let result = to_be_done(work, &task)
        .and_then(|()| shared.clock.time(Stage::Read, || read(setup, room, &task.open.entries[task.row])));
    if let Ok(bytes) = &result {
        shared.clock.bytes_read.fetch_add(bytes.content.len() as u64, SeqCst);
    }
    Fetched { task, result }
}

/// Once the worker is stopped, or the chunk dropped, what is under way is only passed on, to be dropped at the end.
fn to_be_done(work: &Work, task: &Task) -> Result<(), Unfit> {
    if work.stopped() || work.dropped(task.open.chunk.id) {
        return Err((FailureKind::Unreadable, "it is not asked for any more".into()));
    }
    if task.open.blamed.contains(&task.row) {
        return Err((FailureKind::Crashed, "the worker died when it had only this picture in hand".into()));
    }
    Ok(())
}

fn read<'a>(setup: &Setup, room: &'a Room, entry: &Entry) -> Result<Bytes<'a>, Unfit> {
    let path = setup.root.open_path(&entry.path);
    examine(&path, entry.path.clone())?;
    let unreadable = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => (FailureKind::Vanished, e.to_string()),
        _ => (FailureKind::Unreadable, e.to_string()),
    };
    // It may be another by now: opening a pipe that is called like a picture must not wait for ever.
    let file = protocol::open_file(&path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.len() > LARGEST_FILE {
        return Err((
            FailureKind::Undecodable,
            format!("the file has {} bytes, over the limit of 1 GiB", metadata.len()),
        ));
    }
    let taken = room.take(metadata.len());
    let mut content = Vec::with_capacity(metadata.len() as usize);
    file.take(LARGEST_FILE).read_to_end(&mut content).map_err(unreadable)?;
    Ok(Bytes { content, mtime_ns: mtime_ns(&metadata), _room: taken })
}

/// Hashes, decodes and preprocesses what was read, and waits for room.
pub fn look<'a>(setup: &Setup, work: &Work, shared: &'a Shared, report: &Report, fetched: Fetched) -> Decoded<'a> {
    let Fetched { task, result } = fetched;
    let entry = &task.open.entries[task.row];
    let result = to_be_done(work, &task).and(result);
    let result = result.and_then(|bytes| shared.clock.time(Stage::Decode, || see(setup, report, entry, &bytes)));
    let result = result.map(|(seen, values)| {
        let _room = shared.pixels.take(size_of_val(&values[..]) as u64);
        (seen, Pixels { values, _room })
    });
    Decoded { task, result }
}

fn see(setup: &Setup, report: &Report, entry: &Entry, bytes: &Bytes) -> Result<(Seen, Vec<f32>), Unfit> {
    let content = &bytes.content;
    let preprocess = setup.model.preprocess();
    let picture = clip::decode(content, setup.decode, preprocess.side(), &DecodeLimits::default()).map_err(|e| {
        match content.len() as u64 == entry.size_bytes {
            true => (e.kind, e.detail),
            // These bytes are not those of the picture that was scanned, and say nothing of it.
            false => (FailureKind::Unreadable, format!("it changed while it was read: {}", e.detail)),
        }
    })?;
    // It has a row like any other, which says something of the part that is there.
    if let Some(damage) = &picture.damage {
        let message = format!("{} is embedded but damaged: {damage}", setup.root.canonical_path(&entry.path));
        report.event(&Event::Warning { message });
    }
    // The row says what was read, which may be newer than what the scan saw.
    let (width, height) = picture.full_size;
    let file = FileFacts {
        size_bytes: content.len() as u64,
        mtime_ns: bytes.mtime_ns,
        taken_s: picture.taken_s,
        width: width as u32,
        height: height as u32,
    };
    let seen = Seen { path: entry.path.clone(), file, content_hash: hash_hex(content) };
    Ok((seen, preprocess.apply(&picture)))
}

/// Room for bytes. What is larger than all of it comes in when nothing else is there.
#[derive(Default)]
pub struct Room {
    limit: AtomicU64,
    used: Mutex<u64>,
    less: Condvar,
}

/// A place in a [`Room`], until dropped.
pub struct Taken<'a> {
    room: &'a Room,
    bytes: u64,
}

impl Room {
    /// Room for `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { limit: limit.into(), ..Default::default() }
    }

    /// Room for so many from now on. What is in it stays.
    pub fn resize(&self, limit: u64) {
        self.limit.store(limit, SeqCst);
    }

    fn take(&self, bytes: u64) -> Taken<'_> {
        let used = self.used.lock().expect("no holder of this lock panics");
        let full = |used: &mut u64| *used > 0 && *used + bytes > self.limit.load(SeqCst);
        *self.less.wait_while(used, full).expect("no holder of this lock panics") += bytes;
        Taken { room: self, bytes }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.room.used.lock().expect("no holder of this lock panics") -= self.bytes;
        self.room.less.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_never_overdrawn_but_by_one_that_is_alone() {
        let room = Room::new(10);
        let (first, second) = (room.take(6), room.take(4));
        std::thread::scope(|scope| {
            let (sender, done) = std::sync::mpsc::channel();
            let room = &room;
            scope.spawn(move || {
                let large = room.take(100);
                sender.send(*room.used.lock().unwrap()).unwrap();
                drop(large);
            });
            drop(first);
            assert!(done.try_recv().is_err(), "four bytes are still taken");
            drop(second);
            assert_eq!(done.recv().unwrap(), 100);
        });
        assert_eq!(*room.used.lock().unwrap(), 0);
    }
}
