//! A worker's usual pipeline on a few pictures for some seconds: what it would achieve in a run. Its parts go into a
//! folder of this machine that is removed.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clip::{Model, ModelError};
use crossbeam_channel::Receiver;
use protocol::setup::Trial;
use protocol::{Chunk, Chunker, Entry, Event, ImagePath, IndexPrefix, ManifestWriter, Root};

use crate::args::Encoding;
use crate::encode::{Setup, encode};
use crate::facts;
use crate::report::Report;
use crate::walk::examine;
use crate::work::{Ending, Work};

/// Work this long tells the rate, if it was more than a batch or two.
const ENOUGH_S: f64 = 5.0;
const ENOUGH_MARKS: usize = 3;

/// Longer than this nobody waits for a slow machine.
const MOST_S: f64 = 30.0;

/// More pictures than any machine embeds in the time; those of the sample come again and again.
const PICTURES: usize = 800 * CHUNK;

/// Pictures in a chunk.
const CHUNK: usize = 64;

/// So many pictures, embedded so many seconds after the beginning.
type Mark = (f64, u64);

/// Tries the model `spec` on pictures of a folder, else on the golden ones. Also gives what a person should know of its
/// encoder.
pub fn trial(encoding: &Encoding, spec: &str, sample: Option<(&Path, &[Entry])>) -> Result<(Trial, Vec<String>)> {
    let begun = Instant::now();
    let model = Model::open_here(spec).map_err(absent)?;
    let options = encoding.options(&model);
    let encoder = model.image_encoder(&options)?;
    let load_seconds = begun.elapsed().as_secs_f64();
    let notes = encoder.warnings().to_vec();
    let (identity, threads, batch_size) = (encoder.identity().clone(), encoder.threads(), encoder.batch());

    let scratch = tempfile::Builder::new().prefix("imagefleet-trial-").tempdir();
    let scratch = scratch.context("cannot write a temporary folder: make room, or set TMPDIR")?;
    let (root, entries) = match sample {
        Some((dir, entries)) => (dir.to_owned(), entries.to_vec()),
        None => golden(scratch.path())?,
    };
    let manifest = scratch.path().join("manifest");
    let work = Work::list(again_and_again(&entries, &manifest).context("cannot write a temporary file")?);
    let setup = Setup {
        prefix: &IndexPrefix::new(scratch.path().join("index")),
        root: &Root::new(&root, root.to_string_lossy()),
        manifest: &manifest,
        host: &facts::host().hostname,
        model: &model,
        options,
        identity: identity.clone(),
        decode: encoding.decode_mode(),
        decode_threads: options.threads,
    };
    let (teller, events) = crossbeam_channel::unbounded();
    let report = Report::to_thread(teller);
    let (finished, watched) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&events, &work));
        let finished = encode(&setup, encoder, &work, &report);
        drop(report);
        (finished, watcher.join())
    });
    let stages = finished?.stages;
    let (marks, failed) = watched.map_err(|_| anyhow::anyhow!("the thread that watches the trial panicked"))?;
    let Some(images_per_second) = rate(&marks) else {
        bail!("the model {spec} embedded no picture in {:.0} s{failed}", stages.seconds);
    };
    let own_pictures = sample.is_some();
    Ok((Trial { model: identity, threads, batch_size, load_seconds, images_per_second, own_pictures, stages }, notes))
}

/// A look does not fetch what a run would.
fn absent(error: ModelError) -> anyhow::Error {
    match error {
        ModelError::Unavailable { name, .. } => anyhow::anyhow!(
            "the model {name} is not there yet: the first run fetches it, or now: setup_workers.sh HOSTS --model {name}"
        ),
        other => other.into(),
    }
}

/// Writes the golden pictures into a folder below `scratch`.
fn golden(scratch: &Path) -> Result<(PathBuf, Vec<Entry>)> {
    let dir = scratch.join("pictures");
    fs::create_dir(&dir)?;
    let mut entries = Vec::new();
    for (i, bytes) in clip::golden_pictures().enumerate() {
        // What is in a picture is told by content, not by its name.
        let name = ImagePath::new(format!("{i}.jpg"))?;
        let path = dir.join(name.as_str());
        fs::write(&path, bytes)?;
        entries.push(examine(&path, name).map_err(|(_, detail)| anyhow::anyhow!(detail))?);
    }
    Ok((dir, entries))
}

