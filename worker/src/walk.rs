//! Lists a folder tree in parallel and yields it in the order of [`ImagePath`], without keeping it.
//!
//! Readers list folders ahead of the consumer, nearest first; what waits to be consumed is bounded. Symbolic links to
//! files are followed, links to folders are not: a link that leads back would never end.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use protocol::{Entry, FailureKind, ImagePath, is_picture, mtime_ns};

/// Names that may be read ahead of the consumer.
const AHEAD: usize = 200_000;

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

enum Item {
    Found(Found),
    Folder(Arc<Slot>),
    /// A file or folder whose name is not UTF-8.
    Unnameable(PathBuf),
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
    Done(Vec<Item>),
    Consumed,
}

struct Shared {
    root: PathBuf,
    skip: Vec<PathBuf>,
    exclude: Exclude,
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
    stack: Vec<std::vec::IntoIter<Item>>,
}

/// Begins a walk of `root` with `threads` readers. Folders in `skip` (absolute paths) are left out, and so is what
/// `exclude` names.
pub fn walk(root: &Path, skip: Vec<PathBuf>, exclude: Exclude, threads: usize) -> Walk {
    let shared = Arc::new(Shared {
        root: root.into(),
        skip,
        exclude,
        queue: Mutex::new(Queue { folders: VecDeque::new(), ahead: 0, closed: false }),
        changed: Condvar::new(),
    });
    for _ in 0..threads {
        let shared = shared.clone();
        std::thread::spawn(move || read_ahead(&shared));
    }
    let top = Item::Folder(Slot::waiting(String::new()));
    Walk { shared, stack: vec![vec![top].into_iter()] }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            match self.stack.last_mut()?.next() {
                None => drop(self.stack.pop()),
                Some(Item::Found(found)) => return Some(found),
                Some(Item::Unnameable(path)) => self.stack.push(unnameable(&path).into_iter()),
                Some(Item::Folder(slot)) => {
                    let items = self.shared.consume(&slot);
                    self.stack.push(items.into_iter());
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
            let items = shared.list(&slot.folder);
            lock(&shared.queue).ahead += items.len();
            *lock(&slot.state) = Listing::Done(items);
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

    /// The folder's items: read ahead if a reader was here, else read now.
    fn consume(&self, slot: &Slot) -> Vec<Item> {
        if self.claim(slot) {
            *lock(&slot.state) = Listing::Consumed;
            return self.list(&slot.folder);
        }
        let mut state = lock(&slot.state);
        loop {
            match std::mem::replace(&mut *state, Listing::Running) {
                Listing::Done(items) => {
                    *state = Listing::Consumed;
                    let mut queue = lock(&self.queue);
                    let was_full = queue.ahead >= AHEAD;
                    queue.ahead -= items.len();
                    // Whoever is woken for nothing costs more than the folder.
                    if was_full && queue.ahead < AHEAD {
                        self.changed.notify_all();
                    }
                    return items;
                }
                other => *state = other,
            }
            state = slot.ready.wait(state).expect("no thread of the walk panics while it holds a lock");
        }
    }

    /// Lists one folder, sorted, and puts its subfolders before all that wait to be read ahead.
    fn list(&self, folder: &str) -> Vec<Item> {
        let items = self.read(folder).unwrap_or_else(|e| {
            let detail = format!("cannot list the folder: {e}");
            vec![Item::Found(Found::Unreadable { folder: ImagePath::new(folder).ok(), detail })]
        });
        let folders =
            items.iter().rev().filter_map(|item| if let Item::Folder(slot) = item { Some(slot) } else { None });
        let mut queue = lock(&self.queue);
        let before = queue.folders.len();
        folders.for_each(|slot| queue.folders.push_front(slot.clone()));
        if queue.folders.len() > before {
            self.changed.notify_all();
        }
        drop(queue);
        items
    }

    fn read(&self, folder: &str) -> io::Result<Vec<Item>> {
        let here = if folder.is_empty() { self.root.clone() } else { self.root.join(folder) };
        let entries = fs::read_dir(&here)?.map(|entry| entry.map(|entry| (entry.file_name(), entry)));
        let mut entries = entries.collect::<io::Result<Vec<_>>>()?;
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(entries.into_iter().filter_map(|(name, entry)| self.item(folder, &name, &entry)).collect())
    }

    fn item(&self, folder: &str, name: &OsStr, entry: &fs::DirEntry) -> Option<Item> {
        let file_type = entry.file_type().ok();
        let is_folder = file_type.is_some_and(|t| t.is_dir());
        if name.as_bytes().starts_with(b".") || (!is_folder && !is_picture(Path::new(name))) {
            return None;
        }
        if is_folder && (FOREIGN.iter().any(|f| name == *f) || self.skip.contains(&entry.path())) {
            return None;
        }
        let Some(name) = name.to_str() else {
            return Some(Item::Unnameable(entry.path()));
        };
        let relative = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        if (self.exclude)(&relative) {
            return None;
        }
        if is_folder {
            return Some(Item::Folder(Slot::waiting(relative)));
        }
        let image = ImagePath::new(relative).ok()?;
        // Looked at from the folder that is open, which is quicker; but that does not follow links.
        let is_link = file_type.is_none_or(|t| t.is_symlink());
        let seen = if is_link { fs::metadata(entry.path()) } else { entry.metadata() };
        match state(seen) {
            // A link to a folder that is called like a picture.
            Err((_, detail)) if detail == IS_FOLDER => None,
            Err((kind, detail)) => {
                let shown = entry.path().to_string_lossy().into_owned();
                Some(Item::Found(Found::Failed { path: Some(image), shown, kind, detail }))
            }
            Ok((size_bytes, mtime_ns)) => {
                Some(Item::Found(Found::Picture(Entry { path: image, size_bytes, mtime_ns })))
            }
        }
    }
}

/// Every picture at or below a path whose name is not UTF-8: each a failure, since no index file could hold its path.
fn unnameable(path: &Path) -> Vec<Item> {
    if path.is_dir() && !path.is_symlink() {
        let inside = fs::read_dir(path).into_iter().flatten().flatten();
        let inside = inside.filter(|e| !e.file_name().as_bytes().starts_with(b"."));
        return inside.flat_map(|e| unnameable(&e.path())).collect();
    }
    if !is_picture(path) {
        return Vec::new();
    }
    let (kind, detail) = (FailureKind::NameNotUtf8, "rename it, or the folder that it is in".to_owned());
    vec![Item::Found(Found::Failed { path: None, shown: path.to_string_lossy().into_owned(), kind, detail })]
}

const IS_FOLDER: &str = "it is a folder";

/// A picture's size and time, or why it is none that can be read.
pub fn examine(path: &Path, image: ImagePath) -> Result<Entry, (FailureKind, String)> {
    state(fs::metadata(path)).map(|(size_bytes, mtime_ns)| Entry { path: image, size_bytes, mtime_ns })
}

/// Size and time of what was looked at.
fn state(seen: io::Result<fs::Metadata>) -> Result<(u64, i64), (FailureKind, String)> {
    match seen {
        Ok(m) if m.is_file() => Ok((m.len(), mtime_ns(&m))),
        Ok(m) if m.is_dir() => Err((FailureKind::Unreadable, IS_FOLDER.into())),
        Ok(_) => Err((FailureKind::Unreadable, "it is not a regular file".into())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err((FailureKind::Vanished, e.to_string())),
        Err(e) => Err((FailureKind::Unreadable, e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(root: &Path, exclude: Exclude) -> Vec<String> {
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
        let found = paths(root.path(), Arc::new(|p| p == "skip"));
        assert_eq!(
            found,
            ["$(touch pwned)\n.jpeg", "-rf.jpg", "a/y/0.webp", "a/y/1.tif", "a/z.PNG", "a b.gif", "a.jpg", "b.jpg"]
        );
        let images: Vec<ImagePath> = found.into_iter().map(|p| ImagePath::new(p).unwrap()).collect();
        assert!(images.is_sorted());
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
        let found = paths(root.path(), Arc::new(|_| false));
        assert_eq!(found.len(), 2000);
        assert!(found.iter().map(|p| ImagePath::new(p.as_str()).unwrap()).is_sorted());
    }

    #[test]
    fn a_missing_root_is_an_unreadable_folder() {
        let found: Vec<Found> = walk(Path::new("/nowhere/at/all"), vec![], Arc::new(|_| false), 1).collect();
        assert!(matches!(&found[..], [Found::Unreadable { folder: None, .. }]));
    }
}
