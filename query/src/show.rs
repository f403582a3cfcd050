//! Matches as text: a table for a terminal, tab-separated lines for a pipe, JSON, CSV or paths for programs.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::time::Duration;

use protocol::{json, plain};
use terminal_size::{Width, terminal_size_of};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::row::Row;

/// How a terminal is written to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Screen {
    /// Columns.
    pub width: usize,
    /// Whether it takes colours.
    pub colour: bool,
}

impl Screen {
    /// That of standard output, if it is a terminal.
    pub fn of_stdout() -> Option<Self> {
        let out = std::io::stdout();
        if !out.is_terminal() {
            return None;
        }
        let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).filter(|c| *c > 0);
        let width = columns.or_else(|| terminal_size_of(&out).map(|(Width(w), _)| usize::from(w))).unwrap_or(80);
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
        let colour = set("NO_COLOR").is_none() && set("TERM").is_some_and(|t| t != "dumb");
        Some(Self { width, colour })
    }

    /// What makes text dim, and what makes it plain again.
    pub fn dim(&self) -> (&'static str, &'static str) {
        if self.colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") }
    }
}

/// Rank, score and whole path, one match a line; of several questions, the question first.
pub fn tab_separated(rows: &[Row]) -> String {
    let line = |r: &Row| {
        let question = r.question.as_ref().map(|q| format!("{}\t", plain(q)));
        format!("{}{}\t{:.4}\t{}\n", question.unwrap_or_default(), r.rank, r.score, plain(&r.path))
    };
    rows.iter().map(line).collect()
}

/// One JSON object a line.
pub fn json_lines(rows: &[Row]) -> String {
    rows.iter().map(|row| json(row) + "\n").collect()
}

/// Paths alone: each with a NUL behind it, exactly as it is, or each a line.
pub fn paths(rows: &[Row], nul: bool) -> String {
    rows.iter().map(|r| if nul { format!("{}\0", r.path) } else { format!("{}\n", plain(&r.path)) }).collect()
}

/// The names of [`csv`]'s columns.
const CSV_HEADER: [&str; 12] = [
    "question",
    "rank",
    "score",
    "percentile",
    "path",
    "alike",
    "size_bytes",
    "mtime",
    "taken",
    "width",
    "height",
    "copy",
];

/// Lines as RFC 4180 has them, the first with names if `header`. A field that a spreadsheet would compute gets a quote
/// before it: paths are absolute and so never do, a question may.
pub fn csv(rows: &[Row], header: bool) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write =
        |fields: &[&str]| writer.write_record(fields).expect("all records have as many fields, and memory takes them");
    if header {
        write(&CSV_HEADER);
    }
    for row in rows {
        let [size, mtime, taken, width, height] = row.facts.fields();
        write(&[
            &inert(row.question.as_deref().unwrap_or_default()),
            &row.rank.to_string(),
            &row.score.to_string(),
            &row.percentile.to_string(),
            &inert(&row.path),
            &row.alike.to_string(),
            &size,
            &mtime,
            &taken,
            &width,
            &height,
            &inert(row.copy.as_deref().unwrap_or_default()),
        ]);
    }
    String::from_utf8(writer.into_inner().expect("memory takes all")).expect("all fields are UTF-8")
}

/// A field that no spreadsheet computes.
pub fn inert(text: &str) -> Cow<'_, str> {
    let computed = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if computed { format!("'{text}").into() } else { text.into() }
}

/// A table that fits the screen: the wider that is, the more it tells. Of a path that does not fit, the end is shown: it
/// holds the name.
pub fn table(rows: &[Row], screen: Screen) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let columns = Columns::of(&COLUMNS, rows, screen.width);
    let (dim, plainly) = screen.dim();
    let mut text = format!("{dim}{}  path{plainly}\n", columns.names());
    for row in rows {
        let alike = row.alike();
        let room = columns.left.saturating_sub(if alike.is_empty() { 0 } else { alike.len() + 2 }).max(12);
        let path = plain(&row.path);
        let behind = if alike.is_empty() { String::new() } else { format!("  {dim}{alike}{plainly}") };
        text += &format!("{}  {}{behind}\n", columns.cells(row), end_of(&path, room));
    }
    text
}

/// What a table tells before the path.
pub struct Column<T> {
    pub name: &'static str,
    pub cell: fn(&T) -> String,
    /// It is left out where there are fewer columns.
    pub from: usize,
}