/// Writes a manifest in which the same pictures stand many times, each time with another modification time: the same
/// chunk twice would be found finished.
fn again_and_again(entries: &[Entry], manifest: &Path) -> Result<Vec<Chunk>> {
    let mut writer = ManifestWriter::new(BufWriter::new(File::create(manifest)?));
    let mut chunker = Chunker::new(Some(CHUNK as u64));
    let mut chunks = Vec::new();
    for first in (0..PICTURES).step_by(CHUNK) {
        let nth = |n: usize| {
            let entry = &entries[n % entries.len()];
            Entry { mtime_ns: entry.mtime_ns.wrapping_add((n / entries.len()) as i64), ..entry.clone() }
        };
        let mut chunk: Vec<Entry> = (first..first + CHUNK).map(nth).collect();
        chunk.sort_by(|a, b| a.path.cmp(&b.path));
        for entry in &chunk {
            let offset = writer.push(entry)?;
            chunks.extend(chunker.push(offset, entry));
        }
    }
    writer.into_inner().flush()?;
    Ok(chunks)
}

/// Follows the work as a controller would, and ends it when it has told enough. Also gives the first failure, in words.
fn watch(events: &Receiver<Event>, work: &Work) -> (Vec<Mark>, String) {
    let (mut marks, mut first_failure) = (Vec::<Mark>::new(), String::new());
    for event in events {
        match event {
            Event::Progress { done, failed, stages } => {
                let embedded = done - failed;
                if !work.stopped() && embedded > marks.last().map_or(0, |mark| mark.1) {
                    marks.push((stages.seconds, embedded));
                }
                if enough(&marks, stages.seconds) {
                    work.end(Ending::Stopped);
                }
            }
            Event::Failure { failure } if first_failure.is_empty() => {
                first_failure = format!("; {}: {}: {}", failure.path, failure.kind, failure.detail);
            }
            _ => {}
        }
    }
    (marks, first_failure)
}

fn enough(marks: &[Mark], seconds: f64) -> bool {
    seconds >= MOST_S || seconds >= ENOUGH_S && marks.len() >= ENOUGH_MARKS
}

/// Pictures a second between the first mark and the last: the first pictures had to be waited for.
fn rate(marks: &[Mark]) -> Option<f64> {
    match marks {
        [] => None,
        [(seconds, embedded)] => Some(*embedded as f64 / seconds),
        [(from_s, from), .., (to_s, to)] => Some((to - from) as f64 / (to_s - from_s)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{ManifestReader, chunk_name};
    use std::collections::HashSet;

    #[test]
    fn a_rate_leaves_out_the_beginning_and_a_slow_machine_has_one_too() {
        assert_eq!(rate(&[]), None);
        assert_eq!(rate(&[(16.0, 8)]), Some(0.5));
        assert_eq!(rate(&[(2.0, 10), (3.0, 70), (4.0, 110)]), Some(50.0));
    }

    #[test]
    fn a_trial_ends_when_it_has_told_enough_or_lasts_too_long() {
        let marks: Vec<Mark> = (1..=3).map(|n| (f64::from(n), 8 * n as u64)).collect();
        assert!(enough(&marks, 5.0) && !enough(&marks, 4.0) && !enough(&marks[..2], 29.0) && enough(&[], 30.0));
    }

    #[test]
    fn no_chunk_of_a_trial_is_another_again() {
        let dir = tempfile::tempdir().unwrap();
        let (_, entries) = golden(dir.path()).unwrap();
        let manifest = dir.path().join("manifest");
        let chunks = again_and_again(&entries, &manifest).unwrap();
        let mut reader = ManifestReader::open(&manifest).unwrap();
        let names: HashSet<String> = chunks.iter().map(|c| chunk_name("f", &reader.chunk(c).unwrap())).collect();
        assert_eq!(names.len(), chunks.len());
        let sorted = |c| reader.chunk(c).unwrap().is_sorted_by(|a, b| a.path <= b.path);
        assert!(chunks.iter().all(sorted));
        assert_eq!(chunks.iter().map(|c| c.count).sum::<u64>(), PICTURES as u64);
    }
}
