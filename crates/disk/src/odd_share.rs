//! What a share cannot do, told apart from what went wrong on it. SMB, NFS, FUSE and the boxes that serve them each
//! lack something: modes, syncing, locks, links. No index fails for that; these are the only rules about it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

/// What to tell a person, once a run, of a share that cannot sync files.
pub const UNSYNCED: &str = "the share cannot sync files (fsync is not supported): after a power cut what was written \
                            last may be missing; the next run makes it again";

/// Whether a sync was refused in this process and nobody has told it yet, or somebody has.
static REFUSED: AtomicBool = AtomicBool::new(false);
static TOLD: AtomicBool = AtomicBool::new(false);

/// What not every share can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// Changing a file's mode: chmod.
    Mode,
    /// Bringing a file's bytes to the disk: fsync, on a Mac F_FULLFSYNC.
    SyncFile,
    /// The same for the names in a folder.
    SyncFolder,
    /// Locks of the operating system: flock.
    Lock,
}

impl Ability {
    /// Whether this error says that the share lacks the ability. Any other, as EIO, ENOSPC or ESTALE, is a failure.
    pub fn is_lacking(self, error: &io::Error) -> bool {
        const ALL: [Errno; 7] =
            [Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::INVAL, Errno::NOTTY, Errno::PERM, Errno::ACCESS];
        let Some(code) = error.raw_os_error().map(Errno::from_raw_os_error) else {
            return error.kind() == ErrorKind::Unsupported;
        };
        let own: &[Errno] = match self {
            Self::Mode | Self::SyncFile => &[],
            // A folder is opened for reading only, and may be none that can be opened at all.
            Self::SyncFolder => &[Errno::BADF, Errno::ISDIR],
            Self::Lock => &[Errno::NOLCK],
        };
        ALL.contains(&code) || own.contains(&code)
    }

    /// The same outcome, but that the share lacks the ability is none.
    pub fn is_wanted(self, outcome: io::Result<()>) -> io::Result<()> {
        match outcome {
            Err(e) if self.is_lacking(&e) => Ok(()),
            outcome => outcome,
        }
    }
}

/// Brings a file to the disk, as far as the share can.
pub fn sync(file: &File) -> io::Result<()> {
    synced(file.sync_all(), || Ok(rustix::io::retry_on_intr(|| rustix::fs::fsync(file))?))
}

/// On a Mac `full` asks the disk itself to write, which SMB has no word for; `plain` hands over to the server.
fn synced(full: io::Result<()>, plain: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match full {
        Err(e) if Ability::SyncFile.is_lacking(&e) => {
            REFUSED.store(true, Ordering::Relaxed);
            Ability::SyncFile.is_wanted(plain())
        }
        full => full,
    }
}

/// [`UNSYNCED`], if it is so and was not told yet: to be told by the program that this process is.
pub fn unsynced() -> Option<&'static str> {
    (REFUSED.load(Ordering::Relaxed) && !TOLD.swap(true, Ordering::Relaxed)).then_some(UNSYNCED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    #[test]
    fn what_a_share_lacks_is_told_apart_from_what_fails() {
        let lacking = [
            (Ability::Mode, Errno::PERM),
            (Ability::Mode, Errno::NOTSUP),
            (Ability::SyncFile, Errno::NOTSUP),
            (Ability::SyncFile, Errno::INVAL),
            (Ability::SyncFolder, Errno::BADF),
            (Ability::SyncFolder, Errno::ISDIR),
            (Ability::SyncFolder, Errno::ACCESS),
            (Ability::Lock, Errno::NOLCK),
            (Ability::Lock, Errno::INVAL),
            (Ability::Lock, Errno::ACCESS),
            (Ability::Lock, Errno::NOSYS),
            (Ability::Lock, Errno::OPNOTSUPP),
        ];
        for (ability, errno) in lacking {
            assert!(ability.is_lacking(&of(errno)), "{ability:?} {errno:?}");
        }
        for ability in [Ability::Mode, Ability::SyncFile, Ability::SyncFolder, Ability::Lock] {
            for errno in [Errno::IO, Errno::NOSPC, Errno::STALE, Errno::DQUOT, Errno::ROFS, Errno::NOENT, Errno::INTR] {
                assert!(!ability.is_lacking(&of(errno)), "{ability:?} {errno:?}");
            }
        }
        assert!(!Ability::SyncFile.is_lacking(&of(Errno::BADF)), "a file is open for writing");
    }

    #[test]
    fn a_mac_on_smb_syncs_as_far_as_it_can_and_a_failing_disk_is_an_error() {
        // What F_FULLFSYNC answers there. This test alone refuses, in this process.
        assert!(unsynced().is_none());
        let mut asked = false;
        synced(Err(of(Errno::NOTSUP)), || {
            asked = true;
            Ok(())
        })
        .unwrap();
        assert!(asked, "the plain call is the next best");
        synced(Err(of(Errno::NOTSUP)), || Err(of(Errno::NOTSUP))).unwrap();
        assert_eq!((unsynced(), unsynced()), (Some(UNSYNCED), None), "it is told once");
        let failed = |full, plain| synced(full, || plain).unwrap_err().raw_os_error();
        assert_eq!(failed(Err(of(Errno::NOTSUP)), Err(of(Errno::IO))), Some(Errno::IO.raw_os_error()));
        assert_eq!(failed(Err(of(Errno::NOSPC)), Ok(())), Some(Errno::NOSPC.raw_os_error()));
    }
}
