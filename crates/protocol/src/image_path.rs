//! A picture's identity: its path relative to the collection's root. Absolute paths exist only at the edges, made
//! by a [`Root`]; nothing else joins or strips them.

use std::cmp::Ordering;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::path::{absolute, root_text};

/// Extensions of pictures that are indexed, in lower case; names match in any case.
pub const PICTURE_EXTENSIONS: [&str; 19] = [
    "jpeg", "jpg", "png", "bmp", "gif", "webp", "tif", "tiff", // everywhere
    "heic", "heif", "hif", "avif", "jxl", // newer
    "cr2", "cr3", "nef", "arw", "dng", "raf", // RAW
];

/// Those of them whose pictures have yet to be developed; one is shown by the preview in it.
const RAW_EXTENSIONS: [&str; 6] = ["cr2", "cr3", "nef", "arw", "dng", "raf"];

/// Whether a file of this name is a picture by its extension. `IMG_1.CR2` and `IMG_1.JPG` beside it are two.
pub fn is_picture(name: &Path) -> bool {
    has_extension(name, &PICTURE_EXTENSIONS)
}

/// Whether a file of this name is a camera's RAW file by its extension.
pub fn is_raw(name: &Path) -> bool {
    has_extension(name, &RAW_EXTENSIONS)
}

fn has_extension(name: &Path, extensions: &[&str]) -> bool {
    let name = name.as_os_str().as_encoded_bytes();
    let Some(dot) = name.iter().rposition(|&b| b == b'.') else { return false };
    // What begins with its only dot is hidden, and has no extension.
    let named = name[..dot].last().is_some_and(|&before| before != b'/');
    named && extensions.iter().any(|e| name[dot + 1..].eq_ignore_ascii_case(e.as_bytes()))
}

/// A picture's path relative to the collection's root: UTF-8, `/` between components, no empty, `.` or `..` component.
///
/// The order is that of a depth-first walk with sorted names: components are compared one by one, so a folder's
/// pictures stand together (`a/b` before `a.jpg`), and a walk yields sorted paths without keeping them.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImagePath(String);

/// Why a text cannot be a picture's path.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path:?} cannot be a picture's path in the collection: it must be relative, without empty, '.' or '..' components"
)]
pub struct BadImagePath {
    path: String,
}

impl ImagePath {
    /// Takes a relative path, or says why it cannot be one.
    pub fn new(path: impl Into<String>) -> Result<Self, BadImagePath> {
        let path = path.into();
        let mut components = path.as_bytes().split(|&b| b == b'/');
        let sound = components.all(|c| !matches!(c, b"" | b"." | b"..")) && !path.as_bytes().contains(&0);
        if sound { Ok(Self(path)) } else { Err(BadImagePath { path }) }
    }

    /// The path as text, relative to the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for ImagePath {
    fn cmp(&self, other: &Self) -> Ordering {
        // Most paths that are compared are equal: what stands with what was found.
        if self.0 == other.0 { Ordering::Equal } else { path_order(&self.0, &other.0) }
    }
}

/// The order of [`ImagePath`]s, of their texts: a folder's name with a slash behind it is just before what is in it.
pub fn path_order(a: &str, b: &str) -> Ordering {
    let key = |b: u8| if b == b'/' { 0 } else { b };
    a.bytes().map(key).cmp(b.bytes().map(key))
}

impl PartialOrd for ImagePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ImagePath {
    type Error = BadImagePath;
    fn try_from(path: String) -> Result<Self, BadImagePath> {
        Self::new(path)
    }
}

impl From<ImagePath> for String {
    fn from(path: ImagePath) -> Self {
        path.0
    }
}

/// The collection's root: where it is on this host (`here`), and the one name it has in the index (`canonical`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    here: PathBuf,
    canonical: String,
}

impl Root {
    /// A root seen at `here` on this host and named `canonical` (an absolute path) in the index.
    pub fn new(here: impl Into<PathBuf>, canonical: impl Into<String>) -> Self {
        Self { here: here.into(), canonical: root_text(&canonical.into()) }
    }

