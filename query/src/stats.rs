//! `query --stats`: what an index holds, what its scores mean and how it is searched, as a table with bars.

use std::collections::BTreeMap;

use anyhow::Result;
use chrono::DateTime;
use protocol::stats::{FirstPass, Quantile, Stats};
use protocol::{json, note, plain};
use unicode_width::UnicodeWidthStr;

use crate::session::Session;
use crate::show::{Screen, bytes, counted, end_of, grouped};
use crate::tell::{patiently, print};

/// The columns of a table that goes to no terminal.
const WIDTH: usize = 80;
/// A line with a bar is no wider, on the widest of screens.
const WIDEST: usize = 100;
/// A bar's label has no more columns.
const LABEL: usize = 14;
/// Where facts begin, behind their names.
const INDENT: usize = 12;

/// Asks for the statistics and prints them.
pub async fn tell(session: &mut Session, as_json: bool) -> Result<()> {
    let found = patiently("looking at all pictures of the index...", session.stats()).await?;
    let stats = Stats { root: session.paths().here(&found.root), ..found };
    if let Some(warning) = &stats.warning {
        note(&format!("query: {warning}"));
    }
    if as_json {
        return print(json(&stats) + "\n").await;
    }
    let screen = Screen::of_stdout().unwrap_or(Screen { width: WIDTH, colour: false });
    let chart = Chart { screen, blocks: unicode(|name| std::env::var(name).ok()) };
    print(chart.stats(&stats)).await
}

/// Whether the person's locale has more than ASCII.
fn unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    let given = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| variable(name).filter(|v| !v.is_empty()));
    let locale = given.unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

struct Chart {
    screen: Screen,
    /// Whether bars are blocks, of which some are parts, and not ASCII.
    blocks: bool,
}

/// What a bar stands for: its name, its number and how long it is.
type Bar = (String, String, f64);

impl Chart {
    fn stats(&self, stats: &Stats) -> String {
        let facts = facts(stats).into_iter().map(|(name, parts)| self.fact(name, &parts));
        let scores = stats.background.iter().flat_map(|background| {
            [("words", &background.words), ("pictures", &background.pictures)]
                .map(|(of, scores)| self.bars(&format!("scores of {of}, by percentile"), quantiles(scores)))
        });
        let counted = [
            ("pictures by format", by_count(&stats.formats)),
            ("pictures by year", counts(&stats.years)),
            ("failures by kind", by_count(&stats.failures)),
        ];
        let counted = counted.map(|(title, counts)| self.bars(title, counts));
        facts.chain(counted).chain(scores).collect()
    }

    /// A name and what is told of it, in as many lines as it needs.
    fn fact(&self, name: &str, parts: &[String]) -> String {
        let (dim, plainly) = self.screen.dim();
        let room = self.screen.width.saturating_sub(INDENT).max(12);
        let mut lines: Vec<String> = Vec::new();
        for part in parts {
            let part = plain(part);
            match lines.last_mut() {
                Some(line) if line.width() + 2 + part.width() < room => *line += &format!(", {part}"),
                last => {
                    if let Some(line) = last {
                        line.push(',');
                    }
                    lines.push(end_of(&part, room - 1).into_owned());
                }
            }
        }
        let names = std::iter::once(name).chain(std::iter::repeat(""));
        names.zip(lines).map(|(name, line)| format!("{dim}{name:<INDENT$}{plainly}{line}\n")).collect()
    }

    /// A title and a line for each bar, which the longest fills. Nothing for no bars.
    fn bars(&self, title: &str, bars: Vec<Bar>) -> String {
        let (dim, plainly) = self.screen.dim();
        let Some(most) = bars.iter().map(|bar| bar.2).reduce(f64::max) else { return String::new() };
        let bars: Vec<Bar> = bars.into_iter().map(|(name, n, l)| (end_of(&plain(&name), LABEL).into(), n, l)).collect();
        let widest = |of: fn(&Bar) -> &str| bars.iter().map(|bar| of(bar).width()).max().unwrap_or(0);
        let (names, numbers) = (widest(|bar| &bar.0), widest(|bar| &bar.1));
        let room = self.screen.width.min(WIDEST).saturating_sub(names + numbers + 4);
        let mut text = format!("\n{dim}{title}{plainly}\n");
        for (name, number, length) in &bars {
            let share = if most > 0.0 { (length / most).max(0.0) } else { 0.0 };
            let blank = " ".repeat(names - name.width());
            let line = format!("{blank}{name}  {number:>numbers$}  {}", self.bar(share, room));
            text += &format!("{}\n", line.trim_end());
        }
        text
    }

