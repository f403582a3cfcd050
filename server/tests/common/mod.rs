//! A real server on a socket of its own, and plain HTTP to it.
#![allow(dead_code, reason = "each test program uses its part")]

pub mod collection;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A home of its own for everything that a person's programs would touch.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The socket where `query` looks in this home.
    pub fn socket(&self) -> PathBuf {
        self.path(&format!("imagefleet/server-{}.sock", env!("CARGO_PKG_VERSION")))
    }

    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        // The model's runtime is the one thing that is taken from the real home.
        if let (None, Some(runtime)) = (std::env::var_os("ORT_DYLIB_PATH"), real_runtime()) {
            command.env("ORT_DYLIB_PATH", runtime);
        }
        command.current_dir(self.0.path()).env("HOME", self.0.path()).env("XDG_RUNTIME_DIR", self.0.path());
        for variable in ["XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            command.env(variable, self.path(variable));
        }
        command.stdin(Stdio::null());
        command
    }

    /// Starts a server on the home's socket; does not wait for it.
    pub fn start(&self, arguments: &[&str]) -> Server {
        let mut command = self.command(env!("CARGO_BIN_EXE_server"));
        command.arg("--socket").arg(self.socket()).args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
        Server { child: command.spawn().unwrap(), socket: self.socket() }
    }

    /// A server that answers.
    pub fn serve(&self, arguments: &[&str]) -> Server {
        let mut server = self.start(arguments);
        until("the server answers", || {
            assert!(server.child.try_wait().unwrap().is_none(), "the server ended");
            server.answers()
        });
        server
    }
}

impl Drop for Home {
    /// A server that `query` started must not outlive its test.
    fn drop(&mut self) {
        if self.socket().exists() {
            let _ = http(&self.socket(), "POST", "/v1/stop", "", b"");
        }
    }
}

fn real_runtime() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let below_home = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(below_home)))?;
    let name = if cfg!(target_os = "macos") { "libonnxruntime.dylib" } else { "libonnxruntime.so" };
    Some(cache.join("imagefleet/onnxruntime").join(name)).filter(|p| p.exists())
}

/// A server process; killed when dropped.
pub struct Server {
    pub child: Child,
    pub socket: PathBuf,
}

impl Server {
    pub fn answers(&self) -> bool {
        http(&self.socket, "GET", "/v1/status", "", b"").is_some_and(|(status, _)| status == 200)
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        http(&self.socket, "GET", path, "", b"").expect("the server answers")
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        http(&self.socket, "POST", path, JSON, body.to_string().as_bytes()).expect("the server answers")
    }

    /// Loads an index and returns its name.
    pub fn open(&self, prefix: &Path) -> String {
        let (status, opened) = self.post("/v1/indexes", &json!({ "index_prefix": prefix }));
        assert_eq!(status, 200, "{opened}");
        opened["name"].as_str().unwrap().to_owned()
    }

    pub fn search(&self, name: &str, text: &str, top_k: usize) -> (u16, Value) {
        self.post(&format!("/v1/indexes/{name}/search"), &json!({"text": text, "top_k": top_k}))
    }

    pub fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// Waits for the process to end by itself.
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until("the server ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// What it said on standard error, once it has ended.
    pub fn said(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.socket.with_extension("log")).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub const JSON: &str = "content-type: application/json\r\n";

/// One request on a connection of its own; `None` if there is no server or it breaks off.
pub fn http(socket: &Path, method: &str, path: &str, headers: &str, body: &[u8]) -> Option<(u16, Value)> {
    let (status, _, body) = exchange(socket, method, path, headers, body)?;
    let json = serde_json::from_slice(&body);
    Some((status, json.unwrap_or_else(|e| panic!("{path}: {e}: {:?}", String::from_utf8_lossy(&body)))))
}

/// The same for any answer: its status, head and body.
pub fn exchange(socket: &Path, method: &str, path: &str, headers: &str, body: &[u8]) -> Option<(u16, String, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: s\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    // A server that refuses a body does not read it to its end.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8(answer).ok()?;
    Some((head.split(' ').nth(1)?.parse().ok()?, head, body))
}

/// A text as it stands in an address.
pub fn percent(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Waits for a condition.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
