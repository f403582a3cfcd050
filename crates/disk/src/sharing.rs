//! Who may read what we make: whoever may read the folder that it is in. What a person forbids with their umask on their own
//! machine must not shut out the other machines of a fleet, which may log in as other users.
//!
//! Permissions are only ever added, and only those of the folder. A share that refuses has its own rules.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Of a folder in which nobody may replace the files of others.
const STICKY: u32 = 0o1000;

/// Makes a new file in `folder` readable for all who may read that.
pub(crate) fn readable(file: &File, folder: &File) {
    add(file, folder, 0o044);
}

/// Makes a new file in `folder`, which is written again where it is, writable for all who may write that.
pub(crate) fn writable(file: &File, folder: &File) {
    add(file, folder, 0o066);
}

/// Lets write in a new folder who may write in the one that it is in.
pub(crate) fn folder(new: &File, within: &File) {
    add(new, within, 0o077);
}

/// Makes a folder and those above it that are not there. In each of them may write who may in the folder that it is in.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    let above = crate::atomic::folder_of(path);
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && above != path => create_dir(above)?,
        Err(_) if path.is_dir() => return Ok(()),
        made => {
            made?;
            if let (Ok(new), Ok(within)) = (File::open(path), File::open(above)) {
                folder(&new, &within);
            }
            return Ok(());
        }
    }
    create_dir(path)
}

fn add(file: &File, folder: &File, most: u32) {
    if let Ok(folder) = folder.metadata() {
        // Those of a folder in which everybody has files of their own say nothing of these.
        let most = if folder.mode() & STICKY == 0 { most } else { 0 };
        grant(file, folder.mode() & most);
    }
}

fn grant(file: &File, permissions: u32) {
    if let Ok(found) = file.metadata().map(|m| m.mode() & 0o7777)
        && found | permissions != found
    {
        let _ = file.set_permissions(Permissions::from_mode(found | permissions));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn what_is_made_is_as_open_as_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        for (of_folder, of_file, of_lock, below) in [
            (0o2775, 0o644, 0o664, 0o2775),
            (0o755, 0o644, 0o644, 0o755),
            (0o700, 0o600, 0o600, 0o700),
            (0o777, 0o644, 0o666, 0o777),
            (0o1777, 0o600, 0o600, 0o700),
        ] {
            let folder = dir.path().join(format!("{of_folder:o}"));
            fs::create_dir(&folder).unwrap();
            fs::set_permissions(&folder, Permissions::from_mode(of_folder)).unwrap();
            let new = |name: &str| {
                let file = File::create(folder.join(name)).unwrap();
                // As with a umask of 077.
                file.set_permissions(Permissions::from_mode(0o600)).unwrap();
                file
            };
            let open = File::open(&folder).unwrap();
            readable(&new("file"), &open);
            writable(&new("lock"), &open);
            assert_eq!((mode(&folder.join("file")), mode(&folder.join("lock"))), (of_file, of_lock), "{of_folder:o}");
            create_dir(&folder.join("runs/r")).unwrap();
            create_dir(&folder.join("runs/r")).unwrap();
            assert_eq!(mode(&folder.join("runs/r")) & below, below, "{of_folder:o}");
        }
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(create_dir(&dir.path().join("file")).is_err() && create_dir(&dir.path().join("file/x")).is_err());
    }
}
