//! Pictures for people, as JPEG: thumbnails, which are kept, and large views. Only what stands in the index is shown, and
//! only if it lies below the root.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use clip::{DecodeLimits, DecodeMode, decode};
use protocol::{FailureKind, Root, hash_hex};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::below::{self, Found};
use crate::indexes::Loaded;
use crate::refusal::Refusal;
use crate::thumbnails::Thumbnails;

/// Changes whenever pictures are made in another way, so that no old thumbnail is shown.
const RULES: &str = "1";
/// No file that is shown is larger. It is held in memory.
const LARGEST_FILE: u64 = 512 << 20;
/// A share that does not answer for so long will not.
const PATIENCE: Duration = Duration::from_secs(60);
/// Thumbnails of panoramas are at most so many times wider than high.
const WIDEST: usize = 4;
/// Of thumbnails, where nobody sees more.
const QUALITY: i32 = 80;
/// Of large views.
const VIEW_QUALITY: i32 = 90;

/// What somebody wants to see.
#[derive(Clone, Copy, Debug)]
pub enum Size {
    /// At most so many pixels high.
    Thumbnail(usize),
    /// At most so many pixels on the longer edge.
    View(usize),
}

/// Where the pictures of an index are on this host, and what was made of them before.
#[derive(Clone)]
pub struct Gallery {
    pub loaded: Arc<Loaded>,
    pub root: Arc<Root>,
    /// Those beside the index, which others may see; `None` if a stranger may have made it.
    pub shared: Option<Arc<Thumbnails>>,
    /// Those that only this person sees.
    pub own: Arc<Thumbnails>,
}

impl Gallery {
    /// Where thumbnails of a picture are kept.
    fn thumbnails(&self, original: &Original) -> Arc<Thumbnails> {
        let shared = self.shared.as_ref().filter(|_| original.is_public);
        shared.unwrap_or(&self.own).clone()
    }
}

/// A JPEG, and the tag that changes when it does. Without bytes if the asker has them.
pub struct Shown {
    pub tag: String,
    pub jpeg: Option<Vec<u8>>,
}

/// Makes pictures, a few at a time.
pub struct Studio(Arc<Semaphore>);

/// A picture's file, open, and the name of what is to be made of it.
struct Original {
    file: File,
    name: String,
    /// Whether others than this person may see what is made of it.
    is_public: bool,
}

impl Studio {
    /// One place for every two cores: searches need the others.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        Self(Arc::new(Semaphore::new(cores.div_ceil(2))))
    }

    /// The picture at a canonical path. `seen` are the tags of what the asker has.
    pub async fn show(
        &self,
        gallery: Gallery,
        path: String,
        size: Size,
        seen: Option<String>,
    ) -> Result<Shown, Refusal> {
        let showing = tokio::time::timeout(PATIENCE, self.find_or_make(gallery, path, size, seen));
        showing.await.map_err(|_| Refusal::stuck("the picture could not be read in time: is the share there?"))?
    }

    async fn find_or_make(
        &self,
        gallery: Gallery,
        path: String,
        size: Size,
        seen: Option<String>,
    ) -> Result<Shown, Refusal> {
        let opened = spawn_blocking(move || {
            let original = open(&gallery.loaded, &gallery.root, &path, size)?;
            let thumbnails = gallery.thumbnails(&original);
            let tag = format!("\"{}\"", original.name);
            if seen.is_some_and(|seen| seen.split(',').any(|seen| seen.trim().trim_start_matches("W/") == tag)) {
                return Ok::<_, Refusal>((Shown { tag, jpeg: None }, None));
            }
            let jpeg = matches!(size, Size::Thumbnail(_)).then(|| thumbnails.get(&original.name)).flatten();
            let original = jpeg.is_none().then_some((original, thumbnails));
            Ok((Shown { tag, jpeg }, original))
        });
        let (shown, original) = opened.await.map_err(|e| Refusal::failed(&e))??;
        let Some((original, kept)) = original else { return Ok(shown) };
        let place = self.0.clone().acquire_owned().await.map_err(|e| Refusal::failed(&e))?;
        let making = spawn_blocking(move || {
            let _place = place;
            let jpeg = make(original.file, size)?;
            if let Size::Thumbnail(_) = size {
                // One that cannot be kept, as on a full disk, is made again.
                let _ = kept.keep(&original.name, &jpeg);
                spawn_blocking(move || kept.tidy());
            }
            Ok(Shown { jpeg: Some(jpeg), ..shown })
        });
        making.await.map_err(|e| Refusal::failed(&e))?
    }
}

/// Opens the picture at a canonical path, if the index holds it and it lies below the root.
fn open(loaded: &Loaded, root: &Root, path: &str, size: Size) -> Result<Original, Refusal> {
    let absent = |why: &str| Refusal::absent(format!("{path:?} {why}"));
    if !loaded.holds(path)? {
        return Err(absent("is no picture of this index: give the path of a match"));
    }
    let picture = root.relative(path).ok_or_else(|| absent("is not in the collection"))?;
    let Found { file, metadata: found, is_public } =
        below::open(root.here(), &root.open_path(&picture)).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => absent("is in the index, but its file is gone"),
            io::ErrorKind::PermissionDenied => absent("is in the index, but may not be read here"),
            io::ErrorKind::InvalidInput => absent("leads out of the collection"),
            io::ErrorKind::IsADirectory => Refusal::unfit(format!("{path:?} is not a file")),
            _ => Refusal::failed(&e).with_hint(&format!("it is the file of {path:?}")),
        })?;
    if found.len() > LARGEST_FILE {
        return Err(Refusal::unfit(format!("{path:?} has {} bytes; at most {LARGEST_FILE} are shown", found.len())));
    }
    let name = format!("{path}\0{}\0{}\0{}\0{size:?}\0{RULES}", found.len(), found.mtime(), found.mtime_nsec());
    Ok(Original { file, name: hash_hex(name.as_bytes()), is_public })
}

/// A JPEG of the picture in `file`; of a truncated one what is there.
fn make(file: File, size: Size) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE).read_to_end(&mut bytes).map_err(|e| Refusal::failed(&e))?;
    let (width, height, quality) = match size {
        Size::Thumbnail(height) => (WIDEST * height, height, QUALITY),
        Size::View(edge) => (edge, edge, VIEW_QUALITY),
    };
    // A JPEG is scaled while it is decoded, to no less than twice this on its shorter edge.
    let picture =
        decode(&bytes, DecodeMode::Fast, height.div_ceil(2), &DecodeLimits::default()).map_err(|e| match e.kind {
            FailureKind::NoDecoder => Refusal::unfit(format!("this machine cannot decode it: {}", e.detail)),
            _ => Refusal::unfit(format!("it cannot be decoded: {}", e.detail)),
        })?;
    drop(bytes);
    picture.fitted(width, height).to_jpeg(quality).map_err(Refusal::unfit)
}
