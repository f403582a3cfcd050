//! `query --web` before a stand-in for the server: whom it lets in, what it passes on, and that it outlives the server.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;

/// A person who looks at the page of an index.
struct Web {
    home: tempfile::TempDir,
    server: Option<Runtime>,
    query: Option<Child>,
    port: u16,
    token: String,
}

/// An answer of the page.
struct Said {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Web {
    fn new(hosts: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("imagefleet");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(home.path().join("imageindex.meta.json"), "{}").unwrap();
        fs::write(home.path().join("hosts"), hosts).unwrap();
        let mut web = Self { home, server: None, query: None, port: 0, token: String::new() };
        web.start_server();
        // As many files as the least generous system gives a program.
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 256; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_query")]);
        command.current_dir(web.home.path()).env("HOME", web.home.path()).env("XDG_RUNTIME_DIR", web.home.path());
        for variable in ["XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            command.env(variable, web.home.path().join(variable));
        }
        command.args(["--web", "--no-open", "--text", "a yellow car", "--index-prefix", "imageindex"]);
        let mut query = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut link = String::new();
        BufReader::new(query.stdout.take().unwrap()).read_line(&mut link).unwrap();
        web.query = Some(query);
        let address = link.trim_end().strip_prefix("http://127.0.0.1:").expect("the link is printed");
        let (port, token) = address.trim_end_matches('/').split_once('/').unwrap();
        (web.port, web.token) = (port.parse().unwrap(), token.to_owned());
        web
    }

    fn socket(&self) -> PathBuf {
        self.home.path().join(format!("imagefleet/server-{}.sock", env!("CARGO_PKG_VERSION")))
    }

    /// Starts the stand-in, in the place of one that ended.
    fn start_server(&mut self) {
        self.end_server();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let socket = self.socket();
        let listener = runtime.block_on(async { UnixListener::bind(socket) }).unwrap();
        runtime.spawn(axum::serve(listener, stand_in()).into_future());
        self.server = Some(runtime);
    }

    /// Ends the stand-in and its connections.
    fn end_server(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_timeout(Duration::from_secs(60));
            fs::remove_file(self.socket()).unwrap();
        }
    }

    /// Sends these very bytes.
    fn raw(&self, request: &[u8]) -> Said {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        // Who is refused early may be told before all was sent.
        let _ = stream.write_all(request);
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(answer.len());
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Said { status, head, body: answer.get(end + 4..).unwrap_or_default().to_vec() }
    }

