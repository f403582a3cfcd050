//! Copies found pictures into a folder, for looking at. Never overwrites, never reads outside the collection, and one
//! picture that cannot be copied does not keep the others.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use protocol::Root;
use protocol::search::{Copied, CopyRequest};

use crate::refusal::Refusal;

/// More copies than this of one name and second are a mistake.
const MOST_OF_A_NAME: usize = 1_000;

/// Copies each path of the request that is under `canonical_root`, in its order.
pub fn copy_matches(request: &CopyRequest, canonical_root: &str) -> Result<Vec<Copied>, Refusal> {
    let folder = Path::new(&request.folder);
    if !folder.is_absolute() {
        return Err(Refusal::bad(format!("the folder {:?} is not an absolute path", request.folder)));
    }
    if !is_stamp(&request.stamp) {
        return Err(Refusal::bad(format!("the stamp {:?} is not of the form YYYYMMDD_HHMMSS", request.stamp)));
    }
    let root = Root::new(request.root_here.as_deref().unwrap_or(canonical_root), canonical_root);
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))
        .map_err(|e| Refusal::failed(e.as_ref()))?;
    let copies = request.paths.iter().zip(1..).map(|(path, rank)| {
        let name = format!("match_{}_rank{rank:03}", request.stamp);
        match copy(&root, path, folder, &name) {
            Ok(to) => Copied::To(to.to_string_lossy().into_owned()),
            Err(error) => Copied::Failed(format!("{error:#}")),
        }
    });
    Ok(copies.collect())
}

fn copy(root: &Root, path: &str, folder: &Path, name: &str) -> Result<PathBuf> {
    let relative = root.relative(path).with_context(|| format!("it is not in the collection {}", root.canonical()))?;
    let source = root.open_path(&relative);
    let found = source.metadata().with_context(|| format!("cannot open {}", source.display()))?;
    // Opening a pipe would wait forever.
    ensure!(found.is_file(), "{} is not a file", source.display());
    let mut from = File::open(&source).with_context(|| format!("cannot open {}", source.display()))?;
    let (mut to, target) = create_new(folder, name, source.extension().and_then(|e| e.to_str()))?;
    let copied = io::copy(&mut from, &mut to)
        .with_context(|| format!("cannot copy {} to {}", source.display(), target.display()));
    if copied.is_err() {
        // Half a picture is no copy.
        let _ = fs::remove_file(&target);
    } else if let Ok(time) = found.modified() {
        // Its date helps who looks through the copies; a copy without it is still one.
        let _ = to.set_modified(time);
    }
    copied.map(|_| target)
}

/// A new file `NAME.EXT` in `folder`, or `NAME_2.EXT`, `NAME_3.EXT`... if there is one already.
fn create_new(folder: &Path, name: &str, extension: Option<&str>) -> Result<(File, PathBuf)> {
    let end = extension.map(|e| format!(".{e}")).unwrap_or_default();
    for number in 1..=MOST_OF_A_NAME {
        let target = match number {
            1 => folder.join(format!("{name}{end}")),
            _ => folder.join(format!("{name}_{number}{end}")),
        };
        match OpenOptions::new().write(true).create_new(true).open(&target) {
            Ok(file) => return Ok((file, target)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e).with_context(|| format!("cannot make {}", target.display())),
        }
    }
    anyhow::bail!("{} holds {MOST_OF_A_NAME} copies named {name} already", folder.display())
}

fn is_stamp(stamp: &str) -> bool {
    stamp.len() == 15 && stamp.bytes().enumerate().all(|(i, b)| if i == 8 { b == b'_' } else { b.is_ascii_digit() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(folder: &Path, root_here: &Path, paths: &[&str]) -> CopyRequest {
        CopyRequest {
            paths: paths.iter().map(|p| (*p).to_owned()).collect(),
            folder: folder.to_str().unwrap().to_owned(),
            stamp: "20250102_030405".to_owned(),
            root_here: Some(root_here.to_str().unwrap().to_owned()),
        }
    }

    #[test]
    fn copies_are_named_by_time_and_rank_and_overwrite_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (photos, results) = (dir.path().join("photos"), dir.path().join("results"));
        fs::create_dir(&photos).unwrap();
        fs::write(photos.join("a.JPG"), "first").unwrap();
        fs::write(photos.join("b.png"), "second").unwrap();
        let ask = request(&results, &photos, &["/nas/a.JPG", "/nas/b.png", "/nas/a.JPG"]);
        let names = [
            "match_20250102_030405_rank001.JPG",
            "match_20250102_030405_rank002.png",
            "match_20250102_030405_rank003.JPG",
        ];
        let copies = copy_matches(&ask, "/nas").unwrap();
        let expected: Vec<_> = names.iter().map(|n| Copied::To(results.join(n).to_str().unwrap().to_owned())).collect();
        assert_eq!(copies, expected);

        fs::write(results.join(names[0]), "kept").unwrap();
        let again = copy_matches(&ask, "/nas").unwrap();
        assert_eq!(
            again[0],
            Copied::To(results.join("match_20250102_030405_rank001_2.JPG").to_str().unwrap().to_owned())
        );
        assert_eq!(fs::read(results.join(names[0])).unwrap(), b"kept");
        assert_eq!(fs::read(results.join("match_20250102_030405_rank001_2.JPG")).unwrap(), b"first");
    }

    #[test]
    fn nothing_outside_the_collection_is_copied_and_the_rest_is() {
        let dir = tempfile::tempdir().unwrap();
        let (photos, results) = (dir.path().join("photos"), dir.path().join("results"));
        fs::create_dir_all(photos.join("folder.jpg")).unwrap();
        fs::write(dir.path().join("secret.jpg"), "secret").unwrap();
        fs::write(photos.join("a.jpg"), "a").unwrap();
        let bad = [
            "/nas/../secret.jpg",
            "/nas/x/../../secret.jpg",
            "/etc/passwd",
            "/nasty/a.jpg",
            "",
            "/nas/gone.jpg",
            "/nas/folder.jpg",
            "a.jpg",
        ];
        let paths: Vec<_> = bad.iter().copied().chain(["/nas/a.jpg"]).collect();
        let copies = copy_matches(&request(&results, &photos, &paths), "/nas").unwrap();
        for (path, copied) in bad.iter().zip(&copies) {
            assert!(matches!(copied, Copied::Failed(reason) if !reason.is_empty()), "{path}: {copied:?}");
        }
        assert!(matches!(&copies[bad.len()], Copied::To(to) if to.ends_with("rank009.jpg")));
        assert_eq!(fs::read_dir(&results).unwrap().count(), 1);
    }

    #[test]
    fn a_stamp_or_a_folder_that_could_lead_elsewhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut ask = request(dir.path(), dir.path(), &[]);
        assert!(copy_matches(&ask, "/nas").is_ok());
        for stamp in ["", "../../../../x123", "20250102-030405", "20250102_03040/", "20250102_0304056"] {
            ask.stamp = stamp.to_owned();
            assert!(copy_matches(&ask, "/nas").is_err(), "{stamp}");
        }
        ask.stamp = "20250102_030405".to_owned();
        ask.folder = "results".to_owned();
        assert!(copy_matches(&ask, "/nas").is_err());
    }
}
