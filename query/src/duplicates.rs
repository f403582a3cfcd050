//! `query --duplicates`: groups of nearly the same pictures over a whole collection. The first of each is that to keep;
//! deleting is left to the person.

use std::time::Instant;

use anyhow::Result;
use protocol::search::{DuplicateGroup, DuplicatesRequest, DuplicatesResponse, MAX_TOP_K};
use protocol::{json, note, plain};
use serde::Serialize;

use crate::args::{Args, Format};
use crate::paths::Paths;
use crate::row::Facts;
use crate::session::Session;
use crate::show::{Column, Columns, Screen, bytes, counted, end_of, grouped, inert, time};
use crate::tell::{patiently, print};

/// Pictures of a group that a table shows.
const MOST_SHOWN: usize = 10;

/// A group. `--json` prints it as it is.
#[derive(Debug, Serialize)]
struct Group {
    /// From 1, the largest first.
    group: usize,
    /// How many pictures are in it.
    count: u64,
    /// Whether all their files could be looked at; if not, none is superfluous for certain.
    compared: bool,
    /// The one to keep, and those that are nearly the same.
    pictures: Vec<Picture>,
}

#[derive(Debug, Serialize)]
struct Picture {
    /// As it is here.
    path: String,
    /// Cosine with the group's first.
    score: f32,
    /// It may go, and the first stays: `--paths-only` prints it.
    superfluous: bool,
    /// Paths that lead to the same file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    same_file: Vec<String>,
    /// Of one shot both a RAW file and a developed picture are in the group, of which this is one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    in_both_forms: bool,
    #[serde(flatten)]
    facts: Facts,
}

/// Asks for the groups and prints them.
pub async fn tell(session: &mut Session, args: &Args, began: Instant) -> Result<()> {
    let wanted = DuplicatesRequest { max_groups: args.groups(), max_pictures: MAX_TOP_K, similarity: args.similarity };
    let what = "comparing all pictures with one another; a million take seconds...";
    let found = patiently(what, session.duplicates(&wanted)).await?;
    if let Some(warning) = &found.warning {
        note(&format!("query: {warning}"));
    }
    let summary = format!("{} in {}", summary(&found), time(began.elapsed()));
    let paths = session.paths();
    let groups: Vec<_> =
        found.groups.into_iter().zip(1..).map(|(group, number)| Group::new(group, number, &paths)).collect();
    print(match (args.format(), Screen::of_stdout()) {
        (Format::People, Some(screen)) => table(&groups, screen),
        (Format::People, None) => tab_separated(&groups),
        (Format::Json, _) => json_lines(&groups),
        (Format::Csv, _) => csv(&groups),
        (Format::Paths { nul }, _) => superfluous(&groups, nul),
    })
    .await?;
    let unreached = groups.iter().filter(|group| !group.compared).count() as u64;
    if unreached > 0 {
        let groups = counted(unreached, "group", "groups");
        note(&format!(
            "query: of {groups} not all files could be looked at; two of them may be one file, so none is superfluous"
        ));
    }
    note(&summary);
    Ok(())
}

/// `2 groups with 5 of 12,345 pictures`, and what is not shown of them.
fn summary(found: &DuplicatesResponse) -> String {
    let DuplicatesResponse { num_images, num_groups, num_pictures, groups, .. } = found;
    let mut text = format!(
        "{} with {} of {} whose cosine is {:.4} or more",
        counted(*num_groups, "group", "groups"),
        grouped(*num_pictures),
        counted(*num_images, "picture", "pictures"),
        found.similarity,
    );
    if (groups.len() as u64) < *num_groups {
        text += &format!(", the largest {} shown (--top-k N shows more),", grouped(groups.len() as u64));
    }
    if groups.iter().any(|group| group.count > group.pictures.len() as u64) {
        text += &format!(", no more than {} of each,", grouped(MAX_TOP_K as u64));
    }
    text
}

