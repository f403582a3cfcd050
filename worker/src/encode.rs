//! Encode: chunks in, published parts out. Files are read and decoded by several threads while the model encodes
//! batches; the stages meet in bounded channels, so memory does not depend on how much there is to do.
//!
//! A picture that cannot be embedded is a failure of its chunk. Only what concerns every picture (the model, the
//! share) ends the worker.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, Result};
use clip::{DecodeLimits, DecodeMode, ImageEncoder, Preprocess};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use index::Row;
use protocol::{
    Chunk, Embedding, Entry, Event, FORMAT_VERSION, Failure, FailureKind, IndexPrefix, ManifestReader, ModelIdentity,
    PartMeta, Root, chunk_name, hash_hex,
};

use crate::report::Report;
use crate::walk::{examine, mtime_ns};
use crate::work::{Ending, Work};

/// A file larger than this is no picture that anyone took; reading it would cost the memory of the whole pipeline.
const LARGEST_FILE: u64 = 1 << 30;

/// How long the encoder waits for a batch to fill before it looks whether more can come.
const BATCH_WAIT: Duration = Duration::from_millis(20);

/// What the pipeline needs to know; the same for all its threads.
pub struct Setup<'a> {
    pub prefix: &'a IndexPrefix,
    pub root: &'a Root,
    pub manifest: &'a Path,
    pub host: &'a str,
    pub preprocess: &'a Preprocess,
    pub identity: ModelIdentity,
    pub batch_size: usize,
    pub decode: DecodeMode,
    pub decode_threads: usize,
}

/// What a worker has finished.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// Names of its parts, found and made.
    pub parts: Vec<String>,
}

/// A chunk in the pipeline.
struct Open {
    chunk: Chunk,
    name: String,
    entries: Vec<Entry>,
}

struct Task {
    open: Arc<Open>,
    row: usize,
}

/// A picture as it was when it was read, ready for the model.
struct Seen {
    entry: Entry,
    content_hash: String,
    pixels: Vec<f32>,
}

struct Decoded {
    task: Task,
    result: Result<Seen, (FailureKind, String)>,
}

/// A chunk whose pictures are all accounted for.
struct Complete {
    open: Arc<Open>,
    rows: Vec<Row>,
    failures: Vec<Failure>,
}

/// Counters that the stages share.
#[derive(Default)]
struct Shared {
    /// Pictures on their way from the feeder to the encoder.
    in_flight: AtomicUsize,
    done: AtomicU64,
    failed: AtomicU64,
    over: AtomicBool,
}

/// Runs the pipeline until `work` ends, then says which parts stand.
pub fn encode(setup: &Setup, encoder: &mut ImageEncoder, work: &Work, report: &Report) -> Result<Finished> {
    let shared = Shared::default();
    // Enough waiting pixels for the next batch to be whole when the encoder asks for it.
    let (to_decode, tasks) = bounded::<Task>(4 * setup.decode_threads + setup.batch_size);
    let (to_encode, decoded) = bounded::<Decoded>(2 * setup.batch_size);
    let (to_write, complete) = bounded::<Complete>(2);
    std::thread::scope(|scope| {
        let feeder = scope.spawn(|| feed(setup, work, report, &shared, to_decode));
        for _ in 0..setup.decode_threads {
            let (tasks, to_encode) = (tasks.clone(), to_encode.clone());
            scope.spawn(move || tasks.iter().try_for_each(|task| to_encode.send(look(setup, work, task))));
        }
        drop((tasks, to_encode));
        let writer = scope.spawn(|| write(setup, report, complete));
        let ticker = scope.spawn(|| tick(work, report, &shared));
        let encoded = batches(setup, encoder, work, &shared, decoded, to_write);
        if encoded.is_err() {
            work.end(Ending::Stopped); // the feeder may be waiting for grants that nobody will embed
        }
        shared.over.store(true, SeqCst);
        // The first cause explains the others: a full disk ends the writer, whose end ends the encoder.
        let joined = |name: &str| format!("the {name} thread of the worker panicked");
        let parts = writer.join().map_err(|_| anyhow::anyhow!(joined("writer")))?;
        let found = feeder.join().map_err(|_| anyhow::anyhow!(joined("feeder")))?;
        ticker.join().map_err(|_| anyhow::anyhow!(joined("progress")))?;
        let mut parts = parts?;
        encoded?;
        parts.extend(found?);
        Ok(Finished { parts })
    })
}

