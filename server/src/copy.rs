//! Copies found pictures into a folder, for looking at. Only what stands in the index and is a picture is copied, into a
//! folder that no stranger can write; nobody can read a copy who could not read the original. Nothing is overwritten, and
//! one picture that cannot be copied does not keep the others.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use disk::trust::{make_folder, open_folder};
use protocol::search::{Copied, CopyRequest};
use protocol::{Root, TELLING_BYTES, begins_as_picture};
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};

use crate::below::{self, Found};
use crate::refusal::Refusal;

/// More copies than this of one name and second are a mistake.
const MOST_OF_A_NAME: usize = 1_000;

/// Whether the index holds a canonical path.
type Holds<'a> = &'a dyn Fn(&str) -> Result<bool, Refusal>;

/// Where the copies go. It stays the same folder whatever is put at its name.
struct Folder {
    path: PathBuf,
    open: File,
}

/// Copies each path of the request that the index holds below `canonical_root`, in its order.
pub fn copy_matches(request: &CopyRequest, canonical_root: &str, holds: Holds<'_>) -> Result<Vec<Copied>, Refusal> {
    if !Path::new(&request.folder).is_absolute() {
        return Err(Refusal::bad(format!("the folder {:?} is not an absolute path", request.folder)));
    }
    if !is_stamp(&request.stamp) {
        return Err(Refusal::bad(format!("the stamp {:?} is not of the form YYYYMMDD_HHMMSS", request.stamp)));
    }
    let root = Root::new(request.root_here.as_deref().unwrap_or(canonical_root), canonical_root);
    let folder = Folder::open(&request.folder, request.vouched.folder).map_err(|e| Refusal::failed(e.as_ref()))?;
    let copies = request.paths.iter().zip(1..).map(|(path, rank)| {
        let name = format!("match_{}_rank{rank:03}", request.stamp);
        match copy(&root, path, holds, &folder, &name) {
            Ok(to) => Copied::To(to.to_string_lossy().into_owned()),
            Err(error) => Copied::Failed(format!("{error:#}")),
        }
    });
    Ok(copies.collect())
}

fn copy(root: &Root, path: &str, holds: Holds<'_>, folder: &Folder, name: &str) -> Result<PathBuf> {
    let relative = root.relative(path).with_context(|| format!("it is not in the collection {}", root.canonical()))?;
    let is_held = holds(&root.canonical_path(&relative)).map_err(|refusal| anyhow::anyhow!("{}", refusal.error()))?;
    ensure!(is_held, "it is no picture of this index");
    let source = root.open_path(&relative);
    let mut from = below::open(root.here(), &source).map_err(|e| match e.kind() {
        ErrorKind::InvalidInput => anyhow::anyhow!("{} leads out of the collection", source.display()),
        ErrorKind::IsADirectory => anyhow::anyhow!("{} is not a file", source.display()),
        _ => anyhow::Error::from(e).context(format!("cannot open {}", source.display())),
    })?;
    let mut head = Vec::new();
    let unreadable = || format!("cannot read {}", source.display());
    (&mut from.file).take(TELLING_BYTES as u64).read_to_end(&mut head).with_context(unreadable)?;
    ensure!(begins_as_picture(&head), "{} is no picture, whatever it is called", source.display());
    let (mut to, name) = folder.create_new(name, extension(&source), &from)?;
    let target = folder.path.join(&name);
    let copied = to
        .write_all(&head)
        .and_then(|()| io::copy(&mut from.file, &mut to))
        .with_context(|| format!("cannot copy {} to {}", source.display(), target.display()));
    if copied.is_err() {
        // Half a picture is no copy.
        let _ = unlinkat(&folder.open, &name, AtFlags::empty());
    } else if let Ok(time) = from.metadata.modified() {
        // Its date helps who looks through the copies; a copy without it is still one.
        let _ = to.set_modified(time);
    }
    copied.map(|_| target)
}

impl Folder {
    /// Makes the folder, or finds it, if no stranger can write into it.
    fn open(path: &str, vouched: bool) -> Result<Self> {
        // Without slashes at the end, behind which a link would be followed.
        let path: PathBuf = Path::new(path).components().collect();
        make_folder(&path)?;
        Ok(Self { open: open_folder(&path, vouched)?, path })
    }

