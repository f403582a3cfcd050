//! What is copied and kept where strangers may have been at work: at pictures, at the index, at the folder for the copies.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::collection::{Collection, WORDS};
use common::{Home, Server, exchange, percent};
use serde_json::{Value, json};

/// A user whom no system has.
const MALLORY: u32 = 54_321;

/// Whether files can be given away; where not, says that a test is skipped.
fn is_root() -> bool {
    let root = protocol::folders::own_uid().unwrap() == 0;
    if !root {
        eprintln!("skipped: only root can make files of another user");
    }
    root
}

/// Gives a stranger all files of an index.
fn give_away(pictures: &Collection) {
    let give = |path: &Path| chown(path, Some(MALLORY), Some(MALLORY)).unwrap();
    give(&pictures.prefix.meta());
    walk(pictures.prefix.dir()).iter().for_each(|path| give(path));
}

fn walk(path: &Path) -> Vec<PathBuf> {
    let below = fs::read_dir(path).into_iter().flatten().flatten().flat_map(|entry| walk(&entry.path()));
    [path.to_owned()].into_iter().chain(below).collect()
}

fn copy(server: &Server, folder: &Path, paths: &[PathBuf], vouched: &Value) -> (u16, Value) {
    let ask = json!({"paths": paths, "folder": folder, "stamp": "20250102_030405", "vouched": vouched});
    server.post("/v1/indexes/imageindex/copy", &ask)
}

#[test]
fn what_took_a_pictures_place_is_not_copied_and_a_closed_picture_stays_closed() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let [car, bus, boat, tree, cat] = WORDS.map(|words| pictures.picture(words));
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    fs::write(home.path("id_ed25519"), "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n").unwrap();
    fs::copy(&cat, home.path("private.jpg")).unwrap();
    for (taken, target) in [(&car, "id_ed25519"), (&bus, "private.jpg")] {
        fs::remove_file(taken).unwrap();
        symlink(home.path(target), taken).unwrap();
    }
    fs::remove_file(&boat).unwrap();
    fs::hard_link(home.path("id_ed25519"), &boat).unwrap();
    fs::remove_file(&tree).unwrap();
    assert!(Command::new("mkfifo").arg(&tree).status().unwrap().success());
    fs::set_permissions(&cat, Permissions::from_mode(0o600)).unwrap();
    fs::copy(&cat, pictures.root.join("not indexed.jpg")).unwrap();

    let results = home.path("a/image_results");
    let asked = [car, bus, boat, tree, pictures.root.join("not indexed.jpg"), "/etc/passwd".into(), cat];
    let (status, answer) = copy(&server, &results, &asked, &json!({}));
    assert_eq!(status, 200, "{answer}");
    let copies = answer["copies"].as_array().unwrap();
    let why =
        ["leads out", "leads out", "no picture", "not a file", "no picture of this index", "not in the collection"];
    for (copied, why) in copies.iter().zip(why) {
        assert!(copied["failed"].as_str().is_some_and(|told| told.contains(why)), "{why}: {copied}");
    }
    let copied = PathBuf::from(copies[6]["to"].as_str().unwrap());
    assert_eq!(copied.metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&results).unwrap().count(), 1);
}

#[test]
fn of_a_strangers_index_nothing_is_copied_until_it_is_vouched_for() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    give_away(&pictures);
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    let (cat, results) = ([pictures.picture("a black cat")], home.path("a/image_results"));
    let (status, answer) = copy(&server, &results, &cat, &json!({}));
    assert_eq!((status, &answer["copies"]), (200, &json!([])), "{answer}");
    assert!(answer["distrusted"].as_str().is_some_and(|why| why.contains("user 54321")), "{answer}");
    assert!(!results.exists());
    assert!(!walk(&home.path("a")).iter().any(|path| path.to_string_lossy().contains("tmp-")), "the probe is gone");
    let (_, answer) = copy(&server, &results, &cat, &json!({"index": true}));
    assert!(answer["copies"][0]["to"].is_string() && answer.get("distrusted").is_none(), "{answer}");

    // One file is enough: whoever can put a segment there decides what is in the index.
    let pictures = Collection::new(&home, "b");
    chown(pictures.prefix.generation(1).join("seg-0.parquet"), Some(MALLORY), None).unwrap();
    let name = server.open(pictures.prefix.dir());
    let ask = json!({"paths": [], "folder": home.path("c"), "stamp": "20250102_030405"});
    let (_, answer) = server.post(&format!("/v1/indexes/{name}/copy"), &ask);
    assert!(answer["distrusted"].as_str().is_some_and(|why| why.contains("seg-0.parquet")), "{answer}");
}

