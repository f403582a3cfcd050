//! Encode: chunks in, published parts out. Files are read ahead and decoded by several threads while the model encodes
//! batches; the stages meet in bounded channels, so memory does not depend on how much there is to do, only on the size
//! of a batch.
//!
//! A picture that cannot be embedded is a failure of its chunk. Only what concerns every picture (the model, the
//! share) ends the worker.

mod batches;
mod chunks;
mod read;
mod stages;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, Result};
use clip::{DecodeMode, EncoderOptions, ImageEncoder, MemoryBudget, Model};
use crossbeam_channel::{Sender, bounded};
use protocol::{Chunk, Entry, Event, IndexPrefix, ManifestReader, ModelIdentity, Root, Stages, chunk_name};

use crate::report::Report;
use crate::share::Share;
use crate::work::{Ending, Grant, Work};
use batches::batches;
use chunks::{Complete, write};
use read::{AHEAD_BYTES, Decoded, Fetched, READERS, Room, fetch, look};
use stages::Clock;

/// Batches of pixels that wait for the encoder: enough for the next to be whole when it asks.
const BATCHES_AHEAD: usize = 2;

/// What a thread that decodes takes, with pictures as cameras make them.
const DECODE_BYTES: u64 = 16 << 20;

/// What the pipeline needs to know; the same for all its threads.
pub struct Setup<'a> {
    pub prefix: &'a IndexPrefix,
    pub root: &'a Root,
    pub manifest: &'a Path,
    pub host: &'a str,
    pub model: &'a Model,
    /// How its encoder was opened.
    pub options: EncoderOptions,
    pub identity: ModelIdentity,
    pub decode: DecodeMode,
    pub decode_threads: usize,
}

/// What a worker has finished.
#[derive(Debug)]
pub struct Finished {
    /// Names of its parts, found and made.
    pub parts: Vec<String>,
    /// Where the time went.
    pub stages: Stages,
    /// Pictures that were encoded at once, in the end.
    pub batch_size: usize,
}

/// A chunk in the pipeline.
struct Open {
    chunk: Chunk,
    name: String,
    entries: Vec<Entry>,
    /// Rows that are failures without being tried.
    blamed: Vec<usize>,
}

struct Task {
    open: Arc<Open>,
    row: usize,
}

/// Counters that the stages share.
#[derive(Default)]
struct Shared {
    /// Pictures on their way from the feeder to their chunk's results.
    under_way: AtomicUsize,
    done: AtomicU64,
    failed: AtomicU64,
    over: AtomicBool,
    clock: Clock,
    /// Room for pixels that wait for the encoder.
    pixels: Room,
}

/// What the process may take, and what of it the pipeline keeps for itself.
pub fn budget(bytes: u64, model: &Model, decode_threads: usize) -> MemoryBudget {
    MemoryBudget {
        bytes,
        beside: ahead_bytes(Some(bytes)) + DECODE_BYTES * decode_threads as u64,
        // Those that wait and those in hand.
        beside_per_picture: pixel_bytes(model, BATCHES_AHEAD + 1),
    }
}

/// Bytes of files that may be read ahead: fewer where there is little memory.
fn ahead_bytes(limit: Option<u64>) -> u64 {
    limit.map_or(AHEAD_BYTES, |bytes| AHEAD_BYTES.min(bytes / 16))
}

/// Bytes of so many pictures as the model takes them.
fn pixel_bytes(model: &Model, pictures: usize) -> u64 {
    (pictures * model.preprocess().values() * size_of::<f32>()) as u64
}