/// Reads granted chunks from the manifest; those whose part stands already are done, the others go on as tasks.
fn feed(setup: &Setup, work: &Work, report: &Report, shared: &Shared, tasks: Sender<Task>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut manifest: Option<ManifestReader> = None;
    while let Some(chunk) = work.next() {
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
        let open = Arc::new(Open { chunk, name, entries });
        for row in 0..open.entries.len() {
            shared.in_flight.fetch_add(1, SeqCst);
            if work.stopped() || tasks.send(Task { open: open.clone(), row }).is_err() {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// Reads, hashes, decodes and preprocesses one picture.
fn look(setup: &Setup, work: &Work, task: Task) -> Decoded {
    let result = if work.stopped() {
        Err((FailureKind::Unreadable, "the worker was stopped".into()))
    } else {
        see(setup, &task.open.entries[task.row])
    };
    Decoded { task, result }
}

fn see(setup: &Setup, entry: &Entry) -> Result<Seen, (FailureKind, String)> {
    let path = setup.root.open_path(&entry.path);
    // Looked at before it is opened: opening a pipe that is called like a picture would wait for ever.
    examine(&path, entry.path.clone())?;
    let unreadable = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => (FailureKind::Vanished, e.to_string()),
        _ => (FailureKind::Unreadable, e.to_string()),
    };
    let mut file = File::open(&path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.len() > LARGEST_FILE {
        return Err((
            FailureKind::Undecodable,
            format!("the file has {} bytes, over the limit of 1 GiB", metadata.len()),
        ));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    let picture = clip::decode(&bytes, setup.decode, setup.preprocess.side(), &DecodeLimits::default())
        .map_err(|e| (e.kind, e.detail))?;
    // The row says what was read, which may be newer than what the scan saw.
    let entry = Entry { path: entry.path.clone(), size_bytes: bytes.len() as u64, mtime_ns: mtime_ns(&metadata) };
    Ok(Seen { entry, content_hash: hash_hex(&bytes), pixels: setup.preprocess.apply(&picture) })
}

/// Encodes batches, and sorts results back into their chunks.
fn batches(
    setup: &Setup,
    encoder: &mut ImageEncoder,
    work: &Work,
    shared: &Shared,
    decoded: Receiver<Decoded>,
    to_write: Sender<Complete>,
) -> Result<()> {
    let mut assembly = Assembly { setup, shared, to_write, open: HashMap::new() };
    let mut batch: Vec<(Task, Seen)> = Vec::new();
    loop {
        let next = decoded.recv_timeout(BATCH_WAIT);
        if work.stopped() {
            return Ok(());
        }
        match next {
            Ok(Decoded { task, result }) => {
                shared.in_flight.fetch_sub(1, SeqCst);
                match result {
                    Ok(seen) => batch.push((task, seen)),
                    Err((kind, detail)) => assembly.fail(&task, kind, detail)?,
                }
                if batch.len() < setup.batch_size {
                    continue;
                }
            }
            Err(RecvTimeoutError::Timeout) if shared.in_flight.load(SeqCst) > 0 => continue,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                encode_batch(encoder, &mut batch, &mut assembly)?;
                return Ok(());
            }
        }
        encode_batch(encoder, &mut batch, &mut assembly)?;
    }
}

/// Encodes one batch. If the runtime refuses it, each picture is tried alone, so that one cannot fail the others; if
/// none passes, the fault is not theirs.
fn encode_batch(encoder: &mut ImageEncoder, batch: &mut Vec<(Task, Seen)>, assembly: &mut Assembly) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let pixels: Vec<f32> = batch.iter().flat_map(|(_, seen)| &seen.pixels).copied().collect();
    match encoder.encode(&pixels) {
        Ok(vectors) => {
            for ((task, seen), vector) in batch.drain(..).zip(vectors) {
                match vector {
                    Ok(embedding) => assembly.row(&task, seen, embedding)?,
                    Err(e) => assembly.fail(&task, FailureKind::NoVector, e.to_string())?,
                }
            }
            Ok(())
        }
        Err(whole) => {
            let alone: Vec<_> =
                batch.drain(..).map(|(task, seen)| (encoder.encode(&seen.pixels), task, seen)).collect();
            if alone.iter().all(|(result, _, _)| result.is_err()) {
                return Err(whole).context("the model encodes no picture any more");
            }
            for (result, task, seen) in alone {
                match result.map(|mut v| v.pop()) {
                    Ok(Some(Ok(embedding))) => assembly.row(&task, seen, embedding)?,
                    Ok(Some(Err(e))) => assembly.fail(&task, FailureKind::NoVector, e.to_string())?,
                    Ok(None) => assembly.fail(&task, FailureKind::NoVector, "the model gave no vector".into())?,
                    Err(e) => assembly.fail(&task, FailureKind::NoVector, e.to_string())?,
                }
            }
            Ok(())
        }
    }
}

/// Chunks that are being put together, by id.
struct Assembly<'a> {
    setup: &'a Setup<'a>,
    shared: &'a Shared,
    to_write: Sender<Complete>,
    open: HashMap<u64, Complete>,
}

impl Assembly<'_> {
    fn row(&mut self, task: &Task, seen: Seen, embedding: Embedding) -> Result<()> {
        let Entry { path, size_bytes, mtime_ns } = seen.entry;
        let row = Row { path, embedding, size_bytes, mtime_ns, content_hash: seen.content_hash };
        self.chunk(task).rows.push(row);
        self.account(task)
    }

    fn fail(&mut self, task: &Task, kind: FailureKind, detail: String) -> Result<()> {
        let path = self.setup.root.canonical_path(&task.open.entries[task.row].path);
        let host = self.setup.host.to_owned();
        self.chunk(task).failures.push(Failure { path, kind, detail, host });
        self.shared.failed.fetch_add(1, SeqCst);
        self.account(task)
    }

    fn chunk(&mut self, task: &Task) -> &mut Complete {
        let new = || Complete { open: task.open.clone(), rows: Vec::new(), failures: Vec::new() };
        self.open.entry(task.open.chunk.id).or_insert_with(new)
    }

    fn account(&mut self, task: &Task) -> Result<()> {
        self.shared.done.fetch_add(1, SeqCst);
        let chunk = self.chunk(task);
        if chunk.rows.len() + chunk.failures.len() < task.open.entries.len() {
            return Ok(());
        }
        if let Some(complete) = self.open.remove(&task.open.chunk.id) {
            self.to_write.send(complete).context("the thread that writes parts has ended")?;
        }
        Ok(())
    }
}

/// Publishes complete chunks as parts.
fn write(setup: &Setup, report: &Report, complete: Receiver<Complete>) -> Result<Vec<String>> {
    let mut parts = Vec::new();
    fs::create_dir_all(setup.prefix.parts())
        .with_context(|| format!("cannot write to the index folder {}", setup.prefix.dir().display()))?;
    for Complete { open, mut rows, mut failures } in complete {
        rows.sort_by(|a, b| a.path.cmp(&b.path));
        failures.sort_by(|a, b| a.path.cmp(&b.path));
        for failure in &failures {
            report.event(&Event::Failure { failure: failure.clone() });
        }
        let failed = failures.len() as u64;
        let meta = PartMeta {
            format_version: FORMAT_VERSION,
            name: open.name.clone(),
            root: setup.root.canonical().into(),
            model: setup.identity.clone(),
            host: setup.host.into(),
            rows: 0,
            checksum: String::new(),
            failures,
        };
        let meta = index::publish_part(setup.prefix, meta, &rows)?;
        let (chunk_id, name) = (open.chunk.id, open.name.clone());
        report.event(&Event::Part { chunk_id, name, rows: meta.rows, failed, checksum: meta.checksum, found: false });
        parts.push(open.name.clone());
    }
    Ok(parts)
}

/// Says how far the work is: to a controller each second, to a person each ten.
fn tick(work: &Work, report: &Report, shared: &Shared) {
    let mut ticks = 0;
    loop {
        let over = shared.over.load(SeqCst);
        if over || ticks % 10 == 9 {
            let spoken = over || ticks % 100 == 99;
            report.progress(shared.done.load(SeqCst), shared.failed.load(SeqCst), work.total(), spoken);
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
