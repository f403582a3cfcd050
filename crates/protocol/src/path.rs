//! One spelling of a path: absolute, without `.`, `..` and needless slashes. Every path that a person or a list gives
//! becomes one where it comes in, so that the same folder has the same name in every run and on every host.
//!
//! The text alone decides and no link is followed, as in a shell's `cd`: what a name means must not depend on which
//! machine looks.

use std::borrow::Cow;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Deserializer};

/// A path that means the same in every folder, in its one spelling.
///
/// # Errors
/// If the path is empty, or the current folder cannot be told.
pub fn absolute(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    Ok(lexical(&std::path::absolute(path)?))
}

/// A path without `.`, `..` and needless slashes; a relative one stays relative, and keeps the `..` at its beginning.
pub fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => match plain.components().next_back() {
                Some(Component::Normal(_)) => drop(plain.pop()),
                Some(Component::RootDir | Component::Prefix(_)) => {}
                _ => plain.push(component),
            },
            other => plain.push(other),
        }
    }
    if plain.as_os_str().is_empty() && !path.as_os_str().is_empty() { Path::new(".").into() } else { plain }
}

/// [`lexical`] for a path as text.
pub fn lexical_text(path: &str) -> Cow<'_, str> {
    let odd = |part: &str| matches!(part, "" | "." | "..");
    if !path.strip_prefix('/').unwrap_or(path).split('/').any(odd) {
        return path.into();
    }
    lexical(Path::new(path)).to_string_lossy().into_owned().into()
}

/// A collection's root as it stands in an index: in its one spelling, and without a slash at its end, so that `/` is the
/// empty text.
pub(crate) fn root_text(root: &str) -> String {
    lexical_text(root).trim_end_matches('/').to_owned()
}

/// Reads a root as [`root_text`] spells it: versions before 0.2 wrote `..` into it.
pub(crate) fn root<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(root_text(&String::deserialize(from)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_becomes_one() {
        for (given, plain) in [
            ("/a/b", "/a/b"),
            ("/a/x/../b", "/a/b"),
            ("/a/./b//", "/a/b"),
            ("//a///b/.", "/a/b"),
            ("/../..//a", "/a"),
            ("/..", "/"),
            ("/", "/"),
            ("a/../b", "b"),
            ("../a/b/../..", ".."),
            ("a/../../b", "../b"),
            ("./a/", "a"),
            ("/a/...", "/a/..."),
            ("/a/..b", "/a/..b"),
            ("a/..", "."),
            ("", ""),
        ] {
            assert_eq!(lexical(Path::new(given)), Path::new(plain), "{given}");
            assert_eq!(lexical(Path::new(given)).as_os_str(), plain, "{given}: to the letter");
            assert_eq!(lexical_text(given), plain, "{given}");
            assert_eq!(lexical_text(plain), plain, "{plain} stays");
        }
        assert!(matches!(lexical_text("/a b/c.jpg"), Cow::Borrowed(_)));
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute("../x/./y/..").unwrap(), here.parent().unwrap().join("x"));
        assert_eq!(absolute(".").unwrap(), here);
        assert!(absolute("").is_err());
        assert_eq!([root_text("/"), root_text("/a/../b/")], ["", "/b"]);
    }
}
