//! The one rule: a run embeds what is missing and nothing else. A merge-join of what a scan found with what already
//! stands and with what failed before, all sorted by path; memory does not grow with any of them.

use std::iter::Peekable;

use anyhow::Result;
use index::StandingRow;
use protocol::{Entry, FailureKind, ImagePath};

use crate::sort::next_if;
use crate::walk::Found;

/// What is to become of one picture or row.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To be embedded.
    New(Entry),
    /// Stands unchanged, in this row.
    Stands(StandingRow),
    /// Its bytes were found to be at fault, and it has not changed since.
    FailedBefore(Entry),
    /// The row's picture is gone.
    Gone(StandingRow),
    /// The row's picture has changed; the picture itself comes as another verdict.
    Changed(StandingRow),
    /// Cannot be embedded; a row that stands for it is kept.
    Failed { shown: String, kind: FailureKind, detail: String },
    /// A folder that could not be listed; rows below it are kept.
    FolderUnreadable { folder: Option<ImagePath>, detail: String },
}

/// Judges every found picture and every standing row, in path order. `failed` are pictures that would fail again, in the
/// state in which they did. `may_drop` says of a row that was not found whether its absence proves anything (promise
/// 5): the caller answers no for lists and excluded paths.
pub fn reconcile(
    found: impl Iterator<Item = Result<Found>>,
    standing: impl Iterator<Item = Result<StandingRow>>,
    failed: impl Iterator<Item = Result<Entry>>,
    may_drop: impl Fn(&ImagePath) -> bool,
    mut verdict: impl FnMut(Verdict) -> Result<()>,
) -> Result<()> {
    let (mut standing, mut failed) = (standing.peekable(), failed.peekable());
    let mut root_unreadable = false;
    for found in found {
        match found? {
            Found::Picture(entry) => {
                pass(&mut standing, |p| p < &entry.path, &may_drop, root_unreadable, &mut verdict)?;
                let mut stands = None;
                let mut stale = Vec::new();
                while let Some(row) = next_if(&mut standing, |row| row.path == entry.path)? {
                    if !row.file.fits(&entry) {
                        stale.push(row);
                    } else if stands.is_none() {
                        stands = Some(row);
                    }
                }
                for row in stale {
                    verdict(Verdict::Changed(row))?;
                }
                let mut failed_before = false;
                while let Some(before) = next_if(&mut failed, |before| before.path <= entry.path)? {
                    failed_before |= before == entry;
                }
                verdict(match stands {
                    Some(row) => Verdict::Stands(row),
                    None if failed_before => Verdict::FailedBefore(entry),
                    None => Verdict::New(entry),
                })?;
            }
            Found::Failed { path, shown, kind, detail } => {
                if let Some(path) = path {
                    pass(&mut standing, |p| *p < path, &may_drop, root_unreadable, &mut verdict)?;
                    while next_if(&mut standing, |row| row.path == path)?.is_some() {}
                }
                verdict(Verdict::Failed { shown, kind, detail })?;
            }
            Found::Unreadable { folder, detail } => {
                match &folder {
                    None => root_unreadable = true,
                    Some(folder) => {
                        let below = format!("{folder}/");
                        pass(&mut standing, |p| p < folder, &may_drop, root_unreadable, &mut verdict)?;
                        while next_if(&mut standing, |row| row.path.as_str().starts_with(&below))?.is_some() {}
                    }
                }
                verdict(Verdict::FolderUnreadable { folder, detail })?;
            }
        }
    }
    pass(&mut standing, |_| true, &may_drop, root_unreadable, &mut verdict)
}