    /// Reads `HERE[:CANONICAL]`. A colon in a path is no separator unless a slash follows it.
    ///
    /// # Errors
    /// If there is no text, or a relative path leads to a name that is not UTF-8.
    pub fn parse(given: &str) -> io::Result<Self> {
        let at = given.rfind(":/");
        let here = absolute(at.map_or(given, |at| &given[..at]))?;
        let canonical = match at {
            Some(at) => given[at + 1..].to_owned(),
            None => here.to_str().ok_or_else(|| io::Error::other("its name is not UTF-8"))?.to_owned(),
        };
        Ok(Self::new(here, canonical))
    }

    /// Where the collection is on this host.
    pub fn here(&self) -> &Path {
        &self.here
    }

    /// The root's name in the index, without a slash at its end (so `/` is the empty text).
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The path under which a picture can be opened on this host.
    pub fn open_path(&self, path: &ImagePath) -> PathBuf {
        self.here.join(path.as_str())
    }

    /// The picture's path as it stands in the index.
    pub fn canonical_path(&self, path: &ImagePath) -> String {
        format!("{}/{}", self.canonical, path)
    }

    /// The picture that `path` names, given as it stands in the index or as this host sees it; `None` if it is not
    /// under this root.
    pub fn relative(&self, path: &str) -> Option<ImagePath> {
        let here = self.here.to_str().map(|h| h.trim_end_matches('/'));
        [Some(self.canonical.as_str()), here]
            .into_iter()
            .flatten()
            .find_map(|root| path.strip_prefix(root)?.strip_prefix('/'))
            .and_then(|rest| ImagePath::new(rest).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_a_sorted_walk() {
        let mut paths: Vec<_> =
            ["a.jpg", "a/z.jpg", "a b/c.jpg", "a/b/c.jpg"].map(|p| ImagePath::new(p).unwrap()).into();
        paths.sort();
        let texts: Vec<_> = paths.iter().map(ImagePath::as_str).collect();
        assert_eq!(texts, ["a/b/c.jpg", "a/z.jpg", "a b/c.jpg", "a.jpg"]);
    }

    #[test]
    fn a_picture_is_known_by_its_extension_in_any_case() {
        for name in ["a.jpg", "IMG_1.CR2", "IMG_1.JPG", "b.HeiC", "c.d.avif"] {
            assert!(is_picture(Path::new(name)), "{name}");
        }
        for name in ["notes.txt", "jpg", ".jpg", "a.jpg.xmp", "a.mov", "IMG_1.THM"] {
            assert!(!is_picture(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn a_path_that_leaves_the_collection_is_refused() {
        for bad in ["", "/a", "a//b", "../a", "a/..", "./a", "a/", "a\0b"] {
            assert!(ImagePath::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", " a b/-c", "...", "$(x)\n.jpg"] {
            assert!(ImagePath::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_root_is_read_with_and_without_its_name_in_the_index() {
        let roots = ["/mnt/a:b", "/mnt/nas:/Volumes/nas/"].map(|given| Root::parse(given).unwrap());
        assert_eq!(roots, [Root::new("/mnt/a:b", "/mnt/a:b"), Root::new("/mnt/nas", "/Volumes/nas")]);
        assert!(Root::parse("here").unwrap().canonical().ends_with("/here"));
        assert!(Root::parse("").is_err());
    }

    #[test]
    fn a_root_translates_both_of_its_names() {
        let root = Root::new("/mnt/nas", "/Volumes/nas/");
        let picture = ImagePath::new("a/b.jpg").unwrap();
        assert_eq!(root.canonical_path(&picture), "/Volumes/nas/a/b.jpg");
        assert_eq!(root.relative("/Volumes/nas/a/b.jpg"), Some(picture.clone()));
        assert_eq!(root.relative("/mnt/nas/a/b.jpg"), Some(picture));
        assert_eq!(root.relative("/mnt/nas2/a/b.jpg"), None);
    }
}
