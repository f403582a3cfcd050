//! Pictures for people: thumbnails and large views, of what the index holds and of nothing else.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use clip::{DecodeLimits, DecodeMode, Picture, decode};
use common::collection::{Collection, WORDS, golden, jpeg};
use common::{Home, Server, exchange, percent};
use serde_json::{Value, json};

/// Asks for `what` (`thumbnail?height=100&`) of a picture.
fn show(server: &Server, what: &str, path: &Path, headers: &str) -> (u16, String, Vec<u8>) {
    let path = percent(path.to_str().unwrap());
    exchange(&server.socket, "GET", &format!("/v1/indexes/imageindex/{what}path={path}"), headers, b"").unwrap()
}

fn picture(jpeg: &[u8]) -> Picture {
    decode(jpeg, DecodeMode::Exact, 0, &DecodeLimits::default()).unwrap()
}

fn error(body: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap();
    answer["error"].as_str().unwrap().to_owned()
}

#[test]
fn a_thumbnail_is_upright_small_and_kept() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let car = pictures.picture("a yellow car");
    fs::write(&car, golden("turned_6.jpg")).unwrap();
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    let (status, head, jpeg) = show(&server, "thumbnail?height=64&", &car, "");
    assert_eq!(status, 200, "{head}");
    assert!(head.contains("content-type: image/jpeg\r\n") && head.contains("cache-control: private"), "{head}");
    let (whole, small) = (picture(&golden("turned_6.jpg")), picture(&jpeg));
    assert_eq!((small.height, small.width), (64, (64.0 * whole.width as f64 / whole.height as f64).round() as usize));
    let expected = whole.fitted(256, 64);
    let off = small.rgb.iter().zip(&expected.rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
    assert!(off < 16 * small.rgb.len() as u64, "it shows another picture: {off} of {}", small.rgb.len());

    let kept = || walk(&pictures.prefix.thumbnails());
    assert_eq!(kept().len(), 1);
    fs::write(&kept()[0], [&[0xFF, 0xD8][..], b"kept", &[0xFF, 0xD9]].concat()).unwrap();
    assert_eq!(show(&server, "thumbnail?height=64&", &car, "").2[2..6], *b"kept");

    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let (status, _, body) = show(&server, "thumbnail?height=64&", &car, &format!("if-none-match: \"x\", {tag}\r\n"));
    assert_eq!((status, body.len()), (304, 0));
    fs::write(&car, golden("grey.jpg")).unwrap();
    let (status, _, changed) = show(&server, "thumbnail?height=64&", &car, &format!("if-none-match: {tag}\r\n"));
    assert_eq!((status, picture(&changed).height), (200, 64));
    assert_ne!(changed, jpeg);
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let folders = fs::read_dir(dir).into_iter().flatten().flatten();
    folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten()).map(|e| e.path()).collect()
}

#[test]
fn a_large_view_is_fitted_and_a_truncated_picture_shown_as_far_as_it_goes() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    let large = golden("large.jpg");
    let whole = picture(&large);
    fs::write(pictures.picture("a yellow car"), &large).unwrap();
    fs::write(pictures.picture("a red bus"), &large[..large.len() / 2]).unwrap();
    for words in ["a yellow car", "a red bus"] {
        let (status, head, jpeg) = show(&server, "picture?size=300&", &pictures.picture(words), "");
        assert_eq!(status, 200, "{head}");
        let shown = picture(&jpeg);
        assert_eq!(shown.width.max(shown.height), 300);
        assert_eq!(shown.width > shown.height, whole.width > whole.height);
    }
    let (_, _, jpeg) = show(&server, "picture?", &pictures.picture("a yellow car"), "");
    let shown = picture(&jpeg);
    assert_eq!(
        (shown.width, shown.height),
        (whole.fitted(2048, 2048).width, picture(&large).fitted(2048, 2048).height)
    );
    assert!(!pictures.prefix.thumbnails().exists() || walk(&pictures.prefix.thumbnails()).is_empty());
}