    /// A bar of a share of `room` columns. What is not nothing is seen.
    fn bar(&self, share: f64, room: usize) -> String {
        const PARTS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
        let full = |columns: usize, of: &str| of.repeat(columns.min(room));
        if share <= 0.0 || room == 0 {
            return String::new();
        }
        if !self.blocks {
            return full(((share * room as f64).round() as usize).max(1), "#");
        }
        let eighths = ((share * 8.0 * room as f64).round() as usize).clamp(1, 8 * room);
        full(eighths / 8, "█") + PARTS[eighths % 8].to_string().trim_end()
    }
}

/// What is told by name.
fn facts(stats: &Stats) -> Vec<(&'static str, Vec<String>)> {
    let model = &stats.model;
    let deviation = model.deviation.map(|deviation| format!("deviation {deviation:.4}"));
    let computed = format!("{} by {}", model.precision, model.provider);
    let made = DateTime::parse_from_rfc3339(&stats.created);
    let made = made.map_or_else(|_| stats.created.clone(), |at| at.to_utc().format("%Y-%m-%d %H:%M UTC").to_string());
    let memory = stats.memory.map(|m| {
        [format!("{} of its own", bytes(m.anonymous_bytes)), format!("{} of mapped files", bytes(m.mapped_bytes))]
    });
    let search = match &stats.first_pass {
        None => vec!["every vector is compared".to_owned()],
        Some(FirstPass { rows, recall_at_10 }) => {
            let others = stats.num_images.saturating_sub(*rows);
            let others = (others > 0).then(|| format!("{} always compared", grouped(others)));
            let recall = format!("recall@10 {}", recall(*recall_at_10));
            ["first pass".to_owned(), recall].into_iter().chain(others).collect()
        }
    };
    let mut facts = vec![
        ("collection", vec![stats.root.clone()]),
        ("pictures", vec![counted(stats.num_images, "picture", "pictures"), bytes(stats.total_bytes)]),
        ("generation", vec![stats.generation.to_string(), made]),
        (
            "model",
            [model.model_name.clone(), format!("{} dimensions", model.embedding_dim), computed]
                .into_iter()
                .chain(deviation)
                .collect(),
        ),
        ("search", search),
    ];
    facts.extend(memory.map(|memory| ("server", memory.to_vec())));
    facts
}

/// A share that is not whole is not told as if it were.
fn recall(share: f64) -> String {
    format!("{:.4}", (share * 1e4 + 1e-6).floor() / 1e4)
}

fn counts(counts: &BTreeMap<String, u64>) -> Vec<Bar> {
    let named = |name: &String| if name.is_empty() { "none".to_owned() } else { name.clone() };
    counts.iter().map(|(name, &count)| (named(name), grouped(count), count as f64)).collect()
}

/// The largest first.
fn by_count(all: &BTreeMap<String, u64>) -> Vec<Bar> {
    let mut bars = counts(all);
    bars.sort_by(|a, b| b.2.total_cmp(&a.2));
    bars
}

fn quantiles(all: &[Quantile]) -> Vec<Bar> {
    all.iter().map(|q| (q.percent.to_string(), format!("{:.4}", q.score), f64::from(q.score))).collect()
}

#[cfg(test)]
mod tests {
    use protocol::ModelIdentity;
    use protocol::stats::{Background, Memory};

    use super::*;

    fn stats() -> Stats {
        let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let scores =
            |from: f32| [1.0, 50.0, 99.9].map(|percent| Quantile { percent, score: from + percent as f32 / 500.0 });
        Stats {
            generation: 3,
            created: "2025-07-14T20:30:00+02:00".to_owned(),
            root: "/nas/a folder with a long name/and another below it/写真".to_owned(),
            model: ModelIdentity {
                model_name: "clip-vit-b-32".to_owned(),
                fingerprint: "f".to_owned(),
                embedding_dim: 512,
                precision: "bf16".to_owned(),
                provider: "openvino".to_owned(),
                deviation: Some(0.00213),
            },
            num_images: 1_234_567,
            total_bytes: 4_500_000_000_000,
            formats: counts(&[("heic", 9), ("jpg", 1_234_500), ("\x1b[2Jvery-long-ending\n", 1), ("", 57)]),
            years: counts(&[("2019", 1_000_000), ("2020", 234_567)]),
            failures: counts(&[("undecodable", 3)]),
            background: Some(Background { sample: 1000, words: scores(-0.1).to_vec(), pictures: scores(0.5).to_vec() }),
            first_pass: Some(FirstPass { rows: 1_234_500, recall_at_10: 0.99799 }),
            memory: Some(Memory { anonymous_bytes: 312_000_000, mapped_bytes: 2_100_000_000 }),
            warning: None,
        }
    }

