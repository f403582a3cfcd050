//! Which pictures may match at all, as a person says it.

use chrono::{NaiveDate, NaiveDateTime};
use clap::ValueEnum;
use protocol::search::{Filters, Orientation};

use crate::WrongUsage;
use crate::paths::Paths;

/// The options that leave pictures out.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Which pictures may match")]
pub struct FilterArgs {
    /// Only in this folder or below: as you see it here, or below the collection's folder (repeatable: in one of them)
    #[arg(long, value_name = "FOLDER")]
    pub under: Vec<String>,

    /// Only where the path below the collection's folder fits, as '2019/**/*.png' (repeatable: one of them)
    #[arg(long, value_name = "PATTERN")]
    pub glob: Vec<String>,

    /// Taken (if the picture does not tell: modified) at this time or later: 2019, 2019-07, 2019-07-14 or 2019-07-14T18:30
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub after: Option<i64>,

    /// Taken before this time: --after 2019 --before 2020 is all of 2019
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub before: Option<i64>,

    /// At least so large: 1920x1080 pixels (upright), or 500KB, 2MB, 1GB of file (repeatable: both)
    #[arg(long, value_name = "SIZE", value_parser = min_size)]
    pub min_size: Vec<MinSize>,

    /// Only of this shape (upright)
    #[arg(long, value_name = "SHAPE", value_enum)]
    pub orientation: Option<Shape>,

    /// Only what scores higher than P percent of the collection, as 99.5
    #[arg(long, value_name = "P", value_parser = percent)]
    pub min_percentile: Option<f64>,
}

/// A lower bound on a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MinSize {
    Pixels(u32, u32),
    Bytes(u64),
}

/// The shape of an upright picture.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Shape {
    Landscape,
    Portrait,
    Square,
}

impl FilterArgs {
    /// The filters as the server understands them.
    pub fn resolve(&self, paths: &Paths<'_>) -> Result<Filters, WrongUsage> {
        let mut filters = Filters {
            under: self.under.iter().map(|folder| paths.folder(folder)).collect::<Result<_, _>>()?,
            glob: self.glob.clone(),
            after_s: self.after,
            before_s: self.before,
            orientation: self.orientation.map(|shape| match shape {
                Shape::Landscape => Orientation::Landscape,
                Shape::Portrait => Orientation::Portrait,
                Shape::Square => Orientation::Square,
            }),
            ..Filters::default()
        };
        if let (Some(after), Some(before)) = (self.after, self.before)
            && after >= before
        {
            return Err(WrongUsage("no time is both after --after and before --before".to_owned()));
        }
        for size in &self.min_size {
            let given = match *size {
                MinSize::Pixels(width, height) => {
                    filters.min_height = Some(height);
                    filters.min_width.replace(width).is_some()
                }
                MinSize::Bytes(bytes) => filters.min_bytes.replace(bytes).is_some(),
            };
            if given {
                return Err(WrongUsage(
                    "--min-size is given twice of a kind; once in pixels and once in bytes is possible".to_owned(),
                ));
            }
        }
        Ok(filters)
    }
}

/// Seconds since 1970 of the beginning of a year, month, day, minute or second, the clock taken for UTC.
pub fn time(text: &str) -> Result<i64, String> {
    let digits = |part: &str, count| part.len() == count && part.bytes().all(|b| b.is_ascii_digit());
    let (date, clock) = text.split_once(['T', ' ']).map_or((text, None), |(date, clock)| (date, Some(clock)));
    let parts: Vec<&str> = date.split('-').collect();
    let number = |part: &str, count| if digits(part, count) { part.parse().ok() } else { None };
    let day = match (parts.as_slice(), clock) {
        ([year], None) => number(year, 4).and_then(|y| NaiveDate::from_ymd_opt(y as i32, 1, 1)),
        ([year, month], None) => {
            number(year, 4).zip(number(month, 2)).and_then(|(y, m)| NaiveDate::from_ymd_opt(y as i32, m, 1))
        }
        ([year, month, day], _) => {
            let whole = number(year, 4).zip(number(month, 2)).zip(number(day, 2));
            whole.and_then(|((y, m), d)| NaiveDate::from_ymd_opt(y as i32, m, d))
        }
        _ => None,
    };
    let at = day.and_then(|day| match clock {
        None => day.and_hms_opt(0, 0, 0),
        Some(clock) => {
            let whole = format!("{day} {}", clock.trim_end_matches('Z'));
            let read = |format| NaiveDateTime::parse_from_str(&whole, format).ok();
            read("%Y-%m-%d %H:%M:%S").or_else(|| read("%Y-%m-%d %H:%M"))
        }
    });
    let at = at.ok_or("a time is 2019, 2019-07, 2019-07-14, 2019-07-14T18:30 or 2019-07-14T18:30:05")?;
    Ok(at.and_utc().timestamp())
}

