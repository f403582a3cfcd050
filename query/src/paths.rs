//! One picture, three names: as it stands in the index, as the asker sees it, and as the asked host does.

use std::path::Path;

use fleet::{HostSpec, PathMap};
use protocol::{absolute, lexical};

use crate::WrongUsage;

/// Translates names of one collection.
pub struct Paths<'a> {
    /// What the index's names are here.
    pub shared: &'a PathMap,
    /// The host that is asked.
    pub host: &'a HostSpec,
    /// The collection's folder, as it stands in the index.
    pub root: &'a str,
}

impl Paths<'_> {
    /// A path of the index as it is here.
    pub fn here(&self, canonical: &str) -> String {
        let mapped = self.shared.to_local(canonical);
        if mapped == canonical { self.host.path_here(canonical) } else { mapped }
    }

    /// The collection's folder as the asked host sees it, if that is not its canonical path.
    pub fn root_there(&self) -> Option<String> {
        let there = self.host.path_there(&self.here(self.root));
        (there != self.root).then_some(there)
    }

    /// The name in the index of a path here, if it is in the collection; it need not exist.
    pub fn canonical(&self, here: &Path) -> Option<String> {
        let absolute = absolute(here).ok()?;
        let names = [Some(absolute), here.canonicalize().ok()].into_iter().flatten();
        names.filter_map(|name| self.of_index(name.to_str()?)).next()
    }

    fn of_index(&self, here: &str) -> Option<String> {
        let mapped = self.shared.to_remote(here);
        let canonical = if mapped == here { self.host.path_there(here) } else { mapped };
        let below = canonical.strip_prefix(self.root.trim_end_matches('/'))?;
        (below.is_empty() || below.starts_with('/')).then_some(canonical)
    }

    /// The name in the index of a folder that may match: one that is seen here, or one below the collection's folder.
    pub fn folder(&self, given: &str) -> Result<String, WrongUsage> {
        let path = Path::new(given);
        let root_here = self.here(self.root);
        let outside = || {
            WrongUsage(format!(
                "the folder {given:?} is not in the collection, whose folder is {root_here}; name one in it, or below it as 2019/summer"
            ))
        };
        if given.trim().is_empty() {
            return Err(outside());
        }
        let seen = self.canonical(path);
        if path.is_absolute() || path.starts_with("..") || path == Path::new(".") {
            return seen.ok_or_else(outside);
        }
        let below = lexical(&Path::new(self.root).join(path));
        let below = below.to_str().filter(|b| Path::new(b).starts_with(self.root)).ok_or_else(outside)?.to_owned();
        match seen.filter(|seen| *seen != below && path.is_dir()) {
            Some(seen) if Path::new(&self.here(&below)).is_dir() => Err(WrongUsage(format!(
                "two folders {given:?} are in the collection, {} and {}; name one from its beginning",
                self.here(&seen),
                self.here(&below)
            ))),
            Some(seen) => Ok(seen),
            None => Ok(below),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(shared: &str, host: &str, root: &str, work: impl FnOnce(&Paths<'_>) -> T) -> T {
        let mut map = PathMap::default();
        map.add(shared).unwrap();
        let mut spec = HostSpec::bare(host);
        spec.path_map = PathMap::default().or(&map);
        work(&Paths { shared: &map, host: &spec, root })
    }

    #[test]
    fn a_name_here_leads_to_the_index_and_back() {
        with("/Volumes/photos:/nas/photos", "duc17", "/nas/photos", |paths| {
            assert_eq!(paths.here("/nas/photos/a.jpg"), "/Volumes/photos/a.jpg");
            assert_eq!(paths.canonical(Path::new("/Volumes/photos/x/../a.jpg")).as_deref(), Some("/nas/photos/a.jpg"));
            assert_eq!(paths.canonical(Path::new("/Volumes/photography/a.jpg")), None);
            assert_eq!(paths.canonical(Path::new("/Volumes/photos/../a.jpg")), None);
            assert_eq!(paths.root_there(), None);
        });
    }

    #[test]
    fn a_folder_is_one_that_is_seen_here_or_one_below_the_collections() {
        with("/Volumes/photos:/nas/photos", "localhost", "/nas/photos", |paths| {
            let folder = |given| paths.folder(given).map_err(|e| e.0);
            assert_eq!(folder("/Volumes/photos/2019/"), Ok("/nas/photos/2019".to_owned()));
            assert_eq!(folder("/Volumes/photos"), Ok("/nas/photos".to_owned()));
            assert_eq!(folder("2019/summer"), Ok("/nas/photos/2019/summer".to_owned()));
            for outside in ["/etc", "..", ".", "", "2019/../../..", "/Volumes/photos/../x"] {
                assert!(folder(outside).unwrap_err().contains("/Volumes/photos"), "{outside}");
            }
        });
    }

    #[test]
    fn a_folder_that_could_be_two_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        // The tests run in the package's folder, which has a folder src.
        std::fs::create_dir(root.join("src")).unwrap();
        let here = std::env::current_dir().unwrap();
        with(&format!("{}:/nas", here.display()), "localhost", "/nas", |paths| {
            assert_eq!(paths.folder("src").map_err(|e| e.0), Ok("/nas/src".to_owned()));
        });
        with(&format!("{}:{}/deeper", here.display(), root.display()), "localhost", root.to_str().unwrap(), |paths| {
            assert!(paths.folder("src").unwrap_err().0.contains("two folders"));
        });
    }
}
