//! The description of the API matches the server, whatever is asked: schemathesis makes requests of it, good and bad ones,
//! and holds the answers against it.

mod common;

use std::fs;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::Home;
use common::collection::{Collection, golden};
use serde_json::json;

/// A loopback port that leads to a socket, for as long as the test lives.
fn bridge(socket: &Path) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = socket.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // A server that has gone closes the connection.
            if let Ok(server) = UnixStream::connect(&socket) {
                join(client, server);
            }
        }
    });
    port
}

fn join(client: TcpStream, server: UnixStream) {
    let (mut from_client, mut from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (mut to_client, mut to_server) = (client, server);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    std::thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
}

/// The Python that `make setup` prepared.
fn python() -> PathBuf {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    let own = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(own), PathBuf::from);
    let python = std::env::var_os("IMAGEFLEET_PYTHON");
    let python = python.map_or_else(|| cache.join("imagefleet/python/bin/python"), PathBuf::from);
    assert!(python.is_file(), "{} is missing; run: make setup", python.display());
    python
}

#[test]
fn the_description_matches_the_server() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let picture = pictures.picture("a black cat");
    fs::write(&picture, golden("grey.jpg")).unwrap();
    let server = home.serve(&[]);
    let name = server.open(pictures.prefix.dir());
    let place =
        json!({"name": name, "picture": picture, "folder": home.path("copies"), "prefix": pictures.prefix.dir()});
    let port = bridge(&server.socket);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi");
    let output = Command::new(python())
        .args(["-m", "schemathesis.cli", "run", &format!("http://127.0.0.1:{port}/v1/openapi.json")])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--seed", "1", "--no-shrink"])
        .args(["--exclude-path", "/v1/stop", "--exclude-checks", "positive_data_acceptance"])
        .args(["--generation-deterministic", "--continue-on-failure"])
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", &tests)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("IMAGEFLEET_TEST_PLACE", place.to_string())
        .current_dir(home.path("a"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(server.get("/v1/status").0, 200);
}

#[test]
fn every_route_is_described_with_its_refusals() {
    let home = Home::new();
    let server = home.serve(&[]);
    let (status, document) = server.get("/v1/openapi.json");
    assert_eq!(status, 200);
    let paths = document["paths"].as_object().unwrap();
    let of_index = ["search", "search/batch", "duplicates", "map", "copy", "thumbnail", "picture", "stats"];
    let expected = of_index.map(|route| format!("/v1/indexes/{{name}}/{route}"));
    let expected = expected.iter().map(String::as_str);
    let expected = expected.chain(["/v1/indexes", "/v1/status", "/v1/stop", "/v1/openapi.json"]);
    let mut expected: Vec<&str> = expected.collect();
    expected.sort_unstable();
    assert_eq!(paths.keys().collect::<Vec<_>>(), expected);
    for (path, methods) in paths.iter().filter(|(path, _)| path.contains("{name}")) {
        let operation = methods.as_object().unwrap().values().next().unwrap();
        for status in ["200", "400", "404"] {
            assert!(operation["responses"][status]["description"].is_string(), "{path} {status}");
        }
    }
}