fn pass(
    standing: &mut Peekable<impl Iterator<Item = Result<StandingRow>>>,
    which: impl Fn(&ImagePath) -> bool,
    may_drop: &impl Fn(&ImagePath) -> bool,
    root_unreadable: bool,
    verdict: &mut impl FnMut(Verdict) -> Result<()>,
) -> Result<()> {
    while let Some(row) = next_if(standing, |row| which(&row.path))? {
        if !root_unreadable && may_drop(&row.path) {
            verdict(Verdict::Gone(row))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use index::Place;
    use protocol::FileFacts;

    fn entry(path: &str, mtime_ns: i64) -> Entry {
        Entry { path: ImagePath::new(path).unwrap(), size_bytes: 1, mtime_ns }
    }

    /// What becomes of what was found, with these rows and with these failures of before.
    fn judge(found: Vec<Found>, standing: &[(&str, i64)], failed: &[(&str, i64)], may_drop: bool) -> Vec<String> {
        let place = Place { file: 0, row: 0 };
        let row = |(p, t): &(&str, i64)| {
            let file = FileFacts { size_bytes: 1, mtime_ns: *t, ..FileFacts::default() };
            Ok(StandingRow { path: ImagePath::new(*p).unwrap(), file, in_index: true, place })
        };
        let mut out = Vec::new();
        reconcile(
            found.into_iter().map(Ok),
            standing.iter().map(row),
            failed.iter().map(|(p, t)| Ok(entry(p, *t))),
            |_| may_drop,
            |v| {
                out.push(match v {
                    Verdict::New(e) => format!("new {}", e.path),
                    Verdict::Stands(_) => "stands".into(),
                    Verdict::FailedBefore(e) => format!("failed before {}", e.path),
                    Verdict::Gone(s) => format!("gone {}", s.path),
                    Verdict::Changed(s) => format!("changed {}", s.path),
                    Verdict::Failed { shown, .. } => format!("failed {shown}"),
                    Verdict::FolderUnreadable { .. } => "unreadable".into(),
                });
                Ok(())
            },
        )
        .unwrap();
        out
    }

    fn pictures(list: &[(&str, i64)]) -> Vec<Found> {
        list.iter().map(|(p, t)| Found::Picture(entry(p, *t))).collect()
    }

    #[test]
    fn a_run_embeds_what_is_missing_and_nothing_else() {
        let found = pictures(&[("a.jpg", 1), ("b.jpg", 2), ("d.jpg", 1)]);
        let got = judge(found, &[("a.jpg", 1), ("b.jpg", 1), ("c.jpg", 1), ("e.jpg", 1)], &[], true);
        assert_eq!(got, ["stands", "changed b.jpg", "new b.jpg", "gone c.jpg", "new d.jpg", "gone e.jpg"]);
    }

    #[test]
    fn what_failed_is_tried_again_only_when_it_has_changed() {
        let found = pictures(&[("a.jpg", 1), ("b.jpg", 2), ("c.jpg", 1), ("d.jpg", 2)]);
        let failed = [("0.jpg", 1), ("a.jpg", 1), ("b.jpg", 1), ("c.jpg", 1), ("d.jpg", 2)];
        let got = judge(found, &[("c.jpg", 1), ("d.jpg", 1)], &failed, true);
        assert_eq!(got, ["failed before a.jpg", "new b.jpg", "stands", "changed d.jpg", "failed before d.jpg"]);
    }

    #[test]
    fn a_list_never_deletes() {
        let rows = [("a.jpg", 1), ("b.jpg", 1), ("c.jpg", 1)];
        assert_eq!(judge(pictures(&[("b.jpg", 1)]), &rows, &[], false), ["stands"]);
    }

    #[test]
    fn an_unreadable_folder_keeps_its_rows() {
        let folder = |f: Option<&str>| Found::Unreadable {
            folder: f.map(|f| ImagePath::new(f).unwrap()),
            detail: String::new(),
        };
        let rows = [("a.jpg", 1), ("b/x/1.jpg", 1), ("b/y.jpg", 1), ("b c.jpg", 1), ("c.jpg", 1)];
        let mut found = vec![folder(Some("b"))];
        found.extend(pictures(&[("c.jpg", 1)]));
        assert_eq!(judge(found, &rows, &[], true), ["gone a.jpg", "unreadable", "gone b c.jpg", "stands"]);
        assert_eq!(judge(vec![folder(None)], &rows, &[], true), ["unreadable"]);
    }

    #[test]
    fn of_two_standing_rows_the_one_that_fits_stands() {
        let got = judge(pictures(&[("a.jpg", 2)]), &[("a.jpg", 1), ("a.jpg", 2)], &[], true);
        assert_eq!(got, ["changed a.jpg", "stands"]);
    }
}
