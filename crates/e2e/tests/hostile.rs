//! Two users on one machine, and shared folders that both may write: whatever a stranger plants where our files are to
//! be, nothing that is not ours is changed, deleted or revealed, and nothing hangs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use e2e::{Lab, Said, finish, program};

/// Layouts that are tried, and how many of them stand in one world.
const LAYOUTS: usize = 200;
const AT_ONCE: usize = 2;

/// What must never be seen outside the files that hold it.
const SECRET: &str = "SECRET-5d41402abc4b2a76";

/// Seconds after which a program hangs.
const HANGS: &str = "60";

/// What is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    LinkToFile,
    LinkToFolder,
    LinkToNothing,
    HardLink,
    Fifo,
    Device,
    Folder,
    OldFolder,
    File,
    Unreadable,
}

use Kind::*;

const ALL: &[Kind] =
    &[LinkToFile, LinkToFolder, LinkToNothing, HardLink, Fifo, Device, Folder, OldFolder, File, Unreadable];

/// What a person may well have made in their own folders: no links, which are theirs to make.
const OWN: &[Kind] = &[Fifo, Device, Folder, File, Unreadable];

/// Where, below a world, and what can be there.
const PLACES: [(&str, &[Kind]); 40] = [
    ("share/imageindex", &[LinkToFile, LinkToFolder, Fifo, Device, OldFolder, File]),
    ("share/imageindex.meta.json", ALL),
    ("share/imageindex.parquet", ALL),
    ("share/imageindex.faiss", ALL),
    ("share/.imageindex.meta.json.tmp-1", ALL),
    ("share/imageindex/.imagefleet.json", ALL),
    ("share/imageindex/lock", ALL),
    ("share/imageindex/merge.lock", ALL),
    ("share/imageindex/runs", ALL),
    ("share/imageindex/runs/train1", ALL),
    ("share/imageindex/runs/20200101-000000-00001", ALL),
    ("share/imageindex/parts", ALL),
    ("share/imageindex/parts/.x.tmp-1", ALL),
    ("share/imageindex/parts/0123456789abcdef0123456789abcdef.parquet", ALL),
    ("share/imageindex/thumbnails", ALL),
    ("share/imageindex/thumbnails/ab", ALL),
    ("share/imageindex/failures.jsonl", ALL),
    ("share/imageindex/gen-1", ALL),
    ("share/imageindex/gen-2", ALL),
    ("share/imageindex/gen-7", ALL),
    ("share/imageindex/.gen-3.tmp-1", ALL),
    ("share/imageindex/gen-1/seg-0.parquet", ALL),
    ("share/imageindex/gen-1/seg-0.faiss", ALL),
    ("share/imageindex/worker_0.parquet", ALL),
    ("share/imageindex/worker_0.faiss", ALL),
    ("share/imageindex/worker_0.meta.json", ALL),
    ("share/image_results", ALL),
    ("share/images/swapped.jpg", &[LinkToFile, LinkToNothing, Fifo, Device, Folder, Unreadable]),
    ("work/scan.log", ALL),
    ("work/scan_images.txt", ALL),
    ("work/worker_0.log", ALL),
    ("work/worker_0_images.txt", ALL),
    ("work/current", ALL),
    ("work/versions", ALL),
    ("home/state/imagefleet/last-index", OWN),
    ("home/state/imagefleet/last-answer.json", OWN),
    ("home/cache/imagefleet", OWN),
    ("run/imagefleet", OWN),
    ("run/imagefleet/server-VERSION.sock", OWN),
    ("run/imagefleet/server-VERSION.log", OWN),
];

/// A made user; gone when dropped.
struct User {
    name: String,
    id: u32,
}

impl User {
    fn make(role: &str) -> Self {
        let name = format!("imgfleet-{role}-{}", std::process::id());
        let said = finish(Command::new("useradd").args(["--system", "--no-create-home", "--user-group", &name]));
        assert_eq!(said.code, 0, "{said:?}");
        let id = finish(Command::new("id").args(["-u", &name])).out.trim().parse().unwrap();
        Self { name, id }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        finish(Command::new("userdel").arg(&self.name));
    }
}

/// SplitMix64: the same layouts in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// Programs and the runtime where everybody can read them, and an index to begin with.
struct Template {
    lab: Lab,
    asker: User,
    stranger: User,
}

