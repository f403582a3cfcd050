//! A folder that is open, and what lies in it by name. What a person names may be a link: an index moved to another
//! disk, a share that is mounted when it is needed. Below that no link is followed, because whoever can write there could
//! have planted it, to have files of others emptied or removed. One that is met is named.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use protocol::{is_file, no_file};
use rustix::fs::{self as sys, AtFlags, CWD, Dir, FileType, Mode, OFlags};
use serde::Serialize;

use crate::atomic::{self, Temp};
use crate::{Error, sharing};

/// No link, and nobody waits for a pipe.
const PLAIN: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// What has a name in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, wherever it leads.
    Link,
    /// A pipe, a socket, a device.
    Other,
}

/// An open folder. It stays the same folder whatever happens to its name. Clones share it.
#[derive(Clone, Debug)]
pub struct Folder {
    open: Arc<File>,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder that a person named, through whatever links there are.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Self::at(CWD, path.as_os_str(), OFlags::empty(), path.into())
    }

    /// The same of one that is made if it is not there, with those above it.
    pub fn make(path: &Path) -> Result<Self, Error> {
        atomic::create_dir(path)?;
        Self::open(path)
    }

    fn at(parent: impl rustix::fd::AsFd, name: &OsStr, more: OFlags, path: PathBuf) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | more;
        let open = sys::openat(parent, name, flags, Mode::empty());
        let open = open.map_err(|e| Error::io("open the folder", &path)(e.into()))?;
        Ok(Self { open: Arc::new(open.into()), path })
    }

    /// Its path, as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of what has this name in it, for messages and for readers.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// A folder in it, which must be there.
    pub fn folder(&self, name: impl AsRef<OsStr>) -> Result<Self, Error> {
        let name = single(name.as_ref(), &self.path)?;
        let path = self.file(name);
        // The system's own words would be that a link is no folder.
        match Self::at(&*self.open, name, OFlags::NOFOLLOW, path.clone()) {
            Err(e) => Err(self.planted(name).map_or(e, Error::io("open the folder", &path))),
            opened => opened,
        }
    }

    /// A folder in it; `None` if there is none.
    pub fn folder_if_there(&self, name: impl AsRef<OsStr>) -> Result<Option<Self>, Error> {
        match self.folder(name) {
            Err(e) if e.source.kind() == ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// A folder in it, which is made if it is not there.
    pub fn make_folder(&self, name: impl AsRef<OsStr>) -> Result<Self, Error> {
        let name = single(name.as_ref(), &self.path)?;
        match sys::mkdirat(&*self.open, name, Mode::from_raw_mode(0o777)) {
            Err(e) if e == rustix::io::Errno::EXIST => self.folder(name),
            Err(e) => Err(Error::io("create the folder", &self.file(name))(e.into())),
            Ok(()) => {
                let folder = self.folder(name)?;
                sharing::folder(&folder.open, &self.open);
                Ok(folder)
            }
        }
    }

    /// The folder that holds `path`, which lies below this one, and its name there. Folders between are made.
    pub fn make_place(&self, path: &Path) -> Result<(Self, OsString), Error> {
        let mut folder = self.clone();
        let (between, name) = self.below(path)?;
        for name in between {
            folder = folder.make_folder(name)?;
        }
        Ok((folder, name))
    }

    /// The same of what is there; `None` if a folder between is not.
    pub fn place(&self, path: &Path) -> Result<Option<(Self, OsString)>, Error> {
        let mut folder = self.clone();
        let (between, name) = self.below(path)?;
        for name in between {
            match folder.folder_if_there(name)? {
                Some(inner) => folder = inner,
                None => return Ok(None),
            }
        }
        Ok(Some((folder, name)))
    }

    fn below<'a>(&self, path: &'a Path) -> Result<(Vec<&'a OsStr>, OsString), Error> {
        let below = path.strip_prefix(&self.path).map(Path::iter).map(Iterator::collect::<Vec<_>>);
        let mut names = below.map_err(|e| Error::io("use", path)(io::Error::new(ErrorKind::InvalidInput, e)))?;
        let name = names.pop().unwrap_or_default().to_owned();
        Ok((names, name))
    }

    /// What has this name; `None` if nothing has.
    pub fn kind(&self, name: impl AsRef<OsStr>) -> Result<Option<Kind>, Error> {
        let name = single(name.as_ref(), &self.path)?;
        match self.mode(name) {
            Ok(mode) => Ok(Some(match FileType::from_raw_mode(mode as _) {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Folder,
                FileType::Symlink => Kind::Link,
                _ => Kind::Other,
            })),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("look at", &self.file(name))(e)),
        }
    }

    fn mode(&self, name: &OsStr) -> io::Result<u32> {
        let found = sys::statat(&*self.open, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(found.st_mode as _)
    }

    /// The error that a link is there, if one is.
    fn planted(&self, name: &OsStr) -> Option<io::Error> {
        let mode = self.mode(name).ok()?;
        (FileType::from_raw_mode(mode as _) == FileType::Symlink).then(|| {
            let to = sys::readlinkat(&*self.open, name, Vec::new()).unwrap_or_default();
            let to = PathBuf::from(OsStr::from_bytes(to.as_bytes()));
            io::Error::new(
                ErrorKind::InvalidInput,
                format!("it is a link to {to:?}, and here no link is followed: remove it"),
            )
        })
    }

    /// Fails if a link has this name: what was tried is `action`.
    pub fn refuse_link(&self, action: &'static str, name: &OsStr) -> Result<(), Error> {
        self.planted(name).map_or(Ok(()), |e| Err(Error::io(action, &self.file(name))(e)))
    }

    /// All names in it, in no order.
    pub fn names(&self) -> Result<Vec<OsString>, Error> {
        let failed = |e: rustix::io::Errno| Error::io("list", &self.path)(e.into());
        let mut names = Vec::new();
        for entry in Dir::read_from(&*self.open).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// When something in it was last made or removed.
    pub fn modified(&self) -> Option<SystemTime> {
        self.open.metadata().and_then(|found| found.modified()).ok()
    }

    /// Creates a file that must not exist yet. Who may read this folder may read it.
    pub fn create_new(&self, name: impl AsRef<OsStr>) -> Result<File, Error> {
        let file = self.open_with(name.as_ref(), "create", OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        sharing::readable(&file, &self.open);
        Ok(file)
    }

    /// Opens a file for reading; `None` if there is none.
    pub fn read(&self, name: impl AsRef<OsStr>) -> Result<Option<File>, Error> {
        match self.open_with(name.as_ref(), "open", OFlags::RDONLY) {
            Err(e) if e.source.kind() == ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Opens a file for reading and writing as it is, or makes an empty one. Whoever has it next writes it where it is.
    pub fn read_write(&self, name: impl AsRef<OsStr>) -> Result<File, Error> {
        let file = self.alone(name.as_ref(), OFlags::RDWR | OFlags::CREATE)?;
        sharing::writable(&file, &self.open);
        Ok(file)
    }

    /// Opens a file for writing at its end, or makes an empty one.
    pub fn append(&self, name: impl AsRef<OsStr>) -> Result<File, Error> {
        self.alone(name.as_ref(), OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)
    }

    /// A file that is written in place must not be another's under a second name.
    fn alone(&self, name: &OsStr, flags: OFlags) -> Result<File, Error> {
        let file = self.open_with(name, "open", flags)?;
        let failed = Error::io("open", &self.file(name));
        match file.metadata() {
            Ok(found) if found.nlink() <= 1 => Ok(file),
            Ok(_) => Err(failed(io::Error::new(
                ErrorKind::InvalidInput,
                "it is a second name (a hard link) of a file elsewhere: remove it",
            ))),
            Err(e) => Err(failed(e)),
        }
    }

    fn open_with(&self, name: &OsStr, action: &'static str, flags: OFlags) -> Result<File, Error> {
        let name = single(name, &self.path)?;
        let file = sys::openat(&*self.open, name, flags | PLAIN, Mode::from_raw_mode(0o666));
        let opened = file.map_err(io::Error::from).and_then(|file| is_file(file.into()));
        // What the system says of a link or a socket does not tell what it is.
        let named = |e: io::Error| match e.kind() {
            ErrorKind::NotFound | ErrorKind::AlreadyExists | ErrorKind::InvalidInput => e,
            _ => self.planted(name).or_else(|| no_file(self.mode(name).ok()?)).unwrap_or(e),
        };
        opened.map_err(|e| Error::io(action, &self.file(name))(named(e)))
    }

    /// All of a file of at most `most_bytes`; `None` if there is none.
    pub fn read_bytes(&self, name: impl AsRef<OsStr>, most_bytes: u64) -> Result<Option<Vec<u8>>, Error> {
        let name = name.as_ref();
        let Some(file) = self.read(name)? else { return Ok(None) };
        protocol::read_all(file, most_bytes).map(Some).map_err(Error::io("read", &self.file(name)))
    }

    /// The first bytes of a file, at most so many; none if it cannot be read.
    pub fn begin_of(&self, name: impl AsRef<OsStr>, bytes: u64) -> Vec<u8> {
        let mut begin = Vec::new();
        if let Ok(Some(file)) = self.read(name) {
            // What was read before an error is what can be judged.
            let _ = file.take(bytes).read_to_end(&mut begin);
        }
        begin
    }

    /// Replaces a file by `bytes`: readers see the old file or the new one, whole.
    pub fn write(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> Result<(), Error> {
        Temp::in_folder(self, name).write(bytes)
    }

    /// Replaces a file by `value` as indented JSON.
    pub fn write_json<T: Serialize>(&self, name: impl AsRef<OsStr>, value: &T) -> Result<(), Error> {
        let text = atomic::json(value, &self.file(name.as_ref()))?;
        self.write(name, &text)
    }

    /// Gives what is called `from` the name `to`, which it takes away from whoever has it, unless that is a link.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> Result<(), Error> {
        let (from, to) = (single(from.as_ref(), &self.path)?, single(to.as_ref(), &self.path)?);
        self.refuse_link("write", to)?;
        self.replace(from, to)
    }

    /// The same, also where a person keeps a link: the link is replaced.
    pub(crate) fn replace(&self, from: &OsStr, to: &OsStr) -> Result<(), Error> {
        sys::renameat(&*self.open, from, &*self.open, to)
            .map_err(|e| Error::io("rename into place", &self.file(to))(e.into()))
    }

    /// The same, unless somebody has the name: then the error is `AlreadyExists`.
    pub(crate) fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(sys::renameat_with(&*self.open, from, &*self.open, to, sys::RenameFlags::NOREPLACE)?)
    }

    /// Gives a file of `source` a second name in this folder, which nobody has yet.
    pub fn link(&self, source: &Folder, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> Result<(), Error> {
        let (from, to) = (single(from.as_ref(), &source.path)?, single(to.as_ref(), &self.path)?);
        sys::linkat(&*source.open, from, &*self.open, to, AtFlags::empty())
            .map_err(|e| Error::io("link", &self.file(to))(e.into()))
    }

    /// Removes a file; that it is not there is fine. A link is none of ours, and stays.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> Result<(), Error> {
        let name = single(name.as_ref(), &self.path)?;
        self.refuse_link("remove", name)?;
        self.unlink(name, AtFlags::empty())
    }

    /// Removes a folder if nothing is in it. False if something is.
    pub fn remove_empty(&self, name: impl AsRef<OsStr>) -> Result<bool, Error> {
        match self.unlink(name.as_ref(), AtFlags::REMOVEDIR) {
            // Some systems say the second for the first.
            Err(e) if matches!(e.source.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => Ok(false),
            removed => removed.map(|()| true),
        }
    }

    /// Removes a file, or a folder with all that is in it: only for what this program has just made.
    pub(crate) fn remove_all(&self, name: &OsStr) -> Result<(), Error> {
        if self.kind(name)? != Some(Kind::Folder) {
            return self.unlink(name, AtFlags::empty());
        }
        let folder = self.folder(name)?;
        folder.names()?.iter().try_for_each(|inner| folder.remove_all(inner))?;
        self.unlink(name, AtFlags::REMOVEDIR)
    }

    fn unlink(&self, name: &OsStr, flags: AtFlags) -> Result<(), Error> {
        let name = single(name, &self.path)?;
        match sys::unlinkat(&*self.open, name, flags) {
            Err(e) if e != rustix::io::Errno::NOENT => Err(Error::io("remove", &self.file(name))(e.into())),
            _ => Ok(()),
        }
    }

    /// Makes sure that names in it survive a power cut, as far as its file system can.
    pub fn sync(&self) -> Result<(), Error> {
        atomic::synced(self.open.sync_all(), &self.path)
    }
}

/// A name that leads nowhere else.
fn single<'a>(name: &'a OsStr, folder: &Path) -> Result<&'a OsStr, Error> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        let wrong = io::Error::new(ErrorKind::InvalidInput, format!("{name:?} is not a name in it"));
        return Err(Error::io("use", folder)(wrong));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    fn words(error: Error) -> String {
        format!("{error}: {}", error.source)
    }

    #[test]
    fn what_a_person_names_may_be_a_link_and_what_lies_below_may_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("real/photos")).unwrap();
        fs::write(path("real/photos/a"), "a person's").unwrap();
        symlink("real", path("index")).unwrap();
        let index = Folder::open(&path("index")).unwrap();
        symlink(path("real/photos"), path("real/runs")).unwrap();
        symlink(path("real/photos/a"), path("real/lock")).unwrap();
        for refused in [
            index.folder("runs").map(drop),
            index.make_folder("runs").map(drop),
            index.read("lock").map(drop),
            index.read_write("lock").map(drop),
            index.append("lock").map(drop),
        ] {
            let words = words(refused.unwrap_err());
            assert!(words.contains("it is a link to") && words.contains("photos"), "{words}");
        }
        assert!(index.create_new("lock").is_err());
        assert!(words(index.write("lock", b"ours").unwrap_err()).contains("it is a link to"));
        assert!(words(index.remove_file("runs").unwrap_err()).contains("it is a link to"));
        assert_eq!(fs::read(path("real/photos/a")).unwrap(), b"a person's");
        assert_eq!(index.kind("lock").unwrap(), Some(Kind::Link));
        let mut names = index.names().unwrap();
        names.sort();
        assert_eq!(names, ["lock", "photos", "runs"], "nothing unfinished is left");
    }

    #[test]
    fn what_is_no_file_is_named_and_a_second_name_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        assert!(Command::new("mkfifo").arg(dir.path().join("pipe")).status().unwrap().success());
        fs::create_dir(dir.path().join("folder")).unwrap();
        for name in ["pipe", "folder"] {
            for refused in
                [folder.read(name).map(drop), folder.read_write(name).map(drop), folder.append(name).map(drop)]
            {
                assert!(words(refused.unwrap_err()).contains(&format!("it is a {name}, not a file")));
            }
        }
        fs::write(dir.path().join("document"), "a person's").unwrap();
        fs::hard_link(dir.path().join("document"), dir.path().join("lock")).unwrap();
        assert!(words(folder.read_write("lock").unwrap_err()).contains("a hard link"));
        for name in ["", ".", "..", "a/b", "/etc"] {
            assert!(folder.create_new(name).is_err() && folder.remove_file(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_tree_is_removed_without_what_its_links_lead_to() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let tree = folder.make_folder("tree").unwrap().make_folder("below").unwrap();
        tree.write("file", b"x").unwrap();
        fs::create_dir(dir.path().join("photos")).unwrap();
        fs::write(dir.path().join("photos/a"), "a person's").unwrap();
        symlink(dir.path().join("photos"), tree.file("link")).unwrap();
        assert!(!folder.remove_empty("tree").unwrap());
        folder.remove_all(OsStr::new("tree")).unwrap();
        let mut names = folder.names().unwrap();
        names.sort();
        assert_eq!(names, ["photos"]);
        assert_eq!(fs::read(dir.path().join("photos/a")).unwrap(), b"a person's");
    }
}
