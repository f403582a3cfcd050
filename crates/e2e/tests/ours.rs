//! Nothing is deleted or overwritten that is not an index's: a folder that is somebody's is refused, links that were planted
//! in an index are not followed, and what people have put into one stays.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use e2e::{Lab, Said, finish, wait_for};

const MARKER: &str = ".imagefleet.json";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// All that is at or below a path: where links lead, what is in files, and when folders and files were changed.
fn tree(path: &Path) -> BTreeMap<PathBuf, (String, Option<SystemTime>)> {
    let found = path.symlink_metadata().unwrap();
    let content = if found.is_symlink() {
        format!("-> {}", fs::read_link(path).unwrap().display())
    } else if found.is_file() {
        String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
    } else {
        String::new()
    };
    let mut all = BTreeMap::from([(path.to_owned(), (content, found.modified().ok()))]);
    if found.is_dir() {
        all.extend(fs::read_dir(path).unwrap().flat_map(|entry| tree(&entry.unwrap().path())));
    }
    all
}

/// Writes files, and makes them and their folders so many days old.
fn put(below: &Path, files: &[(&str, &str)], days: u32) {
    let mut made = Vec::new();
    for (name, text) in files {
        let file = below.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        made.extend(file.ancestors().take_while(|path| *path != below).map(Path::to_owned));
    }
    for path in made {
        File::open(path).unwrap().set_modified(SystemTime::now() - days * DAY).unwrap();
    }
}

fn refuses(said: &Said, words: &[&str]) {
    assert!(said.code == 1 && !said.err.contains("panicked"), "{said:?}");
    for word in words {
        assert!(said.err.contains(word), "{word:?} is not in {said:?}");
    }
}

fn flag(name: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut flag = OsString::from(format!("--{name}="));
    flag.push(value);
    flag
}

/// Every way to write to an index at a prefix.
fn writers(lab: &Lab, prefix: &Path) -> Vec<Command> {
    let list = lab.path("list");
    let pictures = fs::read_dir(lab.images()).unwrap().map(|entry| format!("{}\n", entry.unwrap().path().display()));
    fs::write(&list, pictures.collect::<String>()).unwrap();
    let command = |name: &str, args: &[OsString]| {
        let mut command = lab.command(name);
        command.args(args).arg("--model=demo");
        command
    };
    let (images, hosts) = (flag("image-dir", lab.images()), flag("hosts", lab.path("hosts")));
    let at = flag("index-prefix", prefix);
    let root = flag("root", lab.images());
    let mut merger = lab.command("merger");
    merger.arg(&at);
    vec![
        command("controller", &[images.clone(), hosts.clone(), at.clone()]),
        command("controller", &[images.clone(), hosts.clone(), at.clone(), "--fresh".into()]),
        command("controller", &[images.clone(), hosts.clone(), at.clone(), "--merge-only".into()]),
        command("controller", &[images.clone(), hosts, at.clone(), "--doctor".into()]),
        command("worker", &["scan".into(), images, at.clone()]),
        command("worker", &[flag("image-list", &list), flag("index-prefix", prefix.join("worker_0")), root.clone()]),
        command("merger", &[at, root, flag("import", lab.path("vectors.npy")), flag("paths", &list)]),
        merger,
    ]
}

#[test]
fn somebodys_folder_is_refused_by_every_program_and_stays_as_it_is() {
    let lab = Lab::new();
    lab.draw("", 2, 1);
    let proj = lab.path("proj");
    let files = [
        ("runs/train1/weights.bin", "60 days of work"),
        ("gen-7/art.png", "a painting"),
        ("gen-7.tmp-1/draft.png", "a painting"),
        ("lock", "a document"),
        ("failures.jsonl", "{\"test\":\"a\",\"failed\":true}\n"),
        (".notes.tmp-1-2-3", "notes"),
        ("thumbnails/holiday.jpg", "a photo"),
    ];
    put(&proj, &files, 60);
    let before = tree(&proj);
    for mut command in writers(&lab, &proj) {
        let said = finish(&mut command);
        refuses(&said, &[proj.to_str().unwrap(), "choose an --index-prefix"]);
        assert_eq!(tree(&proj), before, "{command:?}");
    }
    assert!(!lab.path("proj.meta.json").exists());

    // Nor is what has an index's names beside its folder, whether that is there or not.
    for (name, text) in
        [("theirs.meta.json", "{\"title\":\"x\"}"), ("theirs.parquet", "PAR1PAR1"), ("theirs.faiss", "IxFI")]
    {
        fs::write(lab.path(name), text).unwrap();
        for mut command in writers(&lab, &lab.path("theirs")).into_iter().take(6) {
            refuses(&finish(&mut command), &[name]);
            assert!(!lab.path("theirs").exists(), "{command:?} left a folder");
            assert_eq!(fs::read_to_string(lab.path(name)).unwrap(), text);
        }
        fs::remove_file(lab.path(name)).unwrap();
    }
}