    /// A new file `NAME.EXT` for a copy, or `NAME_2.EXT`, `NAME_3.EXT`... if there is one already; and its name.
    fn create_new(&self, name: &str, extension: Option<&str>, original: &Found) -> Result<(File, String)> {
        let end = extension.map(|e| format!(".{e}")).unwrap_or_default();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for number in 1..=MOST_OF_A_NAME {
            let name = match number {
                1 => format!("{name}{end}"),
                _ => format!("{name}_{number}{end}"),
            };
            match openat(&self.open, &name, flags, Mode::from_raw_mode(mode(original) as _)) {
                Ok(file) => {
                    let file = File::from(file);
                    give_as_original(&file, original);
                    return Ok((file, name));
                }
                Err(rustix::io::Errno::EXIST) => {}
                Err(e) => {
                    let cannot = || format!("cannot make {}", self.path.join(&name).display());
                    return Err(io::Error::from(e)).with_context(cannot);
                }
            }
        }
        anyhow::bail!("{} holds {MOST_OF_A_NAME} copies named {name} already", self.path.display())
    }
}

/// A copy's permissions: its owner's, and for others to read it if everybody may read the original. It may get another
/// group than the original, so both count for both.
fn mode(original: &Found) -> u32 {
    let owner = 0o400 | original.metadata.mode() & 0o200;
    if original.is_public { owner | 0o044 } else { owner }
}

/// Root reads what others may not, and gives the copy to whom the original belongs, so that the same people can read both.
/// Where a share does not let it, the copy stays root's.
fn give_as_original(copy: &File, original: &Found) {
    let found = &original.metadata;
    if !rustix::process::geteuid().is_root() || found.uid() == 0 {
        return;
    }
    if fchown(copy, Some(found.uid()), Some(found.gid())).is_ok() {
        let most = if original.is_public { 0o644 } else { 0o600 };
        let _ = copy.set_permissions(Permissions::from_mode(found.mode() & most));
    }
}