/// Runs the pipeline until `work` ends, then says which parts stand.
pub fn encode(setup: &Setup, encoder: ImageEncoder, work: &Work, report: &Report) -> Result<Finished> {
    let shared = Shared::default();
    disk::ours::make(setup.prefix)
        .and_then(|folder| folder.make_place(&setup.prefix.part("x")))
        .with_context(|| format!("cannot write to the index folder {}", setup.prefix.dir().display()))?;
    let share = Share::of(&[setup.root.here(), setup.prefix.dir()])?;
    let room = Room::new(ahead_bytes(setup.options.memory.map(|memory| memory.bytes)));
    let (to_read, tasks) = bounded::<Task>(READERS);
    let (to_decode, fetched) = bounded::<Fetched>(READERS);
    let (to_encode, decoded) = bounded::<Decoded>(BATCHES_AHEAD * encoder.batch());
    let (to_write, complete) = bounded::<Complete>(2);
    std::thread::scope(|scope| {
        let (shared, room) = (&shared, &room);
        let feeder = scope.spawn(|| feed(setup, work, report, shared, to_read));
        // A stage ends when the one before it has ended, or the one behind it no longer listens.
        for _ in 0..READERS {
            let (tasks, to_decode) = (tasks.clone(), to_decode.clone());
            let mut read = move |task| to_decode.send(fetch(setup, work, shared, room, task));
            scope.spawn(move || tasks.iter().try_for_each(&mut read));
        }
        for _ in 0..setup.decode_threads {
            let (fetched, to_encode) = (fetched.clone(), to_encode.clone());
            scope.spawn(move || {
                fetched.iter().all(|fetched| to_encode.send(look(setup, work, shared, report, fetched)).is_ok())
            });
        }
        drop((tasks, to_decode, fetched, to_encode));
        let writer = scope.spawn(|| {
            let written = write(setup, shared, report, &share, complete);
            // It may have been the last part for now: then the encoder would wait for more and never notice.
            written.inspect_err(|_| work.end(Ending::Stopped))
        });
        let ticker = scope.spawn(|| tick(setup, work, report, shared));
        let encoded = batches(setup, encoder, work, report, shared, &decoded, to_write);
        if encoded.is_err() {
            work.end(Ending::Stopped); // the feeder may be waiting for grants that nobody will embed
        }
        // A closed channel keeps what is in it, and with it the room that the stages before may be waiting for.
        decoded.iter().for_each(drop);
        shared.over.store(true, SeqCst);
        // The first cause explains the others: a full disk ends the writer, whose end ends the encoder.
        let joined = |name: &str| format!("the {name} thread of the worker panicked");
        let parts = writer.join().map_err(|_| anyhow::anyhow!(joined("writer")))?;
        let found = feeder.join().map_err(|_| anyhow::anyhow!(joined("feeder")))?;
        ticker.join().map_err(|_| anyhow::anyhow!(joined("progress")))?;
        let mut parts = parts?;
        let batch_size = encoded?;
        parts.extend(found?);
        Ok(Finished { parts, stages: shared.clock.read(READERS, setup.decode_threads), batch_size })
    })
}

/// Reads granted chunks from the manifest; those whose part stands already are done, the others go on as tasks.
fn feed(setup: &Setup, work: &Work, report: &Report, shared: &Shared, tasks: Sender<Task>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut manifest: Option<ManifestReader> = None;
    while let Some(Grant { chunk, careful, blamed }) = work.next() {
        let reader = match &mut manifest {
            Some(reader) => reader,
            none => none.insert(ManifestReader::open(setup.manifest)?),
        };
        let entries = reader.chunk(&chunk)?;
        let name = chunk_name(&setup.identity.fingerprint, &entries);
        if let Some(part) = index::find_part(setup.prefix, &name, &setup.identity.fingerprint) {
            shared.done.fetch_add(chunk.count, SeqCst);
            let failed = part.failures.len() as u64;
            shared.failed.fetch_add(failed, SeqCst);
            for failure in part.failures {
                report.event(&Event::Failure { failure });
            }
            let (rows, checksum) = (part.rows, part.checksum);
            report.event(&Event::Part { chunk_id: chunk.id, name: name.clone(), rows, failed, checksum, found: true });
            found.push(name);
            continue;
        }
        let open = Arc::new(Open { chunk, name, entries, blamed });
        for row in 0..open.entries.len() {
            if careful && !open.blamed.contains(&row) {
                settle(work, shared);
                report.event(&Event::Trying { chunk_id: chunk.id, row });
            }
            shared.under_way.fetch_add(1, SeqCst);
            if work.stopped() || tasks.send(Task { open: open.clone(), row }).is_err() {
                return Ok(found);
            }
        }
        if careful {
            settle(work, shared); // the next chunk must not be with the last picture
        }
    }
    Ok(found)
}

/// Waits until nothing is under way.
fn settle(work: &Work, shared: &Shared) {
    while shared.under_way.load(SeqCst) > 0 && !work.stopped() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Says how far the work is: to a controller each second, to a person each ten.
fn tick(setup: &Setup, work: &Work, report: &Report, shared: &Shared) {
    let mut ticks = 0;
    loop {
        let over = shared.over.load(SeqCst);
        if over || ticks % 10 == 9 {
            let spoken = over || ticks % 100 == 99;
            let stages = shared.clock.read(READERS, setup.decode_threads);
            report.progress(shared.done.load(SeqCst), shared.failed.load(SeqCst), work.total(), stages, spoken);
        }
        if over {
            return;
        }
        ticks += 1;
        work.watch(SILENCE);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A controller pings every 10 s; after this long without a word it is gone.
const SILENCE: Duration = Duration::from_secs(60);