    /// A request to a path below the token, as the page itself makes it.
    fn ask(&self, method: &str, path: &str, body: &str) -> Said {
        let (port, token) = (self.port, &self.token);
        let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        self.raw(
            format!(
                "{method} /{token}/{path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\norigin: http://127.0.0.1:{port}\r\n\
                 sec-fetch-site: same-origin\r\nconnection: close\r\n{kind}content-length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        if let Some(query) = &mut self.query {
            let _ = (query.kill(), query.wait());
        }
        self.end_server();
    }
}

/// A server with one picture, that tells what it was asked.
fn stand_in() -> Router {
    let opened = |Json(open): Json<Value>| async move {
        Json(json!({"name": "i", "index_prefix": open["index_prefix"], "generation": 1, "num_images": 7,
            "model_name": "demo", "root": "/nas"}))
    };
    let search = |Json(asked): Json<Value>| async move {
        let folder = asked["filters"]["under"][0].as_str().unwrap_or_default().to_owned();
        Json(json!({"generation": 1, "num_images": 7, "seconds": 0.01, "warning": folder, "matches": [
            {"rank": 1, "score": 0.5, "percentile": 99.5, "path": "/nas/<b>.jpg", "size_bytes": 1, "mtime_ns": 2}]}))
    };
    let picture = |Query(asked): Query<Vec<(String, String)>>| async move {
        match asked.iter().any(|(name, value)| name == "path" && value == "/nas/a&b 100%.jpg") {
            true => ([("content-type", "image/jpeg"), ("cache-control", "private, max-age=9")], "JPEG").into_response(),
            false => (StatusCode::NOT_FOUND, Json(json!({"error": "no such picture"}))).into_response(),
        }
    };
    Router::new()
        .route("/v1/indexes", post(opened))
        .route("/v1/indexes/i/search", post(search))
        .route("/v1/indexes/i/thumbnail", get(picture))
        .route("/v1/indexes/i/picture", get(picture))
}

#[test]
fn the_page_and_its_files_are_served_to_who_has_the_link_and_protect_themselves() {
    let web = Web::new("localhost\n");
    let page = web.ask("GET", "", "");
    assert_eq!(page.status, 200);
    let text = page.text();
    assert!(text.starts_with("<!doctype html>") && !text.contains("style=") && !text.contains("onload"), "{text}");
    let policy = page.head.lines().find(|l| l.starts_with("content-security-policy: ")).unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("data:"), "{policy}");
    for header in [
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cross-origin-resource-policy: same-origin",
        "cache-control: no-store",
    ] {
        assert!(page.head.contains(header), "{header}: {}", page.head);
    }
    assert!(!page.head.contains("access-control") && !page.head.contains("set-cookie"), "{}", page.head);
    let names = text.split(['"', '\'']).filter(|name| name.ends_with(".js") || name.ends_with(".css"));
    for name in names.chain(["grid.js", "large.js", "picture.js", "question.js", "icon.svg"]) {
        assert_eq!(web.ask("GET", name, "").status, 200, "{name}");
    }
    assert_eq!(web.ask("GET", "index", "").json()["question"], "a yellow car");
}

#[test]
fn a_search_is_passed_on_and_its_matches_say_where_they_are_here() {
    let web = Web::new("* path_map=/Volumes/photos:/nas\nlocalhost\n");
    let question = json!({"terms": [{"text": "a car"}], "top_k": 5, "filters": {"under": ["/Volumes/photos/2019"]}});
    let said = web.ask("POST", "search", &question.to_string());
    assert_eq!(said.status, 200, "{}", said.text());
    let found = said.json();
    assert_eq!(found["matches"][0]["path"], "/nas/<b>.jpg");
    assert_eq!(found["matches"][0]["here"], "/Volumes/photos/<b>.jpg");
    assert_eq!(found["warning"], "/nas/2019", "the folder is named as the index does");
}

#[test]
fn pictures_are_passed_on_as_they_come() {
    let web = Web::new("localhost\n");
    for route in ["thumbnail?height=256", "picture?size=2048"] {
        let found = web.ask("GET", &format!("{route}&path=%2Fnas%2Fa%26b+100%25.jpg"), "");
        assert_eq!((found.status, found.text().as_str()), (200, "JPEG"));
        assert!(found.head.contains("image/jpeg") && found.head.contains("cache-control: private, max-age=9"));
        let absent = web.ask("GET", &format!("{route}&path=%2Fetc%2Fpasswd"), "");
        assert_eq!((absent.status, absent.json()["error"].as_str()), (404, Some("no such picture")));
        assert!(absent.head.contains("cache-control: no-store"));
    }
}

#[test]
fn a_server_that_left_between_two_questions_is_asked_again_where_it_is() {
    let mut web = Web::new("localhost\n");
    let question = r#"{"text": "x", "top_k": 1}"#;
    for _ in 0..3 {
        assert_eq!(web.ask("POST", "search", question).status, 200);
        web.start_server();
    }
    web.end_server();
    let folder = web.socket().parent().unwrap().to_owned();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let said = web.ask("POST", "search", question);
    assert_eq!(said.status, 502);
    assert!(said.json()["error"].as_str().is_some_and(|e| e.contains("chmod 700")), "{}", said.text());
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    web.start_server();
    assert_eq!(web.ask("POST", "search", question).status, 200);
}