    fn chart(width: usize, colour: bool, blocks: bool) -> String {
        Chart { screen: Screen { width, colour }, blocks }.stats(&stats())
    }

    #[test]
    fn statistics_fit_the_terminal_and_the_longest_bar_fills_it() {
        for width in [40, 80, 200] {
            for blocks in [false, true] {
                let text = chart(width, false, blocks);
                assert!(text.lines().all(|line| line.width() <= width), "{text}");
                assert!(
                    text.lines()
                        .any(|line| line.trim_start().starts_with("jpg  1,234,500  ")
                            && line.width() == width.min(WIDEST)),
                    "{text}"
                );
                assert!(!text.contains("\x1b") && !text.lines().any(|line| line.ends_with(' ')), "{text}");
                assert_eq!(text.contains('█'), blocks);
                let colour = chart(width, true, blocks);
                assert_eq!(colour.replace("\x1b[2m", "").replace("\x1b[0m", ""), text);
                assert_ne!(colour, text);
            }
        }
    }

    #[test]
    fn statistics_tell_what_is_known_and_nothing_else() {
        let text = chart(200, false, false);
        for told in [
            "pictures    1,234,567 pictures, 4500.0 GB\n",
            "generation  3, 2025-07-14 18:30 UTC\n",
            "model       clip-vit-b-32, 512 dimensions, bf16 by openvino, deviation 0.0021\n",
            "search      first pass, recall@10 0.9979, 67 always compared\n",
            "server      312.0 MB of its own, 2.1 GB of mapped files\n",
            "          none         57  #\n",
            "undecodable  3  #",
            "2020    234,567  ##",
            "  1  -0.0980\n",
            "99.9  0.6998  ###",
        ] {
            assert!(text.contains(told), "{told:?}: {text}");
        }
        let formats = ["jpg  1,234,500", "none         57", "heic          9", "…long-ending\\n          1"];
        let places = formats.map(|format| text.find(format).unwrap_or_else(|| panic!("{format:?}: {text}")));
        assert!(places.is_sorted(), "{text}");
        let bare = Stats { background: None, first_pass: None, memory: None, failures: BTreeMap::new(), ..stats() };
        let text = Chart { screen: Screen { width: 80, colour: false }, blocks: true }.stats(&bare);
        assert!(text.contains("search      every vector is compared\n"), "{text}");
        assert!(!text.contains("scores") && !text.contains("server") && !text.contains("failures"), "{text}");
    }

    #[test]
    fn a_bar_is_as_long_as_its_share_and_what_is_not_nothing_is_seen() {
        let chart = |blocks| Chart { screen: Screen { width: 80, colour: false }, blocks };
        let blocks = [0.0, 1e-9, 0.25, 0.26, 0.5, 1.0].map(|share| chart(true).bar(share, 8));
        assert_eq!(blocks, ["", "▏", "██", "██▏", "████", "████████"]);
        let ascii = [0.0, 1e-9, 0.25, 1.0].map(|share| chart(false).bar(share, 8));
        assert_eq!(ascii, ["", "#", "##", "########"]);
        assert_eq!(chart(true).bar(1.0, 0), "");
    }

    #[test]
    fn blocks_need_a_locale_that_has_them() {
        let locale = |set: &[(&str, &str)]| {
            unicode(|name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
        };
        assert!(locale(&[("LANG", "de_DE.UTF-8")]) && locale(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]));
        assert!(!locale(&[]) && !locale(&[("LANG", "C")]) && !locale(&[("LC_ALL", "POSIX"), ("LANG", "C.UTF-8")]));
    }

    #[test]
    fn a_recall_that_is_not_whole_is_not_told_as_if_it_were() {
        assert_eq!([1.0, 0.99999, 0.9979].map(recall), ["1.0000", "0.9999", "0.9979"]);
    }
}
