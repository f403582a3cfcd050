//! Where this machine keeps what it can make again: copies of vectors, which are mapped into memory and therefore must lie
//! on a disk of its own, in a folder that no other machine takes for its own; and thumbnails.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use disk::Folder;
use disk::atomic::Temp;
use protocol::{folders, hash_hex};

/// Copies that nobody has opened for so long are of indexes that nobody asks any more.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);

/// The folder of copies before machines had one each. Versions that use it may still run.
const FORMER: &str = "generations";
/// One of those that use it makes a new folder there whenever the index changes.
const FORMER_UNUSED: Duration = Duration::from_secs(7 * 24 * 3600);

/// The folders.
#[derive(Clone, Debug)]
pub struct Cache {
    /// For thumbnails that cannot be beside their index.
    pub thumbnails: PathBuf,
    /// For this machine's copies of vectors.
    pub copies: PathBuf,
}

impl Cache {
    /// The person's cache. If it lies on a network or cannot be written, the copies go to this person's folder in `/var/tmp`.
    ///
    /// # Errors
    /// If neither will do; it says what to set.
    pub fn of_this_machine() -> Result<Self> {
        let usual = folders::cache().context("cannot find a place for copies of vectors")?;
        let is_usable = can_write(&usual);
        let local = match is_usable && !is_on_network(&usual) {
            true => usual.clone(),
            false => folders::in_shared("XDG_CACHE_HOME").with_context(|| {
                format!("{} is not on a disk of this machine or cannot be written", usual.display())
            })?,
        };
        let thumbnails = if is_usable { &usual } else { &local }.join("thumbnails");
        Ok(Self { thumbnails, copies: local.join("copies").join(machine()) })
    }

    /// Removes copies that nobody has opened for a month, and those of versions before; nothing on a network, where another
    /// machine may use them.
    pub fn tidy(&self) {
        let Some(copies) = self.copies.parent().filter(|copies| !is_on_network(copies)) else { return };
        index::remove_old_copies(copies, UNUSED);
        if let Some(cache) = copies.parent() {
            index::remove_old_copies_in(&cache.join(FORMER), FORMER_UNUSED);
        }
    }
}

/// This machine's name for itself. Machines that share a home may have one name, and copies of a machine one id.
fn machine() -> String {
    let name = gethostname::gethostname();
    let id = fs::read("/etc/machine-id").unwrap_or_default();
    hash_hex(&[name.as_encoded_bytes(), b"\0", &id].concat())[..16].to_owned()
}

fn can_write(folder: &Path) -> bool {
    Folder::make(folder).and_then(|folder| Temp::in_folder(&folder, "probe").create()).is_ok()
}

/// Whether a folder lies on another machine's disk: there a file that is mapped may go away.
fn is_on_network(folder: &Path) -> bool {
    rustix::fs::statfs(folder).is_ok_and(|found| is_network(&found))
}

/// FUSE counts: sshfs is of that kind, and nobody can tell it from others.
#[cfg(target_os = "linux")]
fn is_network(found: &rustix::fs::StatFs) -> bool {
    const NETWORK: [u32; 17] = [
        0x6969,      // NFS
        0x517b,      // SMB
        0xff53_4d42, // CIFS
        0xfe53_4d42, // SMB 2
        0x6573_5546, // FUSE
        0x0102_1997, // 9P
        0x00c3_6400, // Ceph
        0x0bd0_0bd0, // Lustre
        0x4750_4653, // GPFS
        0x1983_0326, // BeeGFS
        0x5346_414f, // AFS
        0x6b41_4653, // kAFS
        0x7375_7245, // Coda
        0x2003_0528, // OrangeFS
        0x7461_636f, // OCFS2
        0x0116_1970, // GFS2
        0x786f_4256, // VirtualBox's shared folders
    ];
    NETWORK.contains(&(found.f_type as u32))
}

#[cfg(target_os = "macos")]
fn is_network(found: &rustix::fs::StatFs) -> bool {
    const LOCAL: u32 = 0x1000;
    found.f_flags & LOCAL == 0
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn is_network(_: &rustix::fs::StatFs) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn shares_are_told_from_disks() {
        let mut found = rustix::fs::statfs(std::env::temp_dir().as_path()).unwrap();
        // ext4, XFS, Btrfs, overlay, tmpfs, ZFS.
        for local in [0xef53_u32, 0x5846_5342, 0x9123_683e, 0x794c_7630, 0x0102_1994, 0x2fc1_2fc1] {
            found.f_type = local as _;
            assert!(!is_network(&found), "{local:x}");
        }
        for share in [0x6969_u32, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546] {
            found.f_type = share as _;
            assert!(is_network(&found), "{share:x}");
        }
    }

    #[test]
    fn a_machine_is_called_the_same_each_time() {
        assert_eq!(machine(), machine());
        assert_eq!(machine().len(), 16);
    }
}