#[test]
fn eleven_hundred_half_requests_keep_nobody_out() {
    let web = Web::new("localhost\n");
    let begun = ["", "GET /", "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n", "POST /x HTTP/1.1\r\ncontent-length: 9\r\n\r\n"];
    let mut half = Vec::new();
    for number in 0..1100 {
        // One that cannot even be opened has met the same limit.
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", web.port)) else { continue };
        let _ = stream.write_all(begun[number % begun.len()].as_bytes());
        half.push(stream);
        if number % 100 == 99 {
            assert_eq!(web.ask("GET", "index", "").status, 200, "after {number}");
        }
    }
    // A question that does not arrive, from somebody who knows the link, keeps nobody out either.
    let head = format!(
        "POST /{}/search HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{{",
        web.token, web.port
    );
    for _ in 0..20 {
        let mut stream = TcpStream::connect(("127.0.0.1", web.port)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        half.push(stream);
    }
    assert_eq!(web.ask("POST", "search", r#"{"text": "x", "top_k": 1}"#).status, 200);
}

#[test]
fn a_tunnel_with_two_ports_is_told_how_to_have_one() {
    let web = Web::new("localhost\n");
    for host in ["127.0.0.1:9999", "localhost:9999"] {
        let request = format!("GET /{}/ HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n", web.token);
        let said = web.raw(request.as_bytes());
        assert_eq!(said.status, 403);
        for hint in [format!("ssh -L {0}:127.0.0.1:{0}", web.port), "--port 9999".to_owned()] {
            assert!(said.text().contains(&hint), "{}", said.text());
        }
    }
}

#[test]
fn two_hundred_hostile_requests_are_refused() {
    let web = Web::new("localhost\n");
    let requests = hostile(web.port, &web.token);
    assert!(requests.len() >= 200, "{}", requests.len());
    for request in requests {
        let said = web.raw(&request);
        let shown = String::from_utf8_lossy(&request[..request.len().min(300)]).into_owned();
        assert!((400..500).contains(&said.status), "{shown:?}: {} {}", said.status, said.head);
        assert!(!said.head.contains("access-control"), "{shown:?}: {}", said.head);
        let knew = shown.contains(&web.token);
        assert!(knew || !(said.head.contains(&web.token) || said.text().contains(&web.token)), "{shown:?}");
    }
    assert_eq!(web.ask("GET", "", "").status, 200, "it still serves its person");
}

fn hostile(port: u16, token: &str) -> Vec<Vec<u8>> {
    let own = format!("127.0.0.1:{port}");
    let request = |method: &str, target: &str, headers: &[(&str, &str)], body: &str| {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        format!("{method} {target} HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}")
            .into_bytes()
    };
    let host = ("host", own.as_str());
    let json = ("content-type", "application/json");
    let question = r#"{"text": "x", "top_k": 1}"#;
    let routes =
        ["", "app.js", "index", "search", "thumbnail?path=/nas/a.jpg&height=256", "picture?path=/nas/a.jpg&size=2048"];
    let mut all = Vec::new();
    let method = |route: &str| if route == "search" { "POST" } else { "GET" };
    for route in routes {
        let known = format!("/{token}/{route}");
        // Without the token.
        let zeros = "0".repeat(32);
        let backwards: String = token.chars().rev().collect();
        for wrong in ["", "x", &zeros, &token[1..], &backwards, &format!("{token}{token}"), "..", "%2e%2e", "*"] {
            all.push(request(method(route), &format!("/{wrong}/{route}"), &[host, json], question));
        }
        all.push(request(method(route), &format!("/{route}#{token}"), &[host, json], question));
        // Under another name: what a page does whose own name was made to lead here.
        for name in
            ["evil.example", &format!("evil.example:{port}"), "127.0.0.1", "127.0.0.1:1", "0.0.0.0", "[::1]", ""]
        {
            all.push(request(method(route), &known, &[("host", name), json], question));
        }
        all.push(request(method(route), &known, &[json], question));
        all.push(request(method(route), &known, &[host, host, json], question));
        // From another page.
        for origin in ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", "file://", "*"] {
            all.push(request(method(route), &known, &[host, json, ("origin", origin)], question));
        }
        for site in ["cross-site", "same-site", "", "same-origin, none"] {
            all.push(request(method(route), &known, &[host, json, ("sec-fetch-site", site)], question));
        }
        // By another method.
        for other in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "x"] {
            all.push(request(other, &known, &[host, json], question));
        }
    }
    // What is not here.
    for path in [
        "v1/status",
        "v1/stop",
        "v1/indexes",
        "v1/indexes/i/copy",
        "copy",
        "stop",
        "search/",
        "search/../index",
        "../",
        "../../etc/passwd",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "....//etc/passwd",
        "index.html",
        "app.js%00.html",
        "//",
        "%",
        "%ff%fe",
        "style.css/",
        "thumbnail/",
        "thumbnail//etc/passwd",
        "\\..\\..\\windows",
        ".git/config",
        "http://evil.example/",
    ] {
        all.push(request("GET", &format!("/{token}/{path}"), &[host], ""));
        all.push(request("POST", &format!("/{token}/{path}"), &[host, json], question));
    }
    // A picture that nobody named, or that is not one.
    for asked in [
        "",
        "path=/nas/a.jpg",
        "height=256",
        "path=/nas/a.jpg&height=",
        "path=/nas/a.jpg&height=-1",
        "path=/nas/a.jpg&height=x",
        "path=/nas/a.jpg&height=99999999999999",
        "path=a&path=b&height=256",
        "path=/etc/passwd&height=256",
        "path=..%2F..%2Fetc%2Fpasswd&height=256",
        "path=/nas/../etc/passwd&height=256",
        "path=%00&height=256",
        "path=/nas/a.jpg&height=256&root=/",
        "path=%ff&height=256",
    ] {
        all.push(request("GET", &format!("/{token}/thumbnail?{asked}"), &[host], ""));
        all.push(request("GET", &format!("/{token}/picture?{}", asked.replace("height", "size")), &[host], ""));
    }
    // A question that is none.
    for body in [
        "",
        "x",
        "[]",
        "{}",
        "null",
        "\"",
        "{\"top_k\": 1e99}",
        r#"{"text": 1, "top_k": 1}"#,
        r#"{"top_k": -1}"#,
        r#"{"text": "x", "top_k": 1, "filters": {"shell": "rm"}}"#,
        r#"{"terms": [{"weight": 1}], "top_k": 1}"#,
        r#"{"terms": [{"file": "/etc/passwd"}], "top_k": 1}"#,
    ] {
        all.push(request("POST", &format!("/{token}/search"), &[host, json], body));
    }
    let deep = "[".repeat(100_000);
    let long = "x".repeat((64 << 20) + 1);
    all.push(request("POST", &format!("/{token}/search"), &[host, json], &deep));
    all.push(request("POST", &format!("/{token}/search"), &[host, json], &long));
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/html"] {
        all.push(request("POST", &format!("/{token}/search"), &[host, ("content-type", kind)], question));
    }
    // What is not HTTP.
    let long = format!("GET /{} HTTP/1.1\r\nhost: {own}\r\n\r\n", "a".repeat(1 << 20));
    let many = format!("GET /{token}/ HTTP/1.1\r\nhost: {own}\r\n{}\r\n", "a: b\r\n".repeat(1000));
    for bytes in [
        "\r\n\r\nx\r\n\r\n",
        "GET\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\na\0: b\r\n\r\n",
        "GET /\0 HTTP/1.1\r\n\r\n",
        "\u{16}\u{3}\u{1}\0\u{5}hello\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        &long,
        &many,
        &format!("GET http://{own}/{token}/ HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\n\r\n"),
        &format!("CONNECT {own} HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\n\r\n"),
        &format!("GET /{token}/ HTTP/1.0\r\n\r\n"),
    ] {
        all.push(bytes.as_bytes().to_vec());
    }
    all
}
