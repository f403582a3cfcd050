//! Lists a folder tree in parallel and yields it in the order of [`ImagePath`], without keeping it.
//!
//! Readers list folders ahead of the consumer, nearest first; what waits to be consumed is bounded. Symbolic links to
//! files are followed, links to folders are not: a link that leads back would never end.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use protocol::{Entry, FailureKind, ImagePath, is_picture, nanoseconds};
use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, open, stat, statat};

/// Names that may be read ahead of the consumer.
const AHEAD: usize = 16_384;

/// Folders that network storage and recycle bins keep for themselves; hidden ones are skipped anyway.
const FOREIGN: [&str; 4] = ["@eaDir", "#recycle", "@Recycle", "lost+found"];

/// One thing that a walk found, in path order.
#[derive(Debug)]
pub enum Found {
    /// A picture.
    Picture(Entry),
    /// A picture that cannot be taken in; `path` is `None` if its name cannot stand in an index.
    Failed { path: Option<ImagePath>, shown: String, kind: FailureKind, detail: String },
    /// A folder that could not be listed: `None` is the root itself.
    Unreadable { folder: Option<ImagePath>, detail: String },
}

/// Decides by relative path whether a file or folder is left out.
pub type Exclude = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What is in a folder, sorted. The pictures' names are ranges of one text, which costs less than a text for each.
#[derive(Default)]
struct Listed {
    names: String,
    items: Vec<Item>,
}

enum Item {
    Picture { name: Range<usize>, size_bytes: u64, mtime_ns: i64 },
    Folder(Arc<Slot>),
    Other(Found),
}

/// One folder on its way from known to listed.
struct Slot {
    /// Relative to the root; empty for the root.
    folder: String,
    state: Mutex<Listing>,
    ready: Condvar,
}

enum Listing {
    Waiting,
    Running,
    Done(Listed),
    Consumed,
}

struct Shared {
    root: PathBuf,
    skip: Vec<Skipped>,
    exclude: Option<Exclude>,
    queue: Mutex<Queue>,
    changed: Condvar,
}

struct Queue {
    folders: VecDeque<Arc<Slot>>,
    ahead: usize,
    closed: bool,
}

/// A walk in progress: an iterator of what is found.
pub struct Walk {
    shared: Arc<Shared>,
    /// The folders that are being consumed, each in the one before it: their names, and what is left in them.
    stack: Vec<(Arc<Slot>, String, std::vec::IntoIter<Item>)>,
}

/// A folder that is left out. It may be found under another spelling, or through a link.
struct Skipped {
    path: PathBuf,
    /// Device and number, if it is there.
    identity: Option<(u64, u64)>,
}

impl Skipped {
    fn is(&self, path: &Path) -> bool {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_ascii_lowercase();
        let identity = || fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        self.path == path || (name(path) == name(&self.path) && self.identity.is_some() && identity() == self.identity)
    }
}

/// Begins a walk of `root` with `threads` readers. Folders in `skip` (absolute paths) are left out, and so is what
/// `exclude` names.
pub fn walk(root: &Path, skip: Vec<PathBuf>, exclude: Option<Exclude>, threads: usize) -> Walk {
    let top = Slot::waiting(String::new());
    let folders = VecDeque::from([top.clone()]);
    let skip = skip.into_iter().map(|path| {
        let identity = fs::metadata(&path).ok().map(|found| (found.dev(), found.ino()));
        Skipped { path, identity }
    });
    let skip = skip.collect();
    let shared = Arc::new(Shared {
        root: root.into(),
        skip,
        exclude,
        queue: Mutex::new(Queue { folders, ahead: 0, closed: false }),
        changed: Condvar::new(),
    });
    for _ in 0..threads {
        let shared = shared.clone();
        std::thread::spawn(move || read_ahead(&shared));
    }
    let stack = vec![(top.clone(), String::new(), vec![Item::Folder(top)].into_iter())];
    Walk { shared, stack }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            let (slot, names, items) = self.stack.last_mut()?;
            match items.next() {
                None => drop(self.stack.pop()),
                Some(Item::Other(found)) => return Some(found),
                Some(Item::Folder(slot)) => {
                    let Listed { names, items } = self.shared.consume(&slot);
                    self.stack.push((slot, names, items.into_iter()));
                }
                Some(Item::Picture { name, size_bytes, mtime_ns }) => {
                    if let Ok(path) = ImagePath::new(below(&slot.folder, &names[name])) {
                        return Some(Found::Picture(Entry { path, size_bytes, mtime_ns }));
                    }
                }
            }
        }
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.changed.notify_all();
    }
}

