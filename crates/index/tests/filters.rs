//! A filter leaves exactly the rows that a look at each of them leaves.

mod common;

use std::sync::LazyLock;

use common::*;
use globset::{Glob, GlobMatcher};
use index::{Index, IndexError, Row};
use proptest::prelude::*;
use proptest::sample::select;
use protocol::search::{Filters, Orientation};
use protocol::{FileFacts, ImagePath};

const FOLDERS: [&str; 7] = ["a", "a b", "a.jpg", "b", "é", "2024", "[x]"];
const DAY: i64 = 86_400;

/// An index, and its rows in its order: more than are filtered at once by a thread.
static BUILT: LazyLock<(Place, Vec<Row>, Index)> = LazyLock::new(|| {
    let mut random = Random(7);
    let mut rows: Vec<Row> = (0..17_000).map(|i| any_row(&mut random, i)).collect();
    rows.sort_by(|a, b| a.path.cmp(&b.path));
    let place = built(&rows, 2);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    (place, rows, index)
});

fn any_row(random: &mut Random, i: usize) -> Row {
    let mut path = String::new();
    for _ in 0..random.below(4) {
        path += FOLDERS[random.below(7) as usize];
        path += "/";
    }
    let extension = ["jpg", "JPG", "gif", "heic"][random.below(4) as usize];
    let file = FileFacts {
        size_bytes: random.below(5000),
        mtime_ns: (random.below(40) as i64 - 20) * DAY * 1_000_000_000 - random.below(2) as i64,
        taken_s: (random.below(3) > 0).then(|| (random.below(40) as i64 - 20) * DAY),
        width: random.below(5) as u32 * 100,
        height: random.below(5) as u32 * 100,
    };
    Row { path: ImagePath::new(format!("{path}IMG {i}.{extension}")).unwrap(), file, ..row("x", 1, 2) }
}

fn folder() -> impl Strategy<Value = String> {
    let names = prop::collection::vec(select(&FOLDERS[..]), 1..4).prop_map(|names| names.join("/"));
    let below = (names, select(&["", "/photos/"][..]), select(&["", "/", "//"][..]))
        .prop_map(|(names, before, after)| format!("{before}{names}{after}"));
    prop_oneof![9 => below, 1 => Just("/photos".to_owned())]
}

fn filters() -> impl Strategy<Value = Filters> {
    let patterns = [
        "*.gif",
        "**/a",
        "a/*",
        "2024",
        "*é*",
        "a b/**",
        "**/IMG ?.*",
        "{b,2024}/**/*.JPG",
        "[ab]",
        "*[[]x]/*1*",
        "none",
    ];
    let shapes = [Orientation::Landscape, Orientation::Portrait, Orientation::Square];
    let times = || prop::option::weighted(0.3, prop_oneof![-22 * DAY..22 * DAY, select(vec![0, DAY, -DAY])]);
    let sides = || prop::option::weighted(0.3, select(vec![0u32, 1, 100, 101, 300, 400, 500]));
    let paths = (prop::collection::vec(folder(), 0..3), prop::collection::vec(select(patterns.to_vec()), 0..3));
    let facts = (times(), times(), sides(), sides(), prop::option::weighted(0.3, 0u64..5001));
    (paths, facts, prop::option::weighted(0.3, select(shapes.to_vec()))).prop_map(
        |((under, glob), facts, orientation)| {
            let (after_s, before_s, min_width, min_height, min_bytes) = facts;
            let glob = glob.into_iter().map(str::to_owned).collect();
            Filters { under, glob, after_s, before_s, min_width, min_height, min_bytes, orientation }
        },
    )
}