impl Template {
    fn new() -> Self {
        let lab = Lab::new();
        fs::set_permissions(lab.path(""), Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(lab.path("bin/runtime")).unwrap();
        for name in ["controller", "worker", "merger", "query", "server"] {
            link_or_copy(&program(name), &lab.path("bin").join(name));
        }
        let worker = lab.command("worker");
        let runtime = worker.get_envs().find(|(name, _)| *name == "ORT_DYLIB_PATH").unwrap().1.unwrap();
        let runtime = PathBuf::from(runtime).canonicalize().unwrap();
        for entry in fs::read_dir(runtime.parent().unwrap()).unwrap().flatten().filter(|e| e.path().is_file()) {
            link_or_copy(&entry.path().canonicalize().unwrap(), &lab.path("bin/runtime").join(entry.file_name()));
        }
        lab.draw("", 3, 1);
        let drawn = fs::read_dir(lab.images()).unwrap().flatten().next().unwrap().path();
        fs::copy(drawn, lab.images().join("swapped.jpg")).unwrap();
        let (asker, stranger) = (User::make("asker"), User::make("stranger"));
        Self { lab, asker, stranger }
    }

    /// A world of its own: shared folders, a home, and what is precious to both.
    fn world(&self, number: usize, asker_is_root: bool) -> World {
        let dir = self.lab.path(format!("w{number}"));
        let world = World { dir, asker: if asker_is_root { 0 } else { self.asker.id } };
        for folder in ["share", "work", "home/state/imagefleet", "home/cache", "run", "precious/runs/train1", "secret"]
        {
            fs::create_dir_all(world.path(folder)).unwrap();
        }
        fs::write(world.path("hosts"), format!("localhost work_dir={}\n", world.path("work").display())).unwrap();
        copy(&self.lab.images(), &world.path("share/images"));
        for file in ["letter.txt", "runs/train1/weights", "lock", "failures.jsonl", "seg-0.parquet"] {
            fs::write(world.path("precious").join(file), format!("{file} of many years\n")).unwrap();
        }
        // A picture, so that nobody who copies pictures alone would leave it.
        let mut picture = fs::read(world.path("share/images/swapped.jpg")).unwrap();
        picture.extend(SECRET.as_bytes());
        fs::write(world.path("secret/private.jpg"), picture).unwrap();
        fs::set_permissions(world.path("secret/private.jpg"), Permissions::from_mode(0o600)).unwrap();
        let owned = format!("{0}:{0}", world.asker);
        assert_eq!(finish(Command::new("chown").args(["-R", &owned]).arg(&world.dir)).code, 0);
        for shared in ["share", "work"] {
            fs::set_permissions(world.path(shared), Permissions::from_mode(0o777)).unwrap();
        }
        for private in ["run", "home"] {
            fs::set_permissions(world.path(private), Permissions::from_mode(0o700)).unwrap();
        }
        old(&world.path("precious"));
        world
    }
}

/// One world, in which some layouts are tried at once.
struct World {
    dir: PathBuf,
    asker: u32,
}

impl World {
    fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.dir.join(below)
    }

    /// Runs a program as the asker would.
    fn run(&self, template: &Template, name: &str, args: &[&str]) -> Said {
        let id = self.asker.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "timeout", "-k", "1", HANGS]);
        command.arg(template.lab.path("bin").join(name)).args(args).env_clear().current_dir(&self.dir);
        command.env("PATH", "/usr/bin:/bin").env("NO_COLOR", "1").stdin(Stdio::null());
        command.env("ORT_DYLIB_PATH", template.lab.path("bin/runtime/libonnxruntime.so"));
        for (variable, folder) in [
            ("HOME", "home"),
            ("XDG_RUNTIME_DIR", "run"),
            ("XDG_STATE_HOME", "home/state"),
            ("XDG_CACHE_HOME", "home/cache"),
        ] {
            command.env(variable, self.path(folder));
        }
        finish(&mut command)
    }

    fn index(&self, template: &Template) -> Said {
        let args = ["--image-dir=share/images", "--model=demo", "--hosts=./hosts", "--index-prefix=share/imageindex"];
        self.run(template, "controller", &args)
    }

    /// What is planted at a place. `None` if that cannot be, as below a file.
    fn plant(&self, place: &str, kind: Kind, stranger: u32) -> Option<PathBuf> {
        let path = self.path(place.replace("VERSION", protocol::VERSION));
        fs::create_dir_all(path.parent()?).ok()?;
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&path).ok()?,
            Ok(_) => fs::remove_file(&path).ok()?,
            Err(_) => {}
        }
        let precious = self.path("precious");
        let secret = place.ends_with(".jpg");
        match kind {
            LinkToFile if secret => symlink(self.path("secret/private.jpg"), &path).ok()?,
            LinkToFile => symlink(precious.join("letter.txt"), &path).ok()?,
            LinkToFolder => symlink(&precious, &path).ok()?,
            LinkToNothing => symlink(precious.join("new"), &path).ok()?,
            HardLink => fs::hard_link(precious.join("letter.txt"), &path).ok()?,
            Fifo => made(Command::new("mkfifo").args(["-m", "666"]).arg(&path))?,
            Device => made(Command::new("mknod").args(["-m", "666"]).arg(&path).args(["c", "1", "5"]))?,
            Folder | OldFolder => {
                fs::create_dir(&path).ok()?;
                fs::write(path.join("stranger.txt"), "a stranger's").ok()?;
                fs::create_dir(path.join("art")).ok()?;
                fs::write(path.join("art/art.png"), "art").ok()?;
                if kind == OldFolder {
                    old(&path);
                }
            }
            File => fs::write(&path, "a stranger's\n").ok()?,
            Unreadable => {
                fs::write(&path, "a stranger's\n").ok()?;
                fs::set_permissions(&path, Permissions::from_mode(0o000)).ok()?;
            }
        }
        if kind != HardLink {
            made(Command::new("chown").args(["-hR", &format!("{stranger}:{stranger}")]).arg(&path))?;
        }
        Some(path)
    }
}