impl Group {
    fn new(group: DuplicateGroup, number: usize, paths: &Paths<'_>) -> Self {
        let superfluous: Vec<bool> = (0..group.pictures.len()).map(|place| group.is_superfluous(place)).collect();
        let pictures = group.pictures.into_iter().zip(superfluous).map(|(picture, superfluous)| Picture {
            path: paths.here(&picture.path),
            score: picture.score,
            superfluous,
            same_file: picture.same_file.iter().map(|path| paths.here(path)).collect(),
            in_both_forms: picture.in_both_forms,
            facts: Facts::new(&picture.file),
        });
        Self { group: number, count: group.count, compared: group.compared, pictures: pictures.collect() }
    }

    /// `1.  3 pictures, 4.8 MB beside the first`, and of what kind they are.
    fn title(&self, width: usize) -> String {
        let mut title = format!("{}.  {}", self.group, counted(self.count, "picture", "pictures"));
        let superfluous = self.pictures.iter().filter(|picture| picture.superfluous);
        let more = superfluous.map(|picture| picture.facts.size_bytes).fold(0, u64::saturating_add);
        let mut add = |text: &str| {
            if title.len() + text.len() <= width {
                title += text;
            }
        };
        if more > 0 {
            add(&format!(", {} beside the first", bytes(more)));
        }
        if self.pictures.iter().all(|picture| picture.in_both_forms) {
            add(", RAW and developed");
        }
        if !self.compared {
            add(", not all within reach");
        }
        title
    }
}

const COLUMNS: [Column<Picture>; 4] = [
    Column { name: "score", cell: |p| format!("{:.4}", p.score), from: 0 },
    Column { name: "date", cell: |p| p.facts.day().to_owned(), from: 100 },
    Column { name: "pixels", cell: |p| p.facts.pixels(), from: 60 },
    Column { name: "size", cell: |p| p.facts.size(), from: 40 },
];

/// Groups that fit the screen, one below the other.
fn table(groups: &[Group], screen: Screen) -> String {
    if groups.is_empty() {
        return String::new();
    }
    let shown = groups.iter().flat_map(|group| group.pictures.iter().take(MOST_SHOWN));
    let columns = Columns::of(&COLUMNS, shown, screen.width);
    let (dim, plainly) = screen.dim();
    let mut text = format!("{dim}{}  path{plainly}\n", columns.names());
    for group in groups {
        text += &format!("{dim}{}{plainly}\n", group.title(screen.width));
        for picture in group.pictures.iter().take(MOST_SHOWN) {
            text += &format!("{}  {}\n", columns.cells(picture), end_of(&plain(&picture.path), columns.left));
            for name in &picture.same_file {
                let blank = " ".repeat(columns.names().len());
                let name = format!("= {}", plain(name));
                text += &format!("{dim}{blank}  {}{plainly}\n", end_of(&name, columns.left));
            }
        }
        let hidden = group.count.saturating_sub(MOST_SHOWN as u64);
        if hidden > 0 {
            text += &format!("{dim}and {} more{plainly}\n", grouped(hidden));
        }
    }
    text
}

/// Group, score and whole path, one picture a line.
fn tab_separated(groups: &[Group]) -> String {
    let line =
        |(group, picture): (usize, &Picture)| format!("{group}\t{:.4}\t{}\n", picture.score, plain(&picture.path));
    pictures(groups).map(line).collect()
}

/// One JSON object a group and line.
fn json_lines(groups: &[Group]) -> String {
    groups.iter().map(|group| json(group) + "\n").collect()
}

