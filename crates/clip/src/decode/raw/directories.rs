//! The directories of a TIFF-structured file: its pages, and what SubIFDs point to. Nothing that they say is believed
//! before it is looked up, and walking them is bounded whatever they say.

use super::part;
use crate::decode::metadata::seconds;

/// Directories that are looked at in one file. A camera writes three to ten.
const MOST_DIRECTORIES: usize = 64;
/// Entries that are looked at in one directory. A camera writes up to a hundred.
const MOST_ENTRIES: usize = 512;
/// Values that are read of one entry: as many as a time has letters.
const MOST_VALUES: usize = 20;

/// The entries that matter here (TIFF 6.0, TIFF Technical Note 1, EXIF 2.32, DNG 1.7).
pub mod tag {
    pub const SUBFILE_TYPE: u16 = 254;
    pub const WIDTH: u16 = 256;
    pub const HEIGHT: u16 = 257;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const ORIENTATION: u16 = 274;
    pub const STRIP_BYTES: u16 = 279;
    pub const SUB_DIRECTORIES: u16 = 330;
    pub const JPEG_OFFSET: u16 = 513;
    pub const JPEG_BYTES: u16 = 514;
    pub const EXIF_DIRECTORY: u16 = 34_665;
    pub const TIME_ORIGINAL: u16 = 36_867;
    pub const TIME_DIGITIZED: u16 = 36_868;
    pub const DNG_VERSION: u16 = 50_706;
}

const WANTED: [u16; 15] = [
    tag::SUBFILE_TYPE,
    tag::WIDTH,
    tag::HEIGHT,
    tag::COMPRESSION,
    tag::PHOTOMETRIC,
    tag::STRIP_OFFSETS,
    tag::ORIENTATION,
    tag::STRIP_BYTES,
    tag::SUB_DIRECTORIES,
    tag::JPEG_OFFSET,
    tag::JPEG_BYTES,
    tag::EXIF_DIRECTORY,
    tag::TIME_ORIGINAL,
    tag::TIME_DIGITIZED,
    tag::DNG_VERSION,
];

/// A TIFF-structured file.
pub struct Directories<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

/// One directory: numbers by tag.
pub struct Directory {
    entries: Vec<(u16, Vec<u32>)>,
}

impl<'a> Directories<'a> {
    /// None if `bytes` do not begin as a TIFF does.
    pub fn open(bytes: &'a [u8]) -> Option<Self> {
        match bytes.get(..4)? {
            b"II*\0" => Some(Self { bytes, big_endian: false }),
            b"MM\0*" => Some(Self { bytes, big_endian: true }),
            _ => None,
        }
    }

    /// The first directory, those linked to it, and those below each, none of them twice.
    pub fn walk(&self) -> Vec<Directory> {
        let mut found = Vec::new();
        let mut places: Vec<u32> = self.long(4).into_iter().collect();
        let mut next = 0;
        while let Some(&at) = places.get(next) {
            next += 1;
            let Some((directory, link)) = self.read(at as usize) else { continue };
            let below = [tag::SUB_DIRECTORIES, tag::EXIF_DIRECTORY].map(|tag| directory.values(tag));
            for place in below.into_iter().flatten().copied().chain(link).filter(|&place| place != 0) {
                if places.len() < MOST_DIRECTORIES && !places.contains(&place) {
                    places.push(place);
                }
            }
            found.push(directory);
        }
        found
    }

    /// When the picture was taken: seconds since 1970, the camera's clock taken for UTC.
    pub fn taken_s(&self) -> Option<i64> {
        let all = self.walk();
        [tag::TIME_ORIGINAL, tag::TIME_DIGITIZED].into_iter().find_map(|tag| all.iter().find_map(|d| d.time(tag)))
    }

    /// The directory at `at`, and where the next one is.
    fn read(&self, at: usize) -> Option<(Directory, Option<u32>)> {
        let count = usize::from(self.short(at)?);
        let place = |entry: usize| at.checked_add(2 + 12 * entry);
        let entries = (0..count.min(MOST_ENTRIES)).map_while(|i| self.entry(place(i)?)).flatten().collect();
        Some((Directory { entries }, place(count).and_then(|link| self.long(link))))
    }

    /// The entry at `at`: nothing where the file ends, else what it holds if that is wanted.
    fn entry(&self, at: usize) -> Option<Option<(u16, Vec<u32>)>> {
        let (tag, kind, count) = (self.short(at)?, self.short(at + 2)?, self.long(at + 4)? as usize);
        let size = match kind {
            1 | 2 => 1,
            3 => 2,
            4 | 13 => 4,
            _ => return Some(None),
        };
        if !WANTED.contains(&tag) {
            return Some(None);
        }
        // Up to four bytes stand in the entry, more elsewhere.
        let values_at = if count.saturating_mul(size) <= 4 { at + 8 } else { self.long(at + 8)? as usize };
        let value = |i: usize| {
            let at = values_at.checked_add(i * size)?;
            match size {
                1 => self.bytes.get(at).map(|&b| b.into()),
                2 => self.short(at).map(u32::from),
                _ => self.long(at),
            }
        };
        Some(Some((tag, (0..count.min(MOST_VALUES)).map_while(value).collect())))
    }

    fn short(&self, at: usize) -> Option<u16> {
        let digits = self.bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self.big_endian { u16::from_be_bytes(digits) } else { u16::from_le_bytes(digits) })
    }

    fn long(&self, at: usize) -> Option<u32> {
        let digits = self.bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.big_endian { u32::from_be_bytes(digits) } else { u32::from_le_bytes(digits) })
    }
}

impl Directory {
    /// Whether there is such an entry.
    pub fn has(&self, tag: u16) -> bool {
        self.entries.iter().any(|(t, _)| *t == tag)
    }

    /// The entry's number, if it is a single one.
    pub fn one(&self, tag: u16) -> Option<u32> {
        match self.values(tag) {
            &[value] => Some(value),
            _ => None,
        }
    }

    /// Width and height of what the directory describes.
    pub fn size(&self) -> Option<(usize, usize)> {
        Some((self.one(tag::WIDTH)? as usize, self.one(tag::HEIGHT)? as usize))
    }

    fn time(&self, tag: u16) -> Option<i64> {
        let text: Vec<u8> = self.values(tag).iter().map(|&letter| letter as u8).collect();
        seconds(&text)
    }

    fn values(&self, tag: u16) -> &[u32] {
        self.entries.iter().find(|(t, _)| *t == tag).map_or(&[], |(_, values)| values)
    }

    /// What the directory says are JPEGs within the file. What they are is for their reader to find out.
    pub fn jpegs<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let pair = |at, length| part(bytes, self.one(at)?.into(), self.one(length)?.into());
        let compressed = matches!(self.one(tag::COMPRESSION), Some(6 | 7));
        let strip = compressed.then(|| pair(tag::STRIP_OFFSETS, tag::STRIP_BYTES)).flatten();
        [pair(tag::JPEG_OFFSET, tag::JPEG_BYTES), strip].into_iter().flatten()
    }
}
