//! True filters: of a picture's path and facts, whether it may be found at all.

use std::ops::Range;

use protocol::search::{Filters, Orientation};
use protocol::{FileFacts, ImagePath, path_order};

use crate::paths_file::PathsFile;
use crate::{Globs, IndexError};

/// The most folders, or patterns, of one filter, and the most bytes of each: no path is longer.
const MOST: usize = 100;
const LONGEST: usize = 4096;

/// Filters that were looked over.
pub(crate) struct Filter<'a> {
    asked: &'a Filters,
    /// Canonical folders with a slash at the end, sorted, none within another.
    under: Vec<String>,
    globs: Option<Globs>,
    /// Bytes of the root and the slash behind it.
    root_length: usize,
}

impl<'a> Filter<'a> {
    /// Looks `asked` over, for a collection with this canonical root.
    pub(crate) fn new(asked: &'a Filters, root: &str) -> Result<Self, IndexError> {
        for (texts, what) in [(&asked.under, "folders"), (&asked.glob, "patterns")] {
            if texts.len() > MOST || texts.iter().any(|text| text.len() > LONGEST) {
                let what =
                    format!("a filter may have {MOST} {what} of {LONGEST} bytes each: ask for fewer or shorter ones");
                return Err(IndexError::BadFilter { what });
            }
        }
        let mut under = asked.under.iter().map(|folder| canonical(folder, root)).collect::<Result<Vec<_>, _>>()?;
        under.sort_by(|a, b| path_order(a, b));
        under.dedup_by(|inner, outer| inner.starts_with(outer.as_str()));
        let globs = (!asked.glob.is_empty()).then(|| Globs::new(&asked.glob)).transpose();
        let globs = globs.map_err(|e| IndexError::BadFilter { what: e.to_string() })?;
        Ok(Self { asked, under, globs, root_length: root.len() + 1 })
    }

    /// Which of a segment's rows are in the folders, in ascending order: rows are sorted by path.
    pub(crate) fn ranges(&self, paths: &PathsFile, rows: u64) -> Result<Vec<Range<u64>>, IndexError> {
        if self.asked.under.is_empty() {
            return Ok(std::iter::once(0..rows).collect());
        }
        let range = |folder: &String| {
            let begin = paths.partition_point(rows, |path| path_order(path, folder).is_lt())?;
            let end = paths
                .partition_point(rows, |path| path_order(path, folder).is_lt() || path.starts_with(folder.as_str()))?;
            Ok(begin..end)
        };
        self.under.iter().map(range).collect()
    }

    /// Whether more than the path decides.
    pub(crate) fn asks_for_facts(&self) -> bool {
        let paths = Filters { under: self.asked.under.clone(), glob: self.asked.glob.clone(), ..Filters::default() };
        *self.asked != paths
    }

    /// Whether a picture's facts fit.
    pub(crate) fn fits(&self, file: &FileFacts) -> bool {
        let Filters { under: _, glob: _, after_s, before_s, min_width, min_height, min_bytes, orientation } =
            self.asked;
        let time = file.time_s();
        let shape = || match file.width.cmp(&file.height) {
            _ if file.width == 0 || file.height == 0 => None,
            std::cmp::Ordering::Greater => Some(Orientation::Landscape),
            std::cmp::Ordering::Less => Some(Orientation::Portrait),
            std::cmp::Ordering::Equal => Some(Orientation::Square),
        };
        after_s.is_none_or(|after| time >= after)
            && before_s.is_none_or(|before| time < before)
            && min_width.is_none_or(|least| file.width >= least)
            && min_height.is_none_or(|least| file.height >= least)
            && min_bytes.is_none_or(|least| file.size_bytes >= least)
            && orientation.is_none_or(|wanted| shape() == Some(wanted))
    }

    /// What tells of canonical paths in row order whether they fit the patterns; none if there are no patterns.
    pub(crate) fn globs(&self) -> Option<SortedGlobs<'_>> {
        let globs = self.globs.as_ref()?;
        Some(SortedGlobs { globs, root_length: self.root_length, folder: None, folder_fits: false })
    }
}

/// Patterns for paths that come sorted: of each folder it is found out once whether it fits.
pub(crate) struct SortedGlobs<'a> {
    globs: &'a Globs,
    root_length: usize,
    folder: Option<String>,
    folder_fits: bool,
}

impl SortedGlobs<'_> {
    /// Whether a canonical path fits.
    pub(crate) fn fit(&mut self, path: &str) -> bool {
        let path = path.get(self.root_length..).unwrap_or_default();
        let folder = path.rfind('/').map_or("", |end| &path[..end]);
        if self.folder.as_deref() != Some(folder) {
            self.folder_fits = !folder.is_empty() && self.globs.fits_within(folder);
            self.folder = Some(folder.into());
        }
        self.folder_fits || self.globs.fits(path)
    }
}

/// A folder of the collection, as its pictures' canonical paths begin.
fn canonical(folder: &str, root: &str) -> Result<String, IndexError> {
    let named = folder.trim_end_matches('/');
    if folder.starts_with('/') && named == root {
        return Ok(format!("{root}/"));
    }
    let below =
        if folder.starts_with('/') { named.strip_prefix(root).and_then(|p| p.strip_prefix('/')) } else { Some(named) };
    match below.map(ImagePath::new) {
        Some(Ok(below)) => Ok(format!("{root}/{below}/")),
        _ => Err(IndexError::BadFilter {
            what: format!("{folder:?} is not a folder of the collection {root:?}: name one that is in it"),
        }),
    }
}