/// Lines as RFC 4180 has them, one a picture; the one to keep has the rank 1.
fn csv(groups: &[Group]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write =
        |fields: &[&str]| writer.write_record(fields).expect("all records have as many fields, and memory takes them");
    write(&["group", "rank", "score", "path", "size_bytes", "mtime", "taken", "width", "height", "superfluous"]);
    for group in groups {
        for (picture, rank) in group.pictures.iter().zip(1..) {
            let [size, mtime, taken, width, height] = picture.facts.fields();
            let (number, rank, score) = (group.group.to_string(), i32::to_string(&rank), picture.score.to_string());
            let superfluous = if picture.superfluous { "yes" } else { "no" };
            write(&[
                &number,
                &rank,
                &score,
                &inert(&picture.path),
                &size,
                &mtime,
                &taken,
                &width,
                &height,
                superfluous,
            ]);
        }
    }
    String::from_utf8(writer.into_inner().expect("memory takes all")).expect("all fields are UTF-8")
}

/// Paths of pictures that may go: each with a NUL behind it, exactly as it is, or each a line.
fn superfluous(groups: &[Group], nul: bool) -> String {
    let more = groups.iter().flat_map(|group| &group.pictures).filter(|picture| picture.superfluous);
    more.map(|p| if nul { format!("{}\0", p.path) } else { format!("{}\n", plain(&p.path)) }).collect()
}

fn pictures(groups: &[Group]) -> impl Iterator<Item = (usize, &Picture)> {
    groups.iter().flat_map(|group| group.pictures.iter().map(|picture| (group.group, picture)))
}

#[cfg(test)]
mod tests {
    use protocol::FileFacts;
    use unicode_width::UnicodeWidthStr;

    use super::*;

    fn group(number: usize, count: u64, paths: &[&str]) -> Group {
        let picture = |(path, rank): (&&str, u64)| Picture {
            path: (*path).to_owned(),
            score: 1.0 - rank as f32 / 1000.0,
            superfluous: rank > 0,
            same_file: Vec::new(),
            in_both_forms: false,
            facts: Facts::new(&FileFacts {
                size_bytes: 2_400_000 - rank,
                mtime_ns: 1_563_129_000_000_000_000,
                taken_s: None,
                width: 4032,
                height: 3024,
            }),
        };
        Group { group: number, count, compared: true, pictures: paths.iter().zip(0..).map(picture).collect() }
    }

    fn two() -> [Group; 2] {
        [
            group(
                1,
                3,
                &["/nas/a.jpg", "/nas/a very long folder of somebody's/with many words/=copy.jpg", "/nas/c\n.jpg"],
            ),
            group(2, 2, &["/nas/d.jpg", "/nas/写真写真写真写真写真写真写真写真写真写真写真写真.jpg"]),
        ]
    }

    #[test]
    fn a_table_of_groups_fits_the_terminal() {
        for width in [40, 60, 80, 100, 200] {
            for colour in [false, true] {
                let text = table(&two(), Screen { width, colour });
                let bare = text.replace("\x1b[2m", "").replace("\x1b[0m", "");
                assert!(bare.lines().all(|line| line.width() <= width), "{bare}");
                assert_eq!((bare.lines().count(), bare.contains('\x1b'), text == bare), (8, false, !colour));
            }
        }
        let text = table(&two(), Screen { width: 100, colour: false });
        assert!(
            text.starts_with(" score        date     pixels    size  path\n1.  3 pictures, 4.8 MB beside the first\n"),
            "{text}"
        );
        assert!(text.contains("\n1.0000  2019-07-14  4032x3024  2.4 MB  /nas/a.jpg\n"), "{text}");
        let narrow = table(&two(), Screen { width: 40, colour: false });
        assert!(narrow.contains("0.9990  2.4 MB  …") && narrow.contains("/=copy.jpg\n"), "{narrow}");
        let paths: Vec<String> = (0..25).map(|n| format!("/nas/{n}.jpg")).collect();
        let many = group(1, 1025, &paths.iter().map(String::as_str).collect::<Vec<_>>());
        let text = table(&[many], Screen { width: 40, colour: false });
        assert_eq!(text.lines().count(), 2 + MOST_SHOWN + 1);
        assert!(text.contains("1.  1,025 pictures") && text.ends_with("and 1,015 more\n"), "{text}");
        assert_eq!(table(&[], Screen { width: 40, colour: false }), "");
    }