#[test]
fn what_is_not_in_the_index_or_leads_out_is_not_shown() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    let photo = golden("grey.jpg");
    fs::write(pictures.root.join("not indexed.jpg"), &photo).unwrap();
    fs::write(home.path("secret.jpg"), &photo).unwrap();
    let [car, bus, boat, tree, cat] = WORDS.map(|words| pictures.picture(words));
    for path in [&car, &bus, &boat] {
        fs::remove_file(path).unwrap();
    }
    symlink(home.path("secret.jpg"), &car).unwrap();
    assert!(Command::new("mkfifo").arg(&bus).status().unwrap().success());
    fs::create_dir(&boat).unwrap();
    fs::remove_file(&tree).unwrap();
    fs::write(&cat, "no picture").unwrap();
    let cases: [(&Path, u16, &str); 12] = [
        (&car, 404, "leads out of the collection"),
        (&bus, 422, "is not a file"),
        (&boat, 422, "is not a file"),
        (&tree, 404, "is gone"),
        (&cat, 422, "cannot be decoded"),
        (&pictures.root.join("not indexed.jpg"), 404, "no picture of this index"),
        (&pictures.root, 404, "no picture of this index"),
        (Path::new("/etc/passwd"), 404, "no picture of this index"),
        (Path::new("../../etc/passwd"), 404, "no picture of this index"),
        (&home.path("a/photos/../../secret.jpg"), 404, "no picture of this index"),
        (Path::new("\0\u{1b}%n"), 404, "no picture of this index"),
        (Path::new(""), 404, "no picture of this index"),
    ];
    for what in ["thumbnail?", "picture?"] {
        for (path, expected, said) in &cases {
            let (status, _, body) = show(&server, what, path, "");
            assert_eq!((status, error(&body).contains(said)), (*expected, true), "{path:?}: {}", error(&body));
        }
        for bad in ["height=63&", "size=5000&", "height=1e3&", "size=-1&", "height=&", "width=100&", "path=a&"] {
            let (status, _, body) = show(&server, &format!("{what}{bad}"), &cat, "");
            assert_eq!(status, 400, "{bad}: {}", error(&body));
        }
    }
    let (status, _, body) =
        exchange(&server.socket, "GET", "/v1/indexes/imageindex/picture?path=%ff%fe", "", b"").unwrap();
    assert_eq!((status, error(&body).is_empty()), (404, false));
    let (status, _, body) = exchange(&server.socket, "GET", "/v1/indexes/%ff/stats", "", b"").unwrap();
    assert_eq!((status, error(&body).is_empty()), (400, false));
}

#[test]
fn pictures_are_found_where_this_host_sees_the_root() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    fs::write(pictures.picture("a black cat"), golden("grey.jpg")).unwrap();
    fs::rename(&pictures.root, home.path("elsewhere")).unwrap();
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    let cat = pictures.picture("a black cat");
    assert_eq!(show(&server, "thumbnail?", &cat, "").0, 404);
    let moved = json!({"index_prefix": pictures.prefix.dir(), "root_here": home.path("elsewhere")});
    assert_eq!(server.post("/v1/indexes", &moved).0, 200);
    assert_eq!(show(&server, "thumbnail?", &cat, "").0, 200);
    server.open(pictures.prefix.dir());
    assert_eq!(show(&server, "thumbnail?", &cat, "").0, 200, "who does not say where it is changes nothing");
}

#[test]
fn stats_tell_what_the_index_holds_and_what_its_scores_mean() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let failure = |kind: &str| json!({"path": "/x", "kind": kind, "detail": "", "host": "h", "attempts": 1});
    let ledger = format!("{}\n{}\ndamaged\n{}\n", failure("vanished"), failure("undecodable"), failure("vanished"));
    fs::write(pictures.prefix.failures(), ledger).unwrap();
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    let (status, stats) = server.get("/v1/indexes/imageindex/stats");
    assert_eq!(status, 200, "{stats}");
    assert_eq!((&stats["num_images"], &stats["generation"]), (&json!(5), &json!(1)));
    assert_eq!(stats["formats"], json!({"jpg": 5}));
    assert_eq!(stats["years"], json!({"1970": 5}));
    assert_eq!(stats["failures"], json!({"vanished": 2, "undecodable": 1}));
    assert_eq!(stats["model"]["model_name"], "demo");
    assert_eq!(stats["total_bytes"], WORDS.iter().map(|words| jpeg(words).len()).sum::<usize>());
    assert_eq!(stats["background"]["sample"], 5);
    for of in ["words", "pictures"] {
        let scores: Vec<f64> =
            stats["background"][of].as_array().unwrap().iter().map(|q| q["score"].as_f64().unwrap()).collect();
        assert!(scores.len() == 9 && scores.is_sorted() && scores[0] < scores[8], "{scores:?}");
    }
    assert_eq!(stats["memory"].is_object(), cfg!(target_os = "linux"));
    assert!(stats.get("first_pass").is_none() && stats.get("warning").is_none(), "of five all are compared: {stats}");
    pictures.add(&["a purple house"]);
    common::until("a new generation is told of", || server.get("/v1/indexes/imageindex/stats").1["num_images"] == 6);
}
