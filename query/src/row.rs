//! One match as it is shown: names as this machine sees them, times as people write them.

use chrono::DateTime;
use protocol::search::{FileFacts, Match};
use serde::Serialize;

use crate::show::bytes;

/// A match. `--json` prints it as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What it answers, if several questions were asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    pub rank: usize,
    pub score: f32,
    pub percentile: f64,
    /// As it is here.
    pub path: String,
    /// Pictures that are nearly the same and are not shown.
    pub alike: usize,
    #[serde(flatten)]
    pub facts: Facts,
    /// Where its copy is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
    /// As it stands in the index.
    #[serde(skip)]
    pub canonical: String,
}

/// What is known of a picture's file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Facts {
    #[serde(skip_serializing_if = "is_zero")]
    pub size_bytes: u64,
    /// UTC, as RFC 3339 has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtime: Option<String>,
    /// The camera's clock, which tells no zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub width: u32,
    #[serde(skip_serializing_if = "is_zero")]
    pub height: u32,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

impl Row {
    /// A match whose path is `path` here.
    pub fn new(found: Match, path: String, question: Option<&str>) -> Self {
        Self {
            question: question.map(str::to_owned),
            rank: found.rank,
            score: found.score,
            percentile: found.percentile,
            path,
            alike: found.alike,
            facts: Facts::new(&found.file),
            copy: None,
            canonical: found.path,
        }
    }

    /// `+3 alike`, if there are.
    pub fn alike(&self) -> String {
        if self.alike == 0 { String::new() } else { format!("+{} alike", self.alike) }
    }
}

impl Facts {
    pub fn new(file: &FileFacts) -> Self {
        let time = |seconds, format| Some(DateTime::from_timestamp(seconds, 0)?.format(format).to_string());
        let known = (file.mtime_ns != 0).then_some(file.mtime_ns.div_euclid(1_000_000_000));
        Self {
            size_bytes: file.size_bytes,
            mtime: known.and_then(|s| time(s, "%Y-%m-%dT%H:%M:%SZ")),
            taken: file.taken_s.and_then(|s| time(s, "%Y-%m-%dT%H:%M:%S")),
            width: file.width,
            height: file.height,
        }
    }

    /// All of them, as the last columns of a comma-separated line.
    pub fn fields(&self) -> [String; 5] {
        let number = |n: u64| if n == 0 { String::new() } else { n.to_string() };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let [size, width, height] = [self.size_bytes, self.width.into(), self.height.into()].map(number);
        [size, text(&self.mtime), text(&self.taken), width, height]
    }

    /// The day on which it was taken, else modified.
    pub fn day(&self) -> &str {
        self.taken.as_ref().or(self.mtime.as_ref()).and_then(|t| t.split('T').next()).unwrap_or("")
    }

    /// `4032x3024`, if known.
    pub fn pixels(&self) -> String {
        if self.width == 0 { String::new() } else { format!("{}x{}", self.width, self.height) }
    }

    /// `2.4 MB`, if known.
    pub fn size(&self) -> String {
        if self.size_bytes == 0 { String::new() } else { bytes(self.size_bytes) }
    }
}

#[cfg(test)]
pub mod tests {
    use protocol::search::FileFacts;

    use super::*;

    /// A row with all facts.
    pub fn row(rank: usize, path: &str) -> Row {
        let file = FileFacts {
            size_bytes: 2_412_345,
            mtime_ns: 1_563_129_000_999_999_999,
            taken_s: Some(1_563_129_000 - 86_400),
            width: 4032,
            height: 3024,
        };
        let score = 0.3 - rank as f32 / 100.0;
        let found = Match { rank, score, percentile: 99.987, path: path.to_owned(), file, alike: rank - 1 };
        Row::new(found, path.to_owned(), None)
    }

    #[test]
    fn facts_are_told_as_people_write_them_and_unknown_ones_not_at_all() {
        let row = row(4, "/nas/a.jpg");
        let known = &row.facts;
        assert_eq!(known.mtime.as_deref(), Some("2019-07-14T18:30:00Z"));
        assert_eq!(known.day(), "2019-07-13");
        assert_eq!(
            (known.pixels(), known.size(), row.alike()),
            ("4032x3024".into(), "2.4 MB".into(), "+3 alike".into())
        );
        let fields = ["2412345", "2019-07-14T18:30:00Z", "2019-07-13T18:30:00", "4032", "3024"];
        assert_eq!(known.fields(), fields);
        let file = FileFacts::default();
        let found = Match { rank: 1, score: 0.5, percentile: 1.0, path: "/a".into(), file, alike: 0 };
        let unknown = Row::new(found, "/a".into(), None);
        let facts = &unknown.facts;
        assert_eq!((facts.day(), facts.pixels(), facts.size()), ("", String::new(), String::new()));
        assert_eq!(facts.fields(), [""; 5]);
        assert_eq!(
            serde_json::to_value(&unknown).unwrap(),
            serde_json::json!({"rank": 1, "score": 0.5, "percentile": 1.0, "path": "/a", "alike": 0})
        );
        assert_eq!(Facts { mtime: None, taken: None, ..known.clone() }.day(), "");
    }

    #[test]
    fn a_time_that_no_calendar_has_is_left_out() {
        let file = FileFacts { taken_s: Some(i64::MAX), mtime_ns: i64::MIN, ..FileFacts::default() };
        let found = Match { rank: 1, score: 0.5, percentile: 1.0, path: "/a".into(), file, alike: 0 };
        let facts = Row::new(found, "/a".into(), None).facts;
        assert_eq!((facts.taken.as_deref(), facts.mtime.as_deref()), (None, Some("1677-09-21T00:12:43Z")));
    }
}