#[test]
fn an_index_from_before_there_were_markers_gets_one_and_nothing_is_refused() {
    let lab = Lab::new();
    lab.draw("", 3, 1);
    let marker = lab.prefix().join(MARKER);
    let unmark = || fs::remove_file(&marker).unwrap();
    let goes_on = |more: &[&str]| {
        let said = lab.index(more);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(marker.is_file());
    };
    // Killed while it scans, or as soon as it has the index.
    let mut killed = lab.controller(&[]).spawn().unwrap();
    wait_for("the controller to own the index", || {
        lab.prefix().join("lock").metadata().is_ok_and(|lock| lock.len() > 0)
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    unmark();
    // Finished parts that no merge has taken in.
    goes_on(&["--no-merge"]);
    unmark();
    goes_on(&["--no-merge"]);
    unmark();
    goes_on(&["--merge-only"]);
    unmark();
    let merged = finish(lab.command("merger").arg("--index-prefix").arg(lab.prefix()));
    assert_eq!(merged.code, 0, "{merged:?}");
    assert!(marker.is_file());
    // Only thumbnails are left of it.
    lab.remove_index();
    put(&lab.prefix(), &[(&format!("thumbnails/ab/{}.jpg", "ab".repeat(16)), "x"), (".DS_Store", "x")], 0);
    goes_on(&[]);
    // Partial indexes of the Python original.
    lab.remove_index();
    let meta =
        r#"{"worker_id": 0, "model_name": "clip-ViT-B-32", "embedding_dim": 512, "num_images": 9, "num_failed": 0}"#;
    put(&lab.prefix(), &[("worker_0.parquet", "PAR1"), ("worker_0.faiss", "IxFI"), ("worker_0.meta.json", meta)], 0);
    goes_on(&[]);
    assert!(!fs::read_to_string(&marker).unwrap().contains('/'), "an index can be moved");
}

#[test]
fn planted_links_are_named_and_nothing_outside_is_changed() {
    let lab = Lab::new();
    lab.draw("", 3, 1);
    assert_eq!(lab.index(&[]).code, 0);
    let victim = lab.path("victim");
    let files = [("train1/weights.bin", "60 days of work"), ("photos/a.jpg", "a photo"), ("document", "a document")];
    put(&victim, &files, 60);
    let before = tree(&victim);
    let folder_links = ["runs", "parts", "gen-2"];
    let file_links = ["lock", "merge.lock", "failures.jsonl", "worker_0.parquet", "worker_0.meta.json", MARKER];
    let links = folder_links.map(|name| (name, "")).into_iter().chain(file_links.map(|name| (name, "document")));
    for (seed, (name, to)) in (2..).zip(links) {
        // Each run has something to embed and to merge.
        lab.draw(&format!("more{seed}"), 1, seed);
        let (planted, aside) = (lab.prefix().join(name), lab.path("aside"));
        let was_there = fs::rename(&planted, &aside).is_ok();
        symlink(victim.join(to), &planted).unwrap();
        let said = lab.index(&[]);
        assert!(said.err.contains(planted.to_str().unwrap()), "{name} is not named: {said:?}");
        assert!(said.err.contains("it is a link to"), "{name} is not named: {said:?}");
        assert_eq!(tree(&victim), before, "through {name}");
        assert!(planted.is_symlink(), "{name} is not ours to remove");
        fs::remove_file(&planted).unwrap();
        if was_there {
            fs::rename(&aside, &planted).unwrap();
        }
    }
    let said = lab.index(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(lab.paths().len(), 12);
    // What the asker names may be a link: an index that was moved to another disk.
    fs::create_dir(lab.path("ssd")).unwrap();
    fs::rename(lab.prefix(), lab.path("ssd/index")).unwrap();
    symlink(lab.path("ssd/index"), lab.prefix()).unwrap();
    fs::remove_file(lab.images().join(&lab.paths()[0])).unwrap();
    let said = lab.index(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(lab.paths().len(), 11);
}

#[test]
fn what_people_put_into_an_index_stays() {
    let lab = Lab::new();
    lab.draw("", 2, 1);
    assert_eq!(lab.index(&[]).code, 0);
    let theirs = [
        ("runs/train1/weights.bin", "60 days of work"),
        ("runs/train1/manifest", "of another program"),
        ("runs/notes/run.json", "{\"run_id\": \"other\"}"),
        ("gen-2/art.png", "a painting"),
        ("gen-7/art.png", "a painting"),
        ("gen-7.tmp-1/draft.png", "a painting"),
        (".notes.tmp-draft", "notes"),
        (".letter.tmp-1-2-3", "a letter"),
        ("parts/.wheel.tmp-new", "a wheel"),
        ("parts/readme.txt", "words"),
        ("thumbnails/ab/holiday.jpg", "a photo"),
    ];
    put(&lab.prefix(), &theirs, 60);
    fs::write(lab.path(".imageindex.meta.json.tmp-mine"), "mine").unwrap();
    for seed in [2, 3] {
        lab.draw(&format!("more{seed}"), 1, seed);
        let said = lab.index(&[]);
        assert_eq!(said.code, 0, "{said:?}");
    }
    for (name, text) in theirs {
        assert_eq!(fs::read_to_string(lab.prefix().join(name)).unwrap_or_default(), text, "{name}");
    }
    assert!(lab.path(".imageindex.meta.json.tmp-mine").exists());
    assert_eq!(lab.paths().len(), 4);

    // A ledger of another program is not emptied, and files for Python are not replaced by others' names.
    let ledger = lab.prefix().join("failures.jsonl");
    fs::write(&ledger, "{\"test\":\"a\",\"failed\":true}\n").unwrap();
    lab.draw("more4", 1, 4);
    assert_eq!(lab.index(&[]).code, 0);
    assert_eq!(fs::read_to_string(&ledger).unwrap(), "{\"test\":\"a\",\"failed\":true}\n");
    fs::remove_file(lab.path("imageindex.parquet")).unwrap();
    fs::write(lab.path("imageindex.parquet"), "PAR1 of pandas PAR1").unwrap();
    lab.draw("more5", 1, 5);
    let said = lab.index(&[]);
    refuses(&said, &["imageindex.parquet", "move it away"]);
    assert_eq!(fs::read_to_string(lab.path("imageindex.parquet")).unwrap(), "PAR1 of pandas PAR1");
}

#[test]
fn what_is_no_file_or_never_ends_is_named_and_not_waited_for() {
    let lab = Lab::new();
    lab.draw("", 2, 1);
    assert_eq!(lab.index(&[]).code, 0);
    let run = fs::read_dir(lab.prefix().join("runs")).unwrap().next().unwrap().unwrap().path();
    let places = [
        lab.path("imageindex.meta.json"),
        lab.prefix().join("lock"),
        lab.prefix().join("failures.jsonl"),
        run.join("run.json"),
    ];
    for place in places {
        let aside = lab.path("aside");
        fs::rename(&place, &aside).ok();
        assert_eq!(finish(Command::new("mkfifo").arg(&place)).code, 0);
        // A run's record that is none only hides the run.
        if !place.ends_with("run.json") {
            refuses(&lab.index(&[]), &[place.to_str().unwrap(), "it is a pipe, not a file"]);
        }
        let status = finish(lab.command("controller").args(["--status", "--index-prefix"]).arg(lab.prefix()));
        assert!(status.code == 1 || !place.ends_with("imageindex.meta.json"), "{status:?}");
        fs::remove_file(&place).unwrap();
        // A file without an end, as far as a reader can tell: a terabyte of zeros.
        File::create(&place).unwrap().set_len(1 << 40).unwrap();
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -v 8000000; exec \"$0\" \"$@\""]).arg(e2e::program("controller"));
        limited.args(["--status", "--index-prefix"]).arg(lab.prefix());
        let status = finish(&mut lab.in_world(limited));
        assert!(status.code <= 1, "{}: {status:?}", place.display());
        fs::remove_file(&place).unwrap();
        fs::rename(&aside, &place).ok();
    }
    // The ledger only informs: a run goes on without it, and says so.
    let ledger = lab.prefix().join("failures.jsonl");
    fs::remove_file(&ledger).ok();
    File::create(&ledger).unwrap().set_len(1 << 40).unwrap();
    lab.draw("more", 1, 2);
    let said = lab.index(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("failures.jsonl"), "{said:?}");
    assert_eq!(fs::metadata(&ledger).unwrap().len(), 1 << 40);
}
