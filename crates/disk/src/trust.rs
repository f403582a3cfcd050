//! Whose a file is. What belongs to this person or to root is trusted, and so is what belongs to whom a file gets that
//! this person makes in the same place: servers of shares give files other owners, as with root squash, or one to all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::People;
use crate::atomic::temp_name;

/// Files and the users they belonged to when they were read.
#[derive(Clone, Debug)]
pub struct Owners(Vec<(PathBuf, u32)>);

/// Somebody else, and a file of theirs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} belongs to {}, neither to you nor to root", file.display(), People::here().user(*uid))]
pub struct Stranger {
    /// The file.
    pub file: PathBuf,
    /// The user.
    pub uid: u32,
}

/// Why a folder is not one to write a person's pictures into.
#[derive(Debug, thiserror::Error)]
pub enum NotOwn {
    /// A link, which another could turn.
    #[error("{} is a link, to {}; name the folder itself", folder.display(), to.display())]
    Link {
        /// The link.
        folder: PathBuf,
        /// Where it leads.
        to: PathBuf,
    },
    /// No folder at all.
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// Somebody else's.
    #[error(transparent)]
    Stranger(#[from] Stranger),
    /// Others may write there.
    #[error("{who} may write into {} (mode {mode:o}); close it with: chmod go-w {0}", folder.display())]
    Open {
        /// The folder.
        folder: PathBuf,
        /// Who.
        who: String,
        /// Its permissions.
        mode: u32,
    },
    /// It cannot be made or looked at.
    #[error("cannot use the folder {}: {source}", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Owners {
    /// Looks at files, and at links themselves where there are some.
    pub fn of<P: AsRef<Path>>(files: impl IntoIterator<Item = P>) -> io::Result<Self> {
        let mut owners = Vec::new();
        for file in files {
            let file = file.as_ref();
            for found in [fs::symlink_metadata(file)?, fs::metadata(file)?] {
                owners.push((file.to_owned(), found.uid()));
            }
        }
        Ok(Self(owners))
    }

    /// The first who is a stranger. Where somebody else is among them, a file is made in the folder `place` and removed
    /// again, to see whose our own would be.
    pub fn stranger(&self, place: &Path) -> Option<Stranger> {
        let (people, mut made) = (People::here(), None);
        let mut is_strange =
            |uid| !people.trusts(uid) && *made.get_or_insert_with(|| uid_of_a_new_file(place)) != Some(uid);
        let (file, uid) = self.0.iter().find(|(_, uid)| is_strange(*uid))?;
        Some(Stranger { file: file.clone(), uid: *uid })
    }
}

/// Makes a folder that others may look into but not write, or finds one. Folders above it are made as they come.
pub fn make_folder(folder: &Path) -> Result<(), NotOwn> {
    let io = |source| NotOwn::Io { folder: folder.into(), source };
    match fs::symlink_metadata(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        found => return found.map(drop).map_err(io),
    }
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(io)?;
    }
    match fs::DirBuilder::new().mode(0o755).create(folder) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(io(e)),
        _ => Ok(()),
    }
}

/// Opens a folder into which this person's pictures may be written: no stranger can add to it. With `vouched` it may
/// belong to anybody: who asked knows better.
pub fn open_folder(folder: &Path, vouched: bool) -> Result<File, NotOwn> {
    let io = |source| NotOwn::Io { folder: folder.into(), source };
    let at_name = fs::symlink_metadata(folder).map_err(io)?;
    if at_name.is_symlink() {
        let to = fs::canonicalize(folder).or_else(|_| fs::read_link(folder)).unwrap_or_default();
        return Err(NotOwn::Link { folder: folder.into(), to });
    }
    if !at_name.is_dir() {
        return Err(NotOwn::NotAFolder(folder.into()));
    }
    // What is opened is what is looked at, whatever takes its place.
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let open = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(folder).map_err(io)?;
    let found = open.metadata().map_err(io)?;
    if !vouched && let Some(stranger) = Owners(vec![(folder.into(), found.uid())]).stranger(folder) {
        return Err(stranger.into());
    }
    match People::trusting(vec![found.uid(), 0]).writers(&found, false) {
        Some(who) => Err(NotOwn::Open { folder: folder.into(), who, mode: found.mode() & 0o7777 }),
        None => Ok(open),
    }
}

fn uid_of_a_new_file(place: &Path) -> Option<u32> {
    let file = place.join(temp_name("owner".as_ref()));
    let made = OpenOptions::new().write(true).create_new(true).open(&file).ok()?;
    let found = made.metadata();
    // Nothing else was ever at this name.
    let _ = fs::remove_file(&file);
    Some(found.ok()?.uid())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_we_make_is_ours_and_nothing_is_left_of_the_probe() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("a");
        fs::write(&file, "").unwrap();
        let owners = Owners::of([&file]).unwrap();
        assert_eq!(owners.stranger(place.path()), None);
        let own = file.metadata().unwrap().uid();
        let squashed = Owners(vec![(file.clone(), own), (file.clone(), own + 7)]);
        assert_eq!(squashed.stranger(place.path()), Some(Stranger { file, uid: own + 7 }));
        assert_eq!(uid_of_a_new_file(place.path()), Some(own), "as a share tells whose our files are");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_others_may_write_or_a_link_is_refused_with_what_to_do() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("above/results");
        make_folder(&folder).unwrap();
        make_folder(&folder).unwrap();
        open_folder(&folder, false).unwrap();
        for (mode, who) in [(0o777, "anybody"), (0o1777, "anybody"), (0o757, "anybody")] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            for vouched in [false, true] {
                let told = open_folder(&folder, vouched).unwrap_err().to_string();
                assert!(told.starts_with(who) && told.contains("chmod go-w"), "{told}");
            }
        }
        let link = place.path().join("link");
        symlink(&folder, &link).unwrap();
        make_folder(&link).unwrap();
        let told = open_folder(&link, true).unwrap_err().to_string();
        assert!(told.contains("is a link") && told.contains("above/results"), "{told}");
        fs::write(place.path().join("file"), "").unwrap();
        assert!(matches!(open_folder(&place.path().join("file"), true), Err(NotOwn::NotAFolder(_))));
    }
}