impl Slot {
    fn waiting(folder: String) -> Arc<Self> {
        Arc::new(Self { folder, state: Mutex::new(Listing::Waiting), ready: Condvar::new() })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread of the walk panics while it holds a lock")
}

fn read_ahead(shared: &Shared) {
    loop {
        let slot = {
            let mut queue = lock(&shared.queue);
            loop {
                if queue.closed {
                    return;
                }
                match (queue.ahead < AHEAD).then(|| queue.folders.pop_front()).flatten() {
                    Some(slot) => break slot,
                    None => {
                        queue = shared.changed.wait(queue).expect("no thread of the walk panics while it holds a lock")
                    }
                }
            }
        };
        if shared.claim(&slot) {
            let listed = shared.list(&slot.folder);
            lock(&shared.queue).ahead += listed.items.len();
            *lock(&slot.state) = Listing::Done(listed);
            slot.ready.notify_all();
        }
    }
}

impl Shared {
    /// Takes a folder that nobody lists yet.
    fn claim(&self, slot: &Slot) -> bool {
        let mut state = lock(&slot.state);
        let free = matches!(*state, Listing::Waiting);
        if free {
            *state = Listing::Running;
        }
        free
    }

    /// What is in the folder: read ahead if a reader was here, else read now.
    fn consume(&self, slot: &Slot) -> Listed {
        if self.claim(slot) {
            *lock(&slot.state) = Listing::Consumed;
            return self.list(&slot.folder);
        }
        let mut state = lock(&slot.state);
        loop {
            match std::mem::replace(&mut *state, Listing::Running) {
                Listing::Done(listed) => {
                    *state = Listing::Consumed;
                    let mut queue = lock(&self.queue);
                    let was_full = queue.ahead >= AHEAD;
                    queue.ahead -= listed.items.len();
                    // Whoever is woken for nothing costs more than the folder.
                    if was_full && queue.ahead < AHEAD {
                        self.changed.notify_all();
                    }
                    return listed;
                }
                other => *state = other,
            }
            state = slot.ready.wait(state).expect("no thread of the walk panics while it holds a lock");
        }
    }

    /// Lists one folder, sorted, and puts its subfolders before all that wait to be read ahead.
    fn list(&self, folder: &str) -> Listed {
        let listed = self.read(folder).unwrap_or_else(|e| {
            let detail = format!("cannot list the folder: {e}");
            let unreadable = Found::Unreadable { folder: ImagePath::new(folder).ok(), detail };
            Listed { items: vec![Item::Other(unreadable)], ..Listed::default() }
        });
        let folders =
            listed.items.iter().rev().filter_map(|item| if let Item::Folder(slot) = item { Some(slot) } else { None });
        let mut queue = lock(&self.queue);
        let before = queue.folders.len();
        folders.for_each(|slot| queue.folders.push_front(slot.clone()));
        if queue.folders.len() > before {
            self.changed.notify_all();
        }
        drop(queue);
        listed
    }

    fn skips(&self, folder: &Path) -> bool {
        self.skip.iter().any(|skipped| skipped.is(folder))
    }