const COLUMNS: [Column<Row>; 6] = [
    Column { name: "rank", cell: |r| r.rank.to_string(), from: 0 },
    Column { name: "score", cell: |r| format!("{:.4}", r.score), from: 0 },
    Column { name: "percentile", cell: |r| percent(r.percentile), from: 72 },
    Column { name: "date", cell: |r| r.facts.day().to_owned(), from: 100 },
    Column { name: "pixels", cell: |r| r.facts.pixels(), from: 120 },
    Column { name: "size", cell: |r| r.facts.size(), from: 120 },
];

/// As many digits as tell the best of a large collection apart; nothing is above all.
pub fn percent(percentile: f64) -> String {
    // What stands for a number of two digits must not fall below it.
    format!("{:.2}", (percentile * 100.0 + 1e-6).floor() / 100.0)
}

/// Those that fit and tell something.
pub struct Columns<'a, T> {
    shown: Vec<(&'a Column<T>, usize)>,
    /// For the path.
    pub left: usize,
}

impl<'a, T> Columns<'a, T> {
    /// For `rows` on a screen of this width.
    pub fn of<'r>(all: &'a [Column<T>], rows: impl IntoIterator<Item = &'r T, IntoIter: Clone>, width: usize) -> Self
    where
        T: 'r,
    {
        let rows = rows.into_iter();
        let shown = all.iter().filter(|c| c.from <= width).filter_map(|column| {
            let widest = rows.clone().map(|row| (column.cell)(row).width()).max().filter(|w| *w > 0)?;
            Some((column, widest.max(column.name.len())))
        });
        let shown: Vec<_> = shown.collect();
        let taken: usize = shown.iter().map(|(_, width)| width + 2).sum();
        Self { shown, left: width.saturating_sub(taken).max(12) }
    }

    /// What stands above the cells.
    pub fn names(&self) -> String {
        self.line(|column| column.name.to_owned())
    }

    /// What is told of a row.
    pub fn cells(&self, row: &T) -> String {
        self.line(|column| (column.cell)(row))
    }

    fn line(&self, cell: impl Fn(&Column<T>) -> String) -> String {
        let cells: Vec<_> = self.shown.iter().map(|(column, width)| format!("{:>width$}", cell(column))).collect();
        cells.join("  ")
    }
}

/// The end of `path` that fits in `width` columns, behind an ellipsis if something is missing.
pub fn end_of(path: &str, width: usize) -> Cow<'_, str> {
    if path.width() <= width {
        return path.into();
    }
    let mut left = width.saturating_sub(1);
    let fits = |&(_, c): &(usize, char)| {
        let columns = c.width().unwrap_or(0);
        let fits = columns <= left;
        left = left.saturating_sub(columns);
        fits
    };
    let start = path.char_indices().rev().take_while(fits).last().map_or(path.len(), |(at, _)| at);
    // Some letters are wider together than each by itself.
    let mut end = path[start..].chars();
    while end.as_str().width() >= width && end.next().is_some() {}
    format!("…{}", end.as_str()).into()
}

/// `10 matches of 12,345 pictures in 32 ms`
pub fn summary(matches: usize, num_images: u64, took: Duration) -> String {
    format!(
        "{} of {} in {}",
        counted(matches as u64, "match", "matches"),
        counted(num_images, "picture", "pictures"),
        time(took)
    )
}

