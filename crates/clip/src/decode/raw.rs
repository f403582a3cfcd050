//! RAW files: the largest JPEG that the camera put beside the sensor's data, turned as the RAW file says.
//!
//! The sensor's data itself is never developed: a preview is what the camera's maker wants the picture to look like.

mod boxes;
mod directories;

use self::directories::{Directory, tag};
use super::jpeg_stream::lossy_size;
use super::metadata::Metadata;
use super::{DecodeError, DecodeLimits, DecodeMode, Picture, jpeg, tiff};

pub use self::boxes::brands;
pub use self::directories::Directories;

/// Previews that are tried, largest first, before a file is given up.
const TRIES: usize = 3;

/// The JPEGs within a RAW file, and what the file says of the picture.
pub struct Raw<'a> {
    jpegs: Vec<&'a [u8]>,
    metadata: Metadata,
    /// Width and height of the largest picture that is described in it, as it is stored.
    size: Option<(usize, usize)>,
    /// A TIFF whose first page is a small picture, for want of a JPEG.
    thumbnail: Option<&'a [u8]>,
}

impl<'a> Raw<'a> {
    /// What `bytes` hold if they are a RAW file.
    pub fn open(bytes: &'a [u8]) -> Option<Self> {
        Self::of_tiff(bytes).or_else(|| Self::of_raf(bytes)).or_else(|| Self::of_cr3(bytes))
    }

    /// A CR2, NEF, ARW or DNG; none if `bytes` are another TIFF.
    ///
    /// These say so by sensor data in one of their directories, or by a first directory that is a smaller version of
    /// another one.
    fn of_tiff(bytes: &'a [u8]) -> Option<Self> {
        const REDUCED: u32 = 1;
        let tree = Directories::open(bytes)?;
        let all = tree.walk();
        let first = all.first()?;
        let sensor = |directory: &Directory| {
            const COLOUR_FILTER_ARRAY: u32 = 32_803;
            const LINEAR_RAW: u32 = 34_892;
            matches!(directory.one(tag::PHOTOMETRIC), Some(COLOUR_FILTER_ARRAY | LINEAR_RAW))
        };
        let is_raw = bytes.get(8..10) == Some(b"CR")
            || first.one(tag::SUBFILE_TYPE).is_some_and(|kind| kind & REDUCED != 0)
            || all.iter().any(|d| d.has(tag::DNG_VERSION) || sensor(d));
        is_raw.then(|| Self {
            jpegs: all.iter().flat_map(|d| d.jpegs(bytes)).collect(),
            metadata: Metadata { turned: first.one(tag::ORIENTATION), taken_s: tree.taken_s() },
            size: largest(&all),
            thumbnail: (!sensor(first)).then_some(bytes),
        })
    }

    /// A RAF: a header that says where the JPEG is, which has the EXIF data of the whole.
    fn of_raf(bytes: &'a [u8]) -> Option<Self> {
        bytes.starts_with(b"FUJIFILMCCD-RAW").then_some(())?;
        let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let jpeg = part(bytes, number(84)?.into(), number(88)?.into());
        Some(Self { jpegs: jpeg.into_iter().collect(), metadata: Metadata::default(), size: None, thumbnail: None })
    }

    /// A CR3.
    fn of_cr3(bytes: &'a [u8]) -> Option<Self> {
        brands(bytes).any(|brand| brand == b"crx ").then_some(())?;
        let (jpegs, blocks) = boxes::canon(bytes);
        let [picture, exif] = blocks.map(|block| block.and_then(Directories::open));
        let all = picture.map(|picture| picture.walk()).unwrap_or_default();
        let turned = all.first().and_then(|first| first.one(tag::ORIENTATION));
        let taken_s = exif.and_then(|exif| exif.taken_s());
        Some(Self { jpegs, metadata: Metadata { turned, taken_s }, size: largest(&all), thumbnail: None })
    }

    /// The largest preview that can be decoded.
    pub fn decode(&self, mode: DecodeMode, target_side: usize, limits: &DecodeLimits) -> Result<Picture, DecodeError> {
        let mut sized: Vec<(u64, &[u8])> = self.jpegs.iter().filter_map(|&j| Some((lossy_size(j)?, j))).collect();
        sized.sort_by_key(|&(pixels, _)| std::cmp::Reverse(pixels));
        let previews = sized.iter().take(TRIES).map(|(_, j)| jpeg::decode(j, self.metadata, mode, target_side, limits));
        let thumbnail = self.thumbnail.iter().map(|tiff| tiff::decode(tiff, limits));
        let mut tried = previews.chain(thumbnail);
        let best = tried.next().ok_or_else(|| DecodeError::undecodable("a RAW file without a preview"))?;
        let picture = best.or_else(|error| tried.find_map(Result::ok).ok_or(error))?;
        let turned = matches!(self.metadata.turned, Some(5..=8));
        let described = self.size.map(|(w, h)| if turned { (h, w) } else { (w, h) });
        let larger = described.filter(|size| pixels(size) > pixels(&picture.full_size));
        Ok(Picture { full_size: larger.unwrap_or(picture.full_size), ..picture })
    }
}

fn largest(directories: &[Directory]) -> Option<(usize, usize)> {
    directories.iter().filter_map(Directory::size).max_by_key(pixels)
}

fn pixels(&(width, height): &(usize, usize)) -> u64 {
    (width as u64).saturating_mul(height as u64)
}

/// `length` bytes from `at` on, or what of them the file has.
fn part(bytes: &[u8], at: u64, length: u64) -> Option<&[u8]> {
    let rest = bytes.get(usize::try_from(at).ok()?..)?;
    Some(&rest[..rest.len().min(usize::try_from(length).ok()?)])
}