    fn read(&self, folder: &str) -> io::Result<Listed> {
        let here = if folder.is_empty() { self.root.clone() } else { self.root.join(folder) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut dir = Dir::new(open(&here, flags, Mode::empty())?)?;
        let (mut names, mut entries, mut items) = (String::new(), Vec::new(), Vec::new());
        while let Some(entry) = dir.read() {
            let entry = entry?;
            match entry.file_name().to_str() {
                // Hidden, as `.` and `..` are.
                _ if entry.file_name().to_bytes().starts_with(b".") => {}
                Ok(name) => {
                    entries.push((names.len()..names.len() + name.len(), entry.file_type()));
                    names.push_str(name);
                }
                Err(_) => {
                    let path = here.join(OsStr::from_bytes(entry.file_name().to_bytes()));
                    if !self.skips(&path) {
                        items.extend(unnameable(&path).into_iter().map(Item::Other));
                    }
                }
            }
        }
        entries.sort_unstable_by(|(a, _), (b, _)| names[a.clone()].cmp(&names[b.clone()]));
        let open = Open { folder, here: &here, fd: dir.fd()? };
        items.extend(entries.into_iter().filter_map(|(name, told)| self.item(&open, &names, name, told)));
        Ok(Listed { names, items })
    }

    fn item(&self, open: &Open<'_>, names: &str, range: Range<usize>, told: FileType) -> Option<Item> {
        let name = &names[range.clone()];
        let is_folder = match told {
            // Not every file system tells.
            FileType::Unknown => {
                statat(open.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|s| is(&s, FileType::Directory))
            }
            told => told == FileType::Directory,
        };
        let foreign = || FOREIGN.contains(&name) || self.skips(&open.here.join(name));
        let wanted = if is_folder { !foreign() } else { is_picture(Path::new(name)) };
        if !wanted || self.exclude.as_ref().is_some_and(|excluded| excluded(&below(open.folder, name))) {
            return None;
        }
        if is_folder {
            return Some(Item::Folder(Slot::waiting(below(open.folder, name))));
        }
        // From the folder that is open, which is quicker than by its path.
        match state(statat(open.fd, name, AtFlags::empty())) {
            // A link to a folder that is called like a picture.
            Err((_, detail)) if detail == IS_FOLDER => None,
            Err((kind, detail)) => {
                let path = Some(ImagePath::new(below(open.folder, name)).ok()?);
                let shown = open.here.join(name).to_string_lossy().into_owned();
                Some(Item::Other(Found::Failed { path, shown, kind, detail }))
            }
            Ok((size_bytes, mtime_ns)) => Some(Item::Picture { name: range, size_bytes, mtime_ns }),
        }
    }
}

/// A folder while it is listed.
struct Open<'a> {
    /// Relative to the root.
    folder: &'a str,
    here: &'a Path,
    fd: BorrowedFd<'a>,
}

/// The path, relative to the root, of what has this name in a folder.
fn below(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { [folder, "/", name].concat() }
}

/// Every picture at or below a path whose name is not UTF-8: each a failure, since no index file could hold its path.
fn unnameable(path: &Path) -> Vec<Found> {
    if path.is_dir() && !path.is_symlink() {
        let inside = fs::read_dir(path).into_iter().flatten().flatten();
        let inside = inside.filter(|e| !e.file_name().as_bytes().starts_with(b"."));
        return inside.flat_map(|e| unnameable(&e.path())).collect();
    }
    if !is_picture(path) {
        return Vec::new();
    }
    let (kind, detail) = (FailureKind::NameNotUtf8, "rename it, or the folder that it is in".to_owned());
    vec![Found::Failed { path: None, shown: path.to_string_lossy().into_owned(), kind, detail }]
}

const IS_FOLDER: &str = "it is a folder";

/// A picture's size and time, or why it is none that can be read.
pub fn examine(path: &Path, image: ImagePath) -> Result<Entry, (FailureKind, String)> {
    state(stat(path)).map(|(size_bytes, mtime_ns)| Entry { path: image, size_bytes, mtime_ns })
}

/// Size and time of what was looked at.
fn state(seen: rustix::io::Result<Stat>) -> Result<(u64, i64), (FailureKind, String)> {
    let seen = seen.map_err(io::Error::from);
    match seen {
        Ok(s) if is(&s, FileType::RegularFile) => {
            Ok((s.st_size as u64, nanoseconds(s.st_mtime, s.st_mtime_nsec as i64)))
        }
        Ok(s) if is(&s, FileType::Directory) => Err((FailureKind::Unreadable, IS_FOLDER.into())),
        Ok(_) => Err((FailureKind::Unreadable, "it is not a regular file".into())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err((FailureKind::Vanished, e.to_string())),
        Err(e) => Err((FailureKind::Unreadable, e.to_string())),
    }
}

fn is(seen: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(seen.st_mode) == kind
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(root: &Path, exclude: Option<Exclude>) -> Vec<String> {
        let walk = walk(root, vec![root.join("index")], exclude, 3);
        walk.map(|found| match found {
            Found::Picture(entry) => entry.path.to_string(),
            other => panic!("{other:?}"),
        })
        .collect()
    }

    #[test]
    fn a_walk_is_sorted_and_leaves_out_what_is_not_a_picture_of_the_person() {
        let root = tempfile::tempdir().unwrap();
        for file in [
            "b.jpg",
            "a/z.PNG",
            "a b.gif",
            "a/y/1.tif",
            "a/y/0.webp",
            "notes.txt",
            ".hidden/x.jpg",
            "._b.jpg",
            "@eaDir/b.jpg",
            "index/x.jpg",
            "skip/x.jpg",
            "a.jpg",
            "-rf.jpg",
            "$(touch pwned)\n.jpeg",
        ] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        }
        std::os::unix::fs::symlink(root.path(), root.path().join("loop")).unwrap();
        let found = paths(root.path(), Some(Arc::new(|p| p == "skip")));
        assert_eq!(
            found,
            ["$(touch pwned)\n.jpeg", "-rf.jpg", "a/y/0.webp", "a/y/1.tif", "a/z.PNG", "a b.gif", "a.jpg", "b.jpg"]
        );
        let images: Vec<ImagePath> = found.into_iter().map(|p| ImagePath::new(p).unwrap()).collect();
        assert!(images.is_sorted());
    }

    #[test]
    fn the_index_is_left_out_by_whatever_spelling_or_link_it_is_named() {
        let root = tempfile::tempdir().unwrap();
        let (real, link) = (root.path().join("real"), root.path().join("link"));
        fs::create_dir_all(real.join("index")).unwrap();
        fs::write(real.join("index/x.jpg"), b"x").unwrap();
        fs::write(real.join("a.jpg"), b"x").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let found = |skip: PathBuf| walk(&real, vec![skip], None, 1).count();
        assert_eq!(found(link.join("index")), 1);
        // As a share that folds case would find it.
        let index = Skipped {
            path: real.join("Index"),
            identity: real.join("index").metadata().ok().map(|f| (f.dev(), f.ino())),
        };
        assert!(index.is(&real.join("index")) && !index.is(&real));
    }

    #[test]
    fn a_wide_and_deep_tree_comes_out_whole_and_sorted() {
        let root = tempfile::tempdir().unwrap();
        for i in 0..40 {
            for j in 0..10 {
                let folder = root.path().join(format!("{i}/{j}"));
                fs::create_dir_all(&folder).unwrap();
                for k in 0..5 {
                    fs::write(folder.join(format!("{k}.jpg")), b"").unwrap();
                }
            }
        }
        let found = paths(root.path(), None);
        assert_eq!(found.len(), 2000);
        assert!(found.iter().map(|p| ImagePath::new(p.as_str()).unwrap()).is_sorted());
    }

    #[test]
    fn a_missing_root_is_an_unreadable_folder() {
        let found: Vec<Found> = walk(Path::new("/nowhere/at/all"), vec![], None, 1).collect();
        assert!(matches!(&found[..], [Found::Unreadable { folder: None, .. }]));
    }
}
