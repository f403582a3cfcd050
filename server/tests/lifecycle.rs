//! How a server begins, answers what needs no index, and ends. Each test has its own server process and socket.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use common::{Home, JSON, http, until};
use serde_json::json;

#[test]
fn every_answer_is_json_also_a_refusal() {
    let home = Home::new();
    let server = home.serve(&[]);
    let (status, body) = server.get("/v1/status");
    assert_eq!((status, &body["version"], &body["indexes"]), (200, &json!(env!("CARGO_PKG_VERSION")), &json!([])));
    assert_eq!(body["pid"], server.child.id());

    let search = "/v1/indexes/none/search";
    let cases: [(&str, &str, &str, &[u8], u16); 11] = [
        ("GET", "/", "", b"", 404),
        ("GET", "/v1/indexes/none", "", b"", 404),
        ("GET", "/v1/../../etc/passwd", "", b"", 404),
        ("GET", search, "", b"", 405),
        ("POST", "/v1/indexes", JSON, b"{\"index_prefix\":", 400),
        ("POST", "/v1/indexes", JSON, b"\xff\xfe", 400),
        ("POST", "/v1/indexes", JSON, b"{}", 422),
        ("POST", "/v1/indexes", "", b"{\"index_prefix\":\"/x\"}", 415),
        ("POST", search, JSON, b"{\"text\": \" \\n\", \"top_k\": 10}", 400),
        ("POST", search, JSON, b"{\"text\": \"x\", \"top_k\": 0}", 400),
        ("POST", search, JSON, b"{\"text\": \"x\", \"top_k\": 10}", 404),
    ];
    for (method, path, headers, body, expected) in cases {
        let (status, answer) = http(&home.socket(), method, path, headers, body).unwrap();
        assert_eq!(status, expected, "{method} {path}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|e| !e.is_empty()), "{answer}");
    }
    let huge = format!("{{\"index_prefix\": \"{}\"}}", "x".repeat(4 << 20));
    let (status, answer) = http(&home.socket(), "POST", "/v1/indexes", JSON, huge.as_bytes()).unwrap();
    assert_eq!(status, 413, "{answer}");
    assert!(answer["error"].is_string());
}

#[test]
fn an_index_that_is_not_there_is_refused_with_what_builds_it() {
    let home = Home::new();
    let server = home.serve(&[]);
    for prefix in [home.path("none"), home.path("no/such/folder")] {
        let (status, answer) = server.post("/v1/indexes", &json!({ "index_prefix": prefix }));
        let error = answer["error"].as_str().unwrap();
        assert_eq!(status, 404, "{error}");
        assert!(error.contains(&format!("{}.meta.json", prefix.display())) && error.contains("controller"), "{error}");
    }
    for prefix in ["", "relative/index", "/", "/nas/.."] {
        assert_eq!(server.post("/v1/indexes", &json!({ "index_prefix": prefix })).0, 400, "{prefix:?}");
    }
    fs::write(home.path("broken.meta.json"), "{\"generation\"").unwrap();
    let (status, answer) = server.post("/v1/indexes", &json!({"index_prefix": home.path("broken")}));
    assert_eq!(status, 500, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("broken.meta.json"), "{answer}");
    assert_eq!(server.get("/v1/status").1["indexes"], json!([]));
}

#[test]
fn bytes_that_are_no_request_harm_nobody() {
    let home = Home::new();
    let server = home.serve(&[]);
    let mut silent = UnixStream::connect(home.socket()).unwrap();
    silent.write_all(b"POST /v1/indexes HTTP/1.1\r\ncontent-length: 99\r\n\r\n{").unwrap();
    for garbage in [&b"\0\xff\x16\x03\x01"[..], b"GET\r\n\r\n", &[b'A'; 100_000]] {
        let mut stream = UnixStream::connect(home.socket()).unwrap();
        let _ = stream.write_all(garbage);
    }
    assert!(server.answers());
}

#[test]
fn it_leaves_when_told_to_and_takes_its_socket_along() {
    for signal in [None, Some("-TERM"), Some("-INT")] {
        let home = Home::new();
        let mut server = home.serve(&[]);
        // A connection that is open and idle keeps nobody.
        let _idle = UnixStream::connect(home.socket()).unwrap();
        server.signal("-HUP");
        assert!(server.answers());
        match signal {
            None => assert_eq!(server.post("/v1/stop", &json!(null)).0, 200),
            Some(signal) => server.signal(signal),
        }
        assert!(server.ended().success(), "{signal:?}");
        assert!(!home.socket().exists());
        assert_eq!(server.said(), "");
        assert!(server.log().contains("leaves: "), "{}", server.log());
    }
}

#[test]
fn it_leaves_when_nobody_asks() {
    let home = Home::new();
    let mut server = home.start(&["--idle-seconds", "0.2"]);
    assert!(server.ended().success());
    assert!(!home.socket().exists());
    assert!(server.log().contains("nobody asked"));
}

#[test]
fn it_leaves_when_its_folder_is_deleted() {
    let home = Home::new();
    let mut server = home.serve(&[]);
    fs::remove_dir_all(home.path("imagefleet")).unwrap();
    assert!(server.ended().success());
}

#[test]
fn of_many_started_at_once_one_stays() {
    let home = Home::new();
    let mut servers: Vec<_> = (0..8).map(|_| home.start(&[])).collect();
    until("all but one have left", || {
        servers.iter_mut().map(|s| s.child.try_wait().unwrap()).filter(Option::is_none).count() == 1
    });
    for server in &mut servers {
        assert!(server.child.try_wait().unwrap().is_none_or(|status| status.success()), "{}", server.said());
    }
    until("the one answers", || servers[0].answers());
    let pid = servers[0].get("/v1/status").1["pid"].as_u64().unwrap();
    assert!(servers.iter_mut().any(|s| u64::from(s.child.id()) == pid && s.child.try_wait().unwrap().is_none()));
}

#[test]
fn the_socket_of_a_killed_server_is_taken_over() {
    let home = Home::new();
    let mut first = home.serve(&[]);
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    assert!(home.socket().exists());
    let second = home.serve(&[]);
    assert_eq!(second.get("/v1/status").1["pid"], second.child.id());
}

#[test]
fn a_folder_or_a_file_that_is_not_its_own_is_left_alone() {
    let home = Home::new();
    let folder = home.path("imagefleet");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let mut server = home.start(&[]);
    assert_eq!(server.ended().code(), Some(1));
    assert!(server.said().contains("chmod 700"));

    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(home.socket(), "precious").unwrap();
    let mut server = home.start(&[]);
    assert_eq!(server.ended().code(), Some(1));
    assert!(server.said().contains("is not a socket"));
    assert_eq!(fs::read(home.socket()).unwrap(), b"precious");
}

#[test]
fn its_files_are_for_its_person_only() {
    let home = Home::new();
    let _server = home.serve(&[]);
    let mode = |path: std::path::PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(home.path("imagefleet")), 0o700);
    assert_eq!(mode(home.socket().with_extension("log")), 0o600);
}
