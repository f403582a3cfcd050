//! The last stage: results come back in any order, are put together to chunks, and become parts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use anyhow::{Context, Result, ensure};
use crossbeam_channel::{Receiver, Sender};
use index::Row;
use protocol::{Embedding, Event, FORMAT_VERSION, Failure, FailureKind, PartMeta};

use super::read::Seen;
use super::stages::Stage;
use super::{Open, Setup, Shared, Task};
use crate::report::Report;
use crate::share::{Share, as_scanned};
use crate::work::Work;

/// A chunk whose pictures are all accounted for.
pub struct Complete {
    open: Arc<Open>,
    rows: Vec<Row>,
    failures: Vec<Failure>,
}

/// Chunks that are being put together, by id.
pub struct Assembly<'a> {
    setup: &'a Setup<'a>,
    work: &'a Work,
    shared: &'a Shared,
    to_write: Sender<Complete>,
    open: HashMap<u64, Complete>,
}

impl<'a> Assembly<'a> {
    /// Nothing is open at first.
    pub fn new(setup: &'a Setup<'a>, work: &'a Work, shared: &'a Shared, to_write: Sender<Complete>) -> Self {
        Self { setup, work, shared, to_write, open: HashMap::new() }
    }

    /// A picture has its vector.
    pub fn row(&mut self, task: &Task, seen: Seen, embedding: Embedding) -> Result<()> {
        let Seen { path, file, content_hash } = seen;
        let row = Row { path, embedding, file, content_hash };
        self.chunk(task).rows.push(row);
        self.account(task)
    }

    /// A picture will have none.
    pub fn fail(&mut self, task: &Task, kind: FailureKind, detail: String) -> Result<()> {
        let entry = &task.open.entries[task.row];
        let path = self.setup.root.canonical_path(&entry.path);
        let failure = Failure::of(entry, path, kind, detail, self.setup.host);
        self.chunk(task).failures.push(failure);
        self.shared.failed.fetch_add(1, SeqCst);
        self.account(task)
    }

    /// Forgets a chunk that somebody else has finished, picture by picture as they come.
    fn forget(&mut self, task: &Task) {
        let Some(gone) = self.open.remove(&task.open.chunk.id) else { return };
        let failed = gone.failures.len();
        self.shared.done.fetch_sub((gone.rows.len() + failed) as u64, SeqCst);
        self.shared.failed.fetch_sub(failed as u64, SeqCst);
    }

    fn chunk(&mut self, task: &Task) -> &mut Complete {
        let new = || Complete { open: task.open.clone(), rows: Vec::new(), failures: Vec::new() };
        self.open.entry(task.open.chunk.id).or_insert_with(new)
    }

    fn account(&mut self, task: &Task) -> Result<()> {
        self.shared.under_way.fetch_sub(1, SeqCst);
        self.shared.done.fetch_add(1, SeqCst);
        if self.work.dropped(task.open.chunk.id) {
            self.forget(task);
            return Ok(());
        }
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
pub fn write(
    setup: &Setup,
    shared: &Shared,
    report: &Report,
    share: &Share,
    complete: Receiver<Complete>,
) -> Result<Vec<String>> {
    let (mut parts, mut known) = (Vec::new(), false);
    for Complete { open, mut rows, mut failures } in complete {
        rows.sort_by(|a, b| a.path.cmp(&b.path));
        failures.sort_by(|a, b| a.path.cmp(&b.path));
        // Later, a chunk like this is a folder that somebody has removed.
        known = known || as_scanned(&open.entries, &rows, &failures);
        ensure!(
            known,
            "no picture in {} is as it was scanned: mount the right share here, or mend path_map in hosts",
            setup.root.here().display()
        );
        let failed = failures.len() as u64;
        let meta = PartMeta {
            format_version: FORMAT_VERSION,
            name: open.name.clone(),
            root: setup.root.canonical().into(),
            model: setup.identity.clone(),
            host: setup.host.into(),
            rows: 0,
            checksum: String::new(),
            failures: failures.clone(),
        };
        let published = shared.clock.time(Stage::Write, || index::publish_part(setup.prefix, meta, &rows));
        // Only now: until the part was written, the share may have gone. If it has, that explains the rest.
        share.stands()?;
        let meta = published?;
        for failure in failures {
            report.event(&Event::Failure { failure });
        }
        let (chunk_id, name) = (open.chunk.id, open.name.clone());
        report.event(&Event::Part { chunk_id, name, rows: meta.rows, failed, checksum: meta.checksum, found: false });
        parts.push(open.name.clone());
    }
    Ok(parts)
}
