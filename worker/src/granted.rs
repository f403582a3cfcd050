//! A worker under a controller: grants arrive on standard input while the pipeline runs.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use disk::atomic::Temp;
use protocol::{Chunk, Event, Exit, ManifestReader, Root};

use crate::report::Report;
use crate::work::{Ending, Work};
use crate::work_dir::WorkDir;

/// How long a worker that was told to end may take, and one that lost its controller: what it has in hand is nearly done.
const STOPPED_ENDS: Duration = Duration::from_secs(10);
const LOST_ENDS: Duration = Duration::from_secs(45);

/// The controller, as far as it can be heard.
pub struct Controller {
    /// What it grants.
    pub work: Arc<Work>,
    list: Arc<OnceLock<List>>,
}

/// What the worker's list is written from, and to.
struct List {
    manifest: PathBuf,
    root: Root,
    work_dir: WorkDir,
    id: u32,
}

/// Follows the controller from now on. A worker that loses it before it has begun ends at once, also in the middle of
/// loading; later it has some time, however its share hangs.
pub fn listen(report: &Arc<Report>) -> Controller {
    let controller = Controller { work: Arc::new(Work::default()), list: Arc::default() };
    // Reading standard input cannot be interrupted, so nobody waits for these threads: they end with the stream, which
    // the controller closes, or with the process.
    let (work, list, said) = (controller.work.clone(), controller.list.clone(), report.clone());
    thread::spawn(move || {
        work.follow(std::io::stdin().lock(), &said, |chunks| {
            if let Some(Err(e)) = list.get().map(|list| list.write(chunks)) {
                said.event(&Event::Warning { message: format!("cannot keep this worker's list: {e:#}") });
            }
        });
    });
    let (work, list, said) = (controller.work.clone(), controller.list.clone(), report.clone());
    thread::spawn(move || {
        let (limit, exit) = match work.wait_until_over() {
            Ending::Lost(why) => {
                if list.get().is_none() {
                    said.event(&Event::Error { message: why });
                }
                (LOST_ENDS, Exit::Failed)
            }
            _ => (STOPPED_ENDS, Exit::Interrupted),
        };
        if list.get().is_some() {
            thread::sleep(limit);
        }
        stop::end(exit);
    });
    controller
}

impl Controller {
    /// The worker is about to begin: it can keep the list that it gets.
    pub fn ready(&self, manifest: &Path, root: &Root, work_dir: &WorkDir, id: u32) {
        let (manifest, root) = (manifest.to_owned(), root.clone());
        // There is only one beginning.
        let _ = self.list.set(List { manifest, root, work_dir: work_dir.clone(), id });
    }
}

impl List {
    /// Writes a worker's list as a person would give it to `--image-list`: canonical paths, one a line, or NUL-separated
    /// if any name holds a newline.
    fn write(&self, chunks: &[Chunk]) -> Result<()> {
        let file = self.work_dir.list(self.id);
        let temp = Temp::beside(&file)?;
        write_list(&self.manifest, &self.root, chunks, temp.create()?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        temp.publish_unsynced()?;
        self.work_dir.show(&file)
    }
}

fn write_list(manifest: &Path, root: &Root, chunks: &[Chunk], list: File) -> Result<()> {
    let mut manifest = ManifestReader::open(manifest)?;
    let mut separator = b'\n';
    for chunk in chunks {
        if manifest.chunk(chunk)?.iter().any(|e| e.path.as_str().contains('\n')) {
            separator = 0;
            break;
        }
    }
    let mut output = BufWriter::new(list);
    for chunk in chunks {
        for entry in manifest.chunk(chunk)? {
            output.write_all(root.canonical_path(&entry.path).as_bytes())?;
            output.write_all(&[separator])?;
        }
    }
    Ok(output.flush()?)
}
