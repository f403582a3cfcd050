//! Patterns of paths, as a scan leaves pictures out by them and a search finds pictures by them.

use globset::{Glob, GlobSet, GlobSetBuilder};

/// Patterns of paths below the root, as `**/thumbs` or `*.gif`. `*` stands for any letters, slashes too.
#[derive(Clone, Debug)]
pub struct Globs(GlobSet);

/// A text that is no pattern.
#[derive(Debug, thiserror::Error)]
#[error("{pattern:?} is not a glob pattern: {why}")]
pub struct BadGlob {
    pattern: String,
    why: String,
}

impl Globs {
    /// Takes patterns, of which a path must fit one.
    pub fn new(patterns: &[String]) -> Result<Self, BadGlob> {
        let bad = |pattern: &str, e: globset::Error| BadGlob { pattern: pattern.into(), why: e.kind().to_string() };
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            set.add(Glob::new(pattern).map_err(|e| bad(pattern, e))?);
        }
        set.build().map(Self).map_err(|e| bad(&patterns.join(" "), e))
    }

    /// Whether a path below the root fits.
    pub fn fits(&self, path: &str) -> bool {
        self.0.is_match(path)
    }

    /// Whether a path below the root fits, or one of the folders above it.
    pub fn fits_within(&self, path: &str) -> bool {
        self.fits(path) || path.match_indices('/').any(|(end, _)| self.fits(&path[..end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_fits_by_itself_or_by_a_folder_above_it() {
        let globs = Globs::new(&["**/thumbs".into(), "*.gif".into(), "2019".into()]).unwrap();
        for fits in ["a/thumbs/b.jpg", "thumbs/b.jpg", "a/b.gif", "2019/x.jpg", "x.gif/y.jpg"] {
            assert!(globs.fits_within(fits), "{fits}");
        }
        for other in ["a/b.jpg", "my thumbs/b.jpg", "a/2019/x.jpg", "2019.jpg"] {
            assert!(!globs.fits_within(other), "{other}");
        }
        let error = Globs::new(&["ok".into(), "[a".into()]).unwrap_err().to_string();
        assert!(error.contains("\"[a\" is not a glob pattern: unclosed character class"), "{error}");
    }
}
