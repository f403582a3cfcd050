//! Matches as text: a table for a terminal, tab-separated lines for a pipe, JSON for programs.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::time::Duration;

use serde::Serialize;
use terminal_size::{Width, terminal_size_of};

/// One match as it is shown, its path as this machine sees it. `--json` prints it as it is.
#[derive(Debug, Serialize)]
pub struct Row {
    pub rank: usize,
    pub score: f32,
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
}

/// Text for standard output, whatever it is.
pub fn for_people(rows: &[Row]) -> String {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return tab_separated(rows);
    }
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).filter(|c| *c > 0);
    let width = columns.or_else(|| terminal_size_of(&out).map(|(Width(w), _)| usize::from(w))).unwrap_or(80);
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    let colour = set("NO_COLOR").is_none() && set("TERM").is_some_and(|t| t != "dumb");
    table(rows, width, colour)
}

/// One JSON object a line.
pub fn json_lines(rows: &[Row]) -> String {
    rows.iter().map(|row| serde_json::to_string(row).expect("rows hold only texts and numbers") + "\n").collect()
}

/// Rank, score and whole path, one match a line.
fn tab_separated(rows: &[Row]) -> String {
    rows.iter().map(|r| format!("{}\t{:.4}\t{}\n", r.rank, r.score, plain(&r.path))).collect()
}

/// A table that fits in `width` columns. Of a path that does not fit, the end is shown: it holds the name.
fn table(rows: &[Row], width: usize, colour: bool) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let (dim, plainly) = if colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
    let ranks = rows.iter().map(|r| r.rank.to_string().len()).max().unwrap_or(0).max("rank".len());
    let scores = "-0.1234".len();
    let left = width.saturating_sub(ranks + scores + 4).max(12);
    let mut text = format!("{dim}{:>ranks$}  {:>scores$}  path{plainly}\n", "rank", "score");
    for row in rows {
        let path = plain(&row.path);
        text += &format!("{dim}{:>ranks$}{plainly}  {:>scores$.4}  {}\n", row.rank, row.score, end_of(&path, left));
    }
    text
}

/// The end of `path` that fits in `width` columns, behind an ellipsis if something is missing.
fn end_of(path: &str, width: usize) -> Cow<'_, str> {
    // Wide letters take two columns, and they all lie above this one; counting some narrow ones double, too, only
    // shortens a path more than it needs.
    let columns = |c: char| if c >= '\u{1100}' { 2 } else { 1 };
    if path.chars().map(columns).sum::<usize>() <= width {
        return path.into();
    }
    let mut left = width.saturating_sub(1);
    let fits = |&(_, c): &(usize, char)| {
        let fits = columns(c) <= left;
        left = left.saturating_sub(columns(c));
        fits
    };
    let start = path.char_indices().rev().take_while(fits).last().map_or(path.len(), |(at, _)| at);
    format!("…{}", &path[start..]).into()
}

/// A text with what could steer a terminal, or break a line in two, made visible: a picture's name may hold anything.
/// `--json` has the exact name.
pub fn plain(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(steers) {
        return text.into();
    }
    let escape = |c: char| if steers(c) { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect::<String>().into()
}

/// `10 matches of 12,345 pictures in 32 ms`
pub fn summary(matches: usize, num_images: u64, took: Duration) -> String {
    let counted = |n: u64, one: &str, more: &str| format!("{} {}", grouped(n), if n == 1 { one } else { more });
    let time = match took.as_secs_f64() {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    };
    format!(
        "{} of {} in {time}",
        counted(matches as u64, "match", "matches"),
        counted(num_images, "picture", "pictures")
    )
}

fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let comma = |i: usize| if i > 0 && (digits.len() - i).is_multiple_of(3) { "," } else { "" };
    digits.char_indices().map(|(i, digit)| format!("{}{digit}", comma(i))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(paths: &[&str]) -> Vec<Row> {
        let row = |(path, rank): (&&str, usize)| Row {
            rank,
            score: 0.3 - rank as f32 / 100.0,
            path: (*path).to_owned(),
            copy: None,
        };
        paths.iter().zip(1..).map(row).collect()
    }

    #[test]
    fn a_table_fits_the_terminal_and_keeps_the_names() {
        let rows = rows(&[
            "/nas/a.jpg",
            "/nas/a/very/long/path/that/does/not/fit/at/all/IMG_1234.jpg",
            "/写真/家族/夏休み/海/写真写真写真写真写真.jpg",
        ]);
        let text = table(&rows, 40, false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "rank    score  path");
        assert_eq!(lines[1], "   1   0.2900  /nas/a.jpg");
        assert!(lines[2].ends_with("IMG_1234.jpg") && lines[2].contains('…'), "{}", lines[2]);
        assert_eq!(lines[2].chars().count(), 40);
        assert!(lines[3].chars().map(|c| if c >= '\u{1100}' && c != '…' { 2 } else { 1 }).sum::<usize>() <= 40);
        assert!(!text.contains('\x1b'));
        assert!(table(&rows, 40, true).contains("\x1b[2m"));
        assert!(table(&rows, 1, false).lines().all(|l| l.chars().count() <= 40));
    }

    #[test]
    fn a_hostile_name_steers_nothing() {
        let rows = rows(&["/nas/\x1b]0;x\x07\n\t\r\u{9b}31m\u{202e}.jpg", "$(touch x) %s \"'"]);
        let text = tab_separated(&rows);
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|l| l.matches('\t').count() == 2));
        assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{text:?}");
        assert!(text.ends_with("$(touch x) %s \"'\n"));
        let line = json_lines(&rows[..1]);
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["path"], rows[0].path);
        assert!(parsed.get("copy").is_none());
    }

    #[test]
    fn a_summary_counts_as_people_do() {
        assert_eq!(summary(10, 12_345, Duration::from_millis(32)), "10 matches of 12,345 pictures in 32 ms");
        assert_eq!(summary(1, 1, Duration::from_millis(1_540)), "1 match of 1 picture in 1.5 s");
        assert_eq!(summary(0, 100_000_000, Duration::ZERO), "0 matches of 100,000,000 pictures in 0 ms");
    }
}