/// What comes behind the last dot of a name, if programs may go by it.
fn extension(source: &Path) -> Option<&str> {
    let extension = source.extension()?.to_str()?;
    (extension.len() <= 8 && extension.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(extension)
}

fn is_stamp(stamp: &str) -> bool {
    stamp.len() == 15 && stamp.bytes().enumerate().all(|(i, b)| if i == 8 { b == b'_' } else { b.is_ascii_digit() })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const FIRST: &[u8] = b"\xff\xd8\xff the first";

    fn request(folder: &Path, root_here: &Path, paths: &[&str]) -> CopyRequest {
        CopyRequest {
            paths: paths.iter().map(|p| (*p).to_owned()).collect(),
            folder: folder.to_str().unwrap().to_owned(),
            stamp: "20250102_030405".to_owned(),
            root_here: Some(root_here.to_str().unwrap().to_owned()),
            vouched: Default::default(),
        }
    }

    fn copy_all(request: &CopyRequest) -> Vec<Copied> {
        copy_matches(request, "/nas", &|path| Ok(!path.contains("not indexed"))).unwrap()
    }

    #[test]
    fn copies_are_named_by_time_and_rank_and_overwrite_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (photos, results) = (dir.path().join("photos"), dir.path().join("results"));
        fs::create_dir(&photos).unwrap();
        fs::write(photos.join("a.JPG"), FIRST).unwrap();
        fs::write(photos.join("b.png"), b"\x89PNG\r\n\x1a\n the second").unwrap();
        let ask = request(&results, &photos, &["/nas/a.JPG", "/nas/b.png", "/nas/a.JPG"]);
        let names = [
            "match_20250102_030405_rank001.JPG",
            "match_20250102_030405_rank002.png",
            "match_20250102_030405_rank003.JPG",
        ];
        let expected: Vec<_> = names.iter().map(|n| Copied::To(results.join(n).to_str().unwrap().to_owned())).collect();
        assert_eq!(copy_all(&ask), expected);

        fs::write(results.join(names[0]), "kept").unwrap();
        let again = copy_all(&ask);
        assert_eq!(
            again[0],
            Copied::To(results.join("match_20250102_030405_rank001_2.JPG").to_str().unwrap().to_owned())
        );
        assert_eq!(fs::read(results.join(names[0])).unwrap(), b"kept");
        assert_eq!(fs::read(results.join("match_20250102_030405_rank001_2.JPG")).unwrap(), FIRST);
    }

    #[test]
    fn nothing_but_pictures_of_the_collection_is_copied_and_those_are() {
        let dir = tempfile::tempdir().unwrap();
        let (photos, results) = (dir.path().join("photos"), dir.path().join("results"));
        fs::create_dir_all(photos.join("folder.jpg")).unwrap();
        fs::write(dir.path().join("secret.jpg"), FIRST).unwrap();
        symlink(dir.path().join("secret.jpg"), photos.join("link.jpg")).unwrap();
        symlink(dir.path(), photos.join("out")).unwrap();
        for name in ["a.jpg", "not indexed.jpg"] {
            fs::write(photos.join(name), FIRST).unwrap();
        }
        fs::write(photos.join("key.jpg"), "-----BEGIN OPENSSH PRIVATE KEY-----").unwrap();
        let bad = [
            "/nas/../secret.jpg",
            "/nas/x/../../secret.jpg",
            "/etc/passwd",
            "/nasty/a.jpg",
            "",
            "/nas/gone.jpg",
            "/nas/folder.jpg",
            "a.jpg",
            "/nas/not indexed.jpg",
            "/nas/link.jpg",
            "/nas/out/secret.jpg",
            "/nas/key.jpg",
        ];
        let paths: Vec<_> = bad.iter().copied().chain(["/nas/a.jpg"]).collect();
        let copies = copy_all(&request(&results, &photos, &paths));
        for (path, copied) in bad.iter().zip(&copies) {
            assert!(matches!(copied, Copied::Failed(reason) if !reason.is_empty()), "{path}: {copied:?}");
        }
        assert!(matches!(&copies[bad.len()], Copied::To(to) if to.ends_with("rank013.jpg")));
        assert_eq!(fs::read_dir(&results).unwrap().count(), 1);
    }

    #[test]
    fn who_cannot_read_the_original_cannot_read_the_copy() {
        let dir = tempfile::tempdir().unwrap();
        let (photos, results) = (dir.path().join("photos"), dir.path().join("results"));
        fs::create_dir_all(photos.join("closed")).unwrap();
        for (name, mode) in
            [("a.jpg", 0o600), ("b.jpg", 0o640), ("c.jpg", 0o644), ("d.jpg", 0o444), ("closed/e.jpg", 0o644)]
        {
            fs::write(photos.join(name), FIRST).unwrap();
            fs::set_permissions(photos.join(name), Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(photos.join("closed"), Permissions::from_mode(0o700)).unwrap();
        let paths = ["/nas/a.jpg", "/nas/b.jpg", "/nas/c.jpg", "/nas/d.jpg", "/nas/closed/e.jpg"];
        let copies = copy_all(&request(&results, &photos, &paths));
        let modes: Vec<u32> = copies
            .iter()
            .map(|copied| match copied {
                Copied::To(to) => fs::metadata(to).unwrap().mode() & 0o777,
                Copied::Failed(why) => panic!("{why}"),
            })
            .collect();
        assert_eq!(modes, [0o600, 0o600, 0o644, 0o444, 0o600]);
    }

    #[test]
    fn a_folder_that_strangers_can_write_is_refused_and_stays_empty() {
        let dir = tempfile::tempdir().unwrap();
        let results = dir.path().join("results");
        fs::create_dir(&results).unwrap();
        fs::write(dir.path().join("a.jpg"), FIRST).unwrap();
        let refused = |folder: &Path| {
            let ask = request(folder, dir.path(), &["/nas/a.jpg"]);
            copy_matches(&ask, "/nas", &|_| Ok(true)).unwrap_err().error().to_owned()
        };
        fs::set_permissions(&results, Permissions::from_mode(0o777)).unwrap();
        assert!(refused(&results).contains("chmod go-w"), "{}", refused(&results));
        fs::set_permissions(&results, Permissions::from_mode(0o755)).unwrap();
        let link = dir.path().join("link");
        symlink(&results, &link).unwrap();
        for link in [link.clone(), link.join("")] {
            assert!(refused(&link).contains("is a link"), "{}", refused(&link));
        }
        assert_eq!(fs::read_dir(&results).unwrap().count(), 0);
    }

    #[test]
    fn a_stamp_or_a_folder_that_could_lead_elsewhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut ask = request(&dir.path().join("results"), dir.path(), &[]);
        let copy = |ask: &CopyRequest| copy_matches(ask, "/nas", &|_| Ok(true));
        assert!(copy(&ask).is_ok());
        for stamp in ["", "../../../../x123", "20250102-030405", "20250102_03040/", "20250102_0304056"] {
            ask.stamp = stamp.to_owned();
            assert!(copy(&ask).is_err(), "{stamp}");
        }
        ask.stamp = "20250102_030405".to_owned();
        ask.folder = "results".to_owned();
        assert!(copy(&ask).is_err());
    }
}
