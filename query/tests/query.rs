//! The program `query` as people meet it, before a stand-in for the server: what it asks, prints and returns.
//! The real server is asked in the tests of `server`.

mod person;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use person::{Person, read_request, respond, stand_in, text};

#[test]
fn wrong_usage_is_said_and_is_exit_2() {
    let person = Person::new();
    for arguments in [
        &["--text", ""][..],
        &["--text", " \n\t"],
        &[],
        &["--text", "x", "--top-k", "0"],
        &["--text", "x", "y"],
        &["x", "+"],
        &["x", "--html", "a.jpg"],
    ] {
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
    let question = asked.recv().unwrap().1;
    assert_eq!(question["terms"], json!([{"weight": 1.0, "text": "a yellow car"}]));
    assert_eq!(question["top_k"], 10);
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
        json!({"rank": 1, "score": 0.25, "percentile": 99.5, "path": "/Volumes/photos/a\n\"b.jpg", "alike": 0,
            "size_bytes": 2_400_000, "mtime": "2019-07-14T18:30:00Z", "width": 640, "height": 480,
            "copy": copy.to_str().unwrap()})
    );
    assert_eq!(lines[1]["path"], "/Volumes/photos/gone.jpg");
    assert_eq!((&lines[1]["alike"], lines[1].get("copy")), (&json!(1), None));
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
        assert_eq!(asked.recv().unwrap().1["terms"][0]["text"], hostile);
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
    command.args(["--text", "x", "--top-k", "20000", "--no-copy-results", "--index-prefix", &person.index()]);
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
