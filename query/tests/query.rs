//! The program `query` as people meet it, before a stand-in for the server: what it asks, prints and returns.
//! The real server is asked in the tests of `server`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

/// A person with nothing but an empty home.
struct Person(tempfile::TempDir);

impl Person {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.0.path()).env("HOME", self.0.path()).env("XDG_RUNTIME_DIR", self.0.path());
        for variable in ["XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            command.env(variable, self.path(variable));
        }
        command
    }

    fn query(&self, arguments: &[&str]) -> Output {
        self.command(Path::new(env!("CARGO_BIN_EXE_query"))).args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// An index as far as `query` looks at one itself.
    fn index(&self) -> String {
        fs::write(self.path("imageindex.meta.json"), "{}").unwrap();
        self.path("imageindex").to_str().unwrap().to_owned()
    }

    fn listen(&self) -> UnixListener {
        let folder = self.path("imagefleet");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        UnixListener::bind(folder.join(format!("server-{}.sock", env!("CARGO_PKG_VERSION")))).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Reads one request: its path and its body.
fn read_request(stream: &mut BufReader<UnixStream>) -> Option<(String, Value)> {
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
    Some((first.split(' ').nth(1).unwrap().to_owned(), serde_json::from_slice(&body).unwrap()))
}

fn respond(stream: &mut BufReader<UnixStream>, status: u16, body: &Value) {
    let body = body.to_string();
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = stream.get_mut().write_all((head + &body).as_bytes());
}

/// Answers as a server would that holds `paths` under /nas, after dropping the first `broken` connections in the
/// middle of a request. Sends what it was asked.
fn stand_in(listener: UnixListener, paths: &[&str], broken: usize) -> Receiver<(String, Value)> {
    let (sender, asked) = channel();
    let matches: Vec<_> =
        paths.iter().zip(1..).map(|(p, rank)| json!({"rank": rank, "score": 0.25, "path": p})).collect();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            while let Some((path, body)) = read_request(&mut stream) {
                if number < broken {
                    break;
                }
                let answer = match path.as_str() {
                    "/v1/indexes" => {
                        json!({"name": "imageindex", "index_prefix": body["index_prefix"], "generation": 3,
                        "num_images": 12345, "model_name": "demo", "root": "/nas"})
                    }
                    "/v1/indexes/imageindex/search" => json!({"generation": 3, "num_images": 12345, "seconds": 0.01,
                        "matches": matches}),
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

#[test]
fn wrong_usage_is_said_and_is_exit_2() {
    let person = Person::new();
    for arguments in
        [&["--text", ""][..], &["--text", " \n\t"], &[], &["--text", "x", "--top-k", "0"], &["--text", "x", "y"]]
    {
        let output = person.query(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    let output = person.query(&["--text", "a yellow car"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("controller --image-dir"), "{}", text(&output.stderr));
    assert!(person.query(&["--help"]).status.success());
}

#[test]
fn an_index_that_is_not_there_is_named_with_what_builds_it() {
    let person = Person::new();
    let output = person.query(&["--text", "x", "--index-prefix", "nowhere.faiss"]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    let meta = person.path("nowhere.meta.json");
    assert!(error.contains(meta.to_str().unwrap()) && error.contains("controller --image-dir"), "{error}");
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn a_host_that_cannot_be_reached_is_named() {
    let person = Person::new();
    fs::write(person.path("hosts"), "127.0.0.1 ram_gb=62 port=1\n127.0.0.2 ram_gb=15 port=1\n").unwrap();
    for (arguments, host) in [
        (&["--text", "x", "--index-prefix", "/nas/i"][..], "127.0.0.1"),
        (&["--text", "x", "--index-prefix", "/nas/i", "--worker", "127.0.0.2"], "127.0.0.2"),
    ] {
        let output = person.query(arguments);
        assert_eq!(output.status.code(), Some(1));
        let wanted = format!("error: {host}: cannot connect: it refuses the connection");
        assert!(text(&output.stderr).starts_with(&wanted), "{}", text(&output.stderr));
    }
    assert_eq!(person.query(&["--text", "x", "--index-prefix", "/nas/i", "--worker", "nobody"]).status.code(), Some(1));
}

#[test]
fn matches_go_to_stdout_and_the_summary_to_stderr() {
    let person = Person::new();
    let asked = stand_in(person.listen(), &["/nas/a b.jpg", "/nas/$(c).jpg"], 0);
    let output = person.query(&["--text", "a yellow car", "--index-prefix", &(person.index() + ".parquet")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "1\t0.2500\t/nas/a b.jpg\n2\t0.2500\t/nas/$(c).jpg\n");
    let results = person.path("image_results");
    let notes = text(&output.stderr);
    assert!(notes.starts_with("2 matches of 12,345 pictures in "), "{notes}");
    assert!(notes.ends_with(&format!("copied to {}\n", results.display())), "{notes}");

    assert_eq!(asked.recv().unwrap().1["index_prefix"], person.path("imageindex").to_str().unwrap());
    assert_eq!(asked.recv().unwrap().1, json!({"text": "a yellow car", "top_k": 10}));
    let copy = asked.recv().unwrap().1;
    assert_eq!(copy["paths"], json!(["/nas/a b.jpg", "/nas/$(c).jpg"]));
    assert_eq!(copy["folder"], results.to_str().unwrap());
    assert_eq!(copy["stamp"].as_str().unwrap().len(), "20250102_030405".len());
    assert_eq!(copy["root_here"], Value::Null);

    // The index is remembered, and may be asked without its name from now on.
    let output = person.query(&["--text", "a", "--no-copy-results", "--top-k", "7"]);
    assert!(output.status.success() && !text(&output.stderr).contains("copied"));
    assert_eq!(asked.recv().unwrap().1["index_prefix"], person.path("imageindex").to_str().unwrap());
    assert_eq!(asked.recv().unwrap().1["top_k"], 7);
    assert!(asked.try_recv().is_err());
}

#[test]
fn json_holds_paths_as_they_are_here_and_the_copies() {
    let person = Person::new();
    let asked = stand_in(person.listen(), &["/nas/a\n\"b.jpg", "/nas/gone.jpg"], 0);
    fs::write(person.path("hosts"), "* path_map=/Volumes/photos:/nas\nlocalhost\n").unwrap();
    let index = person.index();
    let output = person.query(&["--text", "x", "--json", "--index-prefix", &index, "--results-dir", "found"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines: Vec<Value> = text(&output.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let copy = person.path("found/match_rank001.jpg");
    assert_eq!(
        lines[0],
        json!({"rank": 1, "score": 0.25, "path": "/Volumes/photos/a\n\"b.jpg", "copy": copy.to_str().unwrap()})
    );
    assert_eq!(lines[1], json!({"rank": 2, "score": 0.25, "path": "/Volumes/photos/gone.jpg"}));
    let notes = text(&output.stderr);
    assert!(notes.contains("rank 2 was not copied: No such file") && notes.contains("1 of 2 copied to "), "{notes}");
    let copy = asked.iter().find(|(path, _)| path.ends_with("/copy")).unwrap().1;
    assert_eq!(copy["root_here"], "/Volumes/photos");
}

#[test]
fn a_hostile_text_is_only_data() {
    let person = Person::new();
    let asked = stand_in(person.listen(), &["/nas/a.jpg"], 0);
    let index = person.index();
    let long = "yellow ".repeat(100 * 1024 / 7);
    for hostile in [
        "$(touch owned); `touch owned`",
        "'\"\\\n\r%s%n\u{1b}[2J",
        "--top-k",
        "🚗\u{202e}\u{0301}",
        "</script>{{x}}",
        &long,
    ] {
        let output = person.query(&["--no-copy-results", "--index-prefix", &index, &format!("--text={hostile}")]);
        assert_eq!(output.status.code(), Some(0), "{hostile:.40}: {}", text(&output.stderr));
        asked.recv().unwrap();
        assert_eq!(asked.recv().unwrap().1["text"], hostile);
    }
    assert!(!person.path("owned").exists());
}

#[test]
fn a_connection_that_breaks_is_made_again_once() {
    let person = Person::new();
    let asked = stand_in(person.listen(), &["/nas/a.jpg"], 1);
    let output = person.query(&["--text", "x", "--no-copy-results", "--index-prefix", &person.index()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(asked.iter().take(2).count(), 2);

    let person = Person::new();
    let _asked = stand_in(person.listen(), &["/nas/a.jpg"], 2);
    let output = person.query(&["--text", "x", "--no-copy-results", "--index-prefix", &person.index()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("broke off"), "{}", text(&output.stderr));
}

#[test]
fn a_refusal_is_shown_once_in_the_servers_words() {
    let person = Person::new();
    let listener = person.listen();
    std::thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        read_request(&mut stream).unwrap();
        respond(&mut stream, 409, &json!({"error": "the model does not fit; do this"}));
    });
    let output = person.query(&["--text", "x", "--index-prefix", &person.index()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "error: the model does not fit; do this\n");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let person = Person::new();
    let paths: Vec<String> = (0..20_000).map(|i| format!("/nas/{i:0100}.jpg")).collect();
    let _asked = stand_in(person.listen(), &paths.iter().map(String::as_str).collect::<Vec<_>>(), 0);
    let mut command = person.command(Path::new(env!("CARGO_BIN_EXE_query")));
    command.args(["--text", "x", "--no-copy-results", "--index-prefix", &person.index()]);
    let mut query = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(query.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("1\t0.2500\t/nas/000"));
    let output = query.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).starts_with("20,000 matches of"), "{}", text(&output.stderr));
}

#[test]
fn an_interruption_is_exit_130() {
    let person = Person::new();
    let listener = person.listen();
    let query = person
        .command(Path::new(env!("CARGO_BIN_EXE_query")))
        .args(["--text", "x", "--index-prefix", &person.index()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stream = BufReader::new(listener.accept().unwrap().0);
    read_request(&mut stream).unwrap();
    assert!(Command::new("kill").args(["-INT", &query.id().to_string()]).status().unwrap().success());
    let output = query.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
}

/// `query` beside a program `server` that is this script.
fn beside_a_server(person: &Person, script: &str) -> PathBuf {
    let folder = person.path("programs");
    fs::create_dir(&folder).unwrap();
    // Written by another process: a file that is open for writing cannot be run, and what another test starts at this
    // moment would hold it open.
    let write = "printf %s \"$1\" > server && chmod 755 server && cp \"$2\" query";
    let shell =
        Command::new("sh").args(["-c", write, "sh", script, env!("CARGO_BIN_EXE_query")]).current_dir(&folder).status();
    assert!(shell.unwrap().success());
    folder.join("query")
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let person = Person::new();
    let program =
        beside_a_server(&person, "#!/bin/sh\necho 'error while loading: libfoo.so: not found' >&2\nexit 127\n");
    let output = person.command(&program).args(["--text", "x", "--index-prefix", &person.index()]).output().unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("could not start (exit status: 127)") && error.contains("libfoo.so: not found"), "{error}");

    fs::remove_file(program.with_file_name("server")).unwrap();
    let output = person.command(&program).args(["--text", "x", "--index-prefix", &person.index()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("server"), "{}", text(&output.stderr));
}

#[test]
fn a_folder_that_others_may_enter_is_not_trusted() {
    let person = Person::new();
    let _asked = stand_in(person.listen(), &["/nas/a.jpg"], 0);
    fs::set_permissions(person.path("imagefleet"), fs::Permissions::from_mode(0o777)).unwrap();
    let output = person.query(&["--text", "x", "--index-prefix", &person.index()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("chmod 700"), "{}", text(&output.stderr));
}