#[test]
fn thumbnails_are_kept_beside_an_index_only_if_others_may_see_them() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let server = home.serve(&[]);
    let show = |words: &str| {
        let path = percent(pictures.picture(words).to_str().unwrap());
        let route = format!("/v1/indexes/imageindex/thumbnail?path={path}");
        exchange(&server.socket, "GET", &route, "", b"").unwrap().0
    };
    let beside = || walk(&pictures.prefix.thumbnails()).iter().filter(|path| path.is_file()).count();
    let own = || walk(&home.path("XDG_CACHE_HOME/imagefleet/thumbnails")).iter().filter(|path| path.is_file()).count();
    fs::set_permissions(pictures.picture("a black cat"), Permissions::from_mode(0o600)).unwrap();
    server.open(pictures.prefix.dir());
    assert_eq!((show("a black cat"), beside(), own()), (200, 0, 1));
    assert_eq!((show("a red bus"), beside(), own()), (200, 1, 1));
    if !is_root() {
        return;
    }
    // A generation of a stranger's: its thumbnails of this person's pictures are nobody else's.
    pictures.add(&["a purple house"]);
    give_away(&pictures);
    common::until("the new generation answers", || server.get("/v1/indexes/imageindex/stats").1["num_images"] == 6);
    assert_eq!((show("a purple house"), beside(), own()), (200, 1, 2));
}

#[test]
fn a_folder_of_copies_that_strangers_can_write_is_refused() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    let cat = [pictures.picture("a black cat")];
    let results = home.path("a/image_results");
    let refused = |why: &str| {
        let (status, answer) = copy(&server, &results, &cat, &json!({"folder": true}));
        assert_eq!(status, 500, "{answer}");
        assert!(answer["error"].as_str().is_some_and(|told| told.contains(why)), "{why}: {answer}");
        assert_eq!(fs::read_dir(results.canonicalize().unwrap()).unwrap().count(), 0);
    };
    fs::create_dir(&results).unwrap();
    for (mode, why) in [(0o777, "anybody may write"), (0o1777, "anybody may write"), (0o702, "anybody may write")] {
        fs::set_permissions(&results, Permissions::from_mode(mode)).unwrap();
        refused(why);
    }
    fs::remove_dir(&results).unwrap();
    fs::create_dir(home.path("elsewhere")).unwrap();
    symlink(home.path("elsewhere"), &results).unwrap();
    refused("is a link");
    fs::remove_file(&results).unwrap();
    if !is_root() {
        return;
    }
    fs::create_dir(&results).unwrap();
    chown(&results, None, Some(MALLORY)).unwrap();
    fs::set_permissions(&results, Permissions::from_mode(0o775)).unwrap();
    refused("the group 54321 may write");
    fs::set_permissions(&results, Permissions::from_mode(0o755)).unwrap();
    chown(&results, Some(MALLORY), None).unwrap();
    let (status, answer) = copy(&server, &results, &cat, &json!({}));
    assert!(status == 500 && answer["error"].as_str().is_some_and(|why| why.contains("user 54321")), "{answer}");
    let (_, answer) = copy(&server, &results, &cat, &json!({"folder": true}));
    assert!(answer["copies"][0]["to"].is_string(), "who asks may know better: {answer}");
}