/// `1920x1080`, `500KB`, `2.5MB`, `1GiB`.
pub fn min_size(text: &str) -> Result<MinSize, String> {
    const UNITS: [(&str, f64); 7] =
        [("KIB", 1024.0), ("MIB", 1048576.0), ("GIB", 1073741824.0), ("KB", 1e3), ("MB", 1e6), ("GB", 1e9), ("B", 1.0)];
    let upper = text.to_ascii_uppercase();
    if let Some((width, height)) = upper.split_once('X')
        && let (Ok(width @ 1..), Ok(height @ 1..)) = (width.parse(), height.parse())
    {
        return Ok(MinSize::Pixels(width, height));
    }
    let bytes = UNITS.iter().find_map(|(unit, factor)| {
        let number = upper.strip_suffix(unit)?.trim_end();
        let plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
        let bytes = number.parse::<f64>().ok().filter(|_| plain)? * factor;
        (1.0..=1e15).contains(&bytes).then_some(MinSize::Bytes(bytes as u64))
    });
    bytes.ok_or_else(|| "a size is pixels, as 1920x1080, or bytes, as 500KB, 2MB or 1GB".to_owned())
}

/// `99.5`, `99.5%`.
pub fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').parse().ok().filter(|p| (0.0..100.0).contains(p));
    number.ok_or_else(|| "a percentile is a number from 0 to below 100, as 99.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_as_exact_as_it_is_written() {
        let utc = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp();
        for (text, whole) in [
            ("2019", "2019-01-01T00:00:00Z"),
            ("2019-07", "2019-07-01T00:00:00Z"),
            ("2019-07-14", "2019-07-14T00:00:00Z"),
            ("2019-07-14T18:30", "2019-07-14T18:30:00Z"),
            ("2019-07-14 18:30:05", "2019-07-14T18:30:05Z"),
            ("2019-07-14T18:30:05Z", "2019-07-14T18:30:05Z"),
            ("1969", "1969-01-01T00:00:00Z"),
        ] {
            assert_eq!(time(text), Ok(utc(whole)), "{text}");
        }
        for bad in [
            "",
            "19",
            "2019-7",
            "2019-13",
            "2019-02-30",
            "2019T10:00",
            "2019-07-14T",
            "2019-07-14T25:00",
            "+201",
            "yesterday",
            "2019-07-14-1",
        ] {
            assert!(time(bad).unwrap_err().contains("2019-07-14"), "{bad}");
        }
    }

    #[test]
    fn a_size_is_pixels_or_bytes() {
        assert_eq!(min_size("1920x1080"), Ok(MinSize::Pixels(1920, 1080)));
        assert_eq!(min_size("1X1"), Ok(MinSize::Pixels(1, 1)));
        assert_eq!(min_size("500KB"), Ok(MinSize::Bytes(500_000)));
        assert_eq!(min_size("2.5 mb"), Ok(MinSize::Bytes(2_500_000)));
        assert_eq!(min_size("1GiB"), Ok(MinSize::Bytes(1 << 30)));
        assert_eq!(min_size("1B"), Ok(MinSize::Bytes(1)));
        for bad in ["500", "", "x", "0x0", "1920x", "MB", "-1MB", "1e3MB", "infMB", "nanMB", "99999999999999GB", "0B"] {
            assert!(min_size(bad).unwrap_err().contains("1920x1080"), "{bad}");
        }
    }

    #[test]
    fn a_percentile_is_below_a_hundred() {
        assert_eq!(percent("99.5"), Ok(99.5));
        assert_eq!(percent("99.5%"), Ok(99.5));
        for bad in ["100", "-1", "nan", "inf", "most"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }
}