/// Whether a picture fits, found out by what the filters' documentation says, one by one.
fn fits(filters: &Filters, globs: &[GlobMatcher], row: &Row) -> bool {
    let path = row.path.as_str();
    let file = row.file;
    let folders = || path.match_indices('/').map(|(end, _)| &path[..end]);
    let under = |folder: &String| {
        let below = folder.trim_matches('/');
        let below = if folder.starts_with('/') { below.strip_prefix("photos").unwrap() } else { below };
        below.is_empty() || folders().any(|above| above == below.trim_start_matches('/'))
    };
    let glob = |glob: &GlobMatcher| glob.is_match(path) || folders().any(|folder| glob.is_match(folder));
    let time = file.taken_s.unwrap_or(file.mtime_ns.div_euclid(1_000_000_000));
    (filters.under.is_empty() || filters.under.iter().any(under))
        && (globs.is_empty() || globs.iter().any(glob))
        && filters.after_s.is_none_or(|s| s <= time)
        && filters.before_s.is_none_or(|s| time < s)
        && filters.min_width.is_none_or(|w| file.width >= w)
        && filters.min_height.is_none_or(|h| file.height >= h)
        && filters.min_bytes.is_none_or(|b| file.size_bytes >= b)
        && match filters.orientation {
            None => true,
            Some(_) if file.width == 0 || file.height == 0 => false,
            Some(Orientation::Landscape) => file.width > file.height,
            Some(Orientation::Portrait) => file.width < file.height,
            Some(Orientation::Square) => file.width == file.height,
        }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn filters_equal_a_look_at_each_row(filters in filters(), start in 0..20usize) {
        let (_, rows, index) = &*BUILT;
        let left = index.matching(&filters).unwrap();
        let globs: Vec<_> = filters.glob.iter().map(|pattern| Glob::new(pattern).unwrap().compile_matcher()).collect();
        // In each case other rows are looked at, and those at the edge of what is filtered at once.
        for row in (start..rows.len()).step_by(20).chain([16_383, 16_384]) {
            let expected = fits(&filters, &globs, &rows[row]);
            prop_assert_eq!(left.contains(row as u64), expected, "{} {:?}", rows[row].path, rows[row].file);
        }
        prop_assert!(!left.contains(rows.len() as u64) && !left.contains(u64::MAX));
        prop_assert_eq!(left.len(), (0..rows.len() as u64).filter(|&row| left.contains(row)).count() as u64);
    }
}

#[test]
fn rows_keep_their_facts_and_no_filter_leaves_all() {
    let (_, rows, index) = &*BUILT;
    for (i, row) in rows.iter().enumerate().step_by(97) {
        assert_eq!(index.facts(i as u64).unwrap(), row.file);
    }
    let all = index.matching(&Filters::default()).unwrap();
    assert_eq!((all.len(), all.is_empty()), (rows.len() as u64, false));
    let none = index.matching(&Filters { min_bytes: Some(u64::MAX), ..Filters::default() }).unwrap();
    assert!(none.is_empty());
}

#[test]
fn what_cannot_be_meant_is_named() {
    let (_, _, index) = &*BUILT;
    let refused = |filters: Filters| match index.matching(&filters) {
        Err(IndexError::BadFilter { what }) => what,
        other => panic!("{filters:?}: {other:?}"),
    };
    for folder in ["/elsewhere", "/photos2/a", "..", "/photos/../etc", "a//b", "", "."] {
        let what = refused(Filters { under: vec!["a".into(), folder.into()], ..Filters::default() });
        assert!(what.contains(&format!("{folder:?}")) && what.contains("/photos"), "{what}");
    }
    let what = refused(Filters { glob: vec!["[a".into()], ..Filters::default() });
    assert!(what.contains("\"[a\" is not a glob pattern"), "{what}");
    let what = refused(Filters { glob: vec!["a".into(); 101], ..Filters::default() });
    assert!(what.contains("100 patterns"), "{what}");
    let what = refused(Filters { under: vec!["a".repeat(5000)], ..Filters::default() });
    assert!(what.contains("4096 bytes"), "{what}");
}

#[test]
fn many_threads_may_filter_one_index() {
    let (_, rows, index) = &*BUILT;
    let wide = |least: u32| Filters { min_width: Some(least), ..Filters::default() };
    std::thread::scope(|scope| {
        for least in [100, 200, 300, 400] {
            scope.spawn(move || {
                let expected = rows.iter().filter(|row| row.file.width >= least).count() as u64;
                for _ in 0..20 {
                    assert_eq!(index.matching(&wide(least)).unwrap().len(), expected);
                }
            });
        }
    });
}
