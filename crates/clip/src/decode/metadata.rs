//! What a picture's file says of it in EXIF: which way is up, and when it was taken. Where EXIF is silent, XMP tells the
//! first, as in Pillow's `exif_transpose`.

use std::io::Cursor;

use chrono::NaiveDate;
use exif::{DateTime, Exif, In, Reader, Tag, Value};

/// No picture was taken before.
const FIRST_PHOTOGRAPH: u16 = 1826;

/// What a file says of its picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Its orientation, as EXIF counts them.
    pub turned: Option<u32>,
    /// When it was taken: seconds since 1970, the camera's clock taken for UTC.
    pub taken_s: Option<i64>,
}

impl Metadata {
    /// What the EXIF of a JPEG, PNG, WebP, HEIC or AVIF file says.
    pub fn of_container(bytes: &[u8]) -> Self {
        let mut reader = Reader::new();
        Self::new(reader.continue_on_error(true).read_from_container(&mut Cursor::new(bytes)))
    }

    /// What EXIF data without a container say.
    pub fn of_exif(exif: &[u8]) -> Self {
        let data = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
        Self::new(Reader::new().continue_on_error(true).read_raw(data.to_vec()))
    }

    /// What XMP says: `tiff:Orientation="6"` or `<tiff:Orientation>6<`.
    pub fn of_xmp(xmp: &[u8]) -> Self {
        const KEY: &[u8] = b"tiff:Orientation";
        let keys = xmp.windows(KEY.len()).enumerate().filter(|(_, window)| *window == KEY);
        let mut values = keys.map(|(at, _)| &xmp[at + KEY.len()..]).filter_map(|rest| {
            let value = rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"))?;
            value.first().filter(|b| b.is_ascii_digit()).map(|b| u32::from(b - b'0'))
        });
        Self { turned: values.next(), taken_s: None }
    }

    /// With what `other` says where this is silent.
    pub fn or(self, other: impl FnOnce() -> Self) -> Self {
        if self.turned.is_some() && self.taken_s.is_some() {
            return self;
        }
        let other = other();
        Self { turned: self.turned.or(other.turned), taken_s: self.taken_s.or(other.taken_s) }
    }

    fn new(exif: Result<Exif, exif::Error>) -> Self {
        // Cameras write all sorts of things into other fields; they must not cost these.
        let Ok(exif) = exif.or_else(|e| e.distill_partial_result(|_| ())) else { return Self::default() };
        let field = |tag| exif.get_field(tag, In::PRIMARY).map(|field| &field.value);
        let time = |tag| match field(tag)? {
            Value::Ascii(texts) => seconds(texts.first()?),
            _ => None,
        };
        Self {
            turned: field(Tag::Orientation).and_then(|value| value.get_uint(0)),
            taken_s: time(Tag::DateTimeOriginal).or_else(|| time(Tag::DateTimeDigitized)),
        }
    }
}

/// `YYYY:MM:DD HH:MM:SS` in seconds since 1970; none for what was never the time of a photograph.
pub fn seconds(text: &[u8]) -> Option<i64> {
    let time = DateTime::from_ascii(text).ok().filter(|time| time.year >= FIRST_PHOTOGRAPH)?;
    let day = NaiveDate::from_ymd_opt(time.year.into(), time.month.into(), time.day.into())?;
    let time = day.and_hms_opt(time.hour.into(), time.minute.into(), time.second.into())?;
    Some(time.and_utc().timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xmp_tells_the_orientation_in_both_its_forms() {
        let turned = |xmp: &[u8]| Metadata::of_xmp(xmp).turned;
        assert_eq!(turned(br#"<rdf:Description tiff:Orientation="6"/>"#), Some(6));
        assert_eq!(turned(b"<tiff:Orientation>3</tiff:Orientation>"), Some(3));
        assert_eq!(turned(b"tiff:Orientation"), None);
        assert_eq!(turned(b""), None);
    }

    #[test]
    fn times_are_seconds_and_nonsense_is_none() {
        assert_eq!(seconds(b"1970:01:01 00:00:00"), Some(0));
        assert_eq!(seconds(b"2024:02:29 23:59:59\0"), Some(1_709_251_199));
        assert_eq!(seconds(b"1969:12:31 23:59:59"), Some(-1));
        for nonsense in [
            &b"0000:00:00 00:00:00"[..],
            b"    :  :     :  :  ",
            b"2023:02:29 12:00:00",
            b"2023:13:01 12:00:00",
            b"2023:01:01 24:00:00",
            b"2023:01:01 12:60:00",
            b"1825:01:01 12:00:00",
            b"2023-01-01 12:00:00",
            b"2023:01:01",
            b"",
        ] {
            assert_eq!(seconds(nonsense), None, "{}", String::from_utf8_lossy(nonsense));
        }
    }

    #[test]
    fn what_is_said_first_counts() {
        let first = Metadata { turned: Some(6), taken_s: None };
        assert_eq!(
            first.or(|| Metadata { turned: Some(3), taken_s: Some(9) }),
            Metadata { turned: Some(6), taken_s: Some(9) }
        );
        let whole = Metadata { turned: Some(6), taken_s: Some(9) };
        assert_eq!(whole.or(|| unreachable!("nothing is missing")), whole);
    }
}
