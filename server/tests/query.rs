//! The program `query` with the real server, which nobody started.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use common::collection::Collection;
use common::{Home, http, until};
use serde_json::Value;

/// The program `query`, built as these tests are, beside the program `server`.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_server")).parent().unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            // With the features that the workspace has: nothing is compiled twice.
            .args(["build", "--quiet", "--workspace", "--bin", "query", "--target-dir"])
            .arg(folder.parent().unwrap());
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
        folder.join("query")
    })
}

fn query(home: &Home, arguments: &[&str]) -> Output {
    home.command(program()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn server_pid(home: &Home) -> Option<u64> {
    http(&home.socket(), "GET", "/v1/status", "", b"").map(|(_, status)| status["pid"].as_u64().unwrap())
}

#[test]
fn a_question_starts_a_server_and_the_next_finds_it_warm() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let prefix = pictures.prefix.dir().to_str().unwrap();
    let output = query(&home, &["--text", "a yellow car", "--index-prefix", prefix, "--top-k", "2"]);
    let (found, notes) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{notes}");
    assert!(found.starts_with(&format!("1\t1.0000\t{}\n", pictures.picture("a yellow car").display())), "{found}");
    assert_eq!(found.lines().count(), 2);
    assert!(notes.starts_with("2 matches of 5 pictures in ") && notes.contains("copied to "), "{notes}");
    assert_eq!(std::fs::read_dir(pictures.prefix.results()).unwrap().count(), 2);

    let pid = server_pid(&home).unwrap();
    let output = query(&home, &["--text", "a black cat", "--json", "--no-copy-results"]);
    let first: Value = serde_json::from_str(text(&output.stdout).lines().next().unwrap()).unwrap();
    assert_eq!(first["path"], pictures.picture("a black cat").to_str().unwrap());
    assert_eq!(server_pid(&home), Some(pid));
}

#[test]
fn a_server_killed_between_two_questions_is_started_again_unseen() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let ask = || {
        query(
            &home,
            &["--text", "a black cat", "--no-copy-results", "--index-prefix", pictures.prefix.dir().to_str().unwrap()],
        )
    };
    let first = ask();
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let pid = server_pid(&home).unwrap();
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
    until("the server is dead", || server_pid(&home).is_none());
    assert!(home.socket().exists());
    let second = ask();
    assert_eq!(second.status.code(), Some(0), "{}", text(&second.stderr));
    assert_eq!(first.stdout, second.stdout);
    assert_ne!(server_pid(&home).unwrap(), pid);
}

#[test]
fn a_strangers_index_answers_and_is_copied_from_once_it_is_trusted() {
    if protocol::folders::own_uid().unwrap() != 0 {
        eprintln!("skipped: only root can make files of another user");
        return;
    }
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let prefix = pictures.prefix.dir().to_str().unwrap();
    for file in [pictures.prefix.meta(), pictures.prefix.dir().to_owned()] {
        std::os::unix::fs::chown(file, Some(54_321), None).unwrap();
    }
    let ask = ["--text", "a black cat", "--index-prefix", prefix, "--top-k", "1"];
    for more in [&[][..], &["--json"]] {
        let output = query(&home, &[&ask[..], more].concat());
        let (found, notes) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{notes}");
        assert!(found.contains("a black cat.jpg") && !found.contains("copy"), "{found}");
        let why: Vec<_> = notes.lines().filter(|line| line.contains("nothing is copied")).collect();
        assert_eq!(why.len(), 1, "{notes}");
        assert!(why[0].contains("user 54321") && why[0].ends_with(&format!("query --trust {prefix}")), "{notes}");
        assert!(!pictures.prefix.results().exists());
    }
    let output = query(&home, &["--trust", prefix]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), ""), "{}", text(&output.stderr));
    let output = query(&home, &ask);
    assert!(text(&output.stderr).contains("copied to "), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_dir(pictures.prefix.results()).unwrap().count(), 1);

    let output = query(&home, &["--trust", home.path("nowhere").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "an index that is not there is not trusted");
}

#[test]
fn a_folder_for_copies_that_strangers_can_write_is_refused_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let results = home.path("results");
    std::fs::create_dir(&results).unwrap();
    std::fs::set_permissions(&results, std::fs::Permissions::from_mode(0o777)).unwrap();
    let prefix = pictures.prefix.dir().to_str().unwrap();
    let output = query(&home, &["a black cat", "--index-prefix", prefix, "--results-dir", results.to_str().unwrap()]);
    let (found, notes) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{notes}");
    assert!(found.contains("a black cat.jpg"), "the matches are shown: {found}");
    assert!(notes.contains("anybody may write") && notes.contains("chmod go-w"), "{notes}");
    assert_eq!(std::fs::read_dir(&results).unwrap().count(), 0);
}

#[test]
fn many_first_questions_at_once_share_one_server() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let prefix = pictures.prefix.dir().to_str().unwrap();
    program();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let output = query(
                    &home,
                    &["--text", "a red bus", "--top-k", "1", "--index-prefix", prefix, "--no-copy-results"],
                );
                assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
                assert!(text(&output.stdout).ends_with("a red bus.jpg\n"));
            });
        }
    });
    let log = std::fs::read_to_string(home.socket().with_extension("log")).unwrap();
    assert_eq!(log.matches(" listens on ").count(), 1, "{log}");
}

#[test]
fn a_model_that_does_not_fit_is_said_in_the_servers_words() {
    let home = Home::new();
    let model = protocol::ModelIdentity {
        fingerprint: "0123456789abcdef0123456789abcdef".to_owned(),
        ..Collection::new(&home, "a").model
    };
    let pictures = Collection::of_model(&home, "b", model);
    pictures.add(&["a black cat"]);
    let output = query(&home, &["--text", "a black cat", "--index-prefix", pictures.prefix.dir().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("0123456789abcdef0123456789abcdef") && error.lines().count() == 1, "{error}");
}
