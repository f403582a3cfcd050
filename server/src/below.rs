//! Opens files of a collection, and none outside it: links may lead from one of its folders to another, but not out of it,
//! also when somebody puts one in a folder's place while a file is being opened.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, statat};

/// A folder is only passed through, so it need not be readable.
#[cfg(target_os = "linux")]
const THROUGH: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const THROUGH: OFlags = OFlags::RDONLY;

/// Bits of group and others, to read a file and to pass through a folder.
const READ: u32 = 0o044;
const PASS: u32 = 0o011;

/// A file of a collection, open.
#[derive(Debug)]
pub struct Found {
    pub file: File,
    pub metadata: Metadata,
    /// Whether everybody who reaches the root may read it.
    pub is_public: bool,
}

/// Opens a file below `root`. What is no file is not opened: a pipe would wait, a device might act.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if it leads out of the root, [`io::ErrorKind::IsADirectory`] if it is no file.
pub fn open(root: &Path, path: &Path) -> io::Result<Found> {
    let (root, real) = (root.canonicalize()?, path.canonicalize()?);
    let outside = || io::Error::from(io::ErrorKind::InvalidInput);
    let below = real.strip_prefix(&root).map_err(|_| outside())?;
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut folder = File::from(rustix::fs::open(&root, THROUGH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?);
    // All links are resolved: one that is met now was put there since.
    let step = |e: rustix::io::Errno| if e == rustix::io::Errno::LOOP { outside() } else { e.into() };
    let mut is_public = true;
    let mut names = below.components().peekable();
    while let Some(Component::Normal(name)) = names.next() {
        if names.peek().is_some() {
            folder =
                File::from(openat(&folder, name, THROUGH | OFlags::DIRECTORY | flags, Mode::empty()).map_err(step)?);
            is_public &= folder.metadata()?.mode() & PASS == PASS;
            continue;
        }
        let kind = FileType::from_raw_mode(statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
        if kind != FileType::RegularFile {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let file = openat(&folder, name, OFlags::RDONLY | OFlags::NONBLOCK | flags, Mode::empty()).map_err(step)?;
        let file = File::from(file);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        is_public &= metadata.mode() & READ == READ;
        return Ok(Found { file, metadata, is_public });
    }
    Err(io::ErrorKind::IsADirectory.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn links_lead_about_in_the_collection_and_not_out_of_it() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("photos");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/c.jpg"), "picture").unwrap();
        fs::write(place.path().join("secret.jpg"), "secret").unwrap();
        symlink(root.join("a"), root.join("inside")).unwrap();
        symlink("..", root.join("outside")).unwrap();
        symlink(place.path().join("secret.jpg"), root.join("link.jpg")).unwrap();
        let kind = |name: &str| open(&root, &root.join(name)).map(|found| found.metadata.len()).map_err(|e| e.kind());
        assert_eq!(kind("a/b/c.jpg"), Ok(7));
        assert_eq!(kind("inside/b/c.jpg"), Ok(7));
        for name in ["outside/secret.jpg", "link.jpg", "../secret.jpg"] {
            assert_eq!(kind(name), Err(io::ErrorKind::InvalidInput), "{name}");
        }
        for name in ["a", "", "inside"] {
            assert_eq!(kind(name), Err(io::ErrorKind::IsADirectory), "{name}");
        }
        assert_eq!(kind("gone.jpg"), Err(io::ErrorKind::NotFound));
    }

    #[test]
    fn a_picture_is_public_if_it_and_all_folders_are() {
        let place = tempfile::tempdir().unwrap();
        let (root, folder) = (place.path(), place.path().join("a"));
        let file = folder.join("b.jpg");
        fs::create_dir(&folder).unwrap();
        fs::write(&file, "picture").unwrap();
        for (of_folder, of_file, is_public) in [
            (0o755, 0o644, true),
            (0o711, 0o444, true),
            (0o700, 0o644, false),
            (0o755, 0o640, false),
            (0o750, 0o604, false),
        ] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(of_folder)).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(of_file)).unwrap();
            assert_eq!(open(root, &file).unwrap().is_public, is_public, "{of_folder:o} {of_file:o}");
        }
    }
}