/// `32 ms`, `1.5 s`
pub fn time(took: Duration) -> String {
    match took.as_secs_f64() {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

/// `1 match`, `12,345 matches`
pub fn counted(n: u64, one: &str, more: &str) -> String {
    format!("{} {}", grouped(n), if n == 1 { one } else { more })
}

/// `2.4 MB`
pub fn bytes(bytes: u64) -> String {
    match bytes as f64 {
        b if b < 1e3 => format!("{b} B"),
        b if b < 999_500.0 => format!("{:.0} KB", b / 1e3),
        b if b < 999.95e6 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}

/// `12,345`
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let comma = |i: usize| if i > 0 && (digits.len() - i).is_multiple_of(3) { "," } else { "" };
    digits.char_indices().map(|(i, digit)| format!("{}{digit}", comma(i))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::tests::row;

    const PLAIN: Screen = Screen { width: 40, colour: false };

    fn rows(paths: &[&str]) -> Vec<Row> {
        paths.iter().zip(1..).map(|(path, rank)| row(rank, path)).collect()
    }

    #[test]
    fn a_table_fits_the_terminal_and_keeps_the_names() {
        let rows = rows(&[
            "/nas/a.jpg",
            "/nas/a/very/long/path/that/does/not/fit/at/all/IMG_1234.jpg",
            "/写真/家族/夏休み/海/写真写真写真写真写真.jpg",
            "/nas/👨‍👩‍👧‍👦/e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}/👍🏽👍🏽👍🏽.jpg",
        ]);
        let text = table(&rows, PLAIN);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "rank   score  path");
        assert_eq!(lines[1], "   1  0.2900  /nas/a.jpg");
        assert!(lines[2].ends_with("1234.jpg  +1 alike") && lines[2].contains('…'), "{}", lines[2]);
        assert!(lines[2].width() == 40, "{}", lines[2]);
        assert!(!text.contains('\x1b'));
        assert!(table(&rows, Screen { colour: true, ..PLAIN }).contains("\x1b[2m"));
        for width in [40, 72, 80, 100, 120, 200] {
            let text = table(&rows, Screen { width, colour: false });
            assert!(text.lines().all(|l| l.width() <= width), "{text}");
        }
        assert!(table(&rows, Screen { width: 1, colour: false }).lines().all(|l| l.width() <= 40));
        assert_eq!(table(&[], PLAIN), "");
    }

    #[test]
    fn a_wider_terminal_tells_more() {
        let rows = rows(&["/nas/a.jpg", "/nas/b.jpg"]);
        let first = |width| table(&rows, Screen { width, colour: false }).lines().next().unwrap().to_owned();
        assert_eq!(first(80), "rank   score  percentile  path");
        assert_eq!(first(200), "rank   score  percentile        date     pixels    size  path");
        let text = table(&rows, Screen { width: 200, colour: false });
        assert!(
            text.contains("   2  0.2800       99.98  2019-07-13  4032x3024  2.4 MB  /nas/b.jpg  +1 alike"),
            "{text}"
        );
        let mut unknown = rows.clone();
        unknown.iter_mut().for_each(|row| row.facts.size_bytes = 0);
        assert!(!table(&unknown, Screen { width: 200, colour: false }).contains("size"));
    }

    #[test]
    fn a_hostile_name_steers_nothing() {
        let rows = rows(&["/nas/\x1b]0;x\x07\n\t\r\u{9b}31m\u{202e}.jpg", "$(touch x) %s \"'"]);
        let text = tab_separated(&rows);
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|l| l.matches('\t').count() == 2));
        assert!(text.ends_with("$(touch x) %s \"'\n"));
        for text in [text, paths(&rows, false), table(&rows, PLAIN)] {
            assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{text:?}");
        }
        let line = json_lines(&rows[..1]);
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["path"], rows[0].path);
        assert!(parsed.get("copy").is_none());
        assert_eq!(paths(&rows, true), format!("{}\0{}\0", rows[0].path, rows[1].path));
    }

    #[test]
    fn csv_quotes_what_it_must_and_leaves_a_spreadsheet_nothing_to_compute() {
        let mut rows = rows(&["/nas/a, \"b\"\nc.jpg"]);
        rows[0].question = Some("=HYPERLINK(\"x\")".to_owned());
        let text = csv(&rows, true);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(reader.headers().unwrap(), CSV_HEADER.as_slice());
        let record = reader.records().next().unwrap().unwrap();
        assert_eq!(&record[0], "'=HYPERLINK(\"x\")");
        assert_eq!((&record[1], &record[4], &record[8]), ("1", "/nas/a, \"b\"\nc.jpg", "2019-07-13T18:30:00"));
        assert!(text.contains("\"/nas/a, \"\"b\"\"\nc.jpg\""), "{text}");
        for computed in ["=1", "+1", "-1", "@a", "\t=1", "\r=1"] {
            assert!(inert(computed).starts_with('\''), "{computed:?}");
        }
        assert_eq!(csv(&rows, false).lines().count(), 2, "the name holds a line's end");
    }

    #[test]
    fn bytes_are_told_as_people_write_them() {
        for (number, told) in [
            (0, "0 B"),
            (7, "7 B"),
            (999_499, "999 KB"),
            (999_500, "1.0 MB"),
            (999_950_000, "1.0 GB"),
            (u64::MAX, "18446744073.7 GB"),
        ] {
            assert_eq!(bytes(number), told);
        }
    }

    #[test]
    fn a_summary_counts_as_people_do() {
        assert_eq!(summary(10, 12_345, Duration::from_millis(32)), "10 matches of 12,345 pictures in 32 ms");
        assert_eq!(summary(1, 1, Duration::from_millis(1_540)), "1 match of 1 picture in 1.5 s");
        assert_eq!(summary(0, 100_000_000, Duration::ZERO), "0 matches of 100,000,000 pictures in 0 ms");
    }
}
