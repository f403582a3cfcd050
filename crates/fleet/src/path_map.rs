//! One share, two names: paths as they are here, and as they are there.

use protocol::lexical_text;

/// Maps path prefixes from here to there and back: whole components, longest prefix first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathMap(Vec<(String, String)>);

/// A path map that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a path map is HERE:THERE with two absolute paths, as /Volumes/home:/mnt/home")]
pub struct BadPathMap;

impl PathMap {
    /// Adds `here:there`. The same `here` again replaces what was there.
    pub fn add(&mut self, pair: &str) -> Result<(), BadPathMap> {
        let (here, there) = pair.split_once(':').ok_or(BadPathMap)?;
        if !here.starts_with('/') || !there.starts_with('/') {
            return Err(BadPathMap);
        }
        let trim = |p: &str| lexical_text(p).trim_end_matches('/').to_owned();
        self.0.retain(|(h, _)| *h != trim(here));
        self.0.push((trim(here), trim(there)));
        Ok(())
    }

    /// This map, with `defaults` for prefixes that it does not name itself.
    pub fn or(mut self, defaults: &Self) -> Self {
        for (here, there) in &defaults.0 {
            if !self.0.iter().any(|(h, _)| h == here) {
                self.0.push((here.clone(), there.clone()));
            }
        }
        self
    }

    /// All pairs, here and there.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// A path here as it is there; unchanged if no prefix fits.
    pub fn to_remote(&self, path: &str) -> String {
        translate(path, self.0.iter().map(|(here, there)| (here, there)))
    }

    /// A path there as it is here; unchanged if no prefix fits.
    pub fn to_local(&self, path: &str) -> String {
        translate(path, self.0.iter().map(|(here, there)| (there, here)))
    }
}

fn translate<'a>(path: &str, pairs: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    pairs
        .filter_map(|(from, to)| {
            let rest = path.strip_prefix(from.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| (from.len(), format!("{to}{rest}")))
        })
        .max_by_key(|(length, _)| *length)
        .map_or_else(|| path.to_owned(), |(_, mapped)| if mapped.is_empty() { "/".to_owned() } else { mapped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_components_longest_prefix_first_both_ways() {
        let mut map = PathMap::default();
        map.add("/Volumes/home:/mnt/music/home/").unwrap();
        map.add("/Volumes/home/joe:/data/joe").unwrap();
        assert_eq!(map.to_remote("/Volumes/home/ann/x"), "/mnt/music/home/ann/x");
        assert_eq!(map.to_remote("/Volumes/home/joe/x"), "/data/joe/x");
        assert_eq!(map.to_remote("/Volumes/home/joey/x"), "/mnt/music/home/joey/x");
        assert_eq!(map.to_remote("/Volumes/homely"), "/Volumes/homely");
        assert_eq!(map.to_local("/data/joe/x"), "/Volumes/home/joe/x");
        assert_eq!(map.to_local("/mnt/music/home"), "/Volumes/home");
    }

    #[test]
    fn only_absolute_pairs() {
        for bad in ["/a", "a:/b", "/a:b", "", ":"] {
            assert_eq!(PathMap::default().add(bad), Err(BadPathMap), "{bad}");
        }
    }
}
