//! Every way to ask and to be answered, before a stand-in for the server.

mod person;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::{Value, json};

use person::{Person, stand_in, text};

/// What the first question was, once its index was opened.
fn question(asked: &std::sync::mpsc::Receiver<(String, Value)>) -> Value {
    asked.iter().find(|(path, _)| path.ends_with("/search")).unwrap().1
}

#[test]
fn words_pictures_and_filters_reach_the_server_as_they_were_meant() {
    let person = Person::new();
    let asked = stand_in(person.listen(), &["/nas/a.jpg"], 0);
    fs::write(person.path("hosts"), "* path_map=/Volumes/photos:/nas\nlocalhost\n").unwrap();
    fs::write(person.path("me.jpg"), b"\xff\xd8\xff me").unwrap();
    let index = person.index();
    let output = person.query(&[
        "2:cat",
        "+",
        "me.jpg",
        "-",
        "0.5:tall grass",
        "--image",
        "/Volumes/photos/there.jpg",
        "--index-prefix",
        &index,
        "--no-copy-results",
        "--top-k",
        "7",
        "--no-templates",
        "--exact",
        "--no-collapse",
        "--min-percentile",
        "99.5",
        "--under",
        "/Volumes/photos/2019",
        "--under",
        "2020/x",
        "--glob",
        "**/*.png",
        "--after",
        "2019",
        "--before",
        "2019-07-14T18:30",
        "--min-size",
        "1920x1080",
        "--min-size",
        "2MB",
        "--orientation",
        "portrait",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        question(&asked),
        json!({
            "terms": [
                {"weight": 1.0, "path": "/nas/there.jpg"},
                {"weight": 2.0, "text": "cat"},
                {"weight": 1.0, "picture": "/9j/IG1l"},
                {"weight": -0.5, "text": "tall grass"},
            ],
            "top_k": 7, "exact": true, "collapse": false, "templates": false, "min_percentile": 99.5,
            "filters": {
                "under": ["/nas/2019", "/nas/2020/x"], "glob": ["**/*.png"], "after_s": 1_546_300_800,
                "before_s": 1_563_129_000, "min_width": 1920, "min_height": 1080, "min_bytes": 2_000_000,
                "orientation": "portrait",
            },
        })
    );
}

#[test]
fn what_cannot_be_asked_is_wrong_usage_and_says_why() {
    let person = Person::new();
    let _asked = stand_in(person.listen(), &["/nas/a.jpg"], 0);
    fs::write(person.path("notes.jpg"), "only words").unwrap();
    let index = person.index();
    for (arguments, told) in [
        (&["./notes.jpg"][..], "./notes.jpg is no picture"),
        (&["--image", "absent.jpg"], "absent.jpg: No such file"),
        (&["absent.jpg"], "there is no picture absent.jpg"),
        (&["a car", "on grass"], "\"a car\" and \"on grass\""),
        (&["car", "--under", "/elsewhere"], "whose folder is /nas"),
        (&["car", "--after", "2020", "--before", "2019"], "--before"),
        (&["car", "--min-size", "1KB", "--min-size", "2KB"], "twice"),
        (&["--file", "absent.txt"], "absent.txt"),
        (&["--like", "1"], "no answer is remembered"),
    ] {
        let output = person.query(&[arguments, &["--index-prefix", &index]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(told), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn like_means_a_picture_of_the_last_answer_and_only_this_person_can_read_which() {
    let person = Person::new();
    let asked = stand_in(person.listen(), &["/nas/a.jpg", "/nas/b c.jpg"], 0);
    let index = person.index();
    assert!(person.query(&["x", "--no-copy-results", "--index-prefix", &index]).status.success());
    assert_eq!(question(&asked)["terms"], json!([{"weight": 1.0, "text": "x"}]));
    let file = person.path("XDG_STATE_HOME/imagefleet/last-answer.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    assert!(person.query(&["--like", "2", "+", "at night", "--no-copy-results"]).status.success());
    let terms = json!([{"weight": 1.0, "path": "/nas/b c.jpg"}, {"weight": 1.0, "text": "at night"}]);
    assert_eq!(question(&asked)["terms"], terms);

    let output = person.query(&["--like", "3"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no rank 3: it had 2 matches"), "{}", text(&output.stderr));
    fs::write(person.path("other.meta.json"), "{}").unwrap();
    let output = person.query(&["--like", "1", "--index-prefix", "other"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("the last answer was of the index"), "{}", text(&output.stderr));
    fs::write(&file, "{").unwrap();
    assert_eq!(person.query(&["--like", "1"]).status.code(), Some(2));
}

#[test]
fn a_list_of_questions_is_answered_in_its_order_with_each_question() {
    let person = Person::new();
    let asked = stand_in(person.listen(), &["/nas/a.jpg", "/nas/b.jpg"], 0);
    let index = person.index();
    fs::write(person.path("q.txt"), "a car\n\nhorse + stripes\n").unwrap();
    let list = ["--file", "q.txt", "--index-prefix", &index];
    let output = person.query(&[&list[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines: Vec<Value> = text(&output.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let told: Vec<_> = lines.iter().map(|l| (l["question"].as_str().unwrap(), l["rank"].as_u64().unwrap())).collect();
    assert_eq!(told, [("a car", 1), ("a car", 2), ("horse + stripes", 1), ("horse + stripes", 2)]);
    assert!(text(&output.stderr).starts_with("2 questions, 4 matches in "), "{}", text(&output.stderr));
    let routes: Vec<String> = asked.try_iter().map(|(path, _)| path).collect();
    assert_eq!(routes[1..], ["/v1/indexes/imageindex/search/batch"], "all are asked at once, and nothing is copied");

    let output = person.query(&[&list[..], &["--csv"]].concat());
    let csv = text(&output.stdout);
    assert_eq!(csv.lines().count(), 5, "{csv}");
    assert!(csv.lines().nth(4).unwrap().starts_with("horse + stripes,2,0.25,99.5,/nas/b.jpg,1,2400000,"), "{csv}");
    let output = person.query(&list);
    assert!(text(&output.stdout).starts_with("a car\t1\t0.2500\t/nas/a.jpg\n"), "{}", text(&output.stdout));

    // From standard input, and with a line that cannot be asked: then nothing is.
    let ask = |lines: &str| {
        let mut command = person.command(std::path::Path::new(env!("CARGO_BIN_EXE_query")));
        let mut child = command
            .args(["--file", "-", "--paths-only"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), lines.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    assert_eq!(text(&ask("one\ntwo").stdout), "/nas/a.jpg\n/nas/b.jpg\n".repeat(2));
    let output = ask("one\ntwo +\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty() && text(&output.stderr).contains("standard input:2: nothing stands behind +"));
}

#[test]
fn programs_get_paths_csv_and_a_page() {
    let person = Person::new();
    let _asked = stand_in(person.listen(), &["/nas/a\n<b>.jpg", "/nas/gone.jpg"], 0);
    let index = person.index();
    let ask = |more: &[&str]| {
        let output = person.query(&[&["x", "--no-copy-results", "--index-prefix", &index], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        output
    };
    assert_eq!(text(&ask(&["-0"]).stdout), "/nas/a\n<b>.jpg\0/nas/gone.jpg\0");
    assert_eq!(text(&ask(&["--paths-only"]).stdout), "/nas/a\\n<b>.jpg\n/nas/gone.jpg\n");
    let csv = text(&ask(&["--csv"]).stdout);
    assert!(csv.starts_with("question,rank,score,percentile,path,"), "{csv}");
    assert!(csv.contains("\"/nas/a\n<b>.jpg\""), "{csv}");

    let output = ask(&["--html", "found.html"]);
    let page = fs::read_to_string(person.path("found.html")).unwrap();
    assert!(page.contains("<h1>x</h1>") && page.contains("data:image/jpeg;base64,/9j/IHNtYWxs"), "{page}");
    assert!(page.contains("file:///nas/a%0A%3Cb%3E.jpg") && !page.contains("<b>"), "{page}");
    let notes = text(&output.stderr);
    assert!(notes.contains("1 of 2 pictures are not on the page; the first: it is gone"), "{notes}");
    assert_eq!(
        fs::read_dir(person.path(""))
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains("tmp"))
            .count(),
        0
    );
}

/// What became of `--open`, and which file a stand-in for the machine's own viewer was given.
fn opened(person: &Person, open: &str) -> (std::process::Output, Option<String>) {
    let folder = person.path("bin");
    let name = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    fs::create_dir_all(&folder).unwrap();
    // Written by another process: a file that is open for writing cannot be run.
    let write = "printf '#!/bin/sh\\nprintf %%s \"$1\" > \"$0.opened\"\\n' > \"$1\" && chmod 755 \"$1\"";
    let written = std::process::Command::new("sh").args(["-c", write, "sh"]).arg(folder.join(name)).status().unwrap();
    assert!(written.success());
    let index = person.index();
    let mut command = person.command(std::path::Path::new(env!("CARGO_BIN_EXE_query")));
    let path = std::env::join_paths([folder.clone(), "/usr/bin".into(), "/bin".into()]).unwrap();
    command.env("PATH", path).args(["x", "--no-copy-results", "--index-prefix", &index, open]);
    let output = command.output().unwrap();
    (output, fs::read_to_string(folder.join(format!("{name}.opened"))).ok())
}

#[test]
fn a_match_is_opened_by_the_machines_own_program_which_gets_its_name_as_it_is() {
    let person = Person::new();
    let picture = person.path("a $(touch owned) b.jpg");
    fs::write(&picture, b"\xff\xd8\xff\xe0 a picture").unwrap();
    let _asked = stand_in(person.listen(), &[picture.to_str().unwrap(), "/nas/gone.jpg"], 0);
    let (output, shown) = opened(&person, "--open");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(shown.as_deref(), picture.to_str());
    assert!(!person.path("owned").exists());
    let (output, _) = opened(&person, "--open=2");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot open /nas/gone.jpg"), "{}", text(&output.stderr));
}

#[test]
fn what_is_no_picture_is_not_opened_whatever_an_index_calls_it() {
    for (name, content) in [
        ("run.sh", &b"\xff\xd8\xff\xe0 a picture but for its name"[..]),
        ("run.jpg", b"#!/bin/sh\ntouch owned\n"),
        ("key.jpg", b"-----BEGIN OPENSSH PRIVATE KEY-----"),
    ] {
        let person = Person::new();
        fs::write(person.path(name), content).unwrap();
        let _asked = stand_in(person.listen(), &[person.path(name).to_str().unwrap()], 0);
        let (output, shown) = opened(&person, "--open");
        assert_eq!((output.status.code(), shown), (Some(1), None), "{name}");
        assert!(text(&output.stderr).contains("is not opened: it is no picture"), "{}", text(&output.stderr));
    }
}

#[test]
fn the_next_host_answers_for_one_that_is_down_unless_that_was_named() {
    let person = Person::new();
    let _asked = stand_in(person.listen(), &["/nas/a.jpg"], 0);
    fs::write(person.path("hosts"), "localhost ram_gb=1\n127.0.0.1 ram_gb=62 port=1\n127.0.0.2 ram_gb=15 port=1\n")
        .unwrap();
    let index = person.index();
    let output = person.query(&["x", "--no-copy-results", "--index-prefix", &index]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let notes = text(&output.stderr);
    assert!(notes.contains("127.0.0.1: cannot connect") && notes.contains("127.0.0.2: cannot connect"), "{notes}");
    assert!(notes.contains("query: localhost answers instead\n"), "{notes}");
    let output = person.query(&["x", "--no-copy-results", "--index-prefix", &index, "--worker", "127.0.0.1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: 127.0.0.1: cannot connect"), "{}", text(&output.stderr));
}
