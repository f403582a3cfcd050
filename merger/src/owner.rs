//! Who may change the index: this merger alone, for as long as it is seen to be so.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use disk::{Beating, Held, Lost, Owner, RunLock, ours};
use index::Interrupted;
use protocol::IndexPrefix;
use stop::Stop;

use crate::Args;

/// How often one that waits for another merger looks.
const LOOK: Duration = Duration::from_millis(200);

/// The right to merge, until dropped.
pub struct Ownership<'a> {
    prefix: &'a IndexPrefix,
    locks: Vec<Beating>,
    /// The controller that had the merger started, or none.
    controller: Option<Owner>,
    under_controller: bool,
}

impl<'a> Ownership<'a> {
    /// Makes this merge the only one. Under a controller, which names the parts, the index is the controller's; but a
    /// merger whose controller was killed or lost may still be at work.
    pub fn take(args: &Args, prefix: &'a IndexPrefix, stop: &Stop) -> anyhow::Result<Self> {
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        ours::look(prefix)?;
        if ours::standing(prefix)?.is_none() {
            bail!(
                "there is no index folder {}: run the controller, or a worker with --index-prefix P/worker_0, first",
                prefix.dir().display()
            );
        }
        let under_controller = args.parts.is_some();
        let mut locks = Vec::new();
        if !under_controller {
            locks.push(RunLock::take(&prefix.lock(), "merger", &host)?.beating());
        }
        let controller = if under_controller { owner(prefix)? } else { None };
        let (begun, wait) = (Instant::now(), Duration::from_secs_f64(args.wait));
        loop {
            match RunLock::take(&prefix.merge_lock(), "merger", &host) {
                Err(Held::By { .. }) if begun.elapsed() < wait => {
                    if stop.sleep(LOOK) {
                        return Err(Interrupted).context("nothing was merged");
                    }
                }
                taken => {
                    locks.push(taken?.beating());
                    return Ok(Self { prefix, locks, controller, under_controller });
                }
            }
        }
    }

    /// Fails if another has taken the index, or the controller's place, meanwhile.
    pub fn stands(&self) -> Result<(), Lost> {
        self.locks.iter().try_for_each(Beating::check)?;
        if !self.under_controller {
            return Ok(());
        }
        match owner(self.prefix)? {
            // A controller that has ended does not take its merger along.
            None => Ok(()),
            Some(now) if self.controller.as_ref().is_some_and(|then| then.is(&now)) => Ok(()),
            Some(owner) => Err(Lost::To { owner: owner.into(), path: self.prefix.lock() }),
        }
    }
}

/// Who stands in `P/lock`.
fn owner(prefix: &IndexPrefix) -> Result<Option<Owner>, Lost> {
    match RunLock::owner(&prefix.lock()) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        // Where the lock shuts out all but its owner, the owner lives.
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Ok(None),
        owner => owner.map_err(|source| Lost::Unseen { path: prefix.lock(), source }),
    }
}