    #[test]
    fn the_first_of_each_group_is_kept_and_all_others_are_superfluous() {
        let long = "/nas/a very long folder of somebody's/with many words/=copy.jpg";
        let photos = "/nas/写真写真写真写真写真写真写真写真写真写真写真写真.jpg";
        assert_eq!(superfluous(&two(), true), format!("{long}\0/nas/c\n.jpg\0{photos}\0"));
        assert_eq!(superfluous(&two(), false), format!("{long}\n/nas/c\\n.jpg\n{photos}\n"));
    }

    #[test]
    fn programs_get_every_picture_with_its_group() {
        let lines = json_lines(&two());
        let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!((lines.lines().count(), &first["group"], &first["count"]), (2, &1.into(), &3.into()));
        assert_eq!(first["pictures"][2]["path"], "/nas/c\n.jpg");
        assert_eq!(first["pictures"][1]["size_bytes"], 2_399_999);
        let text = csv(&two());
        let records: Vec<_> = csv::Reader::from_reader(text.as_bytes()).into_records().map(Result::unwrap).collect();
        let ranks: Vec<_> = records.iter().map(|record| (record[0].to_owned(), record[1].to_owned())).collect();
        let expected = [("1", "1"), ("1", "2"), ("1", "3"), ("2", "1"), ("2", "2")];
        assert_eq!(ranks, expected.map(|(group, rank)| (group.to_owned(), rank.to_owned())));
        assert_eq!((&records[2][3], &records[2][5]), ("/nas/c\n.jpg", "2019-07-14T18:30:00Z"));
        assert_eq!(tab_separated(&two()).lines().nth(2), Some("1\t0.9980\t/nas/c\\n.jpg"));
    }

    #[test]
    fn one_file_of_two_names_and_a_shot_in_two_forms_are_told_and_not_superfluous() {
        let mut groups = two();
        groups[0].pictures[1].superfluous = false;
        groups[0].pictures[1].same_file = vec!["/nas/link.jpg".into()];
        groups[1].compared = false;
        for picture in &mut groups[1].pictures {
            (picture.superfluous, picture.in_both_forms) = (false, true);
        }
        assert_eq!(superfluous(&groups, true), "/nas/c\n.jpg\0");
        let text = table(&groups, Screen { width: 100, colour: false });
        assert!(text.contains(" = /nas/link.jpg\n"), "{text}");
        assert!(text.contains("\n2.  2 pictures, RAW and developed, not all within reach\n"), "{text}");
        assert!(table(&groups, Screen { width: 40, colour: false }).lines().all(|line| line.width() <= 40));
        let lines = json_lines(&groups);
        let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!(first["pictures"][1]["same_file"][0], "/nas/link.jpg");
        assert_eq!((&first["pictures"][1]["superfluous"], &first["compared"]), (&false.into(), &true.into()));
    }

    #[test]
    fn what_is_not_shown_is_told() {
        let group = |count| DuplicateGroup { count, compared: true, pictures: Vec::new() };
        let mut found = DuplicatesResponse {
            generation: 1,
            num_images: 12_345,
            similarity: 0.98,
            num_groups: 0,
            num_pictures: 0,
            groups: Vec::new(),
            seconds: 0.1,
            warning: None,
        };
        assert_eq!(summary(&found), "0 groups with 0 of 12,345 pictures whose cosine is 0.9800 or more");
        (found.num_groups, found.num_pictures, found.groups) = (1, 2, vec![group(0)]);
        assert_eq!(summary(&found), "1 group with 2 of 12,345 pictures whose cosine is 0.9800 or more");
        (found.num_groups, found.num_pictures) = (1_234, 5_678);
        assert!(
            summary(&found).ends_with("or more, the largest 1 shown (--top-k N shows more),"),
            "{}",
            summary(&found)
        );
        found.groups = vec![group(7)];
        assert!(summary(&found).ends_with("no more than 100,000 of each,"));
    }
}
