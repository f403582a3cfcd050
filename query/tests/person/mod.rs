//! A person before a stand-in for the server.
#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

/// A person with nothing but an empty home.
pub struct Person(tempfile::TempDir);

impl Person {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.0.path()).env("HOME", self.0.path()).env("XDG_RUNTIME_DIR", self.0.path());
        for variable in ["XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            command.env(variable, self.path(variable));
        }
        command
    }

    pub fn query(&self, arguments: &[&str]) -> Output {
        self.command(Path::new(env!("CARGO_BIN_EXE_query"))).args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// An index as far as `query` looks at one itself.
    pub fn index(&self) -> String {
        fs::write(self.path("imageindex.meta.json"), "{}").unwrap();
        self.path("imageindex").to_str().unwrap().to_owned()
    }

    pub fn listen(&self) -> UnixListener {
        let folder = self.path("imagefleet");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        UnixListener::bind(folder.join(format!("server-{}.sock", env!("CARGO_PKG_VERSION")))).unwrap()
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Reads one request: its path and its body.
pub fn read_request(stream: &mut BufReader<UnixStream>) -> Option<(String, Value)> {
    let mut first = String::new();
    if stream.read_line(&mut first).ok()? == 0 {
        return None;
    }
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    Some((first.split(' ').nth(1).unwrap().to_owned(), body))
}

pub fn respond(stream: &mut BufReader<UnixStream>, status: u16, body: &Value) {
    respond_bytes(stream, status, body.to_string().as_bytes());
}

fn respond_bytes(stream: &mut BufReader<UnixStream>, status: u16, body: &[u8]) {
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = stream.get_mut().write_all(&[head.as_bytes(), body].concat());
}

fn found(matches: &[Value], question: &Value) -> Value {
    let most = question["top_k"].as_u64().unwrap() as usize;
    json!({"generation": 3, "num_images": 12345, "seconds": 0.01, "matches": matches[..matches.len().min(most)]})
}

/// Answers as a server would that holds `paths` under /nas, after dropping the first `broken` connections in the
/// middle of a request. Sends what it was asked.
pub fn stand_in(listener: UnixListener, paths: &[&str], broken: usize) -> Receiver<(String, Value)> {
    let (sender, asked) = channel();
    let facts = |p: &&str, rank: usize| {
        json!({"rank": rank, "score": 0.25, "percentile": 99.5, "path": p, "alike": rank - 1, "size_bytes": 2_400_000,
            "mtime_ns": 1_563_129_000_000_000_000_u64, "width": 640, "height": 480})
    };
    let matches: Vec<_> = paths.iter().zip(1..).map(|(p, rank)| facts(p, rank)).collect();
    let count = matches.len();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            while let Some((path, body)) = read_request(&mut stream) {
                if number < broken {
                    break;
                }
                if path.starts_with("/v1/indexes/imageindex/thumbnail?") {
                    let gone = path.contains("gone");
                    let _ = sender.send((path, body));
                    match gone {
                        true => respond(&mut stream, 404, &json!({"error": "it is gone"})),
                        false => respond_bytes(&mut stream, 200, b"\xff\xd8\xff small"),
                    }
                    continue;
                }
                let answer = match path.as_str() {
                    "/v1/indexes" => {
                        json!({"name": "imageindex", "index_prefix": body["index_prefix"], "generation": 3,
                        "num_images": 12345, "model_name": "demo", "root": "/nas"})
                    }
                    "/v1/indexes/imageindex/search" => found(&matches, &body),
                    "/v1/indexes/imageindex/search/batch" => {
                        let answers = body["requests"].as_array().unwrap().iter().map(|question| {
                            match question["terms"][0]["text"] == "no answer" {
                                true => json!({"error": "it has none"}),
                                false => json!({"answer": found(&matches, question)}),
                            }
                        });
                        json!({ "answers": answers.collect::<Vec<_>>() })
                    }
                    "/v1/indexes/imageindex/duplicates" => {
                        json!({"generation": 3, "num_images": 12345, "similarity": 0.98, "num_groups": 7,
                        "num_pictures": 20, "seconds": 0.01, "groups": [{"count": count, "compared": true, "pictures": matches}]})
                    }
                    "/v1/indexes/imageindex/stats" => json!({"generation": 3, "created": "2025-07-14T18:30:00Z",
                        "root": "/nas", "model": {"model_name": "demo", "fingerprint": "f", "embedding_dim": 64,
                        "precision": "fp32", "provider": "cpu"}, "num_images": 12345, "total_bytes": 5, "years": {},
                        "formats": {"jpg": 12345}, "failures": {}, "first_pass": {"rows": 12345, "recall_at_10": 0.997},
                        "warning": "a newer generation cannot be opened"}),
                    "/v1/indexes/imageindex/copy" => {
                        let copies = body["paths"].as_array().unwrap().iter().zip(1..).map(|(path, rank)| {
                            if path.as_str().unwrap().contains("gone") {
                                json!({"failed": "No such file or directory"})
                            } else {
                                json!({"to": format!("{}/match_rank{rank:03}.jpg", body["folder"].as_str().unwrap())})
                            }
                        });
                        json!({ "copies": copies.collect::<Vec<_>>() })
                    }
                    other => panic!("{other}"),
                };
                let _ = sender.send((path, body));
                respond(&mut stream, 200, &answer);
            }
        }
    });
    asked
}