fn made(command: &mut Command) -> Option<()> {
    (finish(command).code == 0).then_some(())
}

fn link_or_copy(from: &Path, to: &Path) {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    assert_eq!(finish(Command::new("cp").arg("-a").arg(from).arg(to)).code, 0);
}

/// Sets all that is below to 60 days ago.
fn old(path: &Path) {
    let said = finish(Command::new("find").arg(path).args(["-exec", "touch", "-h", "-d", "60 days ago", "{}", "+"]));
    assert_eq!(said.code, 0, "{said:?}");
}

/// What can be seen of everything below: kind and mode, owners, size and time, and content or target.
fn seen(path: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut left = vec![path.to_path_buf()];
    while let Some(path) = left.pop() {
        let Ok(facts) = fs::symlink_metadata(&path) else { continue };
        let content = match facts.file_type() {
            kind if kind.is_dir() => {
                left.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
                String::new()
            }
            kind if kind.is_file() => protocol::hash_hex(&fs::read(&path).unwrap_or_default()),
            kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).ok()),
            _ => String::new(),
        };
        // A folder's own time and size change with an entry, which is seen by itself.
        let times = if facts.is_dir() {
            String::new()
        } else {
            format!("{} {}.{}", facts.size(), facts.mtime(), facts.mtime_nsec())
        };
        all.insert(path, format!("{:o} {}:{} {times} {content}", facts.mode(), facts.uid(), facts.gid()));
    }
    all
}

/// Files below, other than the secret itself, in which the secret stands.
fn leaks(world: &World) -> Vec<PathBuf> {
    let own = fs::metadata(world.path("secret/private.jpg")).unwrap().ino();
    let files = seen(&world.dir).into_keys().filter(|path| {
        fs::symlink_metadata(path).is_ok_and(|facts| facts.is_file() && facts.ino() != own && facts.size() < 1 << 24)
    });
    let holds = |path: &PathBuf| {
        fs::read(path).is_ok_and(|bytes| bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()))
    };
    files.filter(holds).collect()
}

/// What came of some layouts: what they broke, and the programs that did their work all the same.
#[derive(Default)]
struct Outcome {
    broken: Vec<String>,
    done: BTreeMap<String, usize>,
}

/// Tries some layouts in a world of their own.
fn round(template: &Template, number: usize) -> Outcome {
    let mut random = Random(number as u64);
    let world = template.world(number, number % 4 == 3);
    let Outcome { mut broken, mut done } = Outcome::default();
    // In half of the worlds an index stands already.
    if number % 2 == 1 {
        let said = world.index(template);
        assert_eq!(said.code, 0, "{said:?}");
    }
    let mut planted = Vec::new();
    let mut places = BTreeSet::<&str>::new();
    while planted.len() < AT_ONCE {
        let (place, kinds) = PLACES[random.below(PLACES.len())];
        // One below the other would take its place.
        let apart = |other: &str| !place.starts_with(other) && !other.starts_with(place);
        if !places.iter().all(|other| apart(other)) {
            continue;
        }
        let kind = kinds[random.below(kinds.len())];
        if place == "share/imageindex" && kind == LinkToFolder && number % 2 == 1 {
            // An index may be a link, and its metadata vouch for what it leads to: see docs/security.md.
            continue;
        }
        if let Some(path) = world.plant(place, kind, template.stranger.id) {
            places.insert(place);
            planted.push((place, kind, path));
        }
    }
    let watched: Vec<PathBuf> = planted
        .iter()
        .filter(|(_, kind, _)| matches!(kind, Folder | OldFolder))
        .map(|(_, _, path)| path.clone())
        .chain(["precious", "secret"].map(|folder| world.path(folder)))
        .collect();
    let before: Vec<_> = watched.iter().map(|path| seen(path)).collect();
    let layout = format!("{number}: {:?}", planted.iter().map(|(place, kind, _)| (place, kind)).collect::<Vec<_>>());
    let mut after = |what: &str, said: &Said| {
        *done.entry(what.to_owned()).or_default() += usize::from(said.code == 0);
        if said.code == 124 || said.code == 137 {
            broken.push(format!("{layout}: {what} hangs"));
        }
        if said.err.contains("panicked") || said.code == 101 {
            broken.push(format!("{layout}: {what} panics: {}", said.err));
        }
        for (path, before) in watched.iter().zip(&before) {
            let now = seen(path);
            let keys: BTreeSet<&PathBuf> = now.keys().chain(before.keys()).collect();
            // A planted folder may be moved aside or refused, but what is in it stays.
            let changed: Vec<_> = keys.into_iter().filter(|key| now.get(*key) != before.get(*key)).collect();
            if !changed.is_empty() {
                let first = changed[0];
                broken.push(format!(
                    "{layout}: {what} changes {changed:?}: {:?} -> {:?}",
                    before.get(first),
                    now.get(first)
                ));
            }
        }
        let told = said.out.contains(SECRET) || said.err.contains(SECRET);
        let leaks = leaks(&world);
        if told || !leaks.is_empty() {
            broken.push(format!("{layout}: {what} reveals the secret in {leaks:?}"));
        }
        broken.is_empty()
    };
    let images = world.path("share/images").display().to_string();
    let list = world.path("list");
    let names = fs::read_dir(&images).unwrap().flatten().map(|e| e.path().display().to_string() + "\n");
    fs::write(&list, names.collect::<String>()).unwrap();
    let root = format!("--root={images}");
    let said = world.index(template);
    let mut whole = after("controller", &said);
    for (name, args) in [
        (
            "worker",
            &[
                "--image-list=list",
                "--index-prefix=share/imageindex/worker_0",
                "--model=demo",
                "--work-dir=work",
                &root,
            ][..],
        ),
        ("merger", &["--index-prefix=share/imageindex"]),
        ("query", &["--hosts=./hosts", "--index-prefix=share/imageindex", "--top-k=9", "a boat"]),
    ] {
        if whole {
            let said = world.run(template, name, args);
            whole = after(name, &said);
        }
    }
    stop(&world.path("run/imagefleet"));
    Outcome { broken, done }
}

/// Ends servers that queries started.
fn stop(folder: &Path) {
    use std::io::{Read, Write};
    for socket in fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Ok(mut stream) = std::os::unix::net::UnixStream::connect(socket.path()) {
            let _ = stream
                .write_all(b"POST /v1/stop HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
}

#[test]
fn two_hundred_hostile_layouts_change_delete_and_reveal_nothing() {
    if finish(Command::new("id").arg("-u")).out.trim() != "0" {
        println!("skipped: only root can make two users");
        return;
    }
    let begun = SystemTime::now();
    let template = Template::new();
    let next = Mutex::new(0..LAYOUTS / AT_ONCE);
    let all = Mutex::new(Outcome::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(number) = next.lock().unwrap().next() else { return };
                    let found = round(&template, number);
                    let mut all = all.lock().unwrap();
                    all.broken.extend(found.broken);
                    found.done.into_iter().for_each(|(program, times)| *all.done.entry(program).or_default() += times);
                }
            });
        }
    });
    let Outcome { broken, done } = all.into_inner().unwrap();
    println!("programs that did their work in one of {} worlds: {done:?}", LAYOUTS / AT_ONCE);
    println!("{LAYOUTS} layouts in {:?}", begun.elapsed().unwrap_or_default());
    assert!(broken.is_empty(), "{} of {} worlds:\n{}", broken.len(), LAYOUTS / AT_ONCE, broken.join("\n"));
    // What is planted is refused or worked around: most worlds hold something that stops a program, some do not.
    assert!(done.len() == 4 && done.values().all(|&times| times > 0), "{done:?}");
}
